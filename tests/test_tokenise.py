"""Tokens of raw text in every script, and its sentences."""

from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Iterable
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from multilingual import marked_sentences

from distill_offline.corpus.sentences import LONGEST, sentence_offsets
from distill_offline.corpus.spans import on_tokens
from distill_offline.corpus.tokenise import has_tokens, token_offsets
from distill_offline.spans.bio import decode_bio, repair_iob2

HIRONSAN = Path(os.environ.get("HIRONSAN_CORPUS", "absent"))  # iob_sents.txt of the source package hironsancorpus


def tokens(text: str) -> list[str]:
    return [text[start:end] for start, end in token_offsets(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aspirin/ibuprofen 50mg", "aspirin / ibuprofen 50 mg"),
        ("BLD2.LV3 H5N1 CD4+ CO₂", "BLD2 . LV3 H5N1 CD4 + CO ₂"),
        ("Anna—Oslo Oslo–Bergen Oslo…", "Anna — Oslo Oslo – Bergen Oslo …"),
        ("Jean-Paul U.N.-led", "Jean - Paul U.N. - led"),
        ("user@host.org #Oslo @anna C++", "user @ host . org # Oslo @ anna C + +"),
        ("10:30Uhr 3.5% 1,000 aspirin100mg", "10 : 30 Uhr 3.5 % 1,000 aspirin 100 mg"),
        ("Oslo<br>Bergen AT&amp;T", "Oslo <br> Bergen AT &amp; T"),
        ("9th 1990s 7th-grade 5s", "9th 1990s 7th - grade 5 s"),
        ("the U.S. and e.g. Bonn.", "the U.S. and e.g. Bonn ."),
        ("didn't Oslo's it’s", "did n't Oslo 's it ’s"),
        ("McDonald eBay O'Brien", "McDonald eBay O'Brien"),
        ("l'Oréal d’Italia dell'ENI qu'Anna", "l' Oréal d’ Italia dell' ENI qu' Anna"),
        ("İstanbul'da 'Oslo'", "İstanbul ' da ' Oslo '"),
        ("wait.... ---", "wait .... ---"),
        ("鈴木一郎はＮＨＫで", "鈴 木 一 郎 は ＮＨＫ で"),
        ("在iPhone15上", "在 iPhone 15 上"),
        ("ｶﾞﾝは", "ｶﾞ ﾝ は"),
        ("서울에서", "서 울 에 서"),
        ("น้ำในกรุง", "น้ำ ใ น ก รุ ง"),
        ("ខ្មែរ", "ខ្មែ រ"),
        ("नरेंद्र मोदी गए।", "नरेंद्र मोदी गए ।"),
        ("क्‍ष ज़", "क्‍ष ज़"),
        ("வணக்கம் বাংলা।", "வணக்கம் বাংলা ।"),
        ("وأحمد بالقاهرة للأمم ومصر في الله", "و أحمد ب ال قاهرة ل ل أمم و مصر في الله"),
        ("وَالقَاهِرَة", "وَ ال قَاهِرَة"),
        ("می‌خواهم گفتگو", "می‌خواهم گفتگو"),
        ("בתל אביב ושבירושלים", "ב תל אביב ו ש ב ירושלים"),
        ("👨‍👩‍👧Oslo 🇩🇪🇫🇷 1️⃣ 👍🏽", "👨‍👩‍👧 Oslo 🇩🇪 🇫🇷 1️⃣ 👍🏽"),
        ("（東京）「大阪」", "（ 東 京 ） 「 大 阪 」"),
        ("Дем'янюк TNFα", "Дем ' янюк TNF α"),
    ],
)
def test_names_begin_and_end_at_tokens(text: str, expected: str) -> None:
    assert tokens(text) == expected.split(" ")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_stay_with_their_letters_in_either_form(form: str) -> None:
    text = unicodedata.normalize(form, "Zoë Müller l'Été")  # type: ignore[arg-type]
    assert [unicodedata.normalize("NFC", token) for token in tokens(text)] == ["Zoë", "Müller", "l'", "Été"]


def test_what_shows_nothing_is_in_no_token_but_within_a_word() -> None:
    assert tokens("\ufeffAn\u00adna\u00ad \u00ad \u200fOslo\u200f, a\u200bb\u2028\x07c\xa0d\r\ne") == [
        *("An\u00adna", "Oslo", ",", "a", "b", "c", "d", "e")
    ]
    assert not has_tokens("\ufeff\u200b \u00ad\x00\r\n")
    assert has_tokens("\u200b\u0e01")


ODD = (
    "aBzN.?!'’nt-_…\n\r\t \u200b\u00a0([{)]}\"é日ーか\u0301\u200d\u00ad\u200f&;<>/br12,"
    "ال و\u064eبלק्कั\u0e33👍🏽🇩🇪\u17d2ក\ud800"
)


