"""One IOB2 tag a token: entities that do not overlap."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from distill_offline.label_kinds.base import Agreed, Judged, Labels, Shape, Tells
from distill_offline.label_kinds.decoding import Distribution, Scored, decode, distributions
from distill_offline.label_kinds.losses import LossRule, window_losses
from distill_offline.label_kinds.subwords import IGNORED, spread_to_subwords
from distill_offline.label_kinds.votes import vote
from distill_offline.schema import Annotation, Example, Head, Span
from distill_offline.spans.bio import InvalidTags, bridged, decode_bio, encode_bio, repair_iob2, to_iob2, trimmed
from distill_offline.text.visible import invisible

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["Tags", "missed", "no_entity", "span_confidence"]


class Tags:
    """See base.LabelKind."""

    head: Head = "token-classification"
    per_token: bool = True
    what: str = "entities"
    fields: str = "`labels` or `spans`"
    metric: str = "entity_f1"
    average: Literal["micro", "macro"] = "micro"
    model: str = "AutoModelForTokenClassification"
    problem_type: str | None = None
    _TAG: ClassVar[re.Pattern[str]] = re.compile("[BI]-.")

    def tells(self, shape: Shape) -> Tells:
        """One tag for one token could be a class; spans are of nothing else."""
        if isinstance(shape.labels, str):
            return "no"
        if shape.labels is None:
            return "yes" if shape.has_spans else "maybe"
        if len(shape.labels) != 1:
            # Of other things than tags there may be as many as there are tokens, by chance.
            return ("yes" if shape.are_tags else "maybe") if shape.tokens == len(shape.labels) or shape.labels else "no"
        return "maybe" if shape.tokens == 1 and shape.are_tags else "no"

    def read(self, fields: Mapping[str, Any], tokens: int) -> tuple[str, ...] | None:
        value = fields.get("labels")
        if value is None:
            return None
        if "tokens" not in fields:
            raise ValueError(
                "`labels` are given without the `tokens` that they label; if they are classes of the text, put such "
                "rows into a file of their own"
            )
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError("`labels` must be a list of strings")
        if len(value) != tokens:
            raise ValueError(f"there are {len(value)} `labels` for {tokens} tokens")
        return tuple(value)

    def written(self, labels: tuple[str, ...]) -> Mapping[str, Any]:
        return {"labels": list(labels)}

    def agreed(self, tokens: Labels, labels: tuple[str, ...], spans: Sequence[Span] | None) -> Agreed:
        """Spans that overlap are what no tags can say."""
        if len(labels) != len(tokens):
            raise ValueError(f"`labels` are {len(labels)}, and {len(tokens)} are wanted")
        told = None if spans is None else encode_bio(spans, len(tokens))
        if told == labels and spans is not None:
            return Agreed(labels, tuple(spans))
        mended, strays = repair_iob2(bridged(labels, "iob2", invisible(tokens)))
        made = decode_bio(mended)
        if spans is None:
            return Agreed(mended, tuple(replace(span, alignment="tags") for span in made), strays)
        if told != mended:
            start, end, _ = min(_places(spans) ^ _places(made))
            raise ValueError(f"`spans` and `labels` contradict each other (tokens {start} to {end})")
        return Agreed(mended, tuple(spans), strays)

    def problem(self, labels: Labels, tokens: int) -> str:
        if len(labels) != tokens:
            return f"it gives {len(labels)} labels, and the row wants {tokens}"
        try:
            to_iob2(labels, "iob2")
        except InvalidTags as error:
            return f"the labels are no valid BIO tags (token {error.position})"
        return ""

    def names(self, labels: Labels) -> Iterable[tuple[int, str]]:
        return [(position, label[2:]) for position, label in enumerate(labels) if label[2:]]

    def problem_of_head(self, labels: Labels) -> str:
        strange = next((label for label in labels if label != "O" and not self._TAG.match(label)), None)
        if strange is None and "O" in labels:
            return ""
        problem = "no O" if strange is None else f"the label {strange[:40]!a}"
        return (
            f"has {problem}: students of tokens have BIO tags (O, and B- and I- with a type), and this is another kind "
            "of model"
        )

    def unanswered(self, length: int) -> tuple[str, ...]:
        return ("O",) * length

    def places(self, labels: Labels) -> Mapping[Hashable, str]:
        return {(span.start, span.end): span.type for span in decode_bio(labels)}

    def sides(self, example: Example, gold: Labels, predicted: Labels) -> tuple[Labels, Labels]:
        """Tokens in which there is nothing to be seen decide nothing at an entity's edge (bio.trimmed).

        Every entity that no tokens hold (Example.unheld) is one that was missed: a token more, which has its entity in
        gold alone.
        """
        if unseen := invisible(example.sentence.tokens):
            gold, predicted = (
                encode_bio(trimmed(decode_bio(labels), unseen), len(labels)) for labels in (gold, predicted)
            )
        if example.unheld:
            gold = (*gold, *(f"B-{span.type}" for span in example.unheld))
            predicted = (*predicted, *("O" for _ in example.unheld))
        return gold, predicted

    def vote(self, samples: Sequence[Annotation], of: int) -> Annotation:
        return vote(samples, of=of)

    def targets(
        self, labels: Labels, index: Mapping[str, int], words: Sequence[int | None], masked: Sequence[int]
    ) -> tuple[int, ...]:
        """One a subword: a word's first one has its tag."""
        numbers = [index[label] for label in labels]
        for token in masked:
            numbers[token] = IGNORED
        return tuple(spread_to_subwords(numbers, words))

    def outside(self, labels: Labels) -> int | None:
        return labels.index("O") if "O" in labels else None

    def losses(
        self, logits: torch.Tensor, targets: torch.Tensor, distilled: torch.Tensor, rule: LossRule
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return window_losses(logits, targets, distilled, rule)

    def scores(self, logits: torch.Tensor) -> NDArray[np.float32]:
        """Logarithms of probabilities."""
        scores: NDArray[np.float32] = logits.float().log_softmax(-1).cpu().numpy()
        return scores

    def decide(self, scored: Sequence[Scored], names: Labels) -> list[tuple[str, ...]]:
        return decode(scored, names)

    def shares(self, scored: Sequence[Scored], names: Labels) -> list[NDArray[np.float32]]:
        """Tokens × labels: Distribution.of_tokens."""
        return [distribution.of_tokens() for distribution in distributions(scored, names)]

    def judged(
        self, scored: Sequence[Scored], names: Labels, labelled: Sequence[tuple[tuple[str, ...], Sequence[Span]]]
    ) -> list[Judged]:
        judged = []
        for distribution, said, (labels, spans) in zip(
            distributions(scored, names), decode(scored, names), labelled, strict=True
        ):
            of_tokens = distribution.of_tokens()
            found = (replace(span, confidence=distribution.of(span), alignment="students") for span in decode_bio(said))
            judged.append(
                Judged(
                    spans=tuple(span_confidence(distribution, span) for span in spans),
                    no_entity=tuple(no_entity(of_tokens, span, distribution.labels) for span in spans),
                    said=tuple(found),
                    missed=missed(of_tokens, labels, distribution.labels),
                )
            )
        return judged

    def confidences(
        self, scored: Sequence[Scored], names: Labels, predicted: Sequence[Labels], gold: Sequence[Labels]
    ) -> list[tuple[float, bool]]:
        """Of an entity its probability among all valid tags: that it begins, goes on and ends just there."""
        return [
            (distribution.of(span), (span.start, span.end, span.type) in true)
            for distribution, labels, wanted in zip(distributions(scored, names), predicted, gold, strict=True)
            for true in [_places(decode_bio(wanted))]
            for span in decode_bio(labels)
        ]


def _places(spans: Iterable[Span]) -> set[tuple[int, int, str]]:
    return {(span.start, span.end, span.type) for span in spans}


def span_confidence(distribution: Distribution, span: Span) -> float:
    """How sure the student is of exactly this span and type of somebody else's, 0 to 1.

    Its probability among all valid tags, as the geometric mean of what it takes: a tag at each of its tokens, and that
    it ends there where the sentence goes on. It ranks spans as well as the probability itself, which sinks with a
    span's length, and lies nearer to the share that is right: see docs/confidence-without-probabilities.md.
    """
    parts = span.end - span.start + (span.end < distribution.length)
    return float(distribution.of(span) ** (1 / parts))


def missed(probabilities: NDArray[np.float32], tags: Sequence[str], labels: Sequence[str]) -> float:
    """The probability of an entity at that token labelled O at which the student most expects one; 0 without any."""
    outside = [token for token, tag in enumerate(tags) if tag == "O"]
    return max((1.0 - float(probabilities[token, labels.index("O")]) for token in outside), default=0.0)


def no_entity(probabilities: NDArray[np.float32], span: Span, labels: Sequence[str]) -> float:
    """The probability of O at that token of a span at which it is least; that of O at all of them is no higher."""
    return float(probabilities[span.start : span.end, labels.index("O")].min())
