"""Which sentences stand for a corpus: clusters of similar ones, and from each the most typical."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["spread"]

_CLUSTERS = 100
_FEATURES = 2**14
_BATCH = 1024
_PASSES = 5


def spread(texts: Sequence[str], n: int, seed: int) -> list[int]:
    """The positions of `n` texts (all, if there are fewer) that are unlike each other, best first.

    TF-IDF vectors of lower-cased words are put into at most 100 clusters (scikit-learn's MiniBatchKMeans; one a text
    wanted, where fewer are), which then give one text each in turn, the large clusters first and of each the text
    nearest to its centre. Ties go by position. Same texts, n and seed: same choice, on any number of threads. Memory
    and time grow linearly with the texts.
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    n = min(n, len(texts))
    if n <= 0:
        return []
    words = HashingVectorizer(analyzer=_words, n_features=_FEATURES, alternate_sign=False, norm=None, dtype=np.float32)
    vectors = TfidfTransformer(sublinear_tf=True).fit_transform(words.transform(texts))
    clusters = MiniBatchKMeans(
        n_clusters=min(n, _CLUSTERS),
        random_state=seed % 2**32,  # scikit-learn takes no larger one
        batch_size=_BATCH,
        n_init=1,
        max_iter=_PASSES,
        max_no_improvement=None,  # the sum that it would stop by depends on the number of threads
    )
    clusters.fit(vectors)
    parts = [clusters.transform(vectors[at : at + _BATCH]) for at in range(0, len(texts), _BATCH)]
    nearest = np.concatenate([part.argmin(1) for part in parts])
    distance = np.concatenate([part.min(1) for part in parts])
    return _in_turn(nearest.tolist(), distance.tolist())[:n]


def _in_turn(clusters: Sequence[int], distances: Sequence[float]) -> list[int]:
    """All positions: the first of each cluster, then the second of each, and so on."""
    members: dict[int, list[int]] = {}
    for position, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(position)
    order = sorted(members.values(), key=lambda member: (-len(member), member[0]))
    rank = {}
    for number, members_ in enumerate(order):
        for turn, position in enumerate(sorted(members_, key=lambda i: (distances[i], i))):
            rank[position] = (turn, number)
    return sorted(rank, key=rank.__getitem__)


def _words(text: str) -> list[str]:
    # Half characters (lone surrogates), which an answer can smuggle in, cannot be hashed as UTF-8.
    return text.lower().encode("utf-8", "replace").decode().split()
