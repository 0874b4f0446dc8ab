"""From a mention that a teacher wrote to the tokens it stands for; pure and measured.

Mentions are looked for in three passes, each over what the one before left over: `exact` (the same characters, white
space apart), `normalised` (in Unicode NFKC, whatever the case, quotes, hyphens and invisible characters) and `fuzzy`
(a few edits away: `matching.allowed_edits`), the last only for mentions that stand nowhere in the text. A place
begins and ends at token borders.

The rule for order: within a pass each mention, in the order of the answer, claims the first place of its own text
that no mention before it has claimed, behind the mention before it; or else, wherever it is, the first such place.
Repeated mentions so spread over distinct places.

The rule for repetitions, if asked for (`every`): a mention that the answer gives once stands for every place of its
own text, longer mentions first; a shorter one takes a part of such a place only if it has no other. One given twice or
more often stands for so many places, whatever its types.

The rule for overlaps: an earlier pass wins over a later one; within a pass the longer mention wins, then the one given
first. The loser takes its next free place, and is rejected as `overlapping` if there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from distill_offline.schema import Rejection, Span
from distill_offline.spans.matching import Budget, Places, Range, TokenText, normalised, squeezed

__all__ = ["Alignment", "locate", "twins_of"]

_PASSES = ("exact", "normalised", "fuzzy")
_STEPS = 48  # a pass may take so many for each token and each mention


@dataclass(frozen=True, slots=True)
class Alignment:
    """The spans that mentions were found at, in token order, and those that found no place.

    `numbers[i]` is the position, in the answer, of the mention that `spans[i]` was found for (with `every`, several
    spans may have one), `lost[i]` that of `rejected[i]`.
    """

    spans: tuple[Span, ...]
    rejected: tuple[Rejection, ...]
    numbers: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()


@dataclass(slots=True)
class _Search:
    """What is known of an answer's mentions, by their number, while passes go over them."""

    mentions: Sequence[tuple[str, str]]
    taken: bytearray  # one for each token
    reserved: bytearray  # those taken, and those that a mention stands for that is given once
    once: frozenset[int]  # mentions that stand for every place of theirs
    spans: dict[int, Span] = field(default_factory=dict)
    added: list[tuple[int, Span]] = field(default_factory=list)
    places: dict[int, Sequence[Range]] = field(default_factory=dict)  # of mentions that stand for all there are
    reasons: dict[int, str] = field(default_factory=dict)

    def run(self, kind: str, keys: Mapping[int, str], places: Mapping[str, Places]) -> None:
        """One pass: `keys` says what each of its mentions looks for, `places` where that stands."""
        claims = self._claim(keys, places)
        lost = []
        for number in sorted(claims, key=lambda number: (-len(keys[number]), number)):
            start, end = claims[number]
            if self.reserved.find(1, start, end) >= 0 or not self._settle(number, (start, end), kind):
                lost.append(number)
            elif number in self.once:
                self._reserve(number, places[keys[number]].ranges)
        self._settle_afresh(sorted(lost), keys, places, kind)

    def _settle_afresh(
        self, lost: Sequence[int], keys: Mapping[int, str], places: Mapping[str, Places], kind: str
    ) -> None:
        """Those that have lost their claim take the next place that no other mention stands for, or that none has."""
        left = {keys[number] for number in lost}
        unwanted, free = ({key: places[key].afresh() for key in left} for _ in range(2))
        cursor, previous = 0, 0
        for number in lost:
            for earlier in range(previous, number):
                cursor = self.spans[earlier].end if earlier in self.spans else cursor
            key = keys[number]
            range_ = unwanted[key].take(self.reserved, cursor) or free[key].take(self.taken, cursor)
            if range_ is None or not self._settle(number, range_, kind):
                self.reasons[number] = "overlapping"
            elif number in self.once:
                self._reserve(number, places[key].ranges)
            previous = number

    def run_fuzzy(self, keys: Mapping[int, str], text: TokenText, steps: int) -> None:
        """The last pass, over mentions that stand nowhere; in the end each of them has its own reason for that."""
        if not keys:
            return
        written = {key: self.mentions[n][0] for n, key in keys.items()}
        budget = Budget(steps)
        near = {key: text.find_nearly(mention, budget) for key, mention in written.items()}
        self.run("fuzzy", keys, near)
        budget = Budget(steps)
        absent = [n for n in keys if n not in self.spans and self.reasons[n] == "not_in_text"]
        reasons = {key: text.why_nowhere(key, budget) for key in dict.fromkeys(keys[n] for n in absent)}
        self.reasons.update((n, reasons[keys[n]]) for n in absent)

    def spread(self) -> None:
        """Every further place of what is given once, for those that were found exactly first."""
        length = {number: len(squeezed(self.mentions[number][0])) for number in self.places}
        for number in sorted(self.places, key=lambda n: (_PASSES.index(self.spans[n].alignment), -length[n], n)):
            kind = self.spans[number].alignment
            for start, end in self.places[number]:
                if self.taken.find(1, start, end) < 0:
                    self.taken[start:end] = b"\x01" * (end - start)
                    again = Span(
                        start, end, self.mentions[number][1], alignment="repeated" if kind == "exact" else kind
                    )
                    self.added.append((number, again))

    def result(self) -> Alignment:
        lost = tuple(number for number in range(len(self.mentions)) if number not in self.spans)
        rejected = tuple(Rejection(self.mentions[number][0], self.reasons[number]) for number in lost)
        ordered = sorted([*self.spans.items(), *self.added], key=lambda pair: pair[1].start)
        return Alignment(tuple(span for _, span in ordered), rejected, tuple(number for number, _ in ordered), lost)

    def _claim(self, keys: Mapping[int, str], places: Mapping[str, Places]) -> dict[int, Range]:
        claims, cursor = dict[int, Range](), 0
        for number in range(len(self.mentions)):
            if number in self.spans:
                cursor = self.spans[number].end
            elif number in keys:
                range_ = places[keys[number]].take(self.taken, cursor)
                if range_ is None:
                    self.reasons[number] = places[keys[number]].reason
                else:
                    claims[number] = range_
                    cursor = range_[1]
        return claims

    def _reserve(self, number: int, ranges: Sequence[Range]) -> None:
        self.places[number] = ranges
        for start, end in ranges:
            self.reserved[start:end] = b"\x01" * (end - start)

    def _settle(self, number: int, range_: Range, kind: str) -> bool:
        start, end = range_
        if self.taken.find(1, start, end) >= 0:
            return False
        self.taken[start:end] = self.reserved[start:end] = b"\x01" * (end - start)
        self.spans[number] = Span(start, end, self.mentions[number][1], alignment=kind)
        return True


