"""Walk from a stage to all that it was made from, by the digests in the manifests."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_offline import manifest
from distill_offline.errors import IntegrityError
from distill_offline.manifest import NAME, Finding
from distill_offline.manifest.statement import BUILD_TYPE
from distill_offline.provenance.links import Link, Problem, broken, gap
from distill_offline.provenance.sources import Sources
from distill_offline.storage.digests import file_digests
from distill_offline.storage.files import ANNOTATIONS, STORE

__all__ = ["AS_ABOVE", "FLOW", "Stages", "in_flow", "problem_of", "run_of", "stage_name"]

FLOW = ("adapt", "shards", "annotate", "pretrain", "select", "calibrate", "train", "evaluate", "report")
AS_ABOVE = "as above"
_STUDENT = "student/"


@dataclass(slots=True)
class Stages:
    """The walk. `run` is the run's folder, if it is known; `made` gathers which bundle made which stages."""

    sources: Sources
    run: Path | None = None
    findings: Mapping[Path, list[Finding]] = field(default_factory=dict)  # of stages that were compared already
    made: dict[str, tuple[str, dict[str, Any] | None, list[str]]] = field(default_factory=dict)
    _seen: set[Path] = field(default_factory=set)

    def link(self, folder: Path, also: Iterable[Problem] = ()) -> Link:
        """The link to a stage and to everything behind it; the second time, only its name."""
        name = stage_name(folder)
        if folder in self._seen:
            return Link("stage", name, AS_ABOVE, tuple(also))
        self._seen.add(folder)
        try:
            statement, view = manifest.read(folder), manifest.show(folder)
        except IntegrityError as error:
            problem = broken("damaged-manifest", f"{name}/{NAME}", f"{name}: {_without_path(error, folder)}")
            return Link("stage", name, problems=(*also, problem))
        findings = self.findings[folder] if folder in self.findings else manifest.verify(folder)
        problems = [(finding.path, problem_of(finding, name)) for finding in findings]
        self._note_maker(view, name)
        also = (*also, *self._misplaced(folder, name))
        definition = statement["predicate"]["buildDefinition"]
        model_links = self._own_parts(folder, name, definition, problems)
        taken = {problem for link in model_links for problem in link.problems}
        rest = tuple(problem for _, problem in problems if problem not in taken)
        changes = len(definition["internalParameters"].get("changes", ()))
        again = f"; sealed again {changes} times on purpose" if changes else ""
        parts = (*model_links, *self._parents(folder, name, definition), *self._inputs(name, definition))
        return Link("stage", name, f"{len(statement['subject'])} files{again}", (*also, *rest), parts)

    def _misplaced(self, folder: Path, name: str) -> list[Problem]:
        """A problem where a stage lies in its run where another one belongs, or under a name that the run lacks."""
        if self.run is None or not folder.resolve().is_relative_to(self.run.resolve()):
            return []
        relative = folder.resolve().relative_to(self.run.resolve()).as_posix()
        text = f"what lies in {relative} was made as {name}"
        return [] if relative == name else [broken("misplaced-stage", relative, text)]

    def _note_maker(self, view: Mapping[str, Any], name: str) -> None:
        made_by, bundle = view["made_by"] or "a version that did not record it", view["bundle"]
        key = bundle["manifest_sha256"] if bundle else made_by
        self.made.setdefault(key, (made_by, bundle, []))[2].append(name)

    def _own_parts(
        self, folder: Path, name: str, definition: Mapping[str, Any], problems: list[tuple[str, Problem]]
    ) -> list[Link]:
        """The student or the annotations with their store, and the models behind them."""
        with_config = definition["externalParameters"].get("config") or {}
        listed = [
            dependency
            for dependency in definition["resolvedDependencies"]
            if dependency["annotations"]["kind"] == "model"
        ]
        models = tuple(self.sources.model(dependency, name, with_config) for dependency in listed)

        def those(prefix: str) -> tuple[Problem, ...]:
            return tuple(problem for path, problem in problems if path.startswith(prefix))

        if (folder / STORE).exists() or those(STORE):
            store = Link(
                "completions", STORE, problems=(*those(STORE), *_strange_answers(folder, name, listed)), parts=models
            )
            return [Link("annotations", ANNOTATIONS, problems=those(ANNOTATIONS), parts=(store,))]
        if (folder / _STUDENT).is_dir() or those(_STUDENT):
            return [Link("student", folder.name, problems=those(_STUDENT)), *models]
        return list(models)

    def _inputs(self, name: str, definition: Mapping[str, Any]) -> list[Link]:
        listed = definition["resolvedDependencies"]
        return [
            self.sources.input(dependency, name)
            for dependency in listed
            if dependency["annotations"]["kind"] in ("input", "folder")
        ]

    def _parents(self, folder: Path, name: str, definition: Mapping[str, Any]) -> list[Link]:
        listed = definition["resolvedDependencies"]
        recorded = [dependency for dependency in listed if dependency["annotations"]["kind"] == "manifest"]
        recorded.sort(key=lambda parent: in_flow(parent["name"]), reverse=True)
        return [self._parent(folder, name, parent["name"], parent["digest"]["sha256"]) for parent in recorded]

    def _parent(self, folder: Path, child: str, recorded: str, digest: str) -> Link:
        """The stage whose manifest has the digest, or had it before it was sealed again on purpose."""
        parent = recorded.removesuffix("/" + NAME)
        above = folder.resolve().parents
        places = [base / parent for base in above[:2] if ".." not in Path(recorded).parts and base / parent != folder]
        present = [candidate for candidate in places if (candidate / NAME).is_file()]
        if not present:
            expected = self.run is not None and parent.split("/")[0] in FLOW
            text = f"{child} was made from {parent}, which is not here"
            problem = broken("missing-stage", parent, text) if expected else gap("not-here", parent, text)
            return Link("stage", parent, problems=(problem,))
        for candidate in present:
            if digest in _digests_of(candidate):
                return self.link(candidate)
        text = f"{parent} was made again after {child} was made from it"
        return self.link(present[0], (broken("parent-made-again", parent, text),))