@given(st.text(alphabet=st.sampled_from(ODD) | st.characters(), max_size=40))
def test_every_character_that_shows_is_in_one_token_and_no_cluster_is_parted(text: str) -> None:
    ranges = token_offsets(text)
    assert all(start < end for start, end in ranges)
    assert all(before[1] <= after[0] for before, after in pairwise(ranges))
    covered = {at for start, end in ranges for at in range(start, end)}
    for at in set(range(len(text))) - covered:
        shows_nothing = unicodedata.category(text[at]) in ("Cc", "Cf", "Mn") or "\U000e0000" <= text[at] < "\U000e1000"
        assert text[at].isspace() or shows_nothing, ascii(text[at])
    borders = {border for pair in ranges for border in pair}
    for cluster in regex.finditer(r"\X", text):
        assert (
            not [at for at in borders if cluster.start() < at < cluster.end() and not text[cluster.start()].isspace()]
            or text[cluster.start()] in "\u200b\u200c\u200d"
            or unicodedata.category(text[cluster.start()])[0] == "C"
        )
    assert all(any(not character.isspace() for character in text[start:end]) for start, end in ranges)
    assert has_tokens(text) == bool(ranges)


@given(st.lists(st.text(alphabet=st.sampled_from(ODD) | st.characters(), max_size=12), max_size=5))
def test_tokens_do_not_depend_on_what_stands_beyond_a_blank(parts: list[str]) -> None:
    pieces = [piece for part in parts for piece in part.split()]
    assert tokens(" ".join(pieces)) == [token for piece in pieces for token in tokens(piece)]


@pytest.mark.parametrize(
    "unit", ["a", "n't", "\u0301", "a\u00ad", "क्", "ក្", "l'", "<", "&a", "1.", "aя", "וש", "وب", "U.", "鈴", "👨‍", "' "]
)
def test_time_is_linear_whatever_the_text(unit: str) -> None:
    def seconds(length: int) -> float:
        text, best = unit * (length // len(unit)), 9.0
        for _ in range(3):
            start = time.process_time()
            token_offsets(text)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(16_000) < 20 * seconds(2_000) + 0.02


def sentences(text: str) -> list[str]:
    return [text[offsets[0][0] : offsets[-1][1]] for offsets in sentence_offsets(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rained. Dr. Falk left.\n\nA title\n\nEnd", ["It rained.", "Dr. Falk left.", "A title", "End"]),
        ("一つ目。二つ目！三つ目？", ["一つ目。", "二つ目！", "三つ目？"]),
        ("彼は「行く。」と言った。次。", ["彼は「行く。」と言った。", "次。"]),
        ("「走れ！」鈴木。", ["「走れ！」", "鈴木。"]),
        ("राम आया। सीता गई। कौन?", ["राम आया।", "सीता गई।", "कौन?"]),
        ("أين أحمد؟ ذهب إلى القاهرة.", ["أين أحمد؟", "ذهب إلى القاهرة."]),
        ("你好!我们走。", ["你好!", "我们走。"]),
    ],
)
def test_sentences_end_as_their_language_has_it(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_sentences_have_the_tokens_that_their_text_has_by_itself() -> None:
    text = "He left the U.S. Anna's here.It's l'Oréal.\n\n東京。大阪。 \"Go.\" He went... ok? नमस्ते।चलो"
    for offsets in sentence_offsets(text):
        alone = text[offsets[0][0] : offsets[-1][1]]
        assert tokens(alone) == [text[start:end] for start, end in offsets]
    assert [pair for offsets in sentence_offsets(text) for pair in offsets] == list(token_offsets(text))


def test_text_without_full_stops_is_cut_at_line_ends_or_blanks() -> None:
    thai = "กรุงเทพมหานคร " * 200
    parts = list(sentence_offsets(thai))
    assert max(map(len, parts)) <= LONGEST
    assert [pair for part in parts for pair in part] == list(token_offsets(thai))
    assert all(thai[part[-1][1] : part[-1][1] + 1] in (" ", "") for part in parts)
    lines = sentences(("word " * 290 + "\n") * 3)
    assert [len(line.split()) for line in lines] == [290, 290, 290]
    assert all(len(part) <= LONGEST for part in sentence_offsets("鈴" * 1200))


def lost(text: str, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans that do not come back from tokens as they were."""
    offsets = token_offsets(text)
    places = {span: on_tokens(span, offsets) for span in spans}
    return [span for span, at in places.items() if at is None or (offsets[at[0]][0], offsets[at[1] - 1][1]) != span]


def test_names_in_twenty_languages_come_back_from_tokens_as_they_were() -> None:
    marked = list(marked_sentences())
    assert len({each.language for each in marked}) >= 19
    assert sum(len(each.spans) for each in marked) > 250
    for each in marked:
        assert lost(each.text, [(start, end) for start, end, _ in each.spans]) == [], each.text


def test_entities_of_japanese_text_come_back_from_tokens_as_they_were() -> None:
    if not HIRONSAN.exists():
        pytest.skip("hironsancorpus is not there: set HIRONSAN_CORPUS to its iob_sents.txt")
    gold = missed = 0
    for block in HIRONSAN.read_text("utf-8").split("\n\n"):
        rows = [line.split("\t") for line in block.splitlines() if line]
        borders = list(accumulate((len(row[0]) for row in rows), initial=0))
        spans = [(borders[s.start], borders[s.end]) for s in decode_bio(repair_iob2([row[-1] for row in rows])[0])]
        gold, missed = gold + len(spans), missed + len(lost("".join(row[0] for row in rows), spans))
    assert gold > 1_000
    assert missed / gold < 0.01
