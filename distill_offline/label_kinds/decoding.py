"""From a token head's scores to tags: the likeliest sequence that is valid IOB2, and how probable a span is among all.

A head scores every token for itself, so that its likeliest tags together may be no entities at all: an I- tag that
continues nothing. Here only valid sequences count, in which an I- tag follows a B- or I- tag of its own type; each has
the product of its tokens' probabilities for a weight, and, if the student has a table of transitions, of those that its
tags follow each other. `decode` finds the one of most weight (Viterbi 1967), `distributions` what share of all weight a
tag or a span has (forward-backward: Baum 1972; Rabiner 1989). Pure numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from distill_offline.label_kinds.lattice import active, best_path, log_sum, path_sums
from distill_offline.label_kinds.subwords import labels_of_words
from distill_offline.schema import Span

__all__ = ["Distribution", "Scored", "decode", "distributions", "token_by_token"]

_AT_ONCE = 1 << 14  # tokens, padding included, of sentences of like length: enough for numpy, little for memory
_NEVER = -1e4  # instead of a logarithm of 0: so unlikely, and still better than what the rules forbid

Float = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a head says of a sentence of `length` tokens: `scores` of its labels for the tokens at `seen`.

    Their shape is seen tokens × labels; they are log-probabilities. The others are tokens in which the tokenizer sees
    nothing. Of a whole text there is one row, of logits. `transitions` are the student's (transitions.py), if it has
    any: what it adds for each tag after another one.
    """

    scores: NDArray[np.float32]
    seen: Index
    length: int
    transitions: Float | None = None


def decode(sentences: Sequence[Scored], labels: Sequence[str]) -> list[tuple[str, ...]]:
    """The tags of each sentence: of all valid ones those of the highest probability, one a token.

    What a token has in which nothing is seen, labels_of_words says. A type of which the head has no B- tag begins with
    I-, and its entities are given a B- all the same. All sentences are of one student.
    """
    rules, tags = _Rules.of(tuple(labels)), [("O",) * sentence.length for sentence in sentences]
    names = np.array(rules.labels, dtype=object)
    for numbers, block in _blocks(sentences, len(labels)):
        best = (
            _best(block, rules)
            if block.transitions is None
            else best_path(block.scores, block.lengths, block.transitions)
        )
        for number, row in zip(numbers, best, strict=True):
            sentence = sentences[number]
            seen_tags = names[row[: len(sentence.seen)]].tolist()
            if len(sentence.seen) < sentence.length:
                all_tags: list[str | None] = [None] * sentence.length
                for token, tag in zip(sentence.seen.tolist(), seen_tags, strict=True):
                    all_tags[token] = tag
                seen_tags = all_tags
            tags[number] = labels_of_words(seen_tags)
    return tags


def token_by_token(sentences: Sequence[Scored], labels: Sequence[str]) -> list[tuple[str, ...]]:
    """Each token's likeliest tag, made valid: I- that continues nothing begins an entity. To compare `decode` with.

    So does transformers' pipeline, of the same words and with the aggregation "first".
    """
    tags = []
    for sentence in sentences:
        words: list[str | None] = [None] * sentence.length
        for token, number in zip(sentence.seen.tolist(), sentence.scores.argmax(1).tolist(), strict=True):
            words[token] = labels[number]
        tags.append(labels_of_words(words))
    return tags


