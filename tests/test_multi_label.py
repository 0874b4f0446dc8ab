"""Several classes a text: the kind of labels and the task by themselves, and the whole way through every stage."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sentences import example, sentence

from distill_offline import manifest, pipeline
from distill_offline.annotations import read_lines
from distill_offline.cli import commands
from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import BackendSettings, Settings, Source, TaskSettings
from distill_offline.corpus import check_writable, head_of, read_annotations, read_examples
from distill_offline.errors import ConfigError, CorpusError, InputError, UnusableAnswer
from distill_offline.evaluate.compare import compare_with_gold
from distill_offline.label_kinds import kind_of
from distill_offline.label_kinds.decoding import Scored
from distill_offline.label_kinds.losses import CROSS_ENTROPY, LossRule
from distill_offline.pipeline.export_labels import export_labels
from distill_offline.pipeline.uncertainty import MEASURES, uncertainty
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Annotation, Completion, Rejection, Sentence
from distill_offline.scoring.metrics import accuracy, score
from distill_offline.scoring.sentence_counts import AVERAGE_OF, sentence_counts
from distill_offline.storage.files import read_rows
from distill_offline.student.model import Student
from distill_offline.study.examine.teacher_errors import teacher_errors
from distill_offline.tasks.guarded import GuardedTask
from distill_offline.tasks.multi_label_classification import MultiLabelClassification

HEAD = "multi-label-classification"
KIND = kind_of(HEAD)
TYPES = {"leak": "a fluid escapes", "visit": "somebody comes", "World News": "all else"}
TEXT = sentence("The pump leaks again and Ada came")


def task(**changed: Any) -> MultiLabelClassification:
    return MultiLabelClassification(TaskSettings(name="multi_label_classification", types=TYPES, **changed))


def parse(text: str) -> Annotation:
    return task().parse(TEXT, Completion(text, "stop"))


# -- the task


@pytest.mark.parametrize("labels", [(), ("leak",), ("World News", "leak"), ("World News", "leak", "visit")])
def test_a_perfect_teachers_answer_is_read_back_as_the_gold_classes(labels: tuple[str, ...]) -> None:
    gold = replace(example("The pump leaks"), labels=labels)
    assert parse(task().answer(gold)).labels == labels


def test_the_prompt_asks_for_a_list_and_shows_examples_with_several_classes_and_none() -> None:
    shown = [replace(example("Ada came"), labels=("leak", "visit")), replace(example("All well"), labels=())]
    asked = task(guidelines="Leaks first.").prompt(TEXT, shown)
    system, _, several, _, none, question = [message.content for message in asked.messages]
    assert all(f"- {name}: {definition}" in system for name, definition in TYPES.items())
    assert "Leaks first." in system
    assert (several, none) == ('{"classes":["leak","visit"]}', '{"classes":[]}')
    assert question.endswith(TEXT.text)
    assert asked.schema is not None
    assert asked.schema["properties"]["classes"]["items"]["enum"] == list(TYPES)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('{"classes": ["visit", "leak", "visit"]}', ("leak", "visit")),
        ('["world  news"]', ("World News",)),
        ('{"labels": []}', ()),
        ('Both fit.\n```json\n{"classes": ["leak"]}\n```', ("leak",)),
    ],
)
def test_answers_of_many_forms_are_read(text: str, labels: tuple[str, ...]) -> None:
    assert parse(text).labels == labels


def test_a_name_that_is_no_class_is_rejected_and_one_by_another_name_is_told() -> None:
    found = parse('{"classes": ["LEAK", "sport"]}')
    assert (found.labels, found.renamed) == (("leak",), (("LEAK", "leak"),))
    assert found.rejected == (Rejection("sport", "unknown_class"),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"classes": ["sport", "money"]}', "unknown_class"),  # which is not "no class"
        ('{"classes": "leak"}', "wrong_shape"),
        ('{"classes": [1]}', "wrong_shape"),
        ("leak", "not_json"),
        ('{"classes": ["leak"', "not_json"),
        ('["leak"] ["visit"]', "contradicting_answers"),
    ],
)
def test_what_is_no_answer_is_never_no_class(text: str, reason: str) -> None:
    with pytest.raises(UnusableAnswer) as caught:
        parse(text)
    assert caught.value.reason == reason


def test_a_task_needs_classes_that_can_be_told_apart() -> None:
    with pytest.raises(ConfigError, match="name at least one class"):
        MultiLabelClassification(TaskSettings(types={}))
    with pytest.raises(ConfigError, match="cannot be a class"):
        MultiLabelClassification(TaskSettings(types={" x": "y"}))


# -- the kind of labels


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "a b", "labels": ["x", "y"]}],
        [{"text": "a b", "labels": ["x"]}, {"text": "c", "labels": []}],
        [{"text": "a b", "label": ["x", "y"]}],
        [{"tokens": ["a", "b", "c"], "labels": ["x", "y"], "spans": []}],
    ],
)
def test_a_list_of_classes_tells_its_kind(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert head_of(tmp_path / "a.jsonl") == HEAD


def test_rows_are_read_as_sets_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"text": "a", "labels": ["y", "x"]},
        {"text": "b", "label": "x", "labels": ["x"]},
        {"text": "c", "labels": [], "weight": 2},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = list(read_examples(path, origin="original", head=HEAD, types=["x", "y"]))
    assert [(each.labels, each.weight) for each in read] == [(("x", "y"), 1.0), (("x",), 1.0), ((), 2.0)]
    for row, problem in (
        ({"text": "a", "labels": ["x", "x"]}, "name a class twice"),
        ({"text": "a", "labels": ["x", ""]}, "as a list of strings"),
        ({"text": "a", "labels": ["z"]}, "class 'z' is unknown"),
        ({"text": "a"}, "there are no labels; needed: `labels`"),
        ({"text": "a", "label": "x", "labels": ["x", "y"]}, "`label` and `labels` contradict each other"),
    ):
        path.write_text(json.dumps(row) + "\n")
        with pytest.raises(CorpusError, match=f"a.jsonl:1: .*{problem}"):
            list(read_examples(path, origin="original", head=HEAD, types=["x", "y"]))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [({"labels": ["x", "x"]}, "name a class twice"), ({"spans": [{"start": 0, "end": 1, "type": "x"}]}, "`spans`")],
)
def test_a_line_that_contradicts_itself_is_refused(tmp_path: Path, changed: dict[str, Any], problem: str) -> None:
    row = {"id": "a", "tokens": ["b"], "labels": ["y", "x"], "spans": [], **changed}
    (tmp_path / "annotations.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=f"annotations.jsonl:1: .*{problem}"):
        list(read_lines(tmp_path / "annotations.jsonl", HEAD))


def test_samples_vote_on_each_class_by_itself() -> None:
    samples = [Annotation("s", labels) for labels in (("a", "b"), ("a",), ("a", "c"))]
    voted = KIND.vote(samples, 4)
    assert (voted.labels, voted.agreement, voted.confidence) == (("a",), 0.5, 0.5)  # of four, two have no b, and no c
    assert KIND.vote([Annotation("s", ())] * 3, 4).agreement == 0.75
    assert KIND.vote([Annotation("s", ("a",))] * 4, 4) == Annotation("s", ("a",), confidence=1.0, agreement=1.0)


def test_the_loss_is_the_binary_cross_entropy_of_each_class() -> None:
    logits, targets = torch.tensor([[2.0, -1.0], [0.5, 3.0]]), torch.tensor([[1, 0], [0, 1]])
    taught = torch.tensor([True, False])
    p = torch.sigmoid(logits)
    plain = -(targets * p.log() + (1 - targets) * (1 - p).log())
    losses, masked = KIND.losses(logits, targets, taught, CROSS_ENTROPY)
    assert torch.allclose(losses, plain)
    assert not masked.any()
    smooth, _ = KIND.losses(logits, targets, taught, LossRule(label_smoothing=0.2))
    wanted = targets * 0.8 + 0.1
    assert torch.allclose(smooth, -(wanted * p.log() + (1 - wanted) * (1 - p).log()))
    kinder, _ = KIND.losses(logits, targets, taught, LossRule(gce_q=0.5))
    said = torch.where(targets == 1, p, 1 - p)
    assert torch.allclose(kinder[0], (1 - said[0] ** 0.5) / 0.5)
    assert torch.allclose(kinder[1], plain[1])  # the original one


def test_a_class_that_a_student_does_not_believe_is_masked_and_one_that_is_not_there_never() -> None:
    logits, targets = torch.tensor([[-3.0, 3.0], [-3.0, 3.0]]), torch.tensor([[1, 0], [1, 0]])
    losses, masked = KIND.losses(logits, targets, torch.tensor([True, False]), LossRule(mask_errors=0.9))
    assert masked.tolist() == [[True, False], [False, False]]
    assert (losses == 0).tolist() == [[True, False], [False, False]]


def test_classes_of_half_and_more_are_said_each_by_itself() -> None:
    scored = [Scored(np.array([row], np.float32), np.array([0]), 1) for row in ([1.0, -1.0, 0.0], [-1.0, -2.0, -3.0])]
    names = ("y", "x", "z")
    assert KIND.decide(scored, names) == [("y", "z"), ()]
    (first, _) = KIND.shares(scored, names)
    assert first.shape == (3, 2)
    assert first.sum(1) == pytest.approx(1)
    assert first[:, 1] == pytest.approx([0.7311, 0.2689, 0.5], abs=1e-4)
    (exactly, none) = KIND.judged(scored, names, [(("y",), ()), ((), ())])
    assert exactly.confidence == pytest.approx(0.7311 * 0.7311 * 0.5, abs=1e-4)
    assert none.confidence == pytest.approx(0.7311 * 0.8808 * 0.9526, abs=1e-4)
    assert KIND.confidences(scored, names, [("y", "z"), ()], [("y",), ("x",)]) == [
        (pytest.approx(0.7311, abs=1e-4), True),
        (0.5, False),
    ]
    assert all(uncertainty(measure, first) > 0 for measure in MEASURES)


def test_scores_of_sets_by_hand() -> None:
    gold = [("a", "b"), ("a",), (), ("c",)]
    given = [("a",), ("a", "b"), (), ()]
    report = score("label_set_f1", gold, given, on="x")
    assert {name: (s.precision, s.recall, s.support) for name, s in report.per_type.items()} == {
        "a": (1.0, 1.0, 2),
        "b": (0.0, 0.0, 1),
        "c": (0.0, 0.0, 1),
    }
    assert report.overall.f1 == pytest.approx(1 / 3)  # the mean of 1, 0 and 0
    micro = report.averages["micro"]
    assert micro.precision == pytest.approx(2 / 3)
    assert (micro.recall, micro.support) == (0.5, 4)
    assert accuracy(report.counts) == 0.25  # one of four has exactly gold's classes
    assert report.as_dict()["averages"]["micro"]["f1"] == pytest.approx(4 / 7)
    nothing = score("label_set_f1", [()], [()], on="x")
    assert (nothing.overall.f1, accuracy(nothing.counts)) == (0.0, 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_sets_agree_with_counts_of_pairs(seed: int) -> None:
    drawn = random.Random(seed)
    gold, given = ([tuple(n for n in "abcd" if drawn.random() < 0.4) for _ in range(30)] for _ in range(2))
    report = score("label_set_f1", gold, given, on="x")
    rates = []
    for name in "abcd":
        hits = sum(name in a and name in b for a, b in zip(gold, given, strict=True))
        found, true = (sum(name in each for each in side) for side in (given, gold))
        rates.append(2 * hits / (found + true))
        assert report.per_type[name].f1 == pytest.approx(rates[-1])
    assert report.overall.f1 == pytest.approx(sum(rates) / 4)


def test_labels_that_happen_to_be_one_class_a_text_are_compared_as_sets(tmp_path: Path) -> None:
    gold, given, tags = (tmp_path / name for name in ("gold.jsonl", "given.jsonl", "tags.jsonl"))
    gold.write_text('{"text": "a b", "labels": ["x", "y"]}\n{"text": "c", "labels": ["x"]}\n')
    given.write_text('{"text": "a b", "labels": ["x"]}\n{"text": "c", "label": "x"}\n')
    tags.write_text('{"tokens": ["a", "b"], "labels": ["B-X", "O"]}\n')
    for one, other in ((gold, given), (given, gold)):
        report = compare_with_gold(one, other).report
        assert report.counts["correct"] == 1
        assert report.averages["micro"].f1 == pytest.approx(0.8)
    with pytest.raises(InputError, match=r"tags.jsonl holds entities, and .*gold.jsonl holds sets of classes"):
        compare_with_gold(tags, gold)
    export_labels(given, given, tmp_path / "labels.jsonl")
    source = Source(path=str(given), labels=str(tmp_path / "labels.jsonl"))
    assert [line.labels for line in read_annotations(source, head=HEAD)] == [("x",), ("x",)]
    with pytest.raises(CorpusError, match="these are labels for"):
        list(read_annotations(source))


def test_a_task_from_outside_may_give_classes_in_any_order() -> None:
    class Theirs(MultiLabelClassification):
        def parse(self, sentence: Sentence, completion: Completion) -> Annotation:
            return Annotation(sentence.id, tuple(completion.text.split(",")))

    guarded = GuardedTask("theirs:T", Theirs, TaskSettings(types=TYPES, name="multi_label_classification"))
    assert guarded.parse(TEXT, Completion("visit,leak", "stop")).labels == ("leak", "visit")
    with pytest.raises(ConfigError, match="gives a class twice"):
        guarded.parse(TEXT, Completion("leak,leak", "stop"))
    with pytest.raises(ConfigError, match="label 1 is not among"):
        guarded.parse(TEXT, Completion("leak,sport", "stop"))


def test_a_study_counts_each_class_of_a_text() -> None:
    counts = sentence_counts(HEAD, [("a", "b"), ()], [("b", "c"), ("a",)], ("a", "b", "c"))
    assert counts.tolist() == [[[0, 0, 1], [1, 0, 0], [0, 1, 0]], [[0, 1, 0], [0, 0, 0], [0, 0, 0]]]
    assert AVERAGE_OF["label_set_f1"] == "macro"


def test_what_becomes_of_a_teachers_wrong_sets_is_counted() -> None:
    taught = [replace(example("x"), labels=labels) for labels in (("a",), ("a",), ("a", "b"), ("a",))]
    gold = [("a",), ("a", "b"), ("a",), ("b",)]
    found = teacher_errors(HEAD, taught, gold, [("a",), ("a", "b"), ("a", "b"), ("a", "c")])
    assert (found.kept, found.lost) == (1, 0)
    assert found.kinds == {"wrong_class": {"repeated": 1, "replaced": 1, "corrected": 1}}


# -- the whole way

ARM = {"name": "distilled_only"}
WORDS = {"leak": "pump valve water line", "visit": "van asked report room", "alarm": "night health heat minutes"}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A hundred texts of words of some of the classes, or of none; labels as a list."""
    drawn, path = random.Random(3), tmp_path / "texts.jsonl"
    with path.open("w") as file:
        for number in range(100):
            given = [name for name in WORDS if drawn.random() < 0.5]
            words = [word for name in given for word in WORDS[name].split()] + ["the", f"n{number}"]
            drawn.shuffle(words)
            row = {"id": f"t{number}", "document": f"d{number}", "text": " ".join(words), "labels": given}
            file.write(json.dumps(row) + "\n")
    return path


