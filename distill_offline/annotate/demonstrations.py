"""Which original sentences go into a prompt: none, a static few, random ones, or the nearest (kNN)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from distill_offline.config.settings import DemonstrationSettings
from distill_offline.errors import ConfigError
from distill_offline.schema import Example, Sentence, canonical_json, content_digest, tokens_digest

__all__ = ["Demonstrations", "check_pool"]

_BATCH = 512  # sentences looked up together: one sparse product instead of many
_SPARE = 2  # an example with the sentence's id and one with its text are passed over
_TELLING = 6  # tokens; shorter sentences (headlines, scores) show little


class Demonstrations:
    """Picks `k` examples of a pool for each sentence, never the sentence itself (by id or by content).

    Of examples with the same text only the first is in the pool. `static`: those that together show the most types,
    short ones first: the same for every sentence, so that an engine computes them once. `random`: seeded by the
    sentence's id. `knn`: the nearest by TF-IDF cosine over lower-cased words and word shapes (scikit-learn), the
    nearest one last, where a small model heeds it most. With `order: shared` the chosen ones stand in an order of the
    pool's own, those first that are near to many, so that sentences with common demonstrations have a common prefix.
    With `documents: own` only the examples of a sentence's own document are chosen from; there may be fewer than `k`.
    With `vary` the samples of one sentence show them in other orders, or others of the best 2k.
    """

    def __init__(self, settings: DemonstrationSettings, pool: Sequence[Example], *, seed: int) -> None:
        check_pool(settings, pool)
        first: dict[str, Example] = {}
        for example in pool:
            first.setdefault(content_digest(example.sentence), example)
        self._settings, self._seed = settings, seed
        self._contents, self._pool = list(first), list(first.values())
        self._k = 0 if settings.strategy == "none" else settings.k
        self._reach = min(2 * self._k if settings.vary == "set" else self._k, len(self._pool))
        self._rank_of = list(range(len(self._pool)))  # where an example stands among the chosen, with `order: shared`
        self._of_document: dict[str, list[int]] = {}  # positions by document
        if settings.documents == "own":
            for position, example in enumerate(self._pool):
                self._of_document.setdefault(example.sentence.document, []).append(position)
        if settings.strategy == "knn" and self._k:
            self._fit()
        elif settings.strategy == "static" and self._k:
            self._ranking = _spread_over_types(self._pool, self._reach + _SPARE)

    def identity(self) -> dict[str, Any]:
        """What the choice depends on, as JSON: the settings, and the pool's digest."""
        rows = [[e.sentence.id, tokens_digest(e.sentence.tokens), list(e.labels)] for e in self._pool]
        return {
            "strategy": self._settings.strategy,
            "k": self._k,
            "order": self._settings.order,
            "documents": self._settings.documents,
            "vary": self._settings.vary,
            "seed": self._seed,
            "pool": hashlib.sha256(canonical_json(rows)).hexdigest(),
        }

    def pick(self, sentences: Iterable[Sentence]) -> Iterator[tuple[Sentence, tuple[Example, ...]]]:
        """Each sentence with its demonstrations, in order; streams in batches of 512."""
        return ((sentence, samples[0]) for sentence, samples in self.pick_each(sentences, 1))

    def pick_each(
        self, sentences: Iterable[Sentence], samples: int
    ) -> Iterator[tuple[Sentence, Sequence[tuple[Example, ...]]]]:
        """Each sentence with the demonstrations of each of its samples.

        The first sample's are those of `pick`; what `vary` changes for the others is seeded by the sentence's id.
        """
        iterator = iter(sentences)
        while batch := list(islice(iterator, _BATCH)):
            rankings = self._rank(batch)
            for sentence, ranking in zip(batch, rankings, strict=True):
                usable = self._usable(sentence, ranking)
                yield sentence, [self._shown(usable, sentence, sample) for sample in range(samples)]

    def _rank(self, batch: Sequence[Sentence]) -> Sequence[Iterable[int]]:
        if not self._k:
            return [()] * len(batch)
        if self._settings.strategy == "static":
            return [self._static(sentence) for sentence in batch]
        if self._settings.strategy == "random":
            return [self._shuffled(sentence) for sentence in batch]
        rows = []
        for sentence, scores in zip(batch, self._similarities([s.tokens for s in batch]), strict=True):
            if self._settings.documents == "own":
                same_document = np.asarray(self._of_document.get(sentence.document, ()), dtype=np.int64)
                rows.append([int(same_document[i]) for i in np.argsort(-scores[same_document], kind="stable")])
            else:
                rows.append(_best(scores, self._reach + _SPARE))
        return rows

    def _usable(self, sentence: Sentence, ranking: Iterable[int]) -> list[int]:
        """Positions of what can be shown, best first: `k`, or 2k to draw other samples' from."""
        content = content_digest(sentence)
        fit = (p for p in ranking if self._pool[p].sentence.id != sentence.id and self._contents[p] != content)
        return list(islice(fit, self._reach))

    def _shown(self, usable: Sequence[int], sentence: Sentence, sample: int) -> tuple[Example, ...]:
        chosen, vary = list(usable[: self._k]), self._settings.vary
        dice = np.random.default_rng(_seeded(self._seed, sentence.id, sample)) if sample else None
        if dice is not None and vary == "set":
            chosen = [usable[i] for i in sorted(dice.permutation(len(usable))[: self._k])]
        if dice is not None and vary == "order":
            chosen = [chosen[i] for i in dice.permutation(len(chosen))]
        elif self._settings.order == "shared":
            chosen.sort(key=lambda position: self._rank_of[position])
        else:
            chosen.reverse()
        return tuple(self._pool[position] for position in chosen)

    def _static(self, sentence: Sentence) -> list[int]:
        if self._settings.documents == "any":
            return self._ranking
        same_document = self._of_document.get(sentence.document, [])
        return [
            same_document[i] for i in _spread_over_types([self._pool[p] for p in same_document], self._reach + _SPARE)
        ]

    def _shuffled(self, sentence: Sentence) -> list[int]:
        among = (
            self._of_document.get(sentence.document, [])
            if self._settings.documents == "own"
            else range(len(self._pool))
        )
        size = min(self._reach + _SPARE, len(among))
        order = np.random.default_rng(_seeded(self._seed, sentence.id)).choice(len(among), size, replace=False)
        return [among[int(i)] for i in order]

    def _fit(self) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(analyzer=_features, sublinear_tf=True, dtype=np.float32)
        self._matrix = self._vectorizer.fit_transform([e.sentence.tokens for e in self._pool]).T.tocsr()
        if self._settings.order == "shared":
            self._rank_of = self._by_popularity()

    def _similarities(self, sentences: Sequence[Sequence[str]]) -> np.ndarray:
        """Cosines, sentences × pool."""
        return np.asarray((self._vectorizer.transform(sentences) @ self._matrix).toarray())

    def _by_popularity(self) -> list[int]:
        """The rank of each example by how many others of the pool have it among their nearest: of the pool alone, so
        that a sentence's prompt does not depend on which others are annotated with it."""
        counts = [0] * len(self._pool)
        for start in range(0, len(self._pool), _BATCH):
            rows = range(start, min(start + _BATCH, len(self._pool)))
            for position, scores in zip(
                rows, self._similarities([self._pool[i].sentence.tokens for i in rows]), strict=True
            ):
                scores[position] = -1.0
                for near in _best(scores, self._k)[: self._k]:
                    counts[near] += 1
        ranks = [0] * len(self._pool)
        for rank, position in enumerate(sorted(range(len(self._pool)), key=lambda i: (-counts[i], i))):
            ranks[position] = rank
        return ranks


