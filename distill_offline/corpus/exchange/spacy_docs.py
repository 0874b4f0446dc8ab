"""spaCy's .spacy files (DocBin): tokens, entities, span groups and categories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_offline.corpus.holding import ALL, ToolFormat, flat
from distill_offline.corpus.lines import fault
from distill_offline.corpus.lost import Lost
from distill_offline.errors import CorpusError, MissingPackage

__all__ = ["SpacyDocs"]

_OURS = "distill_offline"  # in a Doc's user_data: what it has no place for
_GROUP = "sc"  # spaCy's own name for the group of spans that may overlap


class SpacyDocs(ToolFormat):
    """The format `spacy`. Entities that overlap are in the span group `sc`, too, which is read where it is there."""

    holds = ALL - {"pieces", "no_class"}

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, Any]]:
        spacy, tokens = _imported(shown)
        try:
            found = tokens.DocBin().from_disk(path)
            beside, found.user_data = _unpacked(found.user_data), []
            docs = found.get_docs(spacy.blank("xx").vocab)
        except Exception as error:  # zlib, msgpack and spaCy have errors of their own
            raise CorpusError(f"{shown}: not a file of spaCy's DocBin ({type(error).__name__}).") from error
        number = 0
        while True:
            number += 1
            try:
                doc = next(docs, None)
            except Exception as error:
                raise fault(shown, number, f"this document cannot be read ({type(error).__name__}).") from error
            if doc is None:
                return
            yield from _rows(doc, beside[number - 1] if number <= len(beside) else {}, number)

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        spacy, tokens = _imported(str(path))
        from srsly import msgpack

        vocab, docs = spacy.blank("xx").vocab, tokens.DocBin()
        # One packer for all: spaCy makes one a document, and each looks through all installed packages for extensions.
        packer = msgpack.Packer(use_bin_type=True)
        for row in rows:
            doc = _doc(row, vocab, tokens, self)
            docs.add(doc)
            docs.user_data.append(packer.pack(doc.user_data))
        docs.store_user_data = True
        docs.to_disk(path)


def _unpacked(packed: Sequence[bytes | None]) -> list[Mapping[Any, Any]]:
    """The user_data of each document; one unpacker for all of them, too."""
    from srsly import msgpack

    unpacker, found = msgpack.Unpacker(raw=False, use_list=False), list[Mapping[Any, Any]]()
    for part in packed:
        if part:
            unpacker.feed(part)
        found.append((unpacker.unpack() if part else None) or {})
    return found


def _imported(shown: str) -> tuple[Any, Any]:
    try:
        import spacy
        from spacy import tokens
    except ImportError as error:
        raise MissingPackage(
            f"{shown}: the format spacy needs spaCy. Install it: pip install 'distill_offline[languages]'."
        ) from error
    return spacy, tokens


def _rows(doc: Any, beside: Mapping[Any, Any], number: int) -> Iterator[tuple[int, Any]]:
    ours = beside.get(_OURS) or {}
    row: dict[str, Any] = {
        key: ours[key] for key in ("id", "document", "index", "confidence", "confidence_kind") if key in ours
    }
    id_ = str(ours.get("id", number))
    text = doc.text  # made anew at each look
    row["text"], row["offsets"] = text, ours.get("offsets")
    if row["offsets"] is None:
        row["offsets"] = [[token.idx, token.idx + len(token)] for token in doc if not token.is_space]
    row["tokens"] = [text[start:end] for start, end in row["offsets"]]
    groups = dict(doc.spans)
    spans = groups.pop(_GROUP, None) or doc.ents
    if other := sum(map(len, groups.values())):
        yield number, Lost("other_layers", id_, other)
    if doc.cats:
        row["labels"] = [name for name, value in doc.cats.items() if value > 0.5]
        if spans:
            yield number, Lost("classes_beside", id_, len(row.pop("labels")))
    if spans or doc.has_annotation("ENT_IOB"):
        sure = {tuple(place): value for *place, value in ours.get("confidences", ())}
        row["entities"] = [
            {"start": s.start_char, "end": s.end_char, "type": s.label_, "confidence": sure.get(_key(s))} for s in spans
        ]
    yield number, row


def _key(span: Any) -> tuple[Any, ...]:
    return span.start_char, span.end_char, span.label_


def _doc(row: Mapping[str, Any], vocab: Any, tokens: Any, tool: ToolFormat) -> Any:
    words, spaces = _words(row)
    doc = tokens.Doc(vocab, words=words, spaces=spaces)
    ours: dict[str, Any] = {key: row[key] for key in ("id", "document", "index", "offsets")}
    if "entities" in row:
        found = {}
        for entity in row["entities"]:
            span = doc.char_span(entity["start"], entity["end"], label=entity["type"])
            if span is None:
                tool.lost.note("inside_token", row["id"])
            else:
                found[id(entity)] = span
        kept = [entity for entity in row["entities"] if id(entity) in found]
        alone, overlapping = flat(kept)
        doc.set_ents([found[id(entity)] for entity in alone])  # and all other tokens are outside: this is annotated
        if overlapping:
            doc.spans[_GROUP] = [found[id(entity)] for entity in kept]
        sure = [[e["start"], e["end"], e["type"], e["confidence"]] for e in kept if e.get("confidence") is not None]
        ours |= {"confidences": sure} if sure else {}
    elif row.get("labels") is not None:
        doc.cats = dict.fromkeys(row["labels"], 1.0)
        ours |= {"confidence": row["confidence"]} if row.get("confidence") is not None else {}
    ours |= {"confidence_kind": row["confidence_kind"]} if row.get("confidence_kind") is not None else {}
    doc.user_data[_OURS] = ours
    return doc


def _words(row: Mapping[str, Any]) -> tuple[list[str], list[bool]]:
    """Words and whether a blank follows each, so that the text is the row's: what is between tokens is a word, too."""
    words, spaces, text, end = list[str](), list[bool](), row["text"], 0
    for start, behind in (*row["offsets"], (len(text), len(text))):
        gap = text[end:start]
        if gap.startswith(" ") and words:
            spaces[-1], gap = True, gap[1:]
        if gap:
            words.append(gap)
            spaces.append(False)
        if behind > start:
            words.append(text[start:behind])
            spaces.append(False)
        end = behind
    return words, spaces
