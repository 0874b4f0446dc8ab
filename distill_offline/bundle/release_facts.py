"""What may be told of a student outside: its labels, scores, models and numbers, each taken from a sealed manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distill_offline import manifest
from distill_offline.config.seeds import student_name
from distill_offline.errors import InputError, IntegrityError
from distill_offline.models.catalogue import Catalogue
from distill_offline.storage.digests import file_digests

__all__ = ["Facts", "UsedModel", "gather"]

_ANNOTATE, _PRETRAIN = "annotate", "pretrain"
_SETTINGS = ("updates", "batch_size", "learning_rate", "capitals")  # what is false is not told
_UNRECORDED = "not recorded: this model is not in the catalogue"


@dataclass(frozen=True, slots=True)
class UsedModel:
    """A model that the student was made with; `digest` is the hex SHA-256 that its manifest gives, "" if none does."""

    role: str
    name: str
    digest: str
    licence: str
    outputs: str


@dataclass(frozen=True, slots=True)
class Facts:
    """A student, without text of its corpus, paths or hosts. `scores` is its row of evaluate's report.

    `averaged` counts the students whose mean it is; `labellers` how many other ones gave the distilled labels,
    `soft_labels` says whether with how probable each is, and `least_confidence` how sure they had to be of one.
    `pretraining`: what its run's pretrain counted, where the student started from that encoder.
    """

    arm: str
    labels: tuple[str, ...]
    architecture: str
    scores: Mapping[str, Any]
    per_token: bool
    split: str
    sentences: int
    models: tuple[UsedModel, ...]
    numbers: Mapping[str, Any]
    settings: Mapping[str, Any]
    averaged: int
    labellers: int
    soft_labels: bool
    least_confidence: float
    pretraining: Mapping[str, Any] | None
    seeds: Mapping[str, int]
    versions: Mapping[str, str]
    sealed: str
    arm_digest: str
    bundle: Mapping[str, Any] | None


def gather(student: Path, model_config: Mapping[str, Any]) -> Facts:
    """The facts of `RUN/train/ARM/student`, every byte as its manifest says.

    `model_config` is its config.json.

    Raises InputError for a folder elsewhere or a student that was not scored, IntegrityError for changed files.
    """
    arm, run = student.parent, student.parent.parent.parent
    if student.name != "student" or arm.parent.name != "train":
        raise InputError(f"{student.name}: name a student as RUN/train/ARM/student; its run tells what made it.")
    _require_whole(arm)
    statement = manifest.read(arm)
    definition = statement["predicate"]["buildDefinition"]
    config, details = definition["externalParameters"]["config"], statement["predicate"]["runDetails"]
    arm_config = _arm_config(config["train"], arm.name)
    averaged = len(arm_config.get("average", ()))
    labels = model_config.get("id2label", {})
    behind = _behind(run, definition)
    return Facts(
        arm=arm.name,
        labels=tuple(labels[str(number)] for number in range(len(labels))),
        per_token=str((model_config.get("architectures") or [""])[0]).endswith("ForTokenClassification"),
        architecture=(model_config.get("architectures") or ["unknown"])[0],
        models=(*(models := _models(definition, behind, config)), *_adapter(run, behind, models)),
        numbers=_numbers(details),
        settings=_settings(config["train"], arm_config),
        averaged=averaged,
        labellers=int(arm_config.get("labellers") or 1) if arm_config.get("labelled_by") else 0,
        soft_labels=bool(arm_config.get("soft_labels")),
        least_confidence=float(arm_config.get("min_label_confidence") or 0.0),
        pretraining=_counted(behind[_PRETRAIN]["predicate"]["runDetails"]) if _PRETRAIN in behind else None,
        seeds=definition["externalParameters"]["seeds"],
        versions=details["builder"]["version"],
        sealed=details["metadata"]["finishedOn"],
        arm_digest=_digest(arm / manifest.NAME),
        bundle=next(iter(details["builder"].get("builderDependencies", ())), None),
        **_scores(run, arm),
    )


def _arm_config(train: Mapping[str, Any], student: str) -> Mapping[str, Any]:
    """The settings of the arm whose student, from one seed or another, has this name; empty if there is none."""
    rows = train.get("arms", ())
    if own := next((row for row in rows if row["name"] == student), None):  # it may be called as another one's second
        return dict(own)
    most = max([int(train.get("seeds", 1)), *(int(row.get("labellers") or 1) for row in rows)])
    numbers = range(2, 1 + most)
    return next((row for row in rows if any(student_name(row["name"], n) == student for n in numbers)), {})


def _settings(train: Mapping[str, Any], arm: Mapping[str, Any]) -> dict[str, Any]:
    """What the student was trained with; of a mean of several with different settings, all of them: `235 / 470`."""
    averaged = [row for row in train.get("arms", ()) if row["name"] in arm.get("average", ())]
    trained = [{**train, **{k: value for k, value in row.items() if value is not None}} for row in averaged or [arm]]
    settings = dict[str, Any]()
    for key in _SETTINGS:
        values = list(dict.fromkeys(row.get(key) for row in trained))
        if any(values):
            settings[key] = values[0] if len(values) == 1 else " / ".join(str(value) for value in values)
    return settings


def _require_whole(folder: Path) -> None:
    findings = manifest.verify(folder)
    if findings:
        more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
        raise IntegrityError(
            f"{folder.name}: {findings[0].path}: {findings[0].problem}{more}. Only what is sealed is released."
        )


def _digest(path: Path) -> str:
    return file_digests([path])[path]


def _parents(definition: Mapping[str, Any]) -> dict[str, str]:
    """The digests of the manifests that a stage was made from, with their names: `select/manifest.json`."""
    listed = definition["resolvedDependencies"]
    return {
        dependency["digest"]["sha256"]: dependency["name"]
        for dependency in listed
        if dependency["annotations"]["kind"] == "manifest"
    }


def _scores(run: Path, arm: Path) -> dict[str, Any]:
    """The student's row, and what it was scored on. Raises InputError if evaluate did not see this very student."""
    folder, missing = (
        run / "evaluate",
        f"{arm.name}: evaluate has not scored this student. Run: distill-offline run CONFIG",
    )
    if not (folder / manifest.NAME).is_file():
        raise InputError(missing)
    _require_whole(folder)
    if _digest(arm / manifest.NAME) not in _parents(manifest.read(folder)["predicate"]["buildDefinition"]):
        raise InputError(missing)
    report = json.loads((folder / "report.json").read_bytes())
    row = next((row for row in report["rows"] if row["name"] == arm.name and row["kind"] == "student"), None)
    if row is None:
        raise InputError(missing)
    return {"scores": row, "split": report["split"], "sentences": report["sentences"]}