def _seeded(*parts: object) -> list[int]:
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()
    return list(digest[:16])


def _best(scores: np.ndarray, wanted: int) -> list[int]:
    """The positions of at least the `wanted` highest scores, best first.

    Ties go by position in the pool on every machine, else prompts and so completion keys would differ.
    """
    near = min(wanted, len(scores))
    best = np.flatnonzero(scores >= np.partition(scores, -near)[-near])
    return [int(i) for i in best[np.argsort(-scores[best], kind="stable")]]


def check_pool(settings: DemonstrationSettings, pool: Sequence[Example]) -> None:
    """Raises ConfigError if demonstrations are asked for and there is nothing to choose from."""
    if settings.strategy != "none" and settings.k > 0 and not pool:
        raise ConfigError(
            f"annotate.demonstrations: strategy {settings.strategy} needs labelled sentences. "
            "Give corpus.original.train or annotate.demonstrations.pool, or set strategy: none."
        )


def _features(tokens: Sequence[str]) -> list[str]:
    """Lower-cased words, and the shapes of those that are not plain lower-case words."""
    features = [f"w={token.lower()}" for token in tokens]
    features += [f"s={shape(token)}" for token in tokens if not token.islower()]
    return features


def shape(token: str) -> str:
    """`P-204` → `X-d`: letters, digits and case, with runs folded."""
    classes = re.sub(r"[^\W\d_]", lambda m: "X" if m[0].isupper() else "x", token)
    return re.sub(r"(.)\1+", r"\1", re.sub(r"\d", "d", classes))


def _spread_over_types(pool: Sequence[Example], wanted: int) -> list[int]:
    """Positions, best first: greedily the example that adds the most types not yet shown, short ones first."""
    types = [_types(example) for example in pool]
    order = sorted(range(len(pool)), key=lambda i: (len(pool[i].sentence.tokens), i))
    telling = [i for i in order if len(pool[i].sentence.tokens) >= _TELLING]
    short = [i for i in order if len(pool[i].sentence.tokens) < _TELLING]
    ranking: list[int] = []
    seen: dict[str, int] = {}

    def gain(i: int) -> float:
        return sum(1.0 / (1 + seen.get(type_, 0)) for type_ in types[i])

    for left in (telling, short):
        while left and len(ranking) < wanted:
            best = max(left, key=gain)
            left.remove(best)
            ranking.append(best)
            for type_ in types[best]:
                seen[type_] = seen.get(type_, 0) + 1
    return ranking


def _types(example: Example) -> set[str]:
    """The types of its entities, or its class, which may begin with B-."""
    if len(example.labels) != len(example.sentence.tokens):
        return set(example.labels)
    return {label[2:] if label.startswith(("B-", "I-")) else label for label in example.labels if label != "O"}
