"""select as a stage: calibrated confidences, what it reports, and how masks and weights reach the student."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from annotated_runs import run_of
from confident_teacher import confident

from distill_offline import manifest, pipeline
from distill_offline.annotations import AnnotationLine, LineValues
from distill_offline.config.settings import CrossFitSettings, SeededTrainSettings, SelectSettings, Settings, Source
from distill_offline.corpus import read_examples, write_examples
from distill_offline.errors import CorpusError
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Example, Sentence, Span
from distill_offline.select.idle import without_effect
from distill_offline.spans.bio import decode_bio, encode_bio
from distill_offline.storage.files import ANNOTATIONS, read_rows, write_rows
from distill_offline.student.model import Student

LABELS = ("O", "B-PERSON", "I-PERSON", "B-DATE", "I-DATE")


def selecting(settings: Settings, **chosen: Any) -> Settings:
    return replace(settings, select=SelectSettings(**chosen))


@pytest.fixture
def annotated(settings: Settings, tmp_path: Path) -> Settings:
    """A run whose teacher has labelled the gold training sentences, too, and says how sure it is."""
    sure = confident(settings, tmp_path)
    annotate = replace(sure.annotate, gold=("train",), sampling=replace(sure.annotate.sampling, logprobs=True))
    sure = replace(sure, annotate=annotate)
    pipeline.annotate(run_of(tmp_path, sure))
    return sure


def select(tmp_path: Path, settings: Settings) -> tuple[RunFolder, dict[str, Any]]:
    folder = run_of(tmp_path, settings)
    pipeline.select(folder)
    return folder, pipeline.selection_report(folder)


def confidences(folder: RunFolder, stage: str) -> list[float]:
    rows = read_rows(folder.folder(stage) / ANNOTATIONS)
    return [span["confidence"] for row in rows for span in row["spans"]]


def test_fields_that_no_annotation_has_do_not_vanish_in_silence(annotated: Settings, tmp_path: Path) -> None:
    brought = tmp_path / "brought.jsonl"
    write_rows(brought, [{**line(), "id": name, "text": None, name: "mine"} for name in ("note", "author")])
    with_both = replace(annotated, corpus=replace(annotated.corpus, distilled=str(brought)))
    said = list[str]()
    assert pipeline.select(run_of(tmp_path, with_both, said))["rows_with_unread_fields"] == 2
    told = [each for each in said if "has fields" in each]
    assert told == ["select: sentence note has fields that no annotation has, not kept: 'note'"]


def test_confidences_are_calibrated_where_the_teacher_labelled_gold(annotated: Settings, tmp_path: Path) -> None:
    folder, _ = select(tmp_path, selecting(annotated, calibration="platt"))
    file = folder.folder("select") / "calibration.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["calibration"]["method"] == "platt"
    raw, probable = confidences(folder, "annotate"), confidences(folder, "select")
    assert len(raw) == len(probable)
    assert raw != probable
    order = sorted(range(len(raw)), key=raw.__getitem__)
    assert [probable[i] for i in order] == sorted(probable)

    folder, _ = select(tmp_path, selecting(annotated, calibration="none"))
    assert confidences(folder, "select") == raw
    assert not file.exists()


def test_the_report_says_what_selection_buys_on_gold(annotated: Settings, tmp_path: Path) -> None:
    chosen = selecting(annotated, calibration="platt", min_confidence=0.9, doubtful="span")
    folder, report = select(tmp_path, chosen)
    (effect,) = report["effect"]
    assert (effect["on"], effect["confidences"]) == ("annotate/gold/train", "cross-fitted")
    before, after = effect["before"], effect["after"]
    assert before["sentences"] == after["sentences"] == 30
    assert before["support"] == after["support"]
    assert after["precision"] > before["precision"]
    assert after["recall"] <= before["recall"]
    counts = manifest.show(folder.folder("select"))["counts"]
    assert report["counts"] == counts
    assert counts["spans_dropped"] > 0
    text = (folder.folder("select") / "report.json").read_text()
    words = {word for row in read_rows(folder.folder("annotate") / ANNOTATIONS) for word in row["tokens"]}
    assert not [word for word in words if len(word) > 6 and word in text]


def test_masked_spans_are_neither_right_nor_wrong(annotated: Settings, tmp_path: Path) -> None:
    for doubtful in ("span", "mask"):
        _, report = select(tmp_path, selecting(annotated, calibration="none", min_confidence=0.6, doubtful=doubtful))
        (effect,) = report["effect"]
        after, before = effect["after"], effect["before"]
        assert effect["confidences"] == "as given"
        assert (after["support"] < before["support"]) == (doubtful == "mask")
        recall = after["recall"]
        assert (recall < before["recall"]) == (doubtful == "span")


def test_a_budget_is_tried_on_gold_as_the_same_share(annotated: Settings, tmp_path: Path) -> None:
    _, report = select(tmp_path, selecting(annotated, calibration="none", budget=20, prefer="confident"))
    assert report["counts"]["kept"] == 20
    (effect,) = report["effect"]
    assert report["counts"]["over_budget"] == 20
    assert (effect["before"]["sentences"], effect["after"]["sentences"]) == (30, 15)


def test_truth_for_the_same_sentences_measures_and_decides_nothing(annotated: Settings, tmp_path: Path) -> None:
    plain = selecting(annotated, calibration="none", min_confidence=0.5)
    folder, _ = select(tmp_path, plain)
    without = (folder.folder("select") / ANNOTATIONS).read_bytes()
    truth = Source(path="package:demo/train.jsonl", skip=30, limit=35)
    folder, report = select(tmp_path, replace(plain, select=replace(plain.select, truth=truth)))
    assert (folder.folder("select") / ANNOTATIONS).read_bytes() == without
    effect = report["effect"][1]
    assert effect["on"] == "select.truth"
    assert effect["unmatched"] == 40 - effect["before"]["sentences"] == 5
    assert effect["after"]["f1"] > effect["before"]["f1"]
    cut = tmp_path / "cut.jsonl"
    write_rows(cut, map(letter_by_letter, read_examples(truth, origin="original")))
    folder, report = select(tmp_path, replace(plain, select=replace(plain.select, truth=str(cut))))
    assert report["effect"][1] == effect


def letter_by_letter(example: Example) -> dict[str, Any]:
    """The same text and the same entities, in tokens of one character."""
    sentence, characters = example.sentence, [at for at, c in enumerate(example.sentence.text) if not c.isspace()]
    offsets = [(at, at + 1) for at in characters]
    spans = [
        Span(
            characters.index(sentence.offsets[span.start][0]),
            characters.index(sentence.offsets[span.end - 1][1] - 1) + 1,
            span.type,
        )
        for span in decode_bio(example.labels)
    ]
    tokens = [sentence.text[at] for at in characters]
    labels = encode_bio(spans, len(tokens))
    return {"id": sentence.id, "text": sentence.text, "tokens": tokens, "offsets": offsets, "labels": labels}


def test_a_changed_answer_to_gold_alone_runs_selection_again(annotated: Settings, tmp_path: Path) -> None:
    folder, _ = select(tmp_path, annotated)
    said: list[str] = []
    again = run_of(tmp_path, annotated, said)
    pipeline.select(again)
    assert said[-1] == "select: up to date"
    on_gold = folder.folder("annotate") / "gold/train" / ANNOTATIONS
    on_gold.write_bytes(b"".join(reversed(on_gold.read_bytes().splitlines(keepends=True))))
    pipeline.select(again)
    assert said[-1] != "select: up to date"


def line(**more: Any) -> dict[str, Any]:
    tokens = ["Marta", "closed", "V-17", "at", "noon"]
    labels = ["B-PERSON", "O", "O", "O", "B-DATE"]
    return {"id": "a", "document": "d", "index": 0, "tokens": tokens, "labels": labels, **more}


def test_masks_and_weights_reach_the_example(tmp_path: Path) -> None:
    path = tmp_path / "annotations.jsonl"
    write_rows(path, [line(masked=[0, 1], weight=0.25)])
    (example,) = read_examples(path, origin="distilled")
    assert (example.masked, example.weight) == ((0, 1), 0.25)
    write_rows(path, [line()])
    (example,) = read_examples(path, origin="distilled")
    assert (example.masked, example.weight) == ((), 1.0)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"masked": [5]}, "`masked` must be a list of token positions, 0 to 4"),
        ({"masked": [-1]}, "`masked`"),
        ({"masked": True}, "`masked`"),
        ({"weight": -1}, "`weight` is not a number, 0 or more"),
        ({"weight": float("nan")}, "`weight`"),
        ({"weight": "1"}, "`weight`"),
        ({"weight": 10**400}, "`weight`"),
    ],
)
def test_masks_and_weights_that_make_no_sense_are_named(tmp_path: Path, more: dict[str, Any], problem: str) -> None:
    path = tmp_path / "annotations.jsonl"
    write_rows(path, [line(**more)])
    with pytest.raises(CorpusError, match=f"^{path}:1: {problem}"):
        list(read_examples(path, origin="distilled"))


def test_what_another_run_selected_keeps_masks_and_weights(annotated: Settings, tmp_path: Path) -> None:
    brought = tmp_path / "brought.jsonl"
    row = next(iter(read_rows(run_of(tmp_path, annotated).folder("annotate") / ANNOTATIONS)))
    masked = {**row, "id": "new", "tokens": [*row["tokens"], "again"], "labels": [*row["labels"], "O"]}
    del masked["offsets"], masked["text"], masked["spans"]
    write_rows(brought, [{**masked, "masked": [1], "weight": 0.5}])
    with_both = replace(annotated, corpus=replace(annotated.corpus, distilled=str(brought)))
    folder, _ = select(tmp_path, with_both)
    last = list(read_examples(folder.folder("select") / ANNOTATIONS, origin="distilled"))[-1]
    assert (last.sentence.id, last.masked, last.weight) == ("new", (1,), 0.5)


def test_labels_out_of_plain_rows_are_selected_by_their_confidence(annotated: Settings, tmp_path: Path) -> None:
    brought = tmp_path / "brought.jsonl"
    spans = [{"start": n, "end": n + 1, "type": "PERSON", "confidence": c} for n, c in ((0, 0.2), (2, 0.9))]
    write_rows(brought, [{"id": "new", "tokens": ["Marta", "saw", "Noor"], "spans": spans}])
    only = replace(annotated, backend=None, corpus=replace(annotated.corpus, unlabelled=None, distilled=str(brought)))
    folder, _ = select(tmp_path, selecting(only, min_confidence=0.5, doubtful="mask"))
    (row,) = read_rows(folder.folder("select") / ANNOTATIONS)
    assert (row["labels"], row["masked"]) == (["O", "O", "B-PERSON"], [0])
    assert confidences(folder, "select") == [0.9]


def test_a_threshold_that_meets_no_number_is_told(settings: Settings, tmp_path: Path) -> None:
    brought, warned = tmp_path / "brought.jsonl", list[str]()
    rows = [{"id": str(n), "tokens": ["Marta", "saw", str(n)], "labels": ["B-PERSON", "O", "O"]} for n in range(3)]
    write_rows(brought, rows)
    only = replace(settings, backend=None, corpus=replace(settings.corpus, unlabelled=None, distilled=str(brought)))
    all_of_them = selecting(only, min_confidence=0.5, weigh=True, min_agreement=0.6, max_missed=0.5)
    pipeline.select(run_of(tmp_path, all_of_them, on_warning=warned.append))
    assert [line.partition(" has no effect")[0] for line in warned] == [
        "select.min_confidence: 0.5",
        "select.weigh: true",
        "select.min_agreement: 0.6",
        "select.max_missed: 0.5",
    ]
    write_rows(
        brought,
        [*rows, {**rows[0], "id": "more", "spans": [{"start": 0, "end": 1, "type": "PERSON", "confidence": 0.9}]}],
    )
    warned.clear()
    pipeline.select(run_of(tmp_path, selecting(only, min_confidence=0.5, weigh=True), on_warning=warned.append))
    assert warned == []
    sport = AnnotationLine(
        Sentence("s", "", 0, "goal", ("goal",), ((0, 4),)), ("sport",), beside=LineValues(confidence=0.4)
    )
    [told] = without_effect([sport], SelectSettings(min_confidence=0.5, weigh=True), has_teacher=True)
    assert "min_confidence: 0.5 has no effect" in told  # a class has one, and min_sentence_confidence looks at that
    [told] = without_effect((), SelectSettings(confidence_from="verify"), has_teacher=False)
    assert "confidence_from: verify has no effect: these labels are not of this run's teacher" in told
    assert not [*without_effect((), SelectSettings(confidence_from="verify"), has_teacher=True)]


def test_cross_fitting_comes_first_and_the_teachers_own_confidences_are_calibrated(
    annotated: Settings, tmp_path: Path, encoder: Path
) -> None:
    """A teacher's spans are calibrated as without cross-fitting; spans from elsewhere get a student's judgement."""
    brought = Source(path="package:demo/dev.jsonl", limit=6)
    plain = replace(
        annotated, corpus=replace(annotated.corpus, distilled=brought), train=SeededTrainSettings(encoder=str(encoder))
    )
    folder, _ = select(tmp_path, plain)
    calibrated = confidences(folder, "select")
    crossing = CrossFitSettings(folds=2, updates=1, batch_size=2)
    folder, report = select(tmp_path, replace(plain, select=replace(plain.select, cross_fit=crossing)))
    found = confidences(folder, "select")
    own = [value is not None for value in calibrated]
    assert not all(own)
    assert [value for value, is_own in zip(found, own, strict=True) if is_own] == [
        v for v in calibrated if v is not None
    ]
    assert all(0 < value < 1 for value, is_own in zip(found, own, strict=True) if not is_own)
    assert report["effect"] == []
    overruling = replace(crossing, overrule=True)
    folder, _ = select(tmp_path, replace(plain, select=replace(plain.select, cross_fit=overruling)))
    assert confidences(folder, "select") == confidences(folder, "cross_fit")


def test_no_loss_and_no_gradient_comes_from_masked_tokens(encoder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    student = Student.create(encoder, LABELS, "token-classification")
    student.model.eval()
    path = tmp_path / "annotations.jsonl"
    write_rows(path, [line(masked=[0, 1, 3])])
    (masked,) = read_examples(path, origin="distilled")
    # Other labels on the masked tokens: were there any loss on them, it would differ.
    other = replace(masked, labels=("B-DATE", "B-PERSON", "O", "B-DATE", "B-DATE"))

    def learn(example: Any) -> tuple[float, list[torch.Tensor]]:
        student.model.zero_grad()
        loss = student.loss(student.batch([w for parts in student.encode([example]) for w in parts])).total
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach()), [p.grad.clone() for p in student.model.parameters() if p.grad is not None]

    (loss, gradients), (same, same_gradients) = learn(masked), learn(other)
    assert loss == same > 0
    assert all(torch.equal(a, b) for a, b in zip(gradients, same_gradients, strict=True))
    assert learn(replace(masked, masked=()))[0] > loss
    nothing, none = learn(replace(masked, masked=(0, 1, 2, 3, 4)))
    assert nothing == 0
    assert not any(gradient.any() for gradient in none)


def test_written_examples_are_read_back_without_masks(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_rows(path, [line(masked=[0])])
    write_examples(tmp_path / "b.jsonl", read_examples(path, origin="distilled"))
    (example,) = read_examples(tmp_path / "b.jsonl", origin="distilled")
    assert example.masked == ()


def test_gold_that_the_teacher_is_no_longer_asked_for_has_no_say(annotated: Settings, tmp_path: Path) -> None:
    folder, report = select(tmp_path, annotated)
    assert report["effect"]
    on_gold = folder.folder("annotate") / "gold/train" / ANNOTATIONS
    without = replace(annotated, annotate=replace(annotated.annotate, gold=()))
    folder, report = select(tmp_path, without)
    assert report["effect"] == []
    assert not (folder.folder("select") / "calibration.json").exists()
    assert on_gold.exists()
    pipeline.annotate(folder)
    assert not on_gold.exists()
    assert manifest.verify(folder.folder("annotate")) == []


def test_a_dry_run_says_whether_selection_would_run(annotated: Settings, tmp_path: Path) -> None:
    def fresh(settings: Settings) -> bool:
        (step,) = pipeline.plan(RunFolder(tmp_path / "run", settings), ["select"])
        return bool(step["fresh"])

    assert not fresh(annotated)
    select(tmp_path, annotated)
    assert fresh(annotated)
    assert not fresh(selecting(annotated, budget=3))
    manifest.unseal(tmp_path / "run/annotate")
    assert not fresh(annotated)
