"""What every kind of labels must do, whatever else it does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentences import example

from distill_offline.label_kinds import KINDS, all_kinds, comparable, kind_of
from distill_offline.label_kinds.decoding import Scored
from distill_offline.label_kinds.losses import CROSS_ENTROPY
from distill_offline.schema import Annotation, Head
from distill_offline.scoring.metrics import METRICS, score

SENTENCE = example("Ada/B-X May/I-X left/O Ulm/B-Y")
TOKENS = len(SENTENCE.labels)
CASES: dict[Head, tuple[tuple[str, ...], tuple[str, ...]]] = {  # all labels, and those of the sentence
    "token-classification": (("O", "B-X", "I-X", "B-Y", "I-Y"), SENTENCE.labels),
    "sequence-classification": (("news", "sport"), ("sport",)),
    "multi-label-classification": (("sport", "money", "news"), ("money", "sport")),
}
WORDS = (None, 0, 1, 2, 3, None)  # of the subwords of a window: one for each token, and two special ones


def logits(head: Head) -> torch.Tensor:
    """Of a head that is sure of the sentence's labels."""
    names, labels = CASES[head]
    given = torch.tensor([[8.0 if name in labels else -8.0 for name in names]])
    if not kind_of(head).per_token:
        return given
    tags = ["O", *labels, "O"]
    return torch.tensor([[[8.0 if name == tag else -8.0 for name in names] for tag in tags]])


def test_there_is_a_case_for_every_kind() -> None:
    assert list(CASES) == list(KINDS)
    assert [kind.head for kind in all_kinds()] == list(KINDS)
    assert {kind.metric for kind in all_kinds()} <= set(METRICS)


@pytest.mark.parametrize("head", KINDS)
def test_labels_that_are_agreed_on_are_right_and_name_what_they_say(head: Head) -> None:
    kind, (names, labels) = kind_of(head), CASES[head]
    found = kind.agreed(SENTENCE.sentence.tokens, labels, None)
    assert (found.labels, found.strays) == (labels, ())
    assert kind.problem(labels, TOKENS) == kind.problem_of_head(names) == ""
    assert kind.agreed(SENTENCE.sentence.tokens, labels, found.spans) == found
    assert {name for _, name in kind.names(labels)} == set(kind.places(labels).values())
    with pytest.raises(ValueError):
        kind.agreed(SENTENCE.sentence.tokens, (*labels, labels[0]), None)
    assert kind.problem((*labels, labels[0]), TOKENS)


@pytest.mark.parametrize("head", KINDS)
def test_what_is_written_is_read_again(head: Head) -> None:
    kind, (_, labels) = kind_of(head), CASES[head]
    fields = {**kind.written(labels), **({"tokens": list(SENTENCE.sentence.tokens)} if kind.per_token else {})}
    assert kind.read(fields, TOKENS) == labels
    assert kind.read({"text": "a"}, TOKENS) is None
    with pytest.raises(ValueError):
        kind.read({**fields, "labels": [3], "label": [3]}, TOKENS)


@pytest.mark.parametrize("head", KINDS)
def test_a_student_that_is_sure_has_no_loss_and_says_what_it_was_taught(head: Head) -> None:
    kind, (names, labels) = kind_of(head), CASES[head]
    index = {name: number for number, name in enumerate(names)}
    targets = torch.tensor([kind.targets(labels, index, WORDS, ())])
    losses, masked = kind.losses(logits(head), targets, torch.tensor([True]), CROSS_ENTROPY)
    assert losses.shape == masked.shape == targets.shape
    assert 0 <= losses.max() < 0.01
    other, _ = kind.losses(-logits(head), targets, torch.tensor([True]), CROSS_ENTROPY)
    assert other.sum() > 1
    with pytest.raises(KeyError):
        kind.targets((*labels[:-1], "nothing"), index, WORDS, ())

    (rows,) = kind.scores(logits(head))
    seen = rows[1:-1] if kind.per_token else rows[None]
    scored = [Scored(np.asarray(seen), np.arange(len(seen)), len(seen))]
    assert kind.decide(scored, names) == [labels]
    (shares,) = kind.shares(scored, names)
    assert shares.sum(1) == pytest.approx(1, abs=1e-5)
    assert all(sure > 0.9 and is_right for sure, is_right in kind.confidences(scored, names, [labels], [labels]))
    (judged,) = kind.judged(scored, names, [(labels, kind.agreed(SENTENCE.sentence.tokens, labels, None).spans)])
    assert min((*judged.spans, *([] if judged.confidence is None else [judged.confidence]))) > 0.9


@pytest.mark.parametrize("head", KINDS)
def test_samples_that_agree_are_what_they_say_and_what_is_unanswered_is_wrong(head: Head) -> None:
    kind, (_, labels) = kind_of(head), CASES[head]
    spans = kind.agreed(SENTENCE.sentence.tokens, labels, None).spans
    voted = kind.vote([Annotation("s", labels, spans)] * 3, 3)
    assert voted.labels == labels
    assert {voted.agreement, *(span.agreement for span in voted.spans)} - {None} == {1.0}
    nothing = kind.unanswered(len(labels))
    assert kind.places(nothing) == {}
    given = [labels, nothing]
    report = score(kind.metric, *comparable(head, [SENTENCE] * 2, given, gold=[labels] * 2), on="x")
    assert 0 < report.overall.recall < 1