def locate(mentions: Iterable[tuple[str, str]], tokens: Sequence[str], *, every: bool = False) -> Alignment:
    """Where each `(mention, type)` of an answer stands in `tokens`: every mention is a span or one rejection.

    With `every`, a mention that is given once is all spans of its text: `repeated` ones, if it was found exactly. Time
    is about linear in tokens and mentions together, whatever they are. Reasons for rejection: `empty`, `not_in_text`,
    `inside_token` (found, but not at token borders), `overlapping` (all its places are taken, or it was given more
    often than it stands there), `over_budget` (its search was not finished: a text or an answer so repetitive has more
    places to look at than linear time allows).
    """
    listed = list(mentions)
    keys = [squeezed(mention) for mention, _ in listed] if every else []
    times = Counter(keys)
    once = frozenset(number for number, key in enumerate(keys) if times[key] == 1)
    search = _Search(listed, bytearray(len(tokens)), bytearray(len(tokens)), once)
    _find(search, tokens)
    search.spread()
    return search.result()


def _find(search: _Search, tokens: Sequence[str]) -> None:
    """The three passes."""
    steps = _STEPS * (len(tokens) + len(search.mentions) + 64)
    for kind, form in (("exact", squeezed), ("normalised", normalised)):
        keys = {n: form(mention) for n, (mention, _) in enumerate(search.mentions) if n not in search.spans}
        if not keys:
            return
        for number in [number for number, key in keys.items() if not key]:
            search.reasons[number] = "empty"
            del keys[number]
        text, budget = TokenText(tokens, form), Budget(steps)
        search.run(kind, keys, {key: text.find(key, budget) for key in dict.fromkeys(keys.values())})
    search.run_fuzzy({n: key for n, key in keys.items() if search.reasons.get(n) == "not_in_text"}, text, steps)


def twins_of(spans: Sequence[Span], tokens: Sequence[str]) -> list[Range]:
    """Places, in order, that read like one of the spans and that no span touches."""
    if not spans:
        return []
    taken, text = bytearray(len(tokens)), TokenText(tokens, squeezed)
    for span in spans:
        taken[span.start : span.end] = b"\x01" * (span.end - span.start)
    keys = dict.fromkeys(squeezed("".join(tokens[span.start : span.end])) for span in spans)
    budget = Budget(_STEPS * (len(tokens) + len(spans) + 64))
    ranges = {range_ for key in keys if key for range_ in text.find(key, budget).ranges}
    twins = list[Range]()
    for start, end in sorted(
        ranges, key=lambda range_: (range_[0] - range_[1], range_)
    ):  # the longer first, as in locate
        if taken.find(1, start, end) < 0:
            taken[start:end] = b"\x01" * (end - start)
            twins.append((start, end))
    return sorted(twins)
