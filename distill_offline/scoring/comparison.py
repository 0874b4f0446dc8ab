"""Two readings of one sentence side by side: the entities of both over places that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from distill_offline.schema import Example, Sentence, Span
from distill_offline.spans.bio import decode_bio, encode_bio, trimmed
from distill_offline.text.visible import Places, invisible, same_places

__all__ = ["Compared", "LabelledSentence", "compare"]


@dataclass(frozen=True, slots=True)
class LabelledSentence:
    """What is compared with gold: a sentence as whoever labelled it read it, its IOB2 labels, and what comes with them.

    `spans` are those of the labels with what is known of them, by default nothing. `masked` are tokens whose labels
    do not count. `unheld` are entities, in characters, that its tokens cannot say.
    """

    sentence: Sentence
    labels: tuple[str, ...]
    spans: tuple[Span, ...] | None = None
    masked: tuple[int, ...] = ()
    unheld: tuple[Span, ...] = ()

    @classmethod
    def of(cls, example: Example) -> LabelledSentence:
        """What a labelled file gives. Tokens that are masked for an entity that they cannot say do count."""
        offsets = example.sentence.offsets
        cut = [token for token in example.masked if any(_meet(offsets[token], span) for span in example.unheld)]
        masked = tuple(token for token in example.masked if token not in cut)
        return cls(example.sentence, example.labels, masked=masked, unheld=example.unheld)


@dataclass(frozen=True, slots=True)
class Compared:
    """Gold's entities and those given, both over `length` shared places, which are tokens or characters that are seen.

    What touches a masked token is on neither side; `masked` counts gold's among it. Behind the text's own places is one
    for each entity that has none there, or that lies across another: the same one for both sides if it is the same.
    """

    true: tuple[Span, ...]
    predicted: tuple[Span, ...]
    length: int
    masked: int = 0
    by_characters: bool = False

    @property
    def labels(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Gold's entities and those given as IOB2 labels of the places."""
        return encode_bio(self.true, self.length), encode_bio(self.predicted, self.length)


def compare(
    sentence: Sentence, labels: Sequence[str], answer: LabelledSentence, unheld: Iterable[Span] = ()
) -> Compared | None:
    """Gold's labels of a sentence and those given for it; None if the two texts are not the same.

    By tokens where both have the same ones, else by the characters that can be seen: blanks, format characters and
    composed or decomposed letters (NFC, NFD) do not matter. Tokens in which there is nothing to be seen decide nothing
    at an entity's edge. `unheld` are entities of gold, in characters, that its tokens cannot say: missed, unless the
    characters of the given tokens say them.
    """
    true = decode_bio(labels)
    predicted = _without(_known(answer), answer.masked)
    if sentence.tokens == answer.sentence.tokens and not answer.unheld:
        unseen, length = invisible(sentence.tokens), len(sentence.tokens)
        kept = _without(true, answer.masked)
        behind = tuple(replace(span, start=length, end=length) for span in unheld)
        return _seated(
            (*trimmed(kept, unseen), *behind), trimmed(predicted, unseen), length, len(true) - len(kept), False
        )
    places = same_places(sentence.text, answer.sentence.text)
    if places is None:
        return None
    gold_places, given_places, length = places
    true = _at(true, sentence.offsets, gold_places)
    whole = tuple(_placed(span, gold_places) for span in unheld)
    hidden = _at([Span(token, token + 1, "masked") for token in answer.masked], answer.sentence.offsets, given_places)
    kept = _without((*true, *whole), [position for span in hidden for position in range(span.start, span.end)])
    predicted = (
        *_at(predicted, answer.sentence.offsets, given_places),
        *(_placed(span, given_places) for span in answer.unheld),
    )
    return _seated(kept, predicted, length, len(true) + len(whole) - len(kept), True)


def _meet(range_: tuple[int, int], span: Span) -> bool:
    return range_[0] < span.end and span.start < range_[1]


def _known(answer: LabelledSentence) -> tuple[Span, ...]:
    """The spans of the labels given, with what is known of them."""
    if answer.spans is None:
        return decode_bio(answer.labels)
    listed = {(span.start, span.end, span.type): span for span in answer.spans}
    spans = decode_bio(answer.labels)
    return tuple(listed.get((s.start, s.end, s.type), replace(s, alignment="tags")) for s in spans)


def _without(spans: Sequence[Span], masked: Collection[int]) -> tuple[Span, ...]:
    hidden = frozenset(masked)
    return tuple(span for span in spans if hidden.isdisjoint(range(span.start, span.end)))


def _at(spans: Iterable[Span], offsets: Sequence[tuple[int, int]], places: Places) -> tuple[Span, ...]:
    """Spans of tokens as spans of places."""
    characters = (replace(span, start=offsets[span.start][0], end=offsets[span.end - 1][1]) for span in spans)
    return tuple(_placed(span, places) for span in characters)


def _placed(span: Span, places: Places) -> Span:
    start, end = places.of(span.start, span.end)
    return replace(span, start=start, end=end)


def _seated(true: Iterable[Span], predicted: Iterable[Span], length: int, masked: int, by_characters: bool) -> Compared:
    """Every entity at places of its own: those that are empty, or lie across an earlier one, behind the others."""
    behind: dict[tuple[int, int, str, int], int] = {}
    sides = []
    for spans in (true, predicted):
        reached, met, side = 0, Counter[tuple[int, int, str]](), []
        for span in sorted(spans, key=lambda span: (span.start, span.end)):
            if reached <= span.start < span.end:
                reached = span.end
                side.append(span)
                continue
            name = span.start, span.end, span.type
            met[name] += 1
            seat = behind.setdefault((*name, met[name]), length + len(behind))
            side.append(replace(span, start=seat, end=seat + 1))
        sides.append(tuple(sorted(side, key=lambda span: span.start)))
    return Compared(sides[0], sides[1], length + len(behind), masked, by_characters)
