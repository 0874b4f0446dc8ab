"""Tag schemes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.scheme import IOB2, IOBES, Token, Tokens

from distill_offline.schema import Span
from distill_offline.spans.bio import (
    InvalidTags,
    Scheme,
    bridged,
    decode_bio,
    detect_scheme,
    encode_bio,
    repair,
    repair_iob2,
    to_iob2,
)

Pieces = list[tuple[int, str]]
# A sentence as runs: (how many tokens, their type, or "" for tokens outside of every entity).
_PIECES = st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["", "PER", "LOC", "a-b"])), max_size=8)


def _spans(pieces: Pieces) -> tuple[tuple[Span, ...], int]:
    spans, end = [], 0
    for length, type_ in pieces:
        if type_:
            spans.append(Span(end, end + length, type_))
        end += length
    return tuple(spans), end


def _write(spans: tuple[Span, ...], length: int, scheme: Scheme) -> list[str]:
    """The tags of a scheme, written independently of the code under test."""
    tags = ["O"] * length
    ends = {(span.end, span.type) for span in spans}
    for span in spans:
        for position in range(span.start, span.end):
            first, last = position == span.start, position == span.end - 1
            if scheme == "iob1":
                prefix = "B" if first and (span.start, span.type) in ends else "I"
            elif scheme == "iobes":
                prefix = "S" if first and last else "B" if first else "E" if last else "I"
            else:
                prefix = "B" if first else "I"
            tags[position] = f"{prefix}-{span.type}"
    return tags


@given(_PIECES)
def test_decode_undoes_encode_on_every_set_of_spans_without_overlap(pieces: Pieces) -> None:
    spans, length = _spans(pieces)
    assert decode_bio(encode_bio(spans, length)) == spans


@given(_PIECES, st.sampled_from(["iob1", "iob2", "iobes"]))
def test_every_scheme_is_translated_to_the_same_entities(pieces: Pieces, scheme: Scheme) -> None:
    spans, length = _spans(pieces)
    tags = _write(spans, length, scheme)
    assert decode_bio(to_iob2(tags, scheme)) == spans
    assert repair(tags, scheme) == (to_iob2(tags, scheme), ())


@given(_PIECES.filter(lambda pieces: any(type_ for _, type_ in pieces)), st.sampled_from(["iob1", "iob2", "iobes"]))
def test_the_scheme_of_a_valid_file_is_detected(pieces: Pieces, scheme: Scheme) -> None:
    spans, length = _spans(pieces)
    assert detect_scheme([_write(spans, length, scheme)]) == scheme


@given(
    st.lists(st.sampled_from(["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y"])),
    st.sampled_from(["iob1", "iob2", "iobes"]),
)
def test_repaired_tags_are_valid_iob2(tags: list[str], scheme: Scheme) -> None:
    repaired, _ = repair(tags, scheme)
    assert to_iob2(repaired, "iob2") == repaired
    assert len(repaired) == len(tags)


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["I-PER", "I-PER", "B-PER", "O", "I-LOC"], "iob1"),
        (["I-PER", "O", "I-LOC"], "iob1"),
        (["B-PER", "I-PER", "B-PER", "O", "B-LOC"], "iob2"),
        (["B-PER", "O", "I-PER"], "iob2"),
        (["I-PER", "B-LOC"], "iob2"),
        (["B-PER", "E-PER"], "iobes"),
        (["O", "S-PER"], "iobes"),
        (["O", "O"], "iob2"),
        ([], "iob2"),
    ],
)
def test_scheme_follows_the_contract(tags: list[str], scheme: str) -> None:
    assert detect_scheme([tags]) == scheme


def test_a_sentence_border_ends_what_a_tag_may_continue() -> None:
    assert detect_scheme([["B-PER"], ["B-PER"]]) == "iob2"


def test_two_redundant_beginnings_leave_a_large_file_iob1() -> None:
    sentences = [["I-PER", "O"]] * 500
    assert detect_scheme([*sentences, ["O", "B-PER"], ["B-LOC"]]) == "iob1"
    assert detect_scheme([*sentences, *[["B-PER"]] * 10]) == "iob2"


def test_redundant_beginning_is_an_entity_in_iob1() -> None:
    assert to_iob2(["O", "B-PER", "I-PER", "B-PER"], "iob1") == ("O", "B-PER", "I-PER", "B-PER")


@pytest.mark.parametrize(
    ("tags", "scheme", "position"),
    [
        (["O", "I-PER"], "iob2", 1),
        (["B-PER", "I-LOC"], "iob2", 1),
        (["B-PER", "E-PER"], "iob2", 1),
        (["S-PER"], "iob1", 0),
        (["O", "B-PER", "O"], "iobes", 1),
        (["B-PER", "I-PER"], "iobes", 1),
        (["B-PER", "B-PER", "E-PER"], "iobes", 0),
        (["B-PER", "E-PER", "I-PER"], "iobes", 2),
        (["S-PER", "E-PER"], "iobes", 1),
        (["O", "PER"], "iob2", 1),
        (["B-"], "iob2", 0),
        (["o"], "iob1", 0),
    ],
)
def test_invalid_tag_is_named_by_position(tags: list[str], scheme: Scheme, position: int) -> None:
    with pytest.raises(InvalidTags) as caught:
        to_iob2(tags, scheme)
    assert caught.value.position == position


@pytest.mark.parametrize(
    ("tags", "repaired", "stray"),
    [
        (["B-PER", "I-PER", "O"], ("B-PER", "I-PER", "O"), ()),
        (["O", "I-PER", "I-PER", "O"], ("O", "O", "O", "O"), (1,)),
        (["B-PER", "I-LOC", "I-LOC", "B-LOC", "I-LOC"], ("B-PER", "O", "O", "B-LOC", "I-LOC"), (1,)),
        (["I-PER", "I-LOC"], ("O", "O"), (0, 1)),
        (["B-PER", "I-LOC", "I-PER"], ("B-PER", "O", "O"), (1, 2)),
    ],
)
def test_stray_run_is_dropped_and_counted_once(
    tags: list[str], repaired: tuple[str, ...], stray: tuple[int, ...]
) -> None:
    assert repair_iob2(tags) == (repaired, stray)


def test_what_follows_a_closed_iobes_entity_is_stray() -> None:
    assert repair(["B-X", "E-X", "I-X", "E-X", "S-X"], "iobes") == (("B-X", "I-X", "O", "O", "B-X"), (2,))


@pytest.mark.parametrize(
    ("tags", "repaired", "stray"),
    [
        (["B-X", "I-X", "O"], ("O", "O", "O"), (0,)),
        (["O", "B-X", "S-X"], ("O", "O", "B-X"), (1,)),
        (["B-X", "I-X", "E-Y", "B-Y", "E-Y"], ("O", "O", "O", "B-Y", "I-Y"), (0, 2)),
    ],
)
def test_an_iobes_entity_without_its_end_is_stray(
    tags: list[str], repaired: tuple[str, ...], stray: tuple[int, ...]
) -> None:
    assert repair(tags, "iobes") == (repaired, stray)


_ANY_TAG = st.sampled_from(["O", *(f"{prefix}-{type_}" for prefix in "BIES" for type_ in ("X", "Y"))])


@pytest.mark.parametrize(("scheme", "reference"), [("iob2", IOB2), ("iobes", IOBES)])
@given(st.lists(_ANY_TAG, max_size=9))
def test_what_is_left_of_any_tags_are_the_entities_of_seqevals_strict_mode(
    scheme: Scheme, reference: type[Token], tags: list[str]
) -> None:
    known = [tag for tag in tags if scheme == "iobes" or tag[0] in "OBI"]
    strict = {entity.to_tuple()[1:] for entity in Tokens(known, reference).entities}
    assert {(span.type, span.start, span.end) for span in decode_bio(repair(known, scheme)[0])} == strict


def test_one_stray_tag_is_no_evidence_of_iob1_where_two_are_asked_for() -> None:
    assert detect_scheme([["I-PER", "I-PER", "O"]]) == "iob1"
    assert detect_scheme([["I-PER", "I-PER", "O"]], least=2) == "iob2"
    assert detect_scheme([["I-PER", "O", "I-LOC"]], least=2) == "iob1"


@pytest.mark.parametrize("tags", [["B-O"], ["O", "I-O"]])
def test_a_type_called_o_is_refused(tags: list[str]) -> None:
    with pytest.raises(InvalidTags, match="cannot be called O"):
        repair_iob2(tags)


def test_what_is_no_tag_is_not_repaired() -> None:
    with pytest.raises(InvalidTags):
        repair_iob2(["O", "person"])


def test_decode_refuses_a_stray_tag() -> None:
    with pytest.raises(InvalidTags):
        decode_bio(["O", "I-PER"])


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([Span(0, 2, "X"), Span(1, 3, "X")], "overlaps"),
        ([Span(0, 3, "X"), Span(1, 2, "Y")], "overlaps"),
        ([Span(2, 4, "X")], "out of range"),
        ([Span(-1, 1, "X")], "out of range"),
        ([Span(1, 1, "X")], "empty"),
        ([Span(0, 1, "")], "no type"),
    ],
)
def test_spans_that_cannot_be_labels_are_refused(spans: list[Span], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_bio(spans, 3)


@pytest.mark.parametrize(
    ("tags", "unseen", "mended"),
    [
        (["B-P", "O", "I-P"], {1}, ("B-P", "I-P", "I-P")),
        (["B-P", "O", "O", "I-P"], {1, 2}, ("B-P", "I-P", "I-P", "I-P")),
        (["B-P", "O", "E-P"], {1}, ("B-P", "I-P", "E-P")),
        (["B-P", "O", "O", "I-P"], {1}, ("B-P", "O", "O", "I-P")),
        (["B-P", "O", "B-P"], {1}, ("B-P", "O", "B-P")),
        (["B-P", "O", "I-Q"], {1}, ("B-P", "O", "I-Q")),
        (["O", "I-P", "O"], {0, 2}, ("O", "I-P", "O")),
        (["B-P", "B-Q", "I-P"], {1}, ("B-P", "B-Q", "I-P")),
    ],
)
def test_an_entity_goes_on_behind_a_token_that_nobody_sees(
    tags: list[str], unseen: set[int], mended: tuple[str, ...]
) -> None:
    assert bridged(tags, "iobes", unseen) == mended
    assert bridged(tags, "iob1", unseen) == tuple(tags)
