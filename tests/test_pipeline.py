"""The whole way on the demo corpus with a scripted teacher and a tiny encoder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from annotated_runs import TYPES

from distill_offline import manifest, pipeline
from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import BackendSettings, Settings
from distill_offline.corpus import read_examples
from distill_offline.errors import ConfigError, GateMissed, InputError, Interrupted, OverlapError, QuarantineError
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Example


class Finished(NamedTuple):
    path: Path
    result: dict[str, Any]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Finished:
    """A run made once; tests that change anything take `ran`."""
    path = tmp_path_factory.mktemp("finished")
    return Finished(path, pipeline.run(folder(path, settings)))


@pytest.fixture
def ran(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished run for one test alone."""
    return Path(shutil.copytree(finished.path, tmp_path / "ran", symlinks=True))


@pytest.fixture(scope="module")
def settings(encoder: Path) -> Settings:
    return parse_settings(
        {
            "name": "tiny",
            "seed": 1,
            "task": {"types": TYPES},
            "corpus": {
                "original": {
                    "train": {"path": "package:demo/train.jsonl", "limit": 60},
                    "dev": {"path": "package:demo/dev.jsonl", "limit": 20},
                    "test": {"path": "package:demo/test.jsonl", "limit": 30},
                },
                # gold text, so that the scripted teacher knows what a perfect one would say
                "unlabelled": {"path": "package:demo/train.jsonl", "skip": 60, "limit": 50},
            },
            "backend": {"name": "scripted", "options": {"noise": 0.2}},
            "annotate": {"gold": ["test"], "demonstrations": {"k": 2}, "max_quarantined": 0.5},
            "train": {"encoder": str(encoder), "updates": 4, "batch_size": 4, "eval_every": 2},
        },
        "test",
    )


def folder(path: Path, settings: Settings, said: list[str] | None = None, **more: Any) -> RunFolder:
    return RunFolder(path, settings, say=(said if said is not None else []).append, **more)


