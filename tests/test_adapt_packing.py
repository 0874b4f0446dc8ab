"""Prompts that begin alike are computed once: the same losses and gradients as in rows of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from model_fixtures import tiny_llama

from distill_offline.adapt.lessons import Lesson
from distill_offline.adapt.model import Base
from distill_offline.adapt.packing import is_worth_it, pack, packs, row_to_check, shared_tokens
from distill_offline.config.settings import AdaptSettings

BEGINNING = (7, 8, 9, 10, 11)
LESSONS = [
    Lesson((*BEGINNING, 20, 21, 40, 41, 42), 7),
    Lesson((*BEGINNING, 22, 43), 6),
    Lesson((*BEGINNING, 23, 24, 25, 26, 44, 45), 9),
]


def test_a_packed_lesson_sees_the_beginning_and_itself() -> None:
    packed = pack(LESSONS[:2])
    assert packed.ids.tolist() == [[*BEGINNING, 20, 21, 40, 41, 42, 22, 43]]
    assert packed.positions.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 5, 6]]
    assert packed.mask.shape == (1, 1, 12, 12)
    seen = [[place for place, sees in enumerate(row) if sees] for row in packed.mask[0, 0].tolist()]
    assert seen[4] == [0, 1, 2, 3, 4]
    assert seen[9] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert seen[11] == [0, 1, 2, 3, 4, 10, 11]
    # What stands before an answer's token predicts it.
    assert packed.asked.tolist() == [6, 7, 8, 10]
    assert packed.targets.tolist() == [40, 41, 42, 43]


@pytest.mark.parametrize(
    ("lessons", "count"),
    [
        (LESSONS, 5),
        ([Lesson((1, 2, 3, 4), 3), Lesson((9, 2, 3, 4), 3)], 0),
        # The last token of a prompt is each lesson's own: it predicts the answer.
        ([Lesson((1, 2, 3, 4), 3), Lesson((1, 2, 3, 5, 6), 3)], 2),
        ([Lesson((1, 2, 3, 4), 3)], 2),
    ],
)
def test_what_is_shared(lessons: Sequence[Lesson], count: int) -> None:
    assert shared_tokens(lessons) == count


def test_parts_keep_to_their_tokens_and_lose_no_lesson() -> None:
    parts = list(packs(LESSONS, 12))
    assert [[len(lesson.ids) for lesson in part] for part in parts] == [[7, 10], [11]]
    assert all(pack(part).ids.shape[1] <= 12 for part in parts)
    assert [len(part) for part in packs(LESSONS, 1)] == [1, 1, 1]  # one at least
    assert list(packs([], 9)) == []


def base_of(
    folder: Path, kind: str, targets: tuple[str, ...] = (), *, gradient_checkpointing: bool = False, **config: Any
) -> Base:
    """A random model of this architecture, with the tokenizer of the tiny Llama."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tiny_llama(folder)
    torch.manual_seed(3)
    sizes = {
        "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.5,
        "pad_token_id": None,
    }  # fmt: skip
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(sizes | config))).save_pretrained(folder)
    settings = AdaptSettings(rank=2, dropout=0.0, targets=targets, gradient_checkpointing=gradient_checkpointing)
    return Base(folder, settings)


def learnt(base: Base, *, packed: bool) -> tuple[float, list[Any]]:
    """The loss of all lessons, and its gradient of each of the adapter's matrices."""
    import torch

    base._packs = packed
    loss = base.loss(LESSONS, torch.device("cpu"))
    return float(loss.detach()), list(torch.autograd.grad(loss, list(base.learning.values())))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gpt_neox"])
def test_losses_and_gradients_are_those_of_rows(kind: str, tmp_path: Path) -> None:
    import torch

    config: dict[str, Any] = {"head_dim": 8} if kind == "qwen3" else {}
    base = base_of(tmp_path, kind, **config)
    for each in base.learning.values():  # a fresh adapter adds nothing, and half of its gradients are zero
        torch.nn.init.normal_(each, std=0.2)
    base.pack_if_same(LESSONS, 99, torch.device("cpu"))
    assert base._packs
    base.model.train()
    loss, gradients = learnt(base, packed=True)
    expected, of_rows = learnt(base, packed=False)
    assert loss == pytest.approx(expected, rel=1e-4)
    assert len(gradients) == len(of_rows) > 0
    for got, wanted in zip(gradients, of_rows, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("mistral", {"sliding_window": 10, "head_dim": 8, "initializer_range": 0.02}),  # the longest lesson has 11
        ("mamba", {"num_hidden_layers": 1, "state_size": 4, "targets": ("in_proj",)}),  # a state runs through
        ("lfm2", {"layer_types": ["conv", "full_attention"], "num_hidden_layers": 2}),  # the last few tokens do
        ("falcon", {"alibi": True, "targets": ("query_key_value",)}),  # how far off a token is, its place says
        ("bloom", {"targets": ("query_key_value",)}),
        ("llama", {"attention_dropout": 0.1}),  # would keep the attention of a whole row, squared
        ("llama", {"attn_implementation": "eager"}),  # takes another kind of mask
    ],
)
def test_a_model_that_would_see_something_else_gets_rows(kind: str, config: dict[str, Any], tmp_path: Path) -> None:
    import torch

    base = base_of(tmp_path, kind, **{key: value for key, value in config.items() if key != "attn_implementation"})
    if "attn_implementation" in config:
        base.backend.model.config._attn_implementation = "eager"
    base.pack_if_same(LESSONS, 99, torch.device("cpu"))
    assert not base._packs
    loss, _ = learnt(base, packed=base._packs)
    assert loss > 0


