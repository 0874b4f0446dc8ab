"""run: every stage that the configuration asks for, each only where it has to, and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distill_offline import manifest, report
from distill_offline.adapt.stage import adapt
from distill_offline.annotate.stage import annotate
from distill_offline.config.settings import Settings
from distill_offline.errors import GateMissed
from distill_offline.evaluate.stage import evaluate
from distill_offline.pipeline.report_page import view_of
from distill_offline.pretrain.stage import pretrain
from distill_offline.run.encoder import PRETRAIN, check_capitals, check_pretrained_arms
from distill_offline.run.folder import RunFolder
from distill_offline.run.stage import Stage
from distill_offline.select.stage import select
from distill_offline.storage.digests import file_digests
from distill_offline.storage.files import write_text
from distill_offline.train.arms import check_arms, chosen_students
from distill_offline.train.stage import train

__all__ = ["check_training", "run"]

_PAGE = 4  # raised when the page shows something else of the same run


def run(folder: RunFolder) -> dict[str, Any]:
    """All stages in order; gives the evaluation's report. Raises GateMissed below evaluate.min_f1."""
    check_training(folder.settings)  # not only once the teacher has annotated
    folder.open()
    if folder.settings.asks_a_teacher:
        if folder.settings.adapt is not None:
            adapt(folder)
        annotate(folder)
    pretrain(folder)
    select(folder)
    train(folder)
    result = evaluate(folder)
    _publish(folder, result)
    folder.seal()
    _check_gate(folder.settings, result)
    return result


def check_training(settings: Settings, arms: Sequence[str] = ()) -> None:
    """Raises ConfigError or InputError for what is known to be wrong with the training of these arms (all) before
    anything is done: hours of annotating, pre-training and cross-fitting may come first."""
    check_arms(settings.train)
    chosen_students(settings.train, arms)
    check_pretrained_arms(settings)
    check_capitals(settings)


def _check_gate(settings: Settings, result: Mapping[str, Any]) -> None:
    """Raises GateMissed. With several seeds the means of arms count: one lucky draw passes no gate."""
    gate = settings.evaluate.min_f1
    if gate is None:
        return
    if "arms" in result:
        best = max((arm["f1"] for arm in result["arms"]), default=0.0)
        told = f"the best arm's F1 is {best:.3f} in the mean of its seeds, below evaluate.min_f1 {gate}."
    else:
        best = max((row["overall"]["f1"] for row in result["rows"] if row["kind"] == "student"), default=0.0)
        told = f"the best student's F1 is {best:.3f}, below evaluate.min_f1 {gate}."
    if best < gate:
        raise GateMissed(f"evaluate: {told}")


def _publish(folder: RunFolder, result: dict[str, Any]) -> None:
    stages = ["annotate"] if folder.settings.asks_a_teacher else []
    if stages and folder.settings.adapt is not None:
        stages.insert(0, "adapt")
    stages += [PRETRAIN] if folder.settings.pretrain is not None else []
    stages += ["select", *(f"train/{student.name}" for student in folder.settings.train.students)]
    histories = {name: folder.folder(name) / "history.jsonl" for name in stages if name.startswith("train/")}
    stage = Stage(
        folder,
        "report",
        decides={
            "result": result,
            "page": _PAGE,
            "stages": {n: manifest.fingerprint_of(folder.folder(n)) for n in stages},
            "histories": sorted(file_digests(histories.values()).values()),
        },
        parents=[folder.folder(name) for name in [*stages, "evaluate"]],
    )
    if stage.is_fresh():
        stage.relink()
        folder.say("report: up to date")
        return
    target = stage.begin()
    write_text(target / "index.html", report.render(view_of(folder, result)))
    stage.seal({})
    folder.say(f"report: {target / 'index.html'}")