def run_of(folder: Path) -> Path | None:
    """The run's folder that a stage lies in, if it lies in one."""
    for above in folder.resolve().parents[:2]:
        if (above / "config.yaml").is_file() or (above / NAME).is_file():
            return above
    return None


def in_flow(name: str) -> tuple[float, str]:
    """Where a stage stands in the flow; one that is not known here comes before train."""
    first = name.split("/")[0]
    return (FLOW.index(first) if first in FLOW else FLOW.index("train") - 0.5, name)


def stage_name(folder: Path) -> str:
    """The stage by its manifest, else by its folder."""
    try:
        build_type = str(manifest.read(folder)["predicate"]["buildDefinition"]["buildType"])
    except IntegrityError:
        return folder.name
    return build_type.removeprefix(BUILD_TYPE)


def problem_of(finding: Finding, stage: str = "") -> Problem:
    """A finding of manifest.verify as a broken link."""
    where = f"{stage}/{finding.path}" if stage else finding.path
    starts = {"was changed": "changed-file", "is missing": "missing-file", "is not in the manifest": "extra-file"}
    what = next((word for start, word in starts.items() if finding.problem.startswith(start)), "unusable-file")
    return broken(what, where, f"{where} {finding.problem}")


def _digests_of(folder: Path) -> set[str]:
    """Digests of the manifest as it is, and of those that it stands in for since it was sealed again on purpose."""
    path = folder / NAME
    try:
        internal = manifest.read(folder)["predicate"]["buildDefinition"]["internalParameters"]
    except IntegrityError:
        internal = {}
    return {file_digests([path])[path], *(str(change["replaces"]) for change in internal.get("changes", ()))}


def _strange_answers(folder: Path, name: str, models: list[Mapping[str, Any]]) -> list[Problem]:
    """A problem where stored answers that the rows want are not by the teacher that the manifest names."""
    teacher = {str(model["digest"]["sha256"]) for model in models if model["name"] == "teacher"}
    if not (folder / STORE).is_file() or not teacher:
        return []
    query = """SELECT DISTINCT t.recipe FROM rows r JOIN completions c USING (digest) JOIN recipes t
               ON t.digest = c.recipe"""
    try:
        # immutable: a journal beside the sealed store would be an extra file
        uri = (folder / STORE).resolve().as_uri() + "?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as store:
            recipes = [json.loads(recipe) for (recipe,) in store.execute(query)]
        told = {str(recipe["model"]) for recipe in recipes}
        adapters = {str(recipe["adapter"]) for recipe in recipes if "adapter" in recipe}
        made = {str(json.loads(file.read_bytes())["digest"]) for file in _made(folder)}
    except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
        text = f"{name}/{STORE}: which model answered cannot be read ({type(error).__name__})"
        return [gap("unreadable-store", name, text)]
    if not told <= teacher:
        text = f"{name}/{STORE} holds answers of another model than the manifest names"
        return [broken("other-teacher", name, text)]
    if made and not adapters <= made:
        text = f"{name}/{STORE} holds answers of another adapter than those in adapt"
        return [broken("other-adapter", name, text)]
    return []


def _made(folder: Path) -> list[Path]:
    """What says which adapters the run's teacher has."""
    run = run_of(folder)
    return [] if run is None else sorted((run / "adapt").rglob("made.json"))


def _without_path(error: IntegrityError, folder: Path) -> str:
    return str(error).partition(": ")[2] or folder.name
