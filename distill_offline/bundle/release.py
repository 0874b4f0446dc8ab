"""Carry a student out: a small folder that a person can read and check before it leaves the isolated network."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distill_offline.bundle import label
from distill_offline.bundle.model_card import model_card
from distill_offline.bundle.release_facts import Facts, gather
from distill_offline.bundle.signing import Keys, sign
from distill_offline.errors import InputError, IntegrityError
from distill_offline.manifest.statement import BUILD_TYPE, PREDICATE, STATEMENT, describe
from distill_offline.models.headers import json_problem, safetensors_problem
from distill_offline.storage.digests import file_digests
from distill_offline.storage.files import remove_folder

__all__ = ["Released", "release"]

_TOKENIZER = frozenset(
    {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
        "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "chat_template.jinja",
    }
)  # fmt: skip
_CONFIGURATIONS = frozenset({"config.json", "tokenizer_config.json", "special_tokens_map.json"})
_PLACES = ("_name_or_path", "name_or_path")  # where transformers may write the folder that a model was loaded from
_LIMIT_TEXT = 200  # characters of a value in a configuration


@dataclass(frozen=True, slots=True)
class Released:
    """A release's folder; `files` maps name to size in bytes and SHA-256, `signers` says by which keys it is signed."""

    folder: Path
    files: Mapping[str, tuple[int, str]]
    signers: tuple[str, ...]


def release(student: Path, output: Path, keys: Keys | None = None) -> Released:
    """Make `output` from RUN/train/ARM/student: weights, tokenizer, labels, card, manifest, and its signature.

    Raises InputError for a file of another kind in the student's folder, a path or host name in its configuration, an
    output that is there already, or a student that was never scored; IntegrityError where a byte is not the sealed one.
    """
    if output.exists() or output.is_symlink():
        raise InputError(f"{output}: is there already. A release is never changed; name another folder.")
    student = student.resolve()
    if not student.is_dir():
        raise InputError(f"{student.name}: there is no such folder.")
    if (student / "student").is_dir():
        raise InputError(f"{student.name}: is what a training left; name its student's folder, {student.name}/student.")
    names = _allowed(student)
    facts = gather(student, _configuration(student / "config.json"))
    partial = output.with_name(output.name + ".partial")
    remove_folder(partial)
    partial.mkdir(parents=True)
    try:
        signers = _fill(partial, student, names, facts, keys)
        partial.rename(output)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Released(output, _listed(output), tuple(signers))


def _fill(folder: Path, student: Path, names: list[str], facts: Facts, keys: Keys | None) -> list[str]:
    """Everything in order: each file tells of those before it. Who signed."""
    for name in names:
        _carry(student / name, folder / name)
    _write(folder / "labels.json", _json({"architecture": facts.architecture, "labels": list(facts.labels)}))
    if facts.per_token:
        _write(folder / "label.py", Path(label.__file__).read_text("utf-8"))
    _refuse_traces(folder, facts.arm)
    _write(folder / "MODEL_CARD.md", model_card(facts, _listed(folder)))
    _write(folder / "manifest.json", _json(_statement(facts, folder)))
    _write(folder / "SHA256SUMS", "".join(f"{digest}  {name}\n" for name, (_, digest) in _listed(folder).items()))
    return sign(folder / "manifest.json", keys) if keys else []


def _allowed(student: Path) -> list[str]:
    """The names in the folder, once all are weights, tokenizer or configuration. InputError names another."""
    names = sorted(path.name for path in student.iterdir())
    for name in names:
        path = student / name
        if path.is_symlink() or not path.is_file():
            raise InputError(f"student/{name}: is a link, a folder or a special file; plain files only.")
        is_weights = name.endswith(".safetensors") or name == "model.safetensors.index.json"
        if not is_weights and name not in _TOKENIZER and name != "config.json":
            raise InputError(
                f"student/{name}: is neither weights, tokenizer nor configuration. Move it out of there first."
            )
        if name.endswith(".safetensors"):
            _check_weights(path)
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise InputError("student: config.json or the weights (.safetensors) are missing; this is not a student.")
    return names


