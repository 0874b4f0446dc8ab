"""Lessons whose prompts begin alike, as one sequence: what they share is computed once.

A causal model gives the tokens of a shared beginning the same states in every lesson. So the beginning stands there
once, behind it the rest of each lesson, which sees the beginning and itself alone, at the positions that it would have
by itself. Losses and gradients are those of separate rows, within rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from distill_offline.adapt.lessons import Lesson

if TYPE_CHECKING:
    import torch

__all__ = ["Packed", "pack", "packs", "shared_tokens"]


@dataclass(frozen=True, slots=True)
class Packed:
    """Lessons as one sequence of N tokens.

    `ids` and `positions` are 1 x N, `mask` is 1 x 1 x N x N (what a row's token sees), `asked` the places whose logits
    predict an answer's token, and `targets` those tokens, both over all answers.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    asked: torch.Tensor
    targets: torch.Tensor


def shared_tokens(lessons: Sequence[Lesson]) -> int:
    """How many tokens all prompts begin with; the last token of a prompt, which predicts the answer, is never one."""
    first = lessons[0]
    most = min(lesson.start for lesson in lessons) - 1
    same = takewhile(lambda i: all(lesson.ids[i] == first.ids[i] for lesson in lessons), range(most))
    return sum(1 for _ in same)


def packs(lessons: Sequence[Lesson], batch_tokens: int) -> Iterator[list[Lesson]]:
    """`lessons` by length, in parts that have at most `batch_tokens` tokens when packed (one lesson at least)."""
    ordered = sorted(lessons, key=lambda lesson: len(lesson.ids))
    shared, part, tokens = shared_tokens(ordered) if ordered else 0, list[Lesson](), 0
    for lesson in ordered:
        rest = len(lesson.ids) - shared
        if part and tokens + rest > batch_tokens:
            yield part
            part, tokens = [], 0
        tokens += rest if part else len(lesson.ids)
        part.append(lesson)
    if part:
        yield part


def pack(lessons: Sequence[Lesson]) -> Packed:
    """`lessons` as one sequence."""
    import torch

    shared = shared_tokens(lessons)
    ids, positions = [*lessons[0].ids[:shared]], [*range(shared)]
    owners, asked, targets = [-1] * shared, list[int](), list[int]()
    for number, lesson in enumerate(lessons):
        begin = len(ids) - shared  # of what would be its first token
        ids += lesson.ids[shared:]
        positions += range(shared, len(lesson.ids))
        owners += [number] * (len(lesson.ids) - shared)
        asked += range(begin + lesson.start - 1, begin + len(lesson.ids) - 1)
        targets += lesson.ids[lesson.start :]
    owner = torch.tensor(owners)
    sees = (owner[:, None] == owner) | (owner == -1)
    mask = sees.tril()[None, None]
    return Packed(torch.tensor([ids]), torch.tensor([positions]), mask, torch.tensor(asked), torch.tensor(targets))
