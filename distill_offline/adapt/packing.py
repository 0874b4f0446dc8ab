"""Lessons whose prompts begin alike, as one sequence: what they share is computed once.

A causal model gives the tokens of a shared beginning the same states in every lesson. So the beginning stands there
once, behind it the rest of each lesson, which sees the beginning and itself alone, at the positions that it would have
by itself. Losses and gradients are those of separate rows, within rounding.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from distill_offline.adapt.lessons import Lesson

if TYPE_CHECKING:
    import torch

__all__ = ["Packed", "is_worth_it", "pack", "packs", "row_to_check", "sees_all_before", "shared_tokens"]

_WINDOWS = ("sliding_window", "attention_chunk_size", "attention_window_size", "window_size")
_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
_DROPOUTS = ("attention_dropout", "attn_pdrop", "attn_dropout", "attention_probs_dropout_prob")


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


def is_worth_it(lessons: Sequence[Lesson]) -> bool:
    """Whether prompts share an eighth of the lessons' tokens: attention over one long row costs more than over rows."""
    return len(lessons) > 1 and 8 * shared_tokens(lessons) * len(lessons) >= sum(len(each.ids) for each in lessons)


def row_to_check(lessons: Sequence[Lesson], tokens: int) -> list[Lesson]:
    """Lessons for a packed row of about so many tokens: from the shortest on, two at least, the longest at its end."""
    *others, longest = sorted(lessons, key=lambda lesson: len(lesson.ids))
    shared, room, row = shared_tokens(lessons), tokens - len(longest.ids), list[Lesson]()
    for lesson in others:
        room -= len(lesson.ids) - shared
        if row and room < 0:
            break
        row.append(lesson)
    return [*row, longest]


def sees_all_before(model: torch.nn.Module, longest: int) -> bool:
    """Whether a model is built so that tokens of a packed row can be what they are in rows of up to `longest` tokens.

    It is not with a window or chunk that is shorter (a mask that is given takes its place), a convolution or a state
    that runs through the sequence, or places that are not told by `position_ids`. Nor are models with dropout inside
    attention packed: for that, all of the row's weights are kept, squared its length for each layer and head.
    """
    import torch

    whole: Any = model.config
    config = whole.get_text_config()
    windows = [getattr(config, name, None) for name in _WINDOWS]
    return (
        whole._attn_implementation == "sdpa"
        and "position_ids" in inspect.signature(model.forward).parameters
        and all(not isinstance(window, int) or window >= longest for window in windows)
        and set(getattr(config, "layer_types", None) or ()) <= _ATTENTION
        and not any(getattr(config, name, None) for name in _DROPOUTS)
        and not any(isinstance(module, torch.nn.Conv1d) for module in model.modules())
    )


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
