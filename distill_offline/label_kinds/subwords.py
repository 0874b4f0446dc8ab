"""From the tags of words to those of subwords, and back; pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["IGNORED", "labels_of_seen", "labels_of_words", "spread_to_subwords"]

IGNORED = -100  # the label index that torch's cross-entropy leaves out


def spread_to_subwords(
    labels: Sequence[int], words: Sequence[int | None], owned: Sequence[bool] | None = None
) -> list[int]:
    """One label index a subword: a word's first subword carries its label, the rest carry -100.

    `words[i]` is the word that subword i belongs to (None for special subwords), as fast tokenizers' `word_ids()`
    give it. Where windows overlap, `owned[i]` is False for subwords whose word another window labels.
    """
    spread, last = [], None
    for position, word in enumerate(words):
        first = word is not None and word != last
        spread.append(labels[word] if first and word is not None and (owned is None or owned[position]) else IGNORED)
        last = word
    return spread


def labels_of_words(tags: Sequence[str | None]) -> tuple[str, ...]:
    """Valid IOB2 from a model's free choice of tags: an I- tag that continues nothing of its type begins an entity.

    None stands for a token of which the model sees nothing (no subword: control and zero-width characters). It takes
    its neighbours' entity if the next token that is seen continues the one before, and is O elsewhere: at the borders
    of an entity, too.
    """
    valid: list[str] = []
    previous, unseen = "O", 0
    for tag in tags:
        if tag is None:
            unseen += 1
            continue
        if tag.startswith("I-") and previous[2:] != tag[2:]:
            tag = f"B-{tag[2:]}"
        valid += [tag if tag.startswith("I-") else "O"] * unseen
        valid.append(tag)
        previous, unseen = tag, 0
    return (*valid, *["O"] * unseen)


def labels_of_seen(tags: Sequence[str], seen: Collection[int]) -> tuple[str, ...]:
    """IOB2 `tags` as a model can learn them that sees only the tokens at the positions `seen`.

    An entity whose first tokens are not seen begins at the first one that is. Tags of tokens that are not seen stay:
    nothing is learned from them.
    """
    learned, begun = list(tags), ""
    for position, tag in enumerate(tags):
        if position not in seen:
            begun = tag[2:] if tag.startswith("B-") else begun if tag.startswith("I-") else ""
            continue
        if begun and tag == f"I-{begun}":
            learned[position] = f"B-{begun}"
        begun = ""
    return tuple(learned)
