"""Gold for distilled sentences: found by their tokens, since ids differ between files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from distill_offline.errors import ConfigError
from distill_offline.schema import Example, tokens_digest

__all__ = ["Matched", "Truth"]


@dataclass(frozen=True, slots=True)
class Matched:
    """Distilled examples, and gold labels for each. `unmatched` are in the reference not at all; of the `ambiguous` it
    has several copies, which are labelled differently."""

    examples: tuple[Example, ...]
    gold: tuple[tuple[str, ...], ...]
    unmatched: int
    ambiguous: int


@dataclass(slots=True)
class Truth:
    """The labels of a reference, by sentence."""

    _by_id: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    _by_content: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)

    @classmethod
    def of(cls, reference: Iterable[Example]) -> Truth:
        truth = cls()
        for example in reference:
            content = tokens_digest(example.sentence.tokens)
            truth._by_id[example.sentence.id] = content, example.labels
            truth._by_content.setdefault(content, set()).add(example.labels)
        return truth

    def match(self, pool: Sequence[Example]) -> Matched:
        """The examples of `pool` that have gold here, in order: the sentence of that id where its tokens are the same,
        else one with the same tokens.

        Raises ConfigError if there are examples, and none of them has.
        """
        examples, gold = list[Example](), list[tuple[str, ...]]()
        unmatched = ambiguous = 0
        for example in pool:
            content = tokens_digest(example.sentence.tokens)
            same_id = self._by_id.get(example.sentence.id)
            candidates = {same_id[1]} if same_id and same_id[0] == content else self._by_content.get(content, set())
            if len(candidates) == 1:
                examples.append(example)
                gold.append(next(iter(candidates)))
            unmatched += not candidates
            ambiguous += len(candidates) > 1
        if pool and not examples:
            raise ConfigError(
                f"study.examine.reference: it has gold for none of the {len(pool)} distilled sentences. It must hold "
                "sentences of the distilled pool, in the very same tokens; the order and the ids may differ."
            )
        return Matched(tuple(examples), tuple(gold), unmatched, ambiguous)