def test_a_window_that_no_lesson_fills_is_no_window(tmp_path: Path) -> None:
    """Rows that hold several lessons are longer; the mask says what is seen."""
    import torch

    base = base_of(tmp_path, "mistral", sliding_window=11, head_dim=8)
    base.pack_if_same(LESSONS, 99, torch.device("cpu"))
    assert base._packs
    assert learnt(base, packed=True)[0] == pytest.approx(learnt(base, packed=False)[0], rel=1e-4)


class _PlacesFromTheRow:
    """Makes a model take a token's place in the row for its position, as those do that do not know `position_ids`."""

    def __init__(self, forward: Any) -> None:
        self._forward = forward

    def __call__(self, *args: Any, position_ids: Any = None, **more: Any) -> Any:
        return self._forward(*args, **more)


def test_what_the_build_does_not_tell_the_logits_do(tmp_path: Path) -> None:
    import torch

    base = base_of(tmp_path, "llama")
    inner = base.backend.model.base_model.model.model
    inner.forward = _PlacesFromTheRow(inner.forward)
    base.pack_if_same(LESSONS, 99, torch.device("cpu"))
    assert not base._packs


def test_the_row_that_is_tried_is_as_full_as_any() -> None:
    assert row_to_check(LESSONS, 99) == [LESSONS[1], LESSONS[0], LESSONS[2]]
    assert row_to_check(LESSONS, 13) == [LESSONS[1], LESSONS[2]]
    assert row_to_check(LESSONS, 1) == [LESSONS[1], LESSONS[2]]  # two at least
    same = [Lesson((*BEGINNING, number, 9), 6) for number in range(3)]
    assert row_to_check(same, 99) == same


@pytest.mark.parametrize("own", [30, 40])
def test_a_short_beginning_is_not_worth_a_long_row(own: int) -> None:
    lessons = [Lesson((*BEGINNING, *[20 + number] * own), own) for number in range(3)]
    assert is_worth_it(lessons) is (own == 30)


def test_whether_to_pack_does_not_hang_on_what_the_adapter_has_learnt(tmp_path: Path) -> None:
    """A run that goes on from a checkpoint decides as it did at first, and its parts are the same."""
    import torch

    base = base_of(tmp_path, "llama")
    for each in base.learning.values():
        torch.nn.init.constant_(each, float("nan"))
    before, state = set(base.learning), torch.get_rng_state()
    base.pack_if_same(LESSONS, 99, torch.device("cpu"))
    assert base._packs
    assert set(base.learning) == before  # all of them still learn
    assert torch.equal(torch.get_rng_state(), state)


def test_where_memory_does_not_suffice_it_is_said_and_nothing_is_decided(tmp_path: Path) -> None:
    import torch

    base = base_of(tmp_path, "llama")

    def fail(*arguments: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    base._logits_packed = fail  # type: ignore[assignment, method-assign]
    with pytest.raises(RuntimeError, match="allocate"):
        base.pack_if_same(LESSONS, 99, torch.device("cpu"))


def test_a_packed_row_has_a_limit_whatever_fits_into_memory(tmp_path: Path) -> None:
    """A mask has the row's length squared, and all of dev is one update's worth."""
    base = base_of(tmp_path, "llama")
    base._packs, base._most_packed = True, 12
    assert [[len(lesson.ids) for lesson in part] for part in base.parts(LESSONS, 10**9, 0)] == [[7, 10], [11]]


def test_layers_share_one_mask(tmp_path: Path) -> None:
    """What is kept for gradients has the row's length squared once, and not once for each layer."""
    import torch

    base, sizes = base_of(tmp_path, "llama"), set[int]()
    base._packs = True
    base.model.train()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape[-2:] == (18, 18):
            sizes.add(tensor.untyped_storage().data_ptr())
        return tensor

    assert pack(LESSONS).ids.shape == (1, 18)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = base.loss(LESSONS, torch.device("cpu"))
    assert float(loss.detach()) > 0
    assert len(sizes) == 1


@pytest.mark.parametrize("checkpointing", [False, True])
def test_equal_lessons_and_answers_of_one_token(checkpointing: bool, tmp_path: Path) -> None:
    import torch

    base = base_of(tmp_path, "llama", gradient_checkpointing=checkpointing)
    lessons = [Lesson((*BEGINNING, 20, 40), 6)] * 2 + [Lesson((*BEGINNING, 21, 40), 6)]
    base.pack_if_same(lessons, 99, torch.device("cpu"))
    assert base._packs
    base.model.train()
    results = []
    for base._packs in (True, False):
        loss = base.loss(lessons, torch.device("cpu"))
        results.append([loss.detach(), *torch.autograd.grad(loss, list(base.learning.values()))])
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))


def test_one_lesson_is_not_packed(tmp_path: Path) -> None:
    import torch

    base = base_of(tmp_path, "llama")
    base.pack_if_same(LESSONS[:1], 99, torch.device("cpu"))
    assert not base._packs
