"""What differs between two runs or stages, stage by stage in the order of the flow, causes before what follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_offline import manifest
from distill_offline.errors import InputError
from distill_offline.manifest import NAME
from distill_offline.provenance.stages import in_flow, stage_name

__all__ = ["Difference", "StageDifferences", "difference"]

# Which stage a section of the configuration first acts on; the longest prefix counts. `name` acts on none.
_OWNERS = {
    "": "annotate", "name": "run", "adapt": "adapt", "corpus.distilled": "select", "pretrain": "pretrain",
    "pretrain.arms": "train", "select": "select", "calibrate": "calibrate", "train": "train", "train.seeds": "evaluate",
    "evaluate": "evaluate",
}  # fmt: skip
_LOST = "nothing"


@dataclass(frozen=True, slots=True)
class Difference:
    """`key` of `what` (config, seed, input, model, version, bundle, platform, method, engine; output, count), twice."""

    what: str
    key: str
    a: Any
    b: Any

    def __str__(self) -> str:
        return f"{self.what} {self.key}: {_short(self.a)} → {_short(self.b)}"

    def as_dict(self) -> dict[str, Any]:
        return {"what": self.what, "key": self.key, "a": self.a, "b": self.b}


@dataclass(frozen=True, slots=True)
class StageDifferences:
    """A stage's own `causes`, without those that an earlier stage shows already, and what came out differently."""

    stage: str
    causes: tuple[Difference, ...]
    effects: tuple[Difference, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "causes": [cause.as_dict() for cause in self.causes],
            "effects": [effect.as_dict() for effect in self.effects],
        }


def difference(a: Path, b: Path) -> tuple[list[StageDifferences], str]:
    """The stages that differ, and the first cause in a sentence; nothing and "" where the two are equal.

    Times, commands and places are not compared. Raises InputError for two folders of different kinds, IntegrityError
    for a folder without a manifest.
    """
    kinds = stage_name(a), stage_name(b)
    manifest.read(a), manifest.read(b)
    if kinds[0].split("/")[0] != kinds[1].split("/")[0]:  # two arms may be compared
        told = f"{a.name} was made as {kinds[0]}, {b.name} as {kinds[1]}"
        raise InputError(f"{told}: name two runs, or two stages of one kind.")
    stages_a, stages_b = (_stages(a), _stages(b)) if "run" in kinds else ({kinds[0]: a}, {kinds[0]: b})
    differing, shown = [], set[tuple[str, str]]()
    both = sorted({*stages_a, *stages_b}, key=in_flow)
    for stage in ["run", *both] if "run" in kinds else both:
        places = (a, b) if stage == "run" else (stages_a.get(stage), stages_b.get(stage))
        causes, effects = _of_stage(stage, places, both)
        new = [cause for cause in causes if (cause.what, cause.key) not in shown]
        shown |= {(effect.what, effect.key) for effect in new}
        if new or effects:
            differing.append(StageDifferences(stage, tuple(new), tuple(effects)))
    return differing, _in_words(differing)


def _stages(run: Path) -> dict[str, Path]:
    names = [str(subject["name"]) for subject in manifest.read(run)["subject"]]
    inner = [name.removesuffix("/" + NAME) for name in names if name.endswith("/" + NAME)]
    return {name: run / name for name in inner if (run / name / NAME).is_file()}


def _of_stage(
    stage: str, places: tuple[Path | None, Path | None], stages: list[str]
) -> tuple[list[Difference], list[Difference]]:
    a, b = places
    if a is None or b is None:
        return [Difference("stage", stage, _LOST if a is None else "there", _LOST if b is None else "there")], []
    one, other = (_recorded(run, stage, stages) for run in (a, b))
    changed = [
        Difference(what, key, one[what].get(key, _LOST), other[what].get(key, _LOST))
        for what in one
        for key in sorted({*one[what], *other[what]})
        if one[what].get(key, _LOST) != other[what].get(key, _LOST)
    ]
    effects = [difference_ for difference_ in changed if difference_.what in ("output", "count", "score")]
    return [difference_ for difference_ in changed if difference_ not in effects], effects


