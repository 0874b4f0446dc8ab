"""Two readings of one sentence, side by side."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentences import sentence

from distill_offline.schema import Sentence, Span
from distill_offline.scoring.comparison import Compared, LabelledSentence, compare
from distill_offline.scoring.metrics import score
from distill_offline.spans.bio import decode_bio, encode_bio


def raw(text: str, *tokens: str) -> Sentence:
    """A sentence of `tokens` found in `text`, in order."""
    offsets, end = [], 0
    for token in tokens:
        start = text.index(token, end)
        end = start + len(token)
        offsets.append((start, end))
    return Sentence("s", "d", 0, text, tokens, tuple(offsets))


def tags(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def entities(compared: Compared | None) -> tuple[set[tuple[int, int, str]], set[tuple[int, int, str]]]:
    assert compared is not None
    true, found = ({(span.start, span.end, span.type) for span in side} for side in (compared.true, compared.predicted))
    assert [true, found] == [{(s.start, s.end, s.type) for s in decode_bio(side)} for side in compared.labels]
    return true, found


def is_right(gold: Sentence, labels: str, other: Sentence, given_labels: str) -> bool:
    true, found = entities(compare(gold, tags(labels), LabelledSentence(other, tags(given_labels))))
    return true == found


NBSP, SOFT, ZWSP = "\u00a0", "\u00ad", "\u200b"


@pytest.mark.parametrize("unseen", [NBSP, SOFT, ZWSP, "\ufeff"])
def test_a_token_without_anything_to_see_decides_nothing_at_an_entitys_edge(unseen: str) -> None:
    words = sentence(f"Anna {unseen} Keller {unseen} lives", "s")
    for given_labels in ("B-P I-P I-P I-P O", "B-P I-P I-P O O"):
        assert is_right(words, "B-P I-P I-P O O", words, given_labels)
    for given_labels in ("B-P O O O O", "B-P O B-P O O", "B-P I-P I-P I-P I-P", "B-Q I-Q I-Q O O"):
        assert not is_right(words, "B-P I-P I-P O O", words, given_labels)


def test_an_entity_of_nothing_to_see_still_counts() -> None:
    words = sentence(f"a {SOFT} b", "s")
    assert is_right(words, "O B-P O", words, "O B-P O")
    assert entities(compare(words, tags("O B-P O"), LabelledSentence(words, tags("O O O"))))[0] == {(1, 2, "P")}
    cut = raw(f"a{SOFT}b", "a", "b")
    true, found = entities(compare(words, tags("O B-P O"), LabelledSentence(cut, tags("O O"))))
    assert (len(true), len(found)) == (1, 0)


def test_the_same_characters_are_right_whatever_the_tokens() -> None:
    gold = sentence("took aspirin / ibuprofen .", "s")
    other = raw("took aspirin/ibuprofen.", "took", "aspirin/ibuprofen", ".")
    assert is_right(gold, "O B-D I-D I-D O", other, "O B-D O")
    assert not is_right(gold, "O B-D O B-D O", other, "O B-D O")
    compared = compare(gold, tags("O B-D O B-D O"), LabelledSentence(other, tags("O B-D O")))
    assert compared is not None
    assert compared.by_characters
    wanted, found = compared.labels
    assert score("entity_f1", [wanted], [found], on="").errors["wrong_boundary"] == 1


def test_composed_and_decomposed_letters_are_the_same() -> None:
    text = "Ame\u0301lie C\u0327elik kam"
    gold, other = sentence(unicodedata.normalize("NFC", text), "s"), raw(text, "Ame\u0301lie", "C\u0327elik", "kam")
    assert is_right(gold, "B-P I-P O", other, "B-P I-P O")
    cut = raw(text, "Ame", "\u0301lie C\u0327", "elik", "kam")
    assert is_right(gold, "B-P I-P O", cut, "B-P I-P I-P O")


def test_other_texts_are_not_compared() -> None:
    assert compare(sentence("a b"), tags("O O"), LabelledSentence(sentence("a c"), tags("O O"))) is None
    assert compare(sentence("a b"), tags("O O"), LabelledSentence(sentence("a b c"), tags("O O O"))) is None


def test_entities_that_no_token_holds_are_missed_unless_the_other_tokens_hold_them() -> None:
    gold, lost = raw("x BLD2.LV3 y", "x", "BLD2.LV3", "y"), [Span(2, 6, "B")]
    true, found = entities(compare(gold, tags("O O O"), LabelledSentence(gold, tags("O B-B O")), lost))
    assert (len(true), len(found), true & found) == (1, 1, set())
    cut = raw("x BLD2.LV3 y", "x", "BLD2", ".LV3", "y")
    true, found = entities(compare(gold, tags("O O O"), LabelledSentence(cut, tags("O B-B O O")), lost))
    assert true == found == {(1, 5, "B")}


def test_masked_tokens_count_for_neither_side_by_tokens_or_by_characters() -> None:
    gold, labels = sentence("Noor met Marta", "s"), tags("B-P O B-P")
    for other, given_labels in ((gold, "B-P O O"), (raw("Noor metMarta", "Noor", "met", "Marta"), "B-P O O")):
        compared = compare(gold, labels, LabelledSentence(other, tags(given_labels), masked=(2,)))
        assert entities(compared) == ({(0, 1, "P")},) * 2 if other is gold else ({(0, 4, "P")},) * 2
        assert compared is not None
        assert compared.masked == 1


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["", "P", "-x"])), min_size=1, max_size=6), st.data())
def test_any_finer_cut_of_a_text_holds_the_same_entities(pieces: list[tuple[int, str]], data: st.DataObject) -> None:
    spans, length = [], 0
    for size, type_ in pieces:
        spans += [Span(length, length + size, type_)] if type_ else []
        length += size
    words = sentence(" ".join(f"w{n}" for n in range(length)), "s")
    cut, taken, label = [], [], encode_bio(spans, length)
    for word, tag in zip(words.tokens, label, strict=True):
        parts = list(word) if data.draw(st.booleans()) else [word]
        cut += parts
        taken += [tag, *([f"I{tag[1:]}" if tag != "O" else "O"] * (len(parts) - 1))]
    other = raw(words.text.replace(" ", data.draw(st.sampled_from(["", "  ", NBSP]))), *cut)
    true, found = entities(compare(words, label, LabelledSentence(other, tuple(taken))))
    assert true == found
    assert len(true) == len(spans)
