"""What a kind of labels must say: how they are checked, read, voted on, learnt, decided, compared and counted."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from distill_offline.schema import Annotation, Example, Head, Span

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from distill_offline.label_kinds.decoding import Scored
    from distill_offline.label_kinds.losses import LossRule

__all__ = ["Agreed", "Judged", "LabelKind", "Labels", "Shape", "Tells"]

Labels = Sequence[str]
Tells = Literal["yes", "maybe", "no"]


@dataclass(frozen=True, slots=True)
class Agreed:
    """Labels and the spans that they make; `strays` are the positions of tags that made none, and are O now."""

    labels: tuple[str, ...]
    spans: tuple[Span, ...]
    strays: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """What a row of a labelled file looks like: its `labels` (or `label`), and the number of its `tokens`, if any.

    `are_tags`: every one of its labels could be a tag.
    """

    labels: str | Sequence[Any] | None
    tokens: int | None
    are_tags: bool
    has_spans: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """What a student that never saw the labels of a text makes of them: the probability of each span, and of an entity
    that they lack; or of the text's classes. `no_entity` is for each span the probability that nothing of it belongs to
    any entity. `said` are the entities that it finds itself, each with its probability.
    """

    spans: tuple[float, ...] = ()
    no_entity: tuple[float, ...] = ()
    said: tuple[Span, ...] = ()
    missed: float | None = None
    confidence: float | None = None


class LabelKind(Protocol):
    """Labels are a tuple of strings, whatever their kind; `kind_of(head)` gives the one of that name.

    `per_token`: there is one for each token, so that running text is cut into sentences, and spans say more of them;
    else they are of a whole text. `what` they say, and which `fields` of a row hold them, are words for messages.
    `metric` is the one that measures them where no task is at hand, and `average` what its overall scores are. `model`
    is the class of transformers with such a head, `problem_type` what its configuration says besides.
    """

    head: Head
    per_token: bool
    what: str
    fields: str
    metric: str
    average: Literal["micro", "macro"]
    model: str
    problem_type: str | None

    def tells(self, shape: Shape) -> Tells:
        """Whether a row's labels are of this kind."""
        ...

    def read(self, fields: Mapping[str, Any], tokens: int) -> tuple[str, ...] | None:
        """The labels of a row without nulls; None if it has none. Raises ValueError for what is none."""
        ...

    def written(self, labels: tuple[str, ...]) -> Mapping[str, Any]:
        """The fields of a row that `read` reads them from, where rows hold no tokens."""
        ...

    def agreed(self, tokens: Labels, labels: tuple[str, ...], spans: Sequence[Span] | None) -> Agreed:
        """The labels of a sentence and the spans that are listed beside them, which must say the same.

        Without a list the spans are those of the labels. Raises ValueError if labels or spans are none of this kind,
        or too many or too few, or if the two contradict each other.
        """
        ...

    def problem(self, labels: Labels, tokens: int) -> str:
        """What is wrong with labels that a task gives for a sentence of so many tokens; empty if nothing."""
        ...

    def names(self, labels: Labels) -> Iterable[tuple[int, str]]:
        """The types or classes that they name, each with its position."""
        ...

    def problem_of_head(self, labels: Labels) -> str:
        """What is wrong with the labels of a model's head, all that it can give; empty if nothing."""
        ...

    def unanswered(self, length: int) -> tuple[str, ...]:
        """What stands for a sentence without an answer: nothing is found there. `length` is that of gold's labels."""
        ...

    def places(self, labels: Labels) -> Mapping[Hashable, str]:
        """What is said, of which place: the type of each entity, or classes."""
        ...

    def sides(self, example: Example, gold: Labels, predicted: Labels) -> tuple[Labels, Labels]:
        """Gold labels and those given for an example, as they are to be scored."""
        ...

    def vote(self, samples: Sequence[Annotation], of: int) -> Annotation:
        """What several answers to one sentence say together; `of` is how many were asked for, unusable ones too."""
        ...

    def targets(
        self, labels: Labels, index: Mapping[str, int], words: Sequence[int | None], masked: Sequence[int]
    ) -> tuple[int, ...]:
        """What a student is to learn in a window with those words: numbers, -100 where no loss is taken.

        `index` has the number of each label. Raises KeyError for a label that has none.
        """
        ...

    def outside(self, labels: Labels) -> int | None:
        """The number of the label that says "nothing here", which is never masked as a likely error."""
        ...

    def losses(
        self, logits: torch.Tensor, targets: torch.Tensor, distilled: torch.Tensor, rule: LossRule
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of each target, and whether it was masked as a likely error; both of the targets' shape.

        `logits` are those of windows, `targets` the padded ones of `targets`, `distilled` says which windows are of
        distilled examples.
        """
        ...

    def scores(self, logits: torch.Tensor) -> NDArray[np.float32]:
        """The head's logits as decode, shares and what follows want them."""
        ...

    def decide(self, scored: Sequence[Scored], names: Labels) -> list[tuple[str, ...]]:
        """The labels of each sentence."""
        ...

    def shares(self, scored: Sequence[Scored], names: Labels) -> list[NDArray[np.float32]]:
        """Probabilities for each sentence: a row for each of its decisions, which sums to 1."""
        ...

    def judged(
        self, scored: Sequence[Scored], names: Labels, labelled: Sequence[tuple[tuple[str, ...], Sequence[Span]]]
    ) -> list[Judged]:
        """What the student makes of somebody else's labels and spans, for each sentence."""
        ...

    def confidences(
        self, scored: Sequence[Scored], names: Labels, predicted: Sequence[Labels], gold: Sequence[Labels]
    ) -> list[tuple[float, bool]]:
        """How sure the student is of each thing that it says (`predicted`), and whether gold says it, too."""
        ...
