"""Whether the files of a model's folder are what their names say, and are all there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

from distill_offline.errors import MissingModel
from distill_offline.models.headers import LIMIT_JSON, json_problem, model_content_problem

__all__ = ["WEIGHTS", "content_problems", "is_model_file", "parts_of", "require_sound"]

WEIGHTS = {".safetensors", ".gguf"}
_DESCRIPTIONS = {".json", ".txt", ".model", ".jinja", ".tiktoken"}
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.(gguf|safetensors)$", re.IGNORECASE)
_MOST_PARTS = 10_000
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "tekken.json", "*.model", "*.tiktoken")


def is_model_file(name: Path) -> bool:
    """Whether an engine may read this file of a model folder; readmes, licences and hidden files change no answer."""
    return name.suffix.lower() in WEIGHTS | _DESCRIPTIONS and not any(part.startswith(".") for part in name.parts)


def parts_of(file: Path) -> list[Path]:
    """All files of a model that was split, of which `file` is one (`-00001-of-00003`); else the file alone."""
    part = _PART.search(file.name)
    if part is None:
        return [file]
    stem, total = file.name[: part.start()], min(int(part[2]), _MOST_PARTS)
    return [file.with_name(f"{stem}-{number:05}-of-{part[2]}{file.suffix}") for number in range(1, total + 1)]


def content_problems(model: Path) -> Iterator[tuple[str, str]]:
    """(name, what is wrong) of each weights, configuration or tokenizer file that is none, is cut or is missing.

    `model` is a folder or one file; names are relative to the folder. Of weights the headers are read. Raises
    MissingModel for a file that cannot be read.
    """
    if model.is_file():
        folder, files = model.parent, [part for part in parts_of(model) if part.is_file()]
    else:
        folder = model
        files = [path for path in sorted(model.rglob("*")) if path.is_file() and is_model_file(path.relative_to(model))]
    told = set()
    for file in files:
        name = file.relative_to(folder).as_posix()
        try:
            status = file.stat()
            problem = _problem(file.absolute(), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        except OSError as error:
            problem = f"cannot be read ({error.strerror or type(error).__name__})"
        if problem:
            told.add(name)
            yield name, problem
    yield from ((name, problem) for name, problem in _missing(folder, files) if name not in told)


def require_sound(model: Path, what: str) -> None:
    """Raises MissingModel, which begins with `what`, for the first of content_problems, or for want of a tokenizer."""
    for name, problem in content_problems(model):
        raise MissingModel(f"{what}: {name} {problem}.")
    if model.is_dir() and _lacks_tokenizer(model):
        raise MissingModel(f"{what}: tokenizer.json is missing, and so is any other vocabulary.")


@lru_cache(maxsize=1024)
def _problem(file: Path, size: int, written: int, changed: int) -> str:
    """Remembered for as long as its size and its times (nanoseconds) are the same; `changed` cannot be set back."""
    with file.open("rb") as stream:
        problem = model_content_problem(stream, file.name, size)
    if problem or file.suffix.lower() != ".json":
        return problem
    return json_problem(file.read_bytes(), file.name) if size <= 16 * LIMIT_JSON else "is JSON of impossible size"


def _missing(folder: Path, files: list[Path]) -> Iterator[tuple[str, str]]:
    """The parts that names or an index announce."""
    lacking: dict[str, str] = {}
    for file in files:
        if file.suffix.lower() in WEIGHTS:
            absent = [part for part in parts_of(file) if not part.is_file()]
            lacking |= {part.relative_to(folder).as_posix(): f"is missing, a part of {file.name}" for part in absent}
        elif file.name.endswith(".safetensors.index.json"):
            lacking |= _missing_in_index(folder, file)
    yield from sorted(lacking.items())


def _lacks_tokenizer(folder: Path) -> bool:
    """Whether weights have no vocabulary beside them: transformers would make an empty one up, in silence."""
    here = [file.name for file in folder.iterdir()]
    if "config.json" not in here or not any(name.endswith(".safetensors") for name in here):
        return False
    return not any(fnmatch(name, pattern) for name in here for pattern in _VOCABULARIES)


def _missing_in_index(folder: Path, index: Path) -> dict[str, str]:
    name = index.relative_to(folder).as_posix()
    try:
        weights = json.loads(index.read_bytes())["weight_map"]
        parts = sorted(set(weights.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {name: "is not an index of weights: it has no map from tensors to files"}
    for part in parts:
        if not isinstance(part, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+@-]*\.safetensors", part):
            return {name: "is not an index of weights: it names something else than safetensors files beside it"}
    return {
        (index.parent / part).relative_to(folder).as_posix(): f"is missing, and {index.name} names it"
        for part in parts
        if not (index.parent / part).is_file()
    }
