"""What a student learns from a corpus's tokens serves for raw text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from sentences import example as example_of

from distill_offline.corpus.record import join_tokens
from distill_offline.corpus.refine import refined
from distill_offline.corpus.tokenise import token_offsets
from distill_offline.schema import Example, Sentence, Span
from distill_offline.spans.bio import encode_bio
from distill_offline.student.model import Student


def labelled(tokens: str, labels: str, masked: tuple[int, ...] = ()) -> Example:
    words = tuple(tokens.split())
    text, offsets = join_tokens(words)
    return Example(Sentence("d:0", "d", 0, text, words, offsets), tuple(labels.split()), "original", masked=masked)


def test_pieces_of_an_entitys_token_continue_it() -> None:
    coarse = labelled("Jean-Paul of U.N.-led 3.5 Corp. 's", "B-PER O B-MISC O I-ORG O", masked=(2,))
    finer = refined(coarse, token_offsets)
    assert finer.sentence.tokens == ("Jean", "-", "Paul", "of", "U.N.", "-", "led", "3.5", "Corp", ".", "'s")
    assert finer.labels == ("B-PER", "I-PER", "I-PER", "O", *("B-MISC", "I-MISC", "I-MISC"), "O", *("I-ORG",) * 2, "O")
    assert finer.masked == (4, 5, 6)
    assert [finer.sentence.text[a:b] for a, b in finer.sentence.offsets] == list(finer.sentence.tokens)


def test_tokens_that_raw_text_has_too_stay_the_same_example() -> None:
    fine = labelled("Oslo 's U.S. don n't", "B-LOC O B-LOC O O")
    assert refined(fine, token_offsets) is fine


@given(st.lists(st.text("aB.-'é日م", min_size=1, max_size=6), min_size=1, max_size=6), st.data())
def test_entities_keep_their_characters(words: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    labels = encode_bio([Span(first, last + 1, "X")], len(words))
    coarse = replace(labelled(" ".join(words), "O"), labels=labels)
    finer = refined(coarse, token_offsets)
    inside = [number for number, label in enumerate(finer.labels) if label != "O"]
    ends = finer.sentence.offsets[inside[0]][0], finer.sentence.offsets[inside[-1]][1]
    assert ends == (coarse.sentence.offsets[first][0], coarse.sentence.offsets[last][1])
    assert [finer.labels[number][0] for number in inside] == ["B", *"I" * (len(inside) - 1)]
    assert refined(finer, token_offsets).labels == finer.labels


def test_a_student_takes_a_loss_at_every_piece_and_predicts_for_the_tokens_given(encoder: Path) -> None:
    student = Student.create(encoder, ["O", "B-X", "I-X"], "token-classification")
    hyphened = replace(example_of("the a-b"), labels=("O", "B-X"))
    ((window,),) = student.encode([hyphened])
    assert [student.labels[label] for label in window.labels if label >= 0] == ["O", "B-X", "I-X", "I-X"]
    assert len(student.predict([hyphened.sentence])[0]) == 2
