"""What a teacher's confidences are worth, learnt from its labels for gold training sentences and from nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from annotated_runs import run_of
from confident_teacher import confident
from sentences import example

from distill_offline import pipeline
from distill_offline.annotate.asking import prompts
from distill_offline.annotate.work import AnnotateInputs
from distill_offline.annotations import AnnotationLine, write_lines
from distill_offline.completions import CompletionStore
from distill_offline.confidence.calibration import Calibration
from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import Settings
from distill_offline.run.gold import Gold
from distill_offline.schema import Annotation, Example
from distill_offline.select.calibrate import Calibrated, calibrate
from distill_offline.spans.bio import decode_bio, encode_bio
from distill_offline.storage.files import ANNOTATIONS, read_rows


def settings_of(method: str = "isotonic", task: str = "ner") -> Settings:
    types = {"PER": "a human", "LOC": "a place"}
    task_settings, annotate = {"name": task, "types": types}, {"gold": ["train"]}
    return parse_settings(
        {"name": "c", "task": task_settings, "corpus": {}, "annotate": annotate, "select": {"calibration": method}},
        "test",
    )


def sentence(n: int) -> Example:
    return example(f"Ada{n}/B-PER went to Paris{n}/B-LOC", f"d:{n}")


TRAIN = tuple(sentence(n) for n in range(100))


def rated(each: Example, sure: float | None, *, is_right: bool) -> Annotation:
    """The example's own spans, or with the first one's type wrong, both of this confidence but for a little."""
    spans = [replace(span, confidence=sure, alignment="exact") for span in decode_bio(each.labels)]
    if not is_right:
        spans = [replace(span, type="LOC" if span.type == "PER" else "PER") for span in spans]
    return Annotation(each.sentence.id, encode_bio(spans, len(each.labels)), tuple(spans))


def written(path: Path, examples: Sequence[Example], rate: Callable[[int], tuple[float | None, bool]]) -> Path:
    lines = []
    for n, each in enumerate(examples):
        sure, is_right = rate(n)
        lines.append(AnnotationLine.of(each.sentence, rated(each, sure, is_right=is_right)))
    write_lines(path / ANNOTATIONS, lines)
    return path / ANNOTATIONS


def overconfident(n: int) -> tuple[float, bool]:
    """Scores from 0.5 on, of which a third only is right: more of the higher ones."""
    drawn = random.Random(n)
    score = drawn.uniform(0.5, 1)
    return score, drawn.random() < 1.4 * (score - 0.5)


def run(
    path: Path,
    gold: Gold,
    settings: Settings | None = None,
    rate: Callable[[int], tuple[float | None, bool]] = overconfident,
) -> tuple[Calibrated | None, list[str]]:
    said: list[str] = []
    return calibrate(settings or settings_of(), gold, written(path, gold.train, rate), said.append), said


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_confidences_become_probabilities(tmp_path: Path, method: str) -> None:
    found, said = run(tmp_path, Gold(TRAIN, (), ()), settings_of(method))
    assert found is not None
    assert (found.spans, found.sentences, found.calibration.method) == (200, 100, method)
    assert found.calibration.fitted_on == 200
    assert found.calibration(0.9) == pytest.approx(0.56, abs=0.15)
    assert found.calibration(0.55) < 0.2
    assert found.before.ece > 0.3 > 0.15 > found.after.ece
    assert found.before.brier > found.after.brier
    (line,) = said
    assert f"calibrated ({method}), by 200 spans of 100 gold training sentences" in line
    assert "hardly better" not in line


def test_what_is_kept_is_json_that_calibrates_again(tmp_path: Path) -> None:
    found, _ = run(tmp_path, Gold(TRAIN, (), ()))
    assert found is not None
    kept = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert set(kept) == {"calibration", "before", "after", "spans", "sentences"}
    assert Calibration.of(kept["calibration"]) == found.calibration
    assert kept["before"]["auroc"] == found.before.auroc


def test_what_gold_masks_judges_no_span(tmp_path: Path) -> None:
    plain, _ = run(tmp_path / "a", Gold(TRAIN, (), ()))
    (tmp_path / "b").mkdir()
    masked = tuple(replace(each, labels=("O", *each.labels[1:]), masked=(0,)) for each in TRAIN)
    file = written(tmp_path / "b", TRAIN, overconfident)
    found = calibrate(settings_of(), Gold(masked, (), ()), file, lambda line: None)
    assert plain is not None
    assert found is not None
    assert (plain.spans, found.spans) == (200, 100)
    assert found.before.brier == pytest.approx(plain.before.brier)  # both spans of a sentence are alike


def test_nothing_of_dev_or_test_is_ever_learnt_from(tmp_path: Path) -> None:
    """Promise 5. Their rows, and training sentences that stand in them, may say what they like."""
    dev, test, again = (tuple(sentence(n) for n in range(k, k + 30)) for k in (200, 300, 100))
    plain, _ = run(tmp_path / "a", Gold(TRAIN, dev, test))
    twins = tuple(replace(each, sentence=replace(each.sentence, id=f"twin:{n}")) for n, each in enumerate(again))
    gold = Gold((*TRAIN, *twins), (*dev, *again), test)  # the overlap rule would not let such a Gold come to be
    file = written(
        tmp_path / "b", (*TRAIN, *twins, *dev, *test), lambda n: overconfident(n) if n < 100 else (0.99, False)
    )
    said: list[str] = []
    found = calibrate(settings_of(), gold, file, said.append)
    assert found is not None
    assert found == plain
    assert "90 of its sentences are no gold training sentences" in said[0]


def test_a_sentence_that_has_changed_since_is_left_out(tmp_path: Path) -> None:
    file = written(tmp_path, TRAIN, overconfident)
    changed = tuple(example(f"Ada{n}/B-PER left Paris{n}/B-LOC", f"d:{n}") for n in range(30))
    said: list[str] = []
    found = calibrate(settings_of(), Gold((*changed, *TRAIN[30:]), (), ()), file, said.append)
    assert found is not None
    assert found.sentences == 70
    assert "30 of its sentences" in said[0]


def test_copies_of_a_sentence_are_never_on_both_sides_of_a_fit(tmp_path: Path) -> None:
    # Eight copies of each of twelve sentences, whose spans are all right or all wrong at a score of the sentence's own.
    copies = tuple(
        replace(sentence(n % 12), sentence=replace(sentence(n % 12).sentence, id=f"c:{n}")) for n in range(96)
    )
    found, _ = run(tmp_path, Gold(copies, (), ()), rate=lambda n: (0.4 + n % 12 / 100, n % 2 == 0))
    assert found is not None
    assert found.after.brier > 0.2  # who had seen a copy would know


def nothing(n: int) -> tuple[None, bool]:
    return None, True


REASONS = [
    (100, nothing, "no span of its 100 gold training sentences has one"),
    (9, overconfident, "at least 20 are needed"),
    # enough to fit, not to fit on four fifths
    (11, overconfident, "calibration: 22 spans, 4 of them right: too few to measure a map"),
    (11, overconfident, "16 are left without one of 5 parts"),
    (100, lambda n: (n / 100, True), "of both kinds"),
    (0, nothing, "no span of its 0 gold training sentences has one"),
]


@pytest.mark.parametrize(("sentences", "rate", "reason"), REASONS)
def test_where_nothing_can_be_learnt_the_reason_is_told(
    tmp_path: Path, sentences: int, rate: Callable[[int], tuple[float | None, bool]], reason: str
) -> None:
    found, said = run(tmp_path, Gold(TRAIN[:sentences], (), ()), rate=rate)
    assert found is None
    assert said[0].startswith("select: confidences stay as the teacher gave them: ")
    assert reason in said[0]


def test_without_labelled_training_sentences_it_is_told_how_to_have_them(tmp_path: Path) -> None:
    said: list[str] = []
    assert calibrate(settings_of(), Gold(TRAIN, (), ()), tmp_path / "none.jsonl", said.append) is None
    assert "annotate.gold: [train]" in said[0]
    settings = replace(settings_of(), annotate=replace(settings_of().annotate, gold=()))
    left_over = written(tmp_path, TRAIN, overconfident)  # by another teacher, perhaps
    assert calibrate(settings, Gold(TRAIN, (), ()), left_over, said.append) is None
    assert said[1] == said[0]


@pytest.mark.parametrize("settings", [settings_of("none"), settings_of(task="text_classification")])
def test_where_it_is_not_asked_for_nothing_is_said(tmp_path: Path, settings: Settings) -> None:
    assert run(tmp_path, Gold(TRAIN, (), ()), settings) == (None, [])


def test_a_calibration_that_helps_nothing_changes_nothing(tmp_path: Path) -> None:
    # as good as it gets already: scores near 0 and 1, and true
    found, said = run(tmp_path, Gold(TRAIN, (), ()), settings_of("platt"), lambda n: (float(n % 2), n % 2 == 1))
    assert found is not None
    assert found.calibration.method == "none"
    assert found.calibration(0.37) == 0.37
    assert "calibration does not help" in said[0]


def test_confidences_that_tell_nothing_are_called_so(tmp_path: Path) -> None:
    found, said = run(tmp_path, Gold(TRAIN, (), ()), rate=lambda n: (0.8 + n % 20 / 100, n % 20 < 10 and n % 2 == 0))
    assert found is not None
    assert "hardly better than chance" in said[0]


# -- as part of a run


@pytest.fixture
def asked(settings: Settings, tmp_path: Path) -> Settings:
    """The demo run with a teacher that has confidences and labels the gold training sentences, too."""
    sure = confident(settings, tmp_path)
    return replace(sure, annotate=replace(sure.annotate, gold=("train", "test")))


def test_the_teacher_labels_the_training_sentences_and_never_sees_their_own_labels(
    tmp_path: Path, asked: Settings
) -> None:
    folder = run_of(tmp_path, asked)
    counts = pipeline.annotate(folder)
    assert list(counts) == ["unlabelled", "train", "test"]
    assert counts["train"]["rows"] == 30
    file = folder.folder("annotate") / "gold/train" / ANNOTATIONS
    assert {row["id"] for row in read_rows(file)} <= {each.sentence.id for each in AnnotateInputs.of(folder).gold.train}
    for strategy in ("knn", "static", "random"):
        chosen = replace(asked.annotate.demonstrations, strategy=strategy, k=20)
        work = AnnotateInputs.of(
            run_of(tmp_path / strategy, replace(asked, annotate=replace(asked.annotate, demonstrations=chosen)))
        )
        with CompletionStore(tmp_path / f"{strategy}.sqlite") as store:
            for each, prompt, _ in prompts(work.sentences("train"), work.asking(store, work.teacher.start)):
                assert len(prompt.messages) > 2
                assert sum(each.text in message.content for message in prompt.messages) == 1
    said: list[str] = []
    found = calibrate(asked, AnnotateInputs.of(folder).gold, file, said.append)
    assert found is not None
    assert found.before.auroc is not None
    assert found.before.auroc > 0.6


def test_every_way_of_annotating_copes_with_the_training_split(tmp_path: Path, asked: Settings) -> None:
    folder = run_of(tmp_path, asked)
    assert [step["stage"] for step in pipeline.plan(folder, ["annotate"])] == [
        "annotate unlabelled", "annotate train", "annotate test",
    ]  # fmt: skip
    for number in (1, 2):
        pipeline.annotate_shard(folder, pipeline.Shard(number, 2))
    pipeline.merge(folder)
    file = folder.folder("annotate") / "gold/train" / ANNOTATIONS
    merged = file.read_bytes()
    pipeline.reparse(folder)
    assert file.read_bytes() == merged
    said: list[str] = []
    pipeline.annotate(replace(folder, say=said.append))
    assert said == ["annotate: up to date"]
    gone = next(read_rows(file))["document"]
    (found,) = pipeline.purge(gone, [folder.path])
    assert found["lines"] > 0
    assert all(row["document"] != gone for row in read_rows(file))
