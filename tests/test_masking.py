"""Masks and the order of text: whole words, the share asked for, never special subwords, by seed and update."""

from __future__ import annotations

import numpy as np
import pytest

from distill_offline.pretrain.masking import SPECIAL, Order, Windows, hide

MASK, FIRST_WORD = 4, 10


def made(sentences: int, seed: int = 0) -> Windows:
    """Windows of words of one to three subwords, between two special ones; ids from 10 on are words'."""
    random = np.random.default_rng(seed)
    ids, words, starts = list[int](), list[int](), [0]
    for _ in range(sentences):
        ids.append(2)
        words.append(SPECIAL)
        for word in range(int(random.integers(3, 12))):
            pieces = int(random.integers(1, 4))
            ids += random.integers(FIRST_WORD, 200, pieces).tolist()
            words += [word] * pieces
        ids.append(3)
        words.append(SPECIAL)
        starts.append(len(ids))
    return Windows(np.array(ids, np.int32), np.array(words, np.int32), np.array(starts, np.int64))


OTHERS = np.arange(FIRST_WORD, 200, dtype=np.int32)


def test_hidden_are_whole_words_and_never_special_subwords() -> None:
    windows = made(200)
    hidden = hide(windows, 0.15, MASK, OTHERS, 7, 0)
    assert not hidden.wanted[windows.words == SPECIAL].any()
    assert (hidden.ids[windows.words == SPECIAL] == windows.ids[windows.words == SPECIAL]).all()
    for number in range(len(windows)):
        place = slice(windows.starts[number], windows.starts[number + 1])
        for word in set(windows.words[place]) - {SPECIAL}:
            of_word = hidden.wanted[place][windows.words[place] == word]
            assert of_word.all() or not of_word.any()
    assert (hidden.ids == windows.ids)[~hidden.wanted].all()


def test_shares_are_those_asked_for() -> None:
    windows = made(3000)
    hidden = hide(windows, 0.15, MASK, OTHERS, 7, 0)
    in_words = windows.words != SPECIAL
    assert hidden.wanted.sum() / in_words.sum() == pytest.approx(0.15, abs=0.001)
    wanted, before = hidden.ids[hidden.wanted], windows.ids[hidden.wanted]
    assert (wanted == MASK).mean() == pytest.approx(0.8, abs=0.02)
    assert (wanted == before).mean() == pytest.approx(0.1, abs=0.02)
    others = wanted[(wanted != MASK) & (wanted != before)]
    assert (others >= FIRST_WORD).all()
    assert len(set(others.tolist())) > 100


def test_a_hidden_word_has_one_fate() -> None:
    windows = made(500)
    hidden = hide(windows, 0.15, MASK, OTHERS, 7, 0)
    begins = np.flatnonzero(hidden.wanted & (np.concatenate([[SPECIAL], windows.words[:-1]]) != windows.words))
    for start in begins:
        end = start + 1
        while windows.words[end] == windows.words[start]:
            end += 1
        is_mask = hidden.ids[start:end] == MASK
        assert is_mask.all() or not is_mask.any()


def test_masks_follow_from_seed_and_update_alone() -> None:
    windows = made(50)
    one, again, later, other = (
        hide(windows, 0.15, MASK, OTHERS, seed, update) for seed, update in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    assert (one.ids == again.ids).all()
    assert (one.wanted == again.wanted).all()
    assert (one.wanted != later.wanted).any()
    assert (one.wanted != other.wanted).any()


def test_text_of_one_word_hides_it_and_text_of_none_hides_nothing() -> None:
    starts = np.array([0, 3], np.int64)
    alone = Windows(np.array([2, 11, 3], np.int32), np.array([SPECIAL, 0, SPECIAL], np.int32), starts)
    assert hide(alone, 0.15, MASK, OTHERS, 0, 0).wanted.tolist() == [False, True, False]
    nothing = Windows(np.array([2, 1, 3], np.int32), np.full(3, SPECIAL, np.int32), starts)
    assert not hide(nothing, 0.15, MASK, OTHERS, 0, 0).wanted.any()


def test_words_of_two_windows_are_two_words() -> None:
    windows = Windows(np.array([11, 12], np.int32), np.array([0, 0], np.int32), np.array([0, 1, 2], np.int64))
    assert hide(windows, 0.5, MASK, OTHERS, 0, 0).wanted.sum() == 1


def test_updates_per_pass_has_all_windows_once_in_parts_of_like_size() -> None:
    windows = made(300)
    order = Order(windows.lengths, 200, 3, None, 5)
    parts = list(order.parts())
    assert len(parts) == len(order) == 3 * order.updates_per_pass
    passes = [np.concatenate(parts[n * order.updates_per_pass : (n + 1) * order.updates_per_pass]) for n in range(3)]
    assert all(sorted(one.tolist()) == list(range(300)) for one in passes)
    assert passes[0].tolist() != passes[1].tolist()
    sizes = [int(windows.lengths[part].sum()) for part in parts]
    assert min(sizes) > 100
    assert max(sizes) < 300


def test_order_goes_on_where_it_stopped() -> None:
    order = Order(made(100).lengths, 200, 3, 40, 5)
    whole = [part.tolist() for part in order.parts()]
    assert len(whole) == 40
    for done in (1, order.updates_per_pass - 1, order.updates_per_pass, 39, 40):
        assert [part.tolist() for part in order.parts(done)] == whole[done:]


def test_no_part_is_empty_where_windows_are_longer_than_a_part() -> None:
    order = Order(np.array([500, 3, 3, 3, 3, 400, 3], np.int64), 16, 2, None, 0)
    assert all(len(part) for part in order.parts())


def test_chosen_windows_come_out_as_they_are() -> None:
    windows = made(20)
    only = windows.only(np.array([7, 3], np.int64))
    assert len(only) == 2
    for new, old in enumerate((7, 3)):
        for mine, theirs in ((only.ids, windows.ids), (only.words, windows.words)):
            assert (
                mine[only.starts[new] : only.starts[new + 1]].tolist()
                == theirs[windows.starts[old] : windows.starts[old + 1]].tolist()
            )
