"""A student that was carried out, compared with the run that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_offline import manifest
from distill_offline.manifest import NAME
from distill_offline.provenance.links import Link, Problem, broken, gap
from distill_offline.provenance.stages import Stages, problem_of
from distill_offline.storage.digests import file_digests

__all__ = ["released"]


def released(folder: Path, stages: Stages, run: Path | None) -> Link:
    """The link to a release's folder and, where its run is here, to the arm that it was carried out of."""
    statement = manifest.read(folder)
    definition = statement["predicate"]["buildDefinition"]
    problems = [problem_of(finding) for finding in manifest.verify(folder)]
    arm = str(definition["externalParameters"]["arm"])
    if run is None:
        problems.append(gap("not-here", "run", "the run that made this student is not here; give --run"))
        return Link("release", folder.name, f"carried out of the arm {arm}", tuple(problems))
    arm_folder = run / "train" / arm
    if "/" in arm or not (arm_folder / NAME).is_file():
        problems.append(broken("missing-stage", f"train/{arm}", f"the run has no train/{arm}"))
        return Link("release", folder.name, "", tuple(problems))
    problems += _not_of(statement, arm_folder, arm)
    return Link("release", folder.name, f"carried out of train/{arm}", tuple(problems), (stages.link(arm_folder),))


def _not_of(statement: Mapping[str, Any], arm: Path, name: str) -> list[Problem]:
    """What of the release does not come from this arm: its manifest's digest, and each file that is not rewritten."""
    definition, problems = statement["predicate"]["buildDefinition"], []
    recorded = {dependency["name"]: dependency["digest"]["sha256"] for dependency in definition["resolvedDependencies"]}
    arm_statement = manifest.read(arm)
    changes = arm_statement["predicate"]["buildDefinition"]["internalParameters"].get("changes", ())
    known = {file_digests([arm / NAME])[arm / NAME], *(str(change["replaces"]) for change in changes)}
    if recorded.get("train/manifest.json") not in known:
        text = f"train/{name} of this run is not the one that the student was carried out of"
        problems.append(broken("parent-made-again", f"train/{name}", text))
    sealed = {subject["name"]: subject["digest"]["sha256"] for subject in arm_statement["subject"]}
    for subject in statement["subject"]:
        is_weights = subject["name"].endswith(".safetensors")
        if is_weights and sealed.get(f"student/{subject['name']}") != subject["digest"]["sha256"]:
            text = f"{subject['name']} is not the one that train/{name} sealed"
            problems.append(broken("changed-file", subject["name"], text))
    models = arm_statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    encoder = {model["digest"]["sha256"] for model in models if model["name"] == "encoder"}
    if "encoder" in recorded and recorded["encoder"] not in encoder:
        problems.append(broken("changed-model", "encoder", "the release names another encoder than its arm"))
    return problems
