"""Other tools' files, both ways: what is written is read again with the same text, places, types and confidences."""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_offline.config.settings import Source
from distill_offline.corpus import (
    Labelled,
    head_of,
    read_with_entities,
    write_labelled,
)
from distill_offline.corpus.formats import FORMATS, format_named
from distill_offline.corpus.lost import Losses
from distill_offline.corpus.tokenise import token_offsets
from distill_offline.errors import CorpusError
from distill_offline.schema import Sentence, Span
from distill_offline.spans.bio import encode_bio

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")  # by what spaCy imports

TOOLS = [name for name in FORMATS if name not in ("jsonl", "parquet")]
NEEDS = {"spacy": "spacy", "xlsx": "openpyxl"}
TEXTS = (
    "Anna Weber sang in Oslo.",
    "水泵在东京停了、アンナは見た",
    "A 🚰 and 👩‍👩‍👧 in Élan e\u0301tude: Anna",
    "Anna\r\nWeber  rang\tOsei",
)
_WORDS = st.sampled_from(
    [
        "Anna",
        "水泵",
        "🚰",
        "e\u0301tude",
        "O'Brien",
        "=1+1",
        "_x000D_",
        "\x0b\f",
        "\x1c",
        "a_b",
        "\\",
        "|",
        "#",
        "->",
        "*",
    ]
)
_GAPS = st.sampled_from([" ", "  ", "\n", "\r\n", "\t", "", "\u200b", "\u3000"])


def named(name: str) -> Any:
    """The format, if what it needs is installed."""
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    return format_named(name)


def sentence(text: str, index: int = 0, document: str = "doc") -> Sentence:
    offsets = token_offsets(text)
    return Sentence(f"{document}:{index}", document, index, text, tuple(text[s:e] for s, e in offsets), offsets)


def labelled(given: Sentence, *spans: Span) -> Labelled:
    """With spans of tokens."""
    places = [(given.offsets[span.start][0], given.offsets[span.end - 1][1]) for span in spans]
    entities = tuple(replace(span, start=s, end=e) for span, (s, e) in zip(spans, places, strict=True))
    return Labelled(given, encode_bio(spans, len(given.tokens)), entities)


def through(folder: Path, name: str, items: list[Labelled], head: str = "token-classification") -> list[Labelled]:
    """What is read of a file after it was written."""
    path = folder / f"doc.{ {'spacy': 'spacy', 'xlsx': 'xlsx'}.get(name, 'x') }"
    if format_named(name).is_folder:  # type: ignore[attr-defined]
        path = folder / "out"
    write_labelled(path, items, file_format=name)
    return list(read_with_entities(Source(path=str(path), format=name), head=head))


@pytest.mark.parametrize("name", TOOLS)
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    holds = named(name).holds
    sure = (lambda value: value) if "confidence" in holds else (lambda value: None)
    texts: tuple[str, ...] = TEXTS if "text" in holds and name != "brat" else TEXTS[:3]
    if name == "conll2012":
        texts = tuple(" ".join(sentence(text).tokens) for text in texts)
    items = []
    for index, text in enumerate(texts):
        spans = [
            Span(0, 2, "PER", sure(0.25)),
            Span(len(sentence(text).tokens) - 1, len(sentence(text).tokens), "LOC", sure(0.5)),
        ]
        items.append(labelled(sentence(text, index), *spans))
    items.append(labelled(sentence("Nobody came" if name == "conll2012" else "Nobody came.", len(items))))
    again = through(tmp_path, name, items)
    assert [each.sentence for each in again] == [each.sentence for each in items]
    assert [each.labels for each in again] == [each.labels for each in items]
    assert [places(each) for each in again] == [places(each) for each in items]
    kind = head_of(Source(path=str(next(tmp_path.iterdir())), format=name))
    assert kind == "token-classification"


def places(item: Labelled) -> set[tuple[int, int, str, float | None]]:
    return set(map(plain, item.entities or ()))