@pytest.fixture
def settings(encoder: Path, corpus: Path) -> Settings:
    def part(skip: int, limit: int) -> dict[str, Any]:
        return {"path": str(corpus), "skip": skip, "limit": limit}

    return parse_settings(
        {
            "name": "several",
            "seed": 2,
            "task": {"name": "multi_label_classification", "types": WORDS},
            "corpus": {
                "original": {"train": part(0, 12), "dev": part(12, 10), "test": part(22, 18)},
                "unlabelled": part(40, 60),
            },
            "backend": {"name": "scripted"},
            "annotate": {"gold": ["test"], "demonstrations": {"strategy": "static", "k": 3}},
            "select": {"deduplicate": False},
            "train": {"encoder": str(encoder), "updates": 10, "batch_size": 8, "learning_rate": 1e-2, "arms": [ARM]},
        },
        "test",
    )


@pytest.mark.slow
def test_students_learn_which_classes_are_there(tmp_path: Path, settings: Settings) -> None:
    train = replace(settings.train, updates=200, learning_rate=3e-3, eval_every=40)
    result = pipeline.run(RunFolder(tmp_path / "run", replace(settings, train=train)))
    (_, student) = result["rows"]
    assert student["overall"]["f1"] > 0.9
    assert student["averages"]["micro"]["f1"] > 0.9
    assert student["accuracy"] > 0.8  # exactly the right ones