def files(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def test_a_run_leaves_the_contracts_files_and_every_stage_is_sealed(finished: Finished) -> None:
    path, result = finished
    expected = {
        "config.yaml",
        "manifest.json",
        *(f"annotate/{n}" for n in ("annotations.jsonl", "quarantine.jsonl", "completions.sqlite", "manifest.json")),
        "select/annotations.jsonl",
        "select/manifest.json",
        "evaluate/report.json",
        "evaluate/manifest.json",
        "report/index.html",
        "report/manifest.json",
    }
    for arm in ("original_only", "distilled_only", "simple_mix"):
        expected |= {f"train/{arm}/{n}" for n in ("student/model.safetensors", "history.jsonl", "manifest.json")}
    assert expected <= set(files(path))
    assert manifest.verify(path) == []
    assert [row["name"] for row in result["rows"]] == ["teacher", "original_only", "distilled_only", "simple_mix"]
    assert json.loads((path / "evaluate/report.json").read_text()) == result
    row = json.loads((path / "annotate/annotations.jsonl").read_text().splitlines()[0])
    assert list(row) == ["id", "document", "index", "text", "tokens", "offsets", "labels", "spans", "rejected"]
    assert all(p.stat().st_mode & 0o077 == 0 for p in (path / "annotate").iterdir() if p.is_file())


def test_a_second_run_does_nothing_and_changes_no_byte(ran: Path, settings: Settings) -> None:
    before, said = files(ran), list[str]()
    pipeline.run(folder(ran, settings, said))
    assert all("up to date" in line for line in said), said
    after = files(ran)
    assert {n for n in before if n != "manifest.json"} == {n for n in after if n != "manifest.json"}
    assert all(before[name] == after[name] for name in before if name != "manifest.json")


@pytest.mark.slow
def test_a_changed_setting_runs_only_the_stages_that_it_touches(ran: Path, settings: Settings) -> None:
    annotated = (ran / "annotate/manifest.json").read_bytes()
    said: list[str] = []
    changed = replace(settings, train=replace(settings.train, updates=6))
    pipeline.run(folder(ran, changed, said))
    assert (ran / "annotate/manifest.json").read_bytes() == annotated
    assert "  -  updates: 4" in said
    assert "  +  updates: 6" in said
    assert len((ran / "train/simple_mix/history.jsonl").read_text().splitlines()) == 6
    assert manifest.verify(ran) == []


def test_a_changed_prompt_asks_again_and_old_answers_stay(tmp_path: Path, settings: Settings) -> None:
    first = pipeline.annotate(folder(tmp_path, settings))
    task = replace(settings.task, guidelines="Mark the longest name.")
    second = pipeline.annotate(folder(tmp_path, replace(settings, task=task)))
    assert first["unlabelled"]["asked"] == second["unlabelled"]["asked"] == 50
    back = pipeline.annotate(folder(tmp_path, settings))
    assert back["unlabelled"]["asked"] == 0


def test_changed_canned_answers_never_meet_old_ones(tmp_path: Path, settings: Settings) -> None:
    answers = tmp_path / "answers.jsonl"
    for text in ("[]", '[["nobody","PERSON"]]'):
        answers.write_text(
            "".join(json.dumps({"id": e.sentence.id, "text": text}) + "\n" for e in read_gold_text()), encoding="utf-8"
        )
        backend = BackendSettings(name="scripted", options={"answers": str(answers)})
        counts = pipeline.annotate(folder(tmp_path / "run", replace(settings, backend=backend)))["unlabelled"]
        assert counts["asked"] == 50


def read_gold_text() -> list[Example]:
    splits = ("package:demo/train.jsonl", "package:demo/test.jsonl")
    return [example for path in splits for example in read_examples(path, origin="original")]


def test_growing_the_corpus_costs_only_the_new_rows(tmp_path: Path, settings: Settings) -> None:
    pipeline.annotate(folder(tmp_path, replace(settings, annotate=replace(settings.annotate, limit=30))))
    counts = pipeline.annotate(folder(tmp_path, settings))
    assert (counts["unlabelled"]["asked"], counts["unlabelled"]["cached"]) == (20, 30)


def test_a_stopped_annotation_goes_on_to_the_same_bytes(tmp_path: Path, settings: Settings) -> None:
    pipeline.annotate(folder(tmp_path / "whole", settings))
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 21

    with pytest.raises(Interrupted) as caught:
        pipeline.annotate(folder(tmp_path / "stopped", settings, stop=stop))
    found = re.search(r"stopped after (\d+) answers", str(caught.value))
    assert found
    assert 0 < int(found[1]) < 20
    assert not (tmp_path / "stopped/annotate/manifest.json").exists()
    counts = pipeline.annotate(folder(tmp_path / "stopped", settings))
    assert counts["unlabelled"]["cached"] == int(found[1])
    for name in ("annotations.jsonl", "quarantine.jsonl", "gold/test/annotations.jsonl"):
        assert (tmp_path / "whole/annotate" / name).read_bytes() == (tmp_path / "stopped/annotate" / name).read_bytes()


def test_too_many_quarantined_rows_stop_the_run_and_keep_the_answers(tmp_path: Path, settings: Settings) -> None:
    strict = replace(settings, annotate=replace(settings.annotate, max_quarantined=0.0))
    with pytest.raises(QuarantineError, match="All answers are stored") as caught:
        pipeline.run(folder(tmp_path, strict))
    assert caught.value.exit_code == 3
    assert (tmp_path / "annotate/quarantine.jsonl").stat().st_size > 0
    assert not (tmp_path / "annotate/manifest.json").exists()
    assert pipeline.annotate(folder(tmp_path, settings))["unlabelled"]["asked"] == 0


def test_quarantined_and_annotated_rows_make_up_the_corpus(tmp_path: Path, settings: Settings) -> None:
    counts = pipeline.annotate(folder(tmp_path, settings))["unlabelled"]
    assert sum(counts["quarantined"].values()) > 0
    assert counts["annotated"] + sum(counts["quarantined"].values()) == counts["rows"] == 50


def test_training_does_not_start_from_half_an_annotation(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(InputError, match="annotate has not been run to its end"):
        pipeline.select(folder(tmp_path, settings))


def test_a_stage_that_was_edited_says_so_and_is_made_anew(tmp_path: Path, settings: Settings) -> None:
    run = folder(tmp_path, settings)
    pipeline.annotate(run)
    file = tmp_path / "annotate/annotations.jsonl"
    before = file.read_bytes()
    file.write_bytes(before + b"\n")
    with pytest.raises(
        InputError, match=r"annotate was changed after it had ended: annotations\.jsonl\. .*review import"
    ):
        pipeline.select(run)
    pipeline.annotate(run)
    assert file.read_bytes() == before
    pipeline.select(run)


def test_sentences_of_dev_and_test_never_enter_training(tmp_path: Path, settings: Settings) -> None:
    leaking = replace(settings.corpus, unlabelled="package:demo/test.jsonl")
    run = folder(tmp_path, replace(settings, corpus=leaking))
    pipeline.annotate(run)
    counts = pipeline.select(run)
    assert counts["in_dev_or_test"] > 0
    assert counts["kept"] + counts["in_dev_or_test"] == counts["seen"]


def test_overlap_of_gold_splits_is_an_error_or_dropped_and_counted(tmp_path: Path, settings: Settings) -> None:
    from distill_offline.run.gold import read_gold

    original = replace(settings.corpus.original, dev={"path": "package:demo/train.jsonl"}["path"])
    overlapping = replace(settings, corpus=replace(settings.corpus, original=original))
    with pytest.raises(OverlapError, match="60 sentences also occur in dev or test"):
        read_gold(overlapping)
    dropping = replace(overlapping, corpus=replace(overlapping.corpus, on_overlap="drop"))
    gold = read_gold(dropping)
    assert (len(gold.train), gold.dropped) == (0, 60)


@pytest.mark.slow
def test_labels_made_elsewhere_replace_the_teacher(tmp_path: Path, settings: Settings) -> None:
    corpus = replace(settings.corpus, unlabelled=None, distilled=settings.corpus.unlabelled)
    result = pipeline.run(folder(tmp_path, replace(settings, backend=None, corpus=corpus)))
    assert [row["name"] for row in result["rows"]] == ["original_only", "distilled_only", "simple_mix"]
    assert manifest.verify(tmp_path) == []


@pytest.mark.slow
def test_a_missed_gate_is_told_after_everything_is_written(tmp_path: Path, settings: Settings) -> None:
    gated = replace(settings, evaluate=replace(settings.evaluate, min_f1=0.99))
    with pytest.raises(GateMissed):
        pipeline.run(folder(tmp_path, gated))
    assert manifest.verify(tmp_path) == []


def test_a_schedule_without_its_pool_is_refused_before_training(tmp_path: Path, settings: Settings) -> None:
    corpus = replace(settings.corpus, unlabelled=None)
    run = folder(tmp_path, replace(settings, backend=None, corpus=corpus))
    pipeline.select(run)
    with pytest.raises(ConfigError, match=r"train\.arms: `[a-z_]+` asks for distilled sentences"):
        pipeline.train(run, ["distilled_only"])
    assert "best_update" in pipeline.train(run, ["original_only"])["original_only"]


def test_the_plan_counts_without_writing(tmp_path: Path, ran: Path, settings: Settings) -> None:
    run = folder(tmp_path / "new", settings)
    steps = pipeline.plan(run, ("annotate", "select", "train"))
    assert [(step["rows"], step["asked"]) for step in steps[:2]] == [(50, 50), (30, 30)]
    assert not (tmp_path / "new").exists()
    steps = pipeline.plan(folder(ran, settings), ("annotate", "select", "train"))
    assert all(step["fresh"] for step in steps)
    assert steps[0]["cached"] == 50


@pytest.mark.slow
def test_the_plan_knows_what_has_changed(tmp_path: Path, settings: Settings) -> None:
    pipeline.run(folder(tmp_path, settings))

    def stale(settings: Settings) -> list[str]:
        steps = pipeline.plan(folder(tmp_path, settings), ("annotate", "select", "train"))
        return [step["stage"] for step in steps if not step["fresh"]]

    def changed(**section: Any) -> Settings:
        return replace(settings, **{name: replace(getattr(settings, name), **to) for name, to in section.items()})

    assert stale(settings) == []
    arms = [f"train {arm.name}" for arm in settings.train.arms]
    assert stale(changed(train={"learning_rate": 1e-4})) == arms
    assert stale(changed(train={"checkpoint_every": 7.0})) == []
    assert stale(changed(select={"min_confidence": 0.5})) == ["select", *arms]
    # No answer is missing, and yet the annotations would be other ones; and all that comes after them.
    fewer = stale(changed(annotate={"limit": 10}))
    assert fewer[0].startswith("annotate")
    assert fewer[-len(arms) - 1 :] == ["select", *arms]
    own = replace(settings.train.arms[0], name="own", schedule=settings.train.arms[0].name)
    assert stale(changed(train={"arms": (*settings.train.arms, own)})) == ["train own"]
    (tmp_path / "train" / settings.train.arms[0].name / "manifest.json").unlink()
    assert stale(settings) == arms[:1]


def test_a_changed_file_is_found(ran: Path) -> None:
    report = ran / "evaluate/report.json"
    report.write_text(report.read_text().replace('"f1": 0.', '"f1": 1.', 1))
    (ran / "select/extra.txt").write_text("x")
    (ran / "train/simple_mix/history.jsonl").unlink()
    found = {finding.path for finding in manifest.verify(ran)}
    assert {"evaluate/report.json", "select/extra.txt", "train/simple_mix/history.jsonl"} <= found


def test_no_corpus_text_and_no_path_of_this_machine_is_in_a_manifest(finished: Finished) -> None:
    for path in finished.path.rglob("manifest.json"):
        text = path.read_text()
        assert "Lindqvist" not in text
        assert str(finished.path) not in text
        assert os.uname().nodename not in text or os.uname().nodename in ("localhost",)


def test_evaluate_agrees_with_compare_with_gold(tmp_path: Path, finished: Finished, settings: Settings) -> None:
    from distill_offline.corpus import read_examples, write_examples
    from distill_offline.evaluate.compare import compare_with_gold

    gold = tmp_path / "gold.jsonl"
    write_examples(gold, read_examples(settings.corpus.original.test or "", origin="original"))
    rows = {row["name"]: row for row in finished.result["rows"]}
    student = compare_with_gold(finished.path / "train/simple_mix/student", gold)
    teacher = compare_with_gold(finished.path / "annotate/gold/test", gold)
    assert student.quality is None
    assert student.as_dict()["overall"] == rows["simple_mix"]["overall"]
    assert teacher.as_dict()["overall"] == rows["teacher"]["overall"]
    assert teacher.as_dict()["quality"] == rows["teacher"]["quality"]
    assert teacher.report.overall.f1 > 0.5
    assert teacher.report.counts["unanswered"] == rows["teacher"]["counts"]["unanswered"] > 0


def test_what_is_made_again_with_the_same_content_stays_linked_to_what_was_made_of_it(
    ran: Path, settings: Settings
) -> None:
    weights = files(ran / "train")
    manifest.unseal(ran / "annotate")
    pipeline.run(folder(ran, settings))

    def parents(place: str) -> set[str]:
        statement = json.loads((ran / place / "manifest.json").read_text())
        listed = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
        return {each["digest"]["sha256"] for each in listed if each["annotations"]["kind"] == "manifest"}

    def digest(place: str) -> str:
        return hashlib.sha256((ran / place / "manifest.json").read_bytes()).hexdigest()

    assert digest("annotate") in parents("select")
    assert digest("select") in parents("train/simple_mix")
    assert manifest.verify(ran) == []
    after = files(ran / "train")
    assert {name: content for name, content in after.items() if "manifest" not in name} == {
        name: content for name, content in weights.items() if "manifest" not in name
    }