def _recorded(folder: Path, stage: str, stages: list[str]) -> dict[str, dict[str, Any]]:
    """What a manifest has, by kind, flat; of the configuration, the part that acts on this stage first."""
    statement, view = manifest.read(folder), manifest.show(folder)
    definition = statement["predicate"]["buildDefinition"]
    external, internal = definition["externalParameters"], definition["internalParameters"]
    config = {key: value for key, value in _flat(external.get("config") or {}) if key != "seed"}
    if len(stages) > 1 or stage == "run":
        config = {key: value for key, value in config.items() if _owner(key, stages) == stage.split("/")[0]}
    inputs = [
        dependency
        for dependency in definition["resolvedDependencies"]
        if dependency["annotations"]["kind"] in ("input", "folder")
    ]
    result = {
        "config": config,
        "seed": dict(view["seeds"]) if stage != "run" else {},
        "input": {entry["name"]: entry["digest"]["sha256"] for entry in inputs},
        "model": view["models"],
        "bundle": {"made by": view["made_by"], "sha256": (view["bundle"] or {}).get("manifest_sha256")},
        "version": view["versions"],
        "platform": internal.get("platform", {}),
        "method": {"of training, labelling and scoring": internal["method"]} if "method" in internal else {},
        "engine": dict(_flat(internal.get("engine", {}))),
        "score" if stage == "evaluate" else "count": dict(_flat(view["counts"])),
        "output": {output["name"]: output["sha256"] for output in view["outputs"]},
    }
    if stage == "run":  # its outputs are the stages' manifests, which hold times, and the configuration
        return {**result, "output": {}}
    return result


def _owner(key: str, stages: list[str]) -> str:
    """The stage that a configuration key acts on first, or the next one in the flow that there is."""
    prefix = max((owner for owner in _OWNERS if not owner or key == owner or key.startswith(owner + ".")), key=len)
    owner = _OWNERS[prefix]
    there = [stage.split("/")[0] for stage in stages]
    if owner == "run" or owner in there:
        return owner
    return next((stage for stage in there if in_flow(stage) > in_flow(owner)), "run")


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys; a list of named things, such as train.arms, goes by their names."""
    if isinstance(value, list) and value and all(isinstance(item, Mapping) and "name" in item for item in value):
        value = {str(item["name"]): {inner: one for inner, one in item.items() if inner != "name"} for item in value}
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _flat(item, f"{key}.{name}" if key else str(name))
    elif key:
        yield key, value


def _in_words(differing: list[StageDifferences]) -> str:
    """The first cause, and what differs from there on."""
    if not differing:
        return ""
    first = next((stage for stage in differing if stage.causes), None)
    followed = [f"{stage.stage} ({_kinds(stage)})" for stage in differing if stage.effects]
    if first is None:
        return f"no recorded cause differs, and yet what came out does: {', '.join(followed)}"
    cause = _cause(first.causes[0])
    more = sum(len(stage.causes) for stage in differing) - 1
    others = f" (and {more} more causes)" if more else ""
    return f"{cause}{others}; " + (f"therefore {', '.join(followed)}" if followed else "what came out is the same")


def _cause(difference_: Difference) -> str:
    return f"{difference_.what} differs in {difference_.key}: {_short(difference_.a)} → {_short(difference_.b)}"


def _kinds(stage: StageDifferences) -> str:
    return ", ".join(dict.fromkeys(effect.what + "s" for effect in stage.effects))


def _short(value: Any) -> str:
    text = str(value)
    is_digest = len(text) == 64 and all(c in "0123456789abcdef" for c in text)
    return text[:12] if is_digest else text if len(text) <= 80 else text[:79] + "…"