def _check_weights(path: Path) -> None:
    """Refuse room for anything but tensors: bytes after them, or free text in the header."""
    with path.open("rb") as file:
        problem = safetensors_problem(file, path.stat().st_size)
    if problem:
        raise InputError(f"student/{path.name}: {problem}.")
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    extra = sorted(set(header.get("__metadata__", {}).items()) - {("format", "pt")})
    if extra:
        raise InputError(f"student/{path.name}: its header says {extra[0][0]!r} besides its tensors; save it anew.")


def _carry(source: Path, target: Path) -> None:
    """Copy a file; of a configuration, without the places that a model was loaded from."""
    if source.name not in _CONFIGURATIONS:
        shutil.copyfile(source, target)
        if file_digests([source])[source] != file_digests([target])[target]:
            raise IntegrityError(f"student/{source.name}: changed while it was being copied.")
        target.chmod(0o644)
        return
    content = _configuration(source)
    kept = {key: value for key, value in content.items() if key not in _PLACES}
    _write(target, source.read_text("utf-8") if kept == content else _json(kept))


def _configuration(path: Path) -> dict[str, Any]:
    raw = path.read_bytes()
    if problem := json_problem(raw, path.name):
        raise InputError(f"student/{path.name}: {problem}.")
    content = json.loads(raw)
    if not isinstance(content, dict):
        raise InputError(f"student/{path.name}: is not a configuration.")
    return content


def _statement(facts: Facts, folder: Path) -> dict[str, Any]:
    """in-toto and SLSA as the run's own manifests, with nothing but what the card tells."""
    models = [
        {
            "name": model.role,
            "digest": {"sha256": model.digest},
            "annotations": {"kind": "model", "name": model.name, "licence": model.licence, "outputs": model.outputs},
        }
        for model in facts.models
        if model.digest
    ]
    arm = {"name": "train/manifest.json", "digest": {"sha256": facts.arm_digest}, "annotations": {"kind": "manifest"}}
    gold = {"name": "gold", "digest": {"sha256": facts.scores["on"]}, "annotations": {"kind": "gold"}}
    return {
        "_type": STATEMENT,
        "subject": describe({path.name: path for path in sorted(folder.iterdir())}),
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE + "release",
                "externalParameters": {"arm": facts.arm, "settings": dict(facts.settings), "seeds": dict(facts.seeds)},
                "internalParameters": {"numbers": dict(facts.numbers)},
                "resolvedDependencies": [arm, *models, gold],
            },
            "runDetails": {
                "builder": {
                    "id": "urn:distill_offline:local",
                    "version": dict(facts.versions),
                    "builderDependencies": [dict(facts.bundle)] if facts.bundle else [],
                },
                "metadata": {
                    "startedOn": facts.sealed,
                    "finishedOn": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
                },
                "byproducts": [],
            },
        },
    }


def _refuse_traces(folder: Path, arm: str) -> None:
    """Raises InputError if a configuration, a label or the arm's name holds a path or the name of this machine."""
    host = socket.gethostname().partition(".")[0]
    named = re.compile(rf"(?<![A-Za-z0-9]){re.escape(host)}(?![A-Za-z0-9])", re.IGNORECASE) if len(host) > 3 else None
    values = [("the arm", arm)]
    for path in sorted(folder / name for name in (*_CONFIGURATIONS, "labels.json")):
        if path.exists():
            values += [(path.name, value) for value in _strings(json.loads(path.read_bytes()))]
    for location, value in values:
        if named is not None and named.search(value):
            raise InputError(f"{location}: holds the name of this machine. Nothing was released.")
        if value.startswith(("/", "~/", "file:", "\\\\")) or value[1:3] == ":\\":
            raise InputError(f"{location}: holds a path of a machine. Nothing was released.")
        if len(value) > _LIMIT_TEXT and not location.startswith(
            "tokenizer_config"
        ):  # that one may hold a chat template
            raise InputError(f"{location}: holds a text of {len(value)} characters. Nothing was released.")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _listed(folder: Path) -> dict[str, tuple[int, str]]:
    paths = sorted(folder.iterdir())
    digests = file_digests(paths)
    return {path.name: (path.stat().st_size, digests[path]) for path in paths}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=True) + "\n"


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    path.chmod(0o644)  # it is there to be read by whoever decides