def plain(span: Span) -> tuple[int, int, str, float | None]:
    return span.start, span.end, span.type, span.confidence


@st.composite
def sentences(draw: st.DrawFn) -> Sentence:
    words = draw(st.lists(st.tuples(_WORDS, _GAPS), min_size=1, max_size=6))
    text = "".join(word + gap for word, gap in words)
    return sentence(text[: len(text) - len(words[-1][1])], document=draw(st.sampled_from(["doc", "d 1"])))


@st.composite
def corpora(draw: st.DrawFn) -> list[Labelled]:
    items = []
    some = sentences().filter(lambda made: bool(made.tokens))
    for index, given_ in enumerate(draw(st.lists(some, min_size=1, max_size=3))):
        spans, at = [], 0
        while at < len(given_.tokens):
            size = draw(st.integers(0, 2))
            if size and at + size <= len(given_.tokens):
                spans.append(Span(at, at + size, draw(st.sampled_from(["PER", "a-b", "型"]))))
            at += max(size, 1)
        document = given_.document
        items.append(labelled(replace(given_, index=index, id=f"{document}:{index}"), *spans))
    return items


@pytest.mark.parametrize("name", TOOLS)
@settings(max_examples=25, deadline=None)
@given(corpora())
@pytest.mark.slow
def test_any_text_comes_through_or_its_loss_is_counted(name: str, items: list[Labelled]) -> None:
    holds = named(name).holds
    with tempfile.TemporaryDirectory() as folder:
        path, lost = Path(folder) / "doc.x", Losses()
        try:
            write_labelled(path, items, file_format=name, lost=lost)
        except CorpusError:
            assert name in ("conllu", "conll2012", "xlsx"), "white space in a token, or a control character"
            return
        again = list(read_with_entities(Source(path=str(path), format=name)))
    if name == "brat":  # cut into sentences anew, so that one may cross another's border
        return
    assert len(again) == len(items)
    for mine, theirs in zip(items, again, strict=True):
        assert theirs.sentence.tokens == mine.sentence.tokens
        assert theirs.labels == mine.labels
        if "text" in holds and not lost["spacing"]:
            assert theirs.sentence.text == mine.sentence.text
            assert theirs.entities is not None
            assert [plain(e) for e in theirs.entities] == [plain(e) for e in mine.entities or ()]
        if "document" in holds:
            assert theirs.sentence.document == mine.sentence.document
        if "id" in holds:
            assert theirs.sentence.id == mine.sentence.id


@pytest.mark.parametrize("blanks", ["\v", "\f", "\x85", "\u2028", " \v\f"])
def test_blanks_that_end_a_line_elsewhere_come_through_conllu(tmp_path: Path, blanks: str) -> None:
    text = f"Anna{blanks}sang"
    sentence = Sentence("doc:0", "doc", 0, text, ("Anna", "sang"), ((0, 4), (4 + len(blanks), len(text))))
    path = tmp_path / "doc.conllu"
    write_labelled(path, [labelled(sentence, Span(0, 1, "PER"))], file_format="conllu", lost=Losses())
    (again,) = read_with_entities(Source(path=str(path), format="conllu"))
    assert (again.sentence.tokens, again.labels) == (("Anna", "sang"), ("B-PER", "O"))


def test_packages_are_looked_through_once_and_not_for_each_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named("spacy")
    through(tmp_path, "spacy", [labelled(sentence("Anna sang."))])  # what the first use loads
    catalogue = importlib.import_module("catalogue")
    calls = list[Any]()
    get_all = catalogue.Registry.get_all

    def counted(registry: Any) -> Any:
        calls.append(registry)
        return get_all(registry)

    monkeypatch.setattr(catalogue.Registry, "get_all", counted)
    items = [labelled(sentence("Anna sang.", index), Span(0, 1, "PER", 0.5)) for index in range(40)]
    assert [places(item) for item in through(tmp_path, "spacy", items)] == [places(item) for item in items]
    assert len(calls) < 20
