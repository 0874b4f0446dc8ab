"""What of a text can be seen, and the places that two texts share."""

from __future__ import annotations

import sys
import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_offline.text.visible import invisible, same_places, squeezed

Form = Literal["NFC", "NFD"]
FORMS: tuple[Form, ...] = ("NFC", "NFD")
# Format characters that are drawn (Unicode's PropList: Prepended_Concatenation_Mark).
DRAWN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}


def test_blanks_controls_and_format_characters_are_all_unseen_and_no_letter_mark_or_symbol_is() -> None:
    wrong = []
    for code in range(sys.maxunicode + 1):
        kind = unicodedata.category(chr(code))
        unseen = kind in ("Cc", "Cf", "Zs", "Zl", "Zp") and code not in DRAWN
        seen = kind[0] in "LNPS" and code not in (0x115F, 0x1160, 0x3164, 0xFFA0)
        if (unseen and squeezed(chr(code))) or (seen and not squeezed(chr(code))):
            wrong.append(hex(code))
    assert wrong == []


@pytest.mark.parametrize(
    "token", ["\u00a0", "\u00ad", "\u200b", "\ufeff", "\u2060", "\u200d", "\u202f\u3000", "\t", "\ufe0f", "\u0085"]
)
def test_a_token_without_anything_to_see_is_told(token: str) -> None:
    assert invisible(("Anna", token, "Keller")) == {1}
    assert invisible(("Anna", f"x{token}", "Keller")) == frozenset()


def test_a_sentence_and_its_tokens_squeeze_to_the_same() -> None:
    assert squeezed("Anna\u00a0Keller, Au\u00adgen.") == squeezed("Anna Keller , Augen .") == "AnnaKeller,Augen."
    assert squeezed("cafe\u0301") == squeezed("caf\u00e9")
    assert squeezed("Oslo") != squeezed("oslo")


def test_places_lead_through_other_blanks() -> None:
    found = same_places("Anna  May, Oslo", "Anna May , Os\u00adlo")
    assert found is not None
    one, other, count = found
    assert count == 12
    assert one.of(0, 9) == other.of(0, 8) == (0, 7)
    assert one.of(11, 15) == other.of(11, 16) == (8, 12)
    assert one.of(4, 6) == (4, 4)


def test_places_lead_from_composed_letters_to_others() -> None:
    text = "Am\u00e9lie in \u00c5bo, \ud55c\uad6d"
    found = same_places(text, unicodedata.normalize("NFD", text))
    assert found is not None
    one, other, _ = found
    assert one.of(0, 6) == other.of(0, 7) == (0, 6)
    assert one.of(10, 13) == other.of(11, 15)
    assert one.of(15, 17) == other.of(17, 23)
    assert other.of(2, 3) == (2, 3)  # the letter without its accent: the place is taken whole


@pytest.mark.parametrize("pair", [("Oslo", "Olso"), ("Oslo.", "Oslo"), ("\u00e9", "e"), ("a", "")])
def test_other_texts_share_no_places(pair: tuple[str, str]) -> None:
    assert same_places(*pair) is None


_TEXT = st.text(alphabet="ab\u00e9e\u0301\u0327\u1112\u1161\u11ab\ud55c \u00a0\u00ad\u200b")


@given(_TEXT, st.sampled_from(FORMS), st.data())
def test_every_text_shares_its_places_with_its_other_forms(text: str, form: Form, data: st.DataObject) -> None:
    other = "".join(
        part + data.draw(st.sampled_from(["", " ", "\u00ad"]))
        for part in unicodedata.normalize(form, "".join(text.split())).split("a")
    )
    same = "".join(unicodedata.normalize(form, "".join(text.split())).split("a"))
    found = same_places(other, same)
    assert found is not None
    one, another, count = found
    assert one.of(0, len(other)) == another.of(0, len(same)) == (0, count)
    assert list(one.begins) == sorted(one.begins)