def _numbers(details: Mapping[str, Any]) -> dict[str, Any]:
    counted = _counted(details)
    return {key: value for key, value in counted.items() if isinstance(value, int | float) and key != "threads"}


def _counted(details: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((row["annotations"] for row in details["byproducts"] if row["name"] == "counts"), {})


def _models(
    definition: Mapping[str, Any], behind: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]
) -> tuple[UsedModel, ...]:
    """Encoder, and teacher where the chain of manifests leads to one: arm → (arm →) select → annotate.

    Of an encoder that pretrain made, the model that it was made of.
    """
    digests = _model_digests(definition)
    known = {entry.id: entry for entry in Catalogue.load().entries}
    named = {"encoder": config["train"].get("encoder", "")}
    made = {stage: _model_digests(read["predicate"]["buildDefinition"]) for stage, read in behind.items()}
    if _PRETRAIN in made:
        digests["encoder"] = made[_PRETRAIN].get("encoder", "")
    if _ANNOTATE in made:
        digests["teacher"] = made[_ANNOTATE].get("teacher", "")
        named["teacher"] = (config.get("backend") or {}).get("model", "")
    models = []
    for role, name in sorted(named.items()):
        entry = known.get(name)
        models.append(
            UsedModel(
                role=role,
                name=entry.id if entry else "a model of the site",  # a path would tell of its machine
                digest=digests.get(role, ""),
                licence=entry.licence.spdx if entry else _UNRECORDED,
                outputs=entry.licence.outputs if entry else _UNRECORDED,
            )
        )
    return tuple(models)


def _adapter(
    run: Path, behind: Mapping[str, Mapping[str, Any]], models: tuple[UsedModel, ...]
) -> tuple[UsedModel, ...]:
    """The adapter that the teacher had learnt from gold, where its labels came by way of one; licensed as the teacher.

    Raises IntegrityError if it is not the one that the answers were made with.
    """
    annotated = behind.get(_ANNOTATE)
    parents = _parents(annotated["predicate"]["buildDefinition"]) if annotated else {}
    place = run / "adapt"
    if f"adapt/{manifest.NAME}" not in parents.values():
        return ()
    _require_whole(place)
    made = json.loads((place / "adapter" / "made.json").read_bytes())
    teacher = next(model for model in models if model.role == "teacher")
    return (replace(teacher, role="adapter", name="trained on the run's gold sentences", digest=str(made["digest"])),)


def _model_digests(definition: Mapping[str, Any]) -> dict[str, str]:
    listed = definition["resolvedDependencies"]
    return {
        dependency["name"]: dependency["digest"]["sha256"]
        for dependency in listed
        if dependency["annotations"]["kind"] == "model"
    }


def _replaced(path: Path) -> list[str]:
    """Digests of the manifests that this one stands in for: after a purge, say."""
    internal = manifest.read(path.parent)["predicate"]["buildDefinition"]["internalParameters"]
    return [str(change["replaces"]) for change in internal.get("changes", ())]


def _behind(run: Path, definition: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The statements of annotate and pretrain, where they had a part in the student.

    Raises IntegrityError if the chain is broken.
    """
    waiting, statements = list(_parents(definition).items()), dict[str, Mapping[str, Any]]()
    for digest, name in waiting:
        places = run / name, run / "train" / name
        path = next((p for p in places if p.is_file() and digest in {_digest(p), *_replaced(p)}), None)
        if path is None:
            stage = name.removesuffix("/" + manifest.NAME)
            raise IntegrityError(f"{stage}: its manifest is not the one that the student was made from. Run it again.")
        statement = manifest.read(path.parent)
        if path.parent in (run / _ANNOTATE, run / _PRETRAIN):
            statements[path.parent.name] = statement
            continue
        parents = _parents(statement["predicate"]["buildDefinition"])
        waiting += [parent for parent in parents.items() if parent not in waiting]
    return statements