@pytest.mark.slow
def test_a_run_goes_through_every_stage(
    tmp_path: Path, settings: Settings, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    result = pipeline.run(RunFolder(folder, settings))
    rows = {row["name"]: row for row in result["rows"]}
    assert rows["teacher"]["accuracy"] == rows["teacher"]["overall"]["f1"] == 1.0
    assert set(rows["distilled_only"]["averages"]) == {"micro"}
    assert manifest.verify(folder) == []
    gold = {each.sentence.id: each.labels for each in read_examples(corpus, origin="original", head=HEAD)}
    lines = list(read_lines(folder / "annotate/annotations.jsonl", HEAD))
    assert all(line.labels == gold[line.sentence.id] for line in lines)
    assert {len(line.labels) for line in lines} >= {0, 1, 2}
    page = (folder / "report/index.html").read_text("utf-8")
    assert "<th>micro F1</th>" in page

    student = folder / "train/distilled_only/student"
    loaded = Student.load(student)
    assert (loaded.head, loaded.labels) == (HEAD, tuple(WORDS))
    assert json.loads((student / "config.json").read_text())["problem_type"] == "multi_label_classification"
    monkeypatch.chdir(tmp_path)
    run = CliRunner(catch_exceptions=False).invoke
    assert run(commands, ["predict", str(student), str(corpus), "-o", "out.jsonl"]).exit_code == 0
    predicted = list(read_rows(tmp_path / "out.jsonl"))
    assert len(predicted) == 100
    right = sum(tuple(row["labels"]) == gold[row["id"]] for row in predicted)
    with pytest.raises(CorpusError, match="columns need"):
        run(commands, ["predict", str(student), str(corpus), "-o", "out.conll"])
    for labels in ("out.jsonl", str(student)):
        scored = run(commands, ["evaluate", labels, "--gold", str(corpus), "--json"])
        found = json.loads(scored.stdout)
        assert found["accuracy"] == pytest.approx(right / 100)
        assert set(found["averages"]) == {"micro"}
    shown = run(commands, ["evaluate", "out.jsonl", "--gold", str(corpus)]).stdout
    assert "micro average" in shown
    held = compare_with_gold(folder / "select", corpus)
    labelled = {line.sentence.id for line in lines}
    without = sum(not labels for id_, labels in gold.items() if id_ not in labelled)  # for which no answer is right
    assert (held.report.counts["unanswered"], held.report.counts["correct"]) == (40, 60 + without)
    assert run(commands, ["acquire", str(student), str(corpus), "-n", "5", "-o", "next.jsonl"]).exit_code == 0
    assert len(list(read_rows(tmp_path / "next.jsonl"))) == 5

    counts = export_labels(folder / "select", corpus, tmp_path / "labels.jsonl")
    assert counts["sentences"] == 60
    back = list(read_annotations(Source(path=str(corpus), labels=str(tmp_path / "labels.jsonl")), head=HEAD))
    assert {line.sentence.id: line.labels for line in back} == {line.sentence.id: line.labels for line in lines}
    assert head_of(Source(path=str(corpus), labels=str(tmp_path / "labels.jsonl"))) == HEAD
    check_writable(tmp_path / "x.parquet", ())


@pytest.mark.slow
def test_samples_confidences_and_folds_are_those_of_sets(tmp_path: Path, settings: Settings) -> None:
    noisy = BackendSettings(name="scripted", options={"noise": 0.5})
    annotate = replace(settings.annotate, samples=4, sampling=replace(settings.annotate.sampling, temperature=0.7))
    crossed = {"folds": 2, "updates": 4}
    select = parse_settings(
        {
            "name": "x",
            "task": {"types": WORDS},
            "corpus": {},
            "select": {"cross_fit": crossed, "weigh": True, "min_agreement": 0.5},
        },
        "test",
    ).select
    folder = RunFolder(tmp_path / "run", replace(settings, backend=noisy, annotate=annotate, select=select))
    folder.open()
    pipeline.annotate(folder)
    pipeline.select(folder)
    lines = list(read_lines(folder.path / "cross_fit/annotations.jsonl", HEAD))
    assert all(line.beside.agreement is not None and line.beside.confidence is not None for line in lines)
    kept = list(read_lines(folder.path / "select/annotations.jsonl", HEAD))
    assert kept
    assert all(line.beside.weight == line.beside.confidence for line in kept)
    assert all((line.beside.agreement or 0) >= 0.5 for line in kept)


def test_an_answer_without_any_known_class_is_quarantined(tmp_path: Path, settings: Settings) -> None:
    said = ({"classes": ["sport"]}, {"classes": ["alarm", "sport"]})
    rows = [{"id": f"t{number}", "text": json.dumps(said[number % 2])} for number in range(100)]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    backend = BackendSettings(name="scripted", options={"answers": str(tmp_path / "answers.jsonl")})
    annotate = replace(settings.annotate, max_quarantined=1.0)
    folder = RunFolder(tmp_path / "run", replace(settings, backend=backend, annotate=annotate))
    counts = pipeline.annotate(folder)["unlabelled"]
    assert (counts["quarantined"], counts["rejected"]) == ({"unknown_class": 30}, {"unknown_class": 30})
