"""Verify a run, a stage or a carried-out student down to its teacher, its bundle and its signers."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from distill_offline import manifest
from distill_offline.bundle.signing import RUN_NAMESPACE
from distill_offline.errors import InputError, IntegrityError
from distill_offline.manifest import NAME, Finding
from distill_offline.provenance.bundles import Bundles
from distill_offline.provenance.links import Link, Problem, broken
from distill_offline.provenance.released import released
from distill_offline.provenance.sources import Sources
from distill_offline.provenance.stages import AS_ABOVE, Stages, in_flow, problem_of, run_of, stage_name
from distill_offline.provenance.trust import Trust, signer
from distill_offline.storage.digests import file_digests

__all__ = ["walk"]


def walk(folder: Path, *, bundle: Path | None = None, trust: Trust | None = None, run: Path | None = None) -> Link:
    """The chain behind a run, a stage, a student's folder or a release; every byte that is here is read again.

    `bundle` is a bundle or an installed release to look for, `trust` the caller's own keys, `run` the run that a
    release came from. Raises InputError for a folder without a manifest or an unusable option, IntegrityError for a
    manifest that is none.
    """
    folder = _with_manifest(folder)
    trust = trust or Trust()
    kind = stage_name(folder)
    own_run = folder if kind == "run" else run if kind == "release" else run_of(folder)
    if kind == "release" and run is not None and not (run / "train").is_dir():
        raise InputError(f"--run {run}: is not a run that trained a student.")
    bundles = Bundles(trust, bundle)
    stages = Stages(Sources.of(own_run, bundles), own_run)
    for statement in _statements_below(own_run or folder):
        bundles.look_for(manifest.bundle_of(statement))
    if kind == "release":
        top = released(folder, stages, run)
    else:
        top = _run(folder, stages) if kind == "run" else stages.link(folder)
    made = tuple(bundles.link(known, by, ", ".join(names)) for by, known, names in stages.made.values())
    signed = _signer(folder, own_run if kind != "release" else None, trust, kind)
    return Link(top.kind, top.name, top.detail, top.problems, (*top.parts, *made, signed))


def _with_manifest(folder: Path) -> Path:
    """The folder, or the stage's above it for a student's; its manifest can be read."""
    folder = folder.resolve()
    if folder.name == "student" and not (folder / NAME).is_file() and (folder.parent / NAME).is_file():
        folder = folder.parent
    if not (folder / NAME).is_file():
        raise InputError(f"{folder.name}: has no {NAME}. Name a run, a stage, a student or a released folder.")
    manifest.read(folder)
    return folder


def _statements_below(folder: Path) -> list[dict[str, Any]]:
    """The manifests of a run and its stages, or of a stage; damaged ones are told of when the walk comes to them."""
    statements = []
    for path in [folder / NAME, *folder.glob(f"*/{NAME}"), *folder.glob(f"*/*/{NAME}")]:
        with suppress(IntegrityError):
            statements.append(manifest.read(path.parent))
    return statements


def _run(folder: Path, stages: Stages) -> Link:
    """The run's own files, then its stages from the last one back; a stage that others lead to is told there."""
    listed = [str(subject["name"]) for subject in manifest.read(folder)["subject"]]
    names = [name.removesuffix("/" + NAME) for name in listed if name.endswith("/" + NAME)]
    by_stage: dict[str, list[Finding]] = {name: [] for name in names}
    run_problems: list[Problem] = []
    for finding in manifest.verify(folder):
        stage = next((name for name in names if finding.path.startswith(name + "/")), None)
        inner = finding.path[len(stage) + 1 :] if stage else finding.path
        if stage is None:
            run_problems.append(problem_of(finding))
        elif inner == NAME and (folder / finding.path).is_file() and finding.problem.startswith("was changed"):
            run_problems.append(
                broken("stage-made-again", stage, f"{stage} was sealed again after the run was sealed over it")
            )
        elif inner == NAME and not (folder / finding.path).exists():
            run_problems.append(broken("missing-stage", stage, f"{stage} is not here, and the run lists it"))
        else:
            by_stage[stage].append(Finding(inner, finding.problem))
    stages.findings = {folder / name: findings for name, findings in by_stage.items()}
    present = [folder / name for name in sorted(names, key=in_flow, reverse=True) if (folder / name / NAME).is_file()]
    parts = tuple(
        link
        for link in (stages.link(stage_folder) for stage_folder in present)
        if link.detail != AS_ABOVE or link.problems
    )
    return Link("run", folder.name, f"{len(names)} stages", tuple(run_problems), parts)


def _signer(folder: Path, run: Path | None, trust: Trust, kind: str) -> Link:
    """Who signed the folder's manifest, or the run's, where that one lists exactly this stage."""
    signed = [name for name in (f"{NAME}.sig", f"{NAME}.p256") if (folder / name).exists()]
    if not signed and run is not None and run != folder and (run / NAME).is_file():
        digest = file_digests([folder / NAME])[folder / NAME]
        relative = (folder / NAME).relative_to(run.resolve()).as_posix()
        try:
            if (relative, digest) in {
                (subject["name"], subject["digest"]["sha256"]) for subject in manifest.read(run)["subject"]
            }:
                return signer(run, RUN_NAMESPACE, trust, "run")
        except IntegrityError:
            pass
    return signer(folder, RUN_NAMESPACE, trust, kind)
