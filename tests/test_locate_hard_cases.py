"""Mentions and answers of the hard kind: other scripts, odd tokens, long sentences, hostile answers, real corpora."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from sentences import sentence

from distill_offline.config.settings import Source, TaskSettings
from distill_offline.corpus import read_examples
from distill_offline.errors import UnusableAnswer
from distill_offline.schema import Completion, Example
from distill_offline.spans.bio import decode_bio, encode_bio, repair_iob2
from distill_offline.spans.locate import Alignment, locate
from distill_offline.tasks.ner import NER

DATA = Path(__file__).parent.parent / "data"
# iob_sents.txt of the source package hironsancorpus: Japanese, tab-separated, MeCab's columns, then the tag.
HIRONSAN = Path(os.environ.get("HIRONSAN_CORPUS", DATA / "hironsancorpus" / "iob_sents.txt"))


def align(mentions: Sequence[str], tokens: Sequence[str]) -> Alignment:
    alignment = locate([(mention, "X") for mention in mentions], tokens)
    assert len(alignment.spans) + len(alignment.rejected) == len(mentions)
    return alignment


def found(mention: str, tokens: Sequence[str]) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.alignment) for span in align([mention], tokens).spans]


@pytest.mark.parametrize(
    ("mention", "tokens", "kind"),
    [
        ("Zoë", ["Zoe\u0308"], "normalised"),
        ("Zoe\u0308", ["Zoë"], "normalised"),
        ("Zoë", ["Zoe", "\u0308"], "normalised"),  # a tokeniser that cuts before the mark
        ("Việt Nam", ["Vie\u0323\u0302t", "Nam"], "normalised"),
        ("Việt Nam", ["Vie\u0302\u0323t", "Nam"], "normalised"),  # marks in the other order
        ("각하", ["\u1100\u1161", "\u11a8\u1112\u1161"], "normalised"),  # Hangul in letters, cut inside a syllable
        ("ＡＴ＆Ｔ", ["AT", "&", "T"], "normalised"),
        ("ｶﾞｽ", ["ガス"], "normalised"),
        ("東京 大学", ["東京", "大学"], "exact"),
        ("東京大学", ["東", "京", "大", "学"], "exact"),
        ("北京大学", ["北京", "大学"], "exact"),
        ("القاهرة", ["القاهرة"], "exact"),
        ("القاهرة", ["الْقَاهِرَة"], "normalised"),
        ("القاهـــرة", ["القاهرة"], "normalised"),
        ("\u200fالقاهرة\u200f", ["القاهرة"], "normalised"),
        ("ירושלים", ["יְרוּשָׁלַיִם"], "normalised"),
        ("תל אביב", ["תל־אביב"], None),  # a maqaf is a letter's neighbour of its own
        ("👩\u200d🚀", ["👩\u200d🚀"], "exact"),
        ("👩🚀", ["👩\u200d🚀"], "normalised"),
        ("☎️", ["☎"], "normalised"),
        ("👩", ["👩\u200d🚀"], None),  # half of what is one sign
        ("🇩🇪", ["🇩🇪"], "exact"),
        ("👍🏽", ["👍"], None),
        ("New York", ["New\nYork"], "exact"),
        ("New York", ["New", "\n", "York"], "exact"),
        ("Ada\x00Byron", ["Ada\x00Byron"], "exact"),
        ("Ada Byron", ["Ada\x00Byron"], "fuzzy"),
        ("\ud800", ["\ud800"], "exact"),
        ("\ud83d\ude80", ["🚀"], None),  # two halves, as a broken decoder leaves them
    ],
)
def test_a_mention_in_any_script_is_found_or_said_not_to_be(mention: str, tokens: list[str], kind: str | None) -> None:
    padded = ["", *tokens, "\t", "x"]
    assert found(mention, padded) == ([(1, 1 + len(tokens), kind)] if kind else [])


JAPANESE = [
    "山田",
    "花子",
    "さん",
    "は",
    "三月",
    "に",
    "北海道",
    "大学",
    "から",
    "青葉",
    "製作所",
    "へ",
    "移った",
    "。",
]
CHINESE = ["李", "小明", "去年", "在", "南京", "大学", "和", "南京", "市", "长江", "大桥", "工作", "。"]


@pytest.mark.parametrize(
    ("tokens", "mentions", "places"),
    [
        (JAPANESE, ["山田花子", "北海道大学", "青葉製作所"], [(0, 2), (6, 8), (9, 11)]),
        (CHINESE, ["李小明", "南京大学", "南京市", "长江大桥"], [(0, 2), (4, 6), (7, 9), (9, 11)]),
        (list("".join(CHINESE)), ["南京", "南京", "长江大桥"], [(6, 8), (11, 13), (14, 18)]),
    ],
)
def test_text_without_spaces_is_aligned_by_its_words(
    tokens: list[str], mentions: list[str], places: list[tuple[int, int]]
) -> None:
    assert [(span.start, span.end) for span in align(mentions, tokens).spans] == places


def test_a_mention_inside_a_word_of_a_text_without_spaces_is_rejected_as_such() -> None:
    assert [r.reason for r in align(["海道", "北海道大", "花子さ"], JAPANESE).rejected] == ["inside_token"] * 3


def test_one_changed_character_of_a_short_name_without_spaces_is_another_name() -> None:
    assert [r.reason for r in align(["山田花男", "青葉制作所"], JAPANESE).rejected] == ["not_in_text"] * 2


def test_a_mention_across_the_sentences_border_is_not_cut_to_size() -> None:
    alignment = align(["Fort Worth. The mayor", "in the U.S. Fort"], ["Fort", "Worth", "."])
    assert [rejection.reason for rejection in alignment.rejected] == ["not_in_text"] * 2


def test_a_thousand_mentions_in_ten_thousand_tokens_take_no_time() -> None:
    tokens = [
        f"name{n * 7919 % 3000}" if n % 10 else f"Firm{'abcdefghij'[n // 10 % 10] * 3}number" for n in range(10_000)
    ]
    mentions = [" ".join(tokens[n : n + 1 + n % 3]) for n in range(0, 9_000, 10)]
    slips = [f"Firm{letter * 3}nunber" for letter in "abcdefghij"] * 5
    absent = [f"nobody called {n}" for n in range(50)]
    start = time.process_time()
    alignment = align([*mentions, *slips, *absent], tokens)
    assert time.process_time() - start < 1
    kinds = [span.alignment for span in alignment.spans]
    assert (kinds.count("exact"), kinds.count("fuzzy")) == (900, 50)
    assert [rejection.reason for rejection in alignment.rejected] == ["not_in_text"] * 50
    assert [span.start for span in alignment.spans if span.alignment == "exact"] == list(range(0, 9_000, 10))


@pytest.mark.parametrize(
    ("mentions", "tokens"),
    [
        (["[" * 1_000_000], ["["] * 10_000),
        (["[" * 1_000_000], ["[" * 1_000_000]),
        (["[" * 200_000 + "]"], ["["] * 300_000),
        ([f"abcabcab{n:04}c" for n in range(5_000)], ["abcabcabc"] * 5_000),
        (["abcabcabd efgh"] * 20_000, ["abcabcabc"] * 5_000),
        (["\u0308" * 100_000], ["e"] * 1_000),
        (["ﷺ" * 100_000], ["ﷺ"] * 1_000),  # 18 characters each in NFKD
    ],
    ids=["brackets", "one token", "many tokens", "near misses", "one near miss", "marks", "ligatures"],
)
@pytest.mark.slow
def test_a_hostile_answer_costs_no_more_than_its_length(mentions: list[str], tokens: list[str]) -> None:
    start = time.process_time()
    align(mentions, tokens)
    assert time.process_time() - start < 5


def test_what_was_not_searched_to_the_end_is_counted_as_over_budget() -> None:
    alignment = align([f"abcabcab{n:04}c" for n in range(1_000)], ["abcabcabc"] * 5_000)
    assert {rejection.reason for rejection in alignment.rejected} == {"not_in_text", "over_budget"}


def _pair(mention: str) -> str:
    return f'[["{mention}","PER"]]'


ANSWERS = {
    "deep lists": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "deep decisions": '{"decisions":' * 900 + "[]" + "}" * 900,
    "brackets": "[" * 1_000_000,
    "closed brackets": "[]" * 500_000,
    "a mention of brackets": _pair("[" * 900_000),
    "a mention of escapes": _pair("\\ud800" * 100_000),
    "lone surrogates": '[["\\ud83d","PER"],["\\ude80","LOC"],["a","\\udfff"]]',
    "raw surrogates": _pair("\ud800\udc00"),
    "a huge integer": f"[{'9' * 100_000}]",
    "a huge exponent": "[1e999999999, -1E-999999999]",
    "not a number": "[NaN, Infinity, -Infinity]",
    "a key twice": '{"decisions":[],"decisions":[["Ada","PER"]]}',
    "a key twice inside": '[{"text":"Ada","type":"PER","type":"LOC"}]',
    "numbers": '[[1,"PER"],["Ada",2]]',
    "booleans": '[[true,"PER"]]',
    "nulls": "[[null,null],null]",
    "an object as mention": '[[{"text":"Ada"},"PER"]]',
    "an object for the list": '{"decisions":{"Ada":"PER"}}',
    "a string for the list": '{"entities":"Ada"}',
    "control characters": '[["A\x01da","PER"]]',
    "NUL": '\x00[["Ada","PER"]]\x00',
    "byte-order mark": '\ufeff[["Ada","PER"]]',
    "fences": "```json" * 100_000,
    "white space": " \n\t" * 200_000,
    "thought": '<think>[["Ada","PER"]]',
}
# How many mentions the answers hold that are read all the same.
READ = {
    "a mention of brackets": 1,
    "a mention of escapes": 1,
    "lone surrogates": 3,
    "raw surrogates": 1,
    "NUL": 1,
    "byte-order mark": 1,
}


@pytest.mark.parametrize("prompt", ["standard", "cot"])
@pytest.mark.parametrize("name", ANSWERS)
def test_a_hostile_answer_is_read_or_refused_with_a_reason(name: str, prompt: str) -> None:
    ner = NER(TaskSettings(types={"PER": "a human", "LOC": "a place"}, prompt=prompt))
    target = sentence("Ada flew to Fort Worth")
    start = time.process_time()
    if name in READ:
        annotation = ner.parse(target, Completion(ANSWERS[name], "stop"))
        assert len(annotation.spans) + len(annotation.rejected) == READ[name]
    else:
        with pytest.raises(UnusableAnswer) as refused:
            ner.parse(target, Completion(ANSWERS[name], "stop"))
        assert refused.value.reason in {"not_json", "wrong_shape", "empty", "only_thinking"}
        assert len(str(refused.value)) < 100
    assert time.process_time() - start < 2


def test_ten_thousand_decisions_are_each_counted() -> None:
    ner = NER(TaskSettings(types={"PER": "a human"}))
    decisions = [[f"w{n}", "PER"] for n in range(10_000)] + [["nobody at all", "PER"], ["w1", "GOD"]]
    target = sentence(" ".join(f"w{n}" for n in range(10_000)))
    annotation = ner.parse(target, Completion(json.dumps(decisions), "stop"))
    assert len(annotation.spans) == 10_000
    assert [rejection.reason for rejection in annotation.rejected] == ["not_in_text", "unknown_type"]


def _round_trip(examples: Sequence[Example]) -> tuple[int, int]:
    """(gold spans, those found back from the gold mentions in their order)."""
    gold = back = 0
    for example in examples:
        spans = decode_bio(example.labels)
        text, offsets = example.sentence.text, example.sentence.offsets
        mentions = [(text[offsets[s.start][0] : offsets[s.end - 1][1]], s.type) for s in spans]
        alignment = locate(mentions, example.sentence.tokens)
        assert len(alignment.spans) + len(alignment.rejected) == len(spans)
        assert len(encode_bio(alignment.spans, len(example.sentence.tokens))) == len(example.labels)
        gold += len(spans)
        back += len({(s.start, s.end, s.type) for s in spans} & {(s.start, s.end, s.type) for s in alignment.spans})
    return gold, back


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("conll2003/valid.txt", 0),
        ("wikigold/wikigold.conll.txt", 2),
        ("wnut17/emerging.dev.conll", 0),
        ("bc5cdr/test.txt", 0),
    ],
)
def test_gold_mentions_in_gold_order_give_the_gold_spans_back(name: str, lost: int) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not there")
    gold, back = _round_trip(list(read_examples(Source(path=str(DATA / name)), origin="original")))
    assert gold > 500
    # What is lost is a word of the same spelling that gold leaves untagged in front of the tagged one.
    assert gold - back <= lost


def test_gold_mentions_of_japanese_text_give_the_gold_spans_back() -> None:
    if not HIRONSAN.exists():
        pytest.skip("hironsancorpus is not there: set HIRONSAN_CORPUS to its iob_sents.txt")
    gold = back = 0
    for block in HIRONSAN.read_text("utf-8").split("\n\n"):
        rows = [line.split("\t") for line in block.splitlines() if line]
        tokens, tags = [row[0] for row in rows], [row[-1] for row in rows]
        spans = decode_bio(repair_iob2(tags)[0])  # a few tags continue nothing
        alignment = locate([("".join(tokens[s.start : s.end]), s.type) for s in spans], tokens)
        gold += len(spans)
        back += len({(s.start, s.end) for s in spans} & {(s.start, s.end) for s in alignment.spans})
    assert gold > 1_000
    assert back / gold > 0.99
