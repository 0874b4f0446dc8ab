"""The models of a bundle: the catalogue's files at their pinned revision, checked, with their licences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_offline.bundle.staging import Staging
from distill_offline.bundle.verifier.verify import MODEL_PAPERS, model_kind_problem
from distill_offline.errors import ConfigError, MissingModel
from distill_offline.models.catalogue import Catalogue, ModelEntry
from distill_offline.models.files import refusals, size_of
from distill_offline.storage.digests import digest_of

__all__ = ["CarriedModel", "choose", "stage"]

_KINDS = (".gguf", ".jinja", ".json", ".md", ".model", ".safetensors", ".tiktoken", ".txt")


@dataclass(frozen=True, slots=True)
class CarriedModel:
    """A model of the catalogue and the revision that names its folder in the bundle."""

    entry: ModelEntry
    revision: str

    @property
    def folder(self) -> str:
        return f"models/{self.entry.id}@{self.revision}"

    def as_manifest(self) -> dict[str, Any]:
        licence = self.entry.licence
        return {
            "id": self.entry.id,
            "revision": self.revision,
            "role": self.entry.role,
            "licence": licence.spdx,
            "outputs": licence.outputs,
        }


def choose(ids: tuple[str, ...], catalogue: Catalogue) -> list[CarriedModel]:
    """The models, sorted by id, once it is sure that they are pinned and here. Digests are compared by `stage`.

    Raises ConfigError for an unpinned model, or for files that can run code; MissingModel for one that is not here.
    """
    chosen = []
    for entry in sorted((catalogue.entry(id_) for id_ in dict.fromkeys(ids)), key=lambda model: model.id):
        if not entry.files:
            raise ConfigError(f"models: {entry.id} is unpinned: run distill-offline models pin {entry.id} first.")
        lacking = [name for name, file in entry.files.items() if size_of(entry.folder / name) != file.size]
        if lacking:
            raise MissingModel(
                f"model {entry.id}: {lacking[0]} is missing or has another size. "
                f"Run: distill-offline models fetch {entry.id}"
            )
        bad = [name for name in entry.files if model_kind_problem(name, _KINDS)]
        refused = [f"{refusal.file} {refusal.problem}" for refusal in refusals(entry.id, entry.folder)]
        if bad or refused:
            raise ConfigError(
                f"model {entry.id}: {(refused or bad)[0]}; only weights, configurations and texts travel."
            )
        chosen.append(CarriedModel(entry, _revision(entry)))
    return chosen


def stage(models: list[CarriedModel], licences: dict[str, str], staging: Staging) -> None:
    """Copy the models and what their licences say. Raises IntegrityError for bytes that aren't the catalogue's."""
    texts = set()
    for model in models:
        entry = model.entry
        for name, file in sorted(entry.files.items()):
            staging.add(f"{model.folder}/{name}", entry.folder / name, file.sha256)
        papers = [path for path in sorted(entry.folder.iterdir()) if path.name in MODEL_PAPERS and path.is_file()]
        for paper in papers:
            staging.add(f"{model.folder}/{paper.name}", paper)
        spdx = entry.licence.spdx
        if not papers and spdx not in licences:
            raise ConfigError(
                f"model {entry.id}: neither its folder nor `licences` has the text of {spdx}, which must travel along. "
                f"Put its LICENSE beside the weights, or add licences: {{{spdx}: path/to/its/text}}."
            )
        if not papers:
            texts.add(spdx)
        staging.add(f"licenses/models/{entry.id}.txt", _terms(model).encode("utf-8"))
    for spdx in sorted(texts):
        staging.add(f"licenses/texts/{spdx}.txt", Path(licences[spdx]))


def _revision(entry: ModelEntry) -> str:
    """The hub's commit, the package's version, or for a site's own model a digest of its files' digests."""
    files = {name: file.sha256 for name, file in entry.files.items()}
    return entry.source.revision or entry.source.version or digest_of(files)[:40]


def _terms(model: CarriedModel) -> str:
    licence = model.entry.licence
    return (
        f"{model.entry.id}\nrole: {model.entry.role}\nsource: {model.entry.source}\nrevision: {model.revision}\n"
        f"licence: {licence.spdx}\ntraining on its outputs: {licence.outputs}\n"
    )