def distributions(sentences: Sequence[Scored], labels: Sequence[str]) -> list[Distribution]:
    """How probable tags and spans are in each sentence of one student, among all valid sequences of tags."""
    rules = _Rules.of(tuple(labels))
    by_number: list[Distribution | None] = [None] * len(sentences)
    for numbers, block in _blocks(sentences, len(labels)):
        passed = _both_ways(block, rules) if block.transitions is None else _along(block, block.transitions, rules)
        for row, number in enumerate(numbers):
            by_number[number] = _distribution(sentences[number], rules, block, passed, row)
    nothing = np.zeros((0, len(labels)))
    return [
        distribution or Distribution(rules.labels, sentence.seen, sentence.length, *(nothing,) * 4, 0.0, None)
        for distribution, sentence in zip(by_number, sentences, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Distribution:
    """One sentence's. `marginals` are seen tokens × labels; `scores`, too, and these are logarithms.

    `upto[i, k]` is the logarithm of all the weight of the first i + 1 seen tokens with the label k for the last one,
    `leaving[i, k]` of all that follows it and does not continue its entity; `total` is that of all. `transitions` are
    the student's, if it has any.
    """

    labels: tuple[str, ...]
    seen: Index
    length: int
    marginals: Float
    scores: Float
    upto: Float
    leaving: Float
    total: float
    transitions: Float | None

    def of(self, span: Span) -> float:
        """The probability of exactly this span and type, 0 to 1: that it begins, goes on, and ends where it does.

        Tokens in which nothing is seen have no say; a span of such alone has the probability 0. Raises ValueError for a
        type without a B- tag.
        """
        begin, inside = f"B-{span.type}", f"I-{span.type}"
        if begin not in self.labels:
            raise ValueError(f"{begin} is none of {', '.join(self.labels)}")
        first, end = np.searchsorted(self.seen, (span.start, span.end)).tolist()
        if first == end or (end > first + 1 and inside not in self.labels):
            return 0.0
        last = self.labels.index(begin)
        weight = self.upto[first, last] - self.total
        if end > first + 1:
            begun, last = last, self.labels.index(inside)
            weight += self.scores[first + 1 : end, last].sum()
            if self.transitions is not None:
                weight += self.transitions[begun, last] + (end - first - 2) * self.transitions[last, last]
        return float(np.exp(min(0.0, weight + self.leaving[end - 1, last])))

    def of_tokens(self) -> NDArray[np.float32]:
        """The probability of each tag, tokens × labels; rows sum to 1.

        A token in which nothing is seen has of each I- tag what the next token that is seen has of it, if one is seen
        before it, and for the rest O.
        """
        probabilities = np.zeros((self.length, len(self.labels)), np.float32)
        probabilities[self.seen] = self.marginals
        unseen = sorted(set(range(self.length)) - set(self.seen.tolist()))
        inside = [number for number, label in enumerate(self.labels) if label.startswith("I-")]
        for token in unseen:
            after = int(np.searchsorted(self.seen, token))
            if 0 < after < len(self.seen):
                probabilities[token, inside] = self.marginals[after, inside]
        outside = self.labels.index("O") if "O" in self.labels else 0
        probabilities[unseen, outside] = 1.0 - probabilities[unseen].sum(1)
        return probabilities


@dataclass(frozen=True, slots=True)
class _Rules:
    """`free` labels may follow any other and begin a sentence; `inside[k]` follows `begin[k]` and itself alone."""

    labels: tuple[str, ...]
    free: Index
    inside: Index
    begin: Index
    pair: Index  # of each label the k of which it is `begin` or `inside`, or -1
    is_inside: NDArray[np.bool_]

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, labels: tuple[str, ...]) -> _Rules:
        number = {label: n for n, label in enumerate(labels)}
        pairs = [
            (n, number[f"B-{index[2:]}"])
            for index, n in number.items()
            if index[:2] == "I-" and f"B-{index[2:]}" in number
        ]
        inside, begin = (np.array(column, np.intp) for column in (zip(*pairs, strict=True) if pairs else ((), ())))
        pair = np.full(len(labels), -1, np.intp)
        pair[inside] = pair[begin] = np.arange(len(pairs))
        is_inside = np.isin(np.arange(len(labels)), inside)
        return cls(labels, np.flatnonzero(~is_inside), inside, begin, pair, is_inside)


@dataclass(frozen=True, slots=True)
class _Block:
    """Sentences, the longest first: log-probabilities sentences × tokens × labels, padded, and how long each is."""

    scores: Float
    lengths: Index
    transitions: Float | None

    def active(self, token: int) -> int:
        """How many sentences have this token: they are the first ones."""
        return active(self.lengths, token)


def _blocks(sentences: Sequence[Scored], labels: int) -> Iterator[tuple[list[int], _Block]]:
    """All sentences with a token that is seen, in blocks of like length, and which ones these are."""
    transitions = sentences[0].transitions if sentences else None
    assert all(sentence.transitions is transitions for sentence in sentences), "sentences of several students"
    seen = [len(sentence.seen) for sentence in sentences]
    order = sorted((number for number, count in enumerate(seen) if count), key=lambda number: -seen[number])
    while order:
        longest = seen[order[0]]
        numbers, order = order[: max(1, _AT_ONCE // longest)], order[max(1, _AT_ONCE // longest) :]
        scores = np.zeros((len(numbers), longest, labels))
        for row, number in enumerate(numbers):
            scores[row, : seen[number]] = sentences[number].scores
        np.nan_to_num(scores, copy=False, nan=_NEVER)
        lengths = np.array([seen[number] for number in numbers], np.intp)
        yield numbers, _Block(scores.clip(_NEVER, 0.0), lengths, transitions)


def _best(block: _Block, rules: _Rules) -> Index:
    """Viterbi: the label of each token of each sentence; what is behind a sentence's end says nothing."""
    count, longest, _ = block.scores.shape
    best = block.scores[:, 0].copy()
    best[:, rules.inside] = -np.inf
    before = np.zeros((longest, count), np.intp)  # the best label of all before a token
    goes_on = np.zeros((longest, count, len(rules.inside)), np.bool_)  # whether I- rather follows I- than B-
    last = np.zeros(count, np.intp)
    active = count
    for token in range(1, longest + 1):
        still = block.active(token) if token < longest else 0
        last[still:active] = best[still:active].argmax(1)
        if not still:
            break
        best, active = best[:still], still
        before[token, :still] = best.argmax(1)
        begun, gone_on = best[:, rules.begin], best[:, rules.inside]
        goes_on[token, :still] = gone_on >= begun
        step = best.max(1, keepdims=True) + block.scores[:still, token]
        step[:, rules.inside] = np.maximum(begun, gone_on) + block.scores[:still, token, rules.inside]
        best = step
    return _walked_back(block, rules, last, before, goes_on)


def _walked_back(block: _Block, rules: _Rules, last: Index, before: Index, goes_on: NDArray[np.bool_]) -> Index:
    """From each sentence's last label to its first."""
    count, longest, _ = block.scores.shape
    path = np.zeros((count, longest), np.intp)
    path[np.arange(count), block.lengths - 1] = last
    for token in range(longest - 1, 0, -1):
        rows = np.arange(block.active(token))
        now = path[rows, token]
        pair = rules.pair[now]
        follows = (
            np.where(goes_on[token, rows, pair], rules.inside[pair], rules.begin[pair]) if len(rules.inside) else now
        )
        path[rows, token - 1] = np.where(rules.is_inside[now], follows, before[token, rows])
    return path


@dataclass(frozen=True, slots=True)
class _Passed:
    """Logarithms of weights: `upto` of all that ends with a token's label, `onward` of all that follows it.

    Of what follows it, `leaving` is without what continues its entity; `total` is a sentence's.
    """

    upto: Float
    onward: Float
    leaving: Float
    total: Float


def _along(block: _Block, transitions: Float, rules: _Rules) -> _Passed:
    """What `_both_ways` finds, where a tag's weight depends on the one before it."""
    number = rules.pair
    goes_on = (number[:, None] == number) & (number >= 0) & rules.is_inside
    sums = path_sums(block.scores, block.lengths, transitions, goes_on)
    total = log_sum(sums.upto[np.arange(len(block.lengths)), block.lengths - 1])
    return _Passed(sums.upto, sums.onward, sums.leaving, total)


def _both_ways(block: _Block, rules: _Rules) -> _Passed:
    """Forward and backward over all sentences of a block.

    `before[i]` is the weight of the first i tokens, `after[i]` of those from the i-th on if it continues nothing.
    """
    scores, (count, longest, labels) = block.scores, block.scores.shape
    upto, onward = np.full((2, count, longest, labels), -np.inf)
    before, after = np.zeros((2, count, longest + 1))
    for token in range(longest):
        rows = slice(block.active(token))
        now = before[rows, token, None] + scores[rows, token]
        if len(rules.inside):
            previous = upto[rows, token - 1] if token else np.full((count, labels), -np.inf)
            continued = np.logaddexp(previous[:, rules.begin], previous[:, rules.inside])
            now[:, rules.inside] = continued + scores[rows, token][:, rules.inside]
        upto[rows, token] = now
        before[rows, token + 1] = log_sum(now)
    for token in range(longest - 1, -1, -1):
        rows = slice(block.active(token))
        onward[rows, token] = after[rows, token + 1, None]
        still = slice(block.active(token + 1) if token + 1 < longest else 0)
        if len(rules.inside) and still.stop:
            further = scores[still, token + 1][:, rules.inside] + onward[still, token + 1][:, rules.inside]
            goes_on = np.logaddexp(after[still, token + 1, None], further)
            onward[still, token][:, rules.inside] = goes_on
            onward[still, token][:, rules.begin] = goes_on
        after[rows, token] = log_sum((scores[rows, token] + onward[rows, token])[:, rules.free])
    leaving = np.repeat(after[:, 1:, None], labels, 2)
    return _Passed(upto, onward, leaving, before[np.arange(count), block.lengths])


def _distribution(sentence: Scored, rules: _Rules, block: _Block, passed: _Passed, row: int) -> Distribution:
    length, total = len(sentence.seen), float(passed.total[row])
    upto, leaving = passed.upto[row, :length].copy(), passed.leaving[row, :length].copy()
    marginals = np.exp(upto + passed.onward[row, :length] - total)
    shares = marginals / marginals.sum(1, keepdims=True)
    scores = block.scores[row, :length].copy()
    return Distribution(
        rules.labels, sentence.seen, sentence.length, shares, scores, upto, leaving, total, sentence.transitions
    )
