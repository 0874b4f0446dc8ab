"""CoNLL-U with entities in MISC, and CoNLL-2012 with entities in brackets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill_offline.corpus.columns import ColumnFile
from distill_offline.corpus.holding import ALL, ToolFormat, tags_of
from distill_offline.corpus.lines import fault, text_lines
from distill_offline.errors import CorpusError

__all__ = ["Conll2012", "ConllU"]

_OUT = str.maketrans({"\\": "\\\\", " ": "\\s", "\n": "\\n", "\r": "\\r", "\t": "\\t", "|": "\\p"})
_IN = {"s": " ", "n": "\n", "r": "\r", "t": "\t", "p": "|", "\\": "\\"}
_PART = ".000"  # of a document of which there is one; the reader of columns joins it to the name
_NUMBER = re.compile(r"\d+(?:-\d+|\.\d+)?")
_WHITE = re.compile(r"\s")


class ConllU(ToolFormat):
    """The format `conllu`: NER=B-TYPE in MISC, spacing as SpaceAfter=No and SpacesAfter, ids as sent_id."""

    holds = ALL - {"class", "classes", "no_class", "pieces", "overlaps", "confidence", "guess", "mixed"}

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, Any]]:
        blocks = _blocks(path, shown)
        has_tags = _has_tags(path, shown)
        for block, record in zip(blocks, ColumnFile(path, shown).read(Counter(), labelled=has_tags), strict=True):
            sentence = record.sentence
            row = {"tokens": list(sentence.tokens), "document": sentence.document, "index": sentence.index}
            row["text"], row["offsets"] = block.spaced(sentence.tokens, sentence.text)
            if "sent_id" in block.comments:
                row["id"] = block.comments["sent_id"]
            if record.labels is not None:
                row["labels"] = list(record.labels)
            yield record.line, row

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        document = None
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for row in rows:
                if row["document"] != document:
                    document = row["document"]
                    file.write(f"# newdoc id = {document}\n")
                shown = " ".join(row["text"].splitlines())
                file.write(f"# sent_id = {row['id']}\n# text = {shown}\n" + "".join(_lines(row, path)) + "\n")


def _lines(row: Mapping[str, Any], path: Path) -> Iterator[str]:
    tags, text, offsets = tags_of(row), row["text"], row["offsets"]
    behind = [start for start, _ in offsets[1:]] + [len(text)]
    for number, (token, (start, end)) in enumerate(zip(row["tokens"], offsets, strict=True)):
        _check(token, path, row["id"], blanks=True)
        misc = [f"NER={tags[number]}"] if tags is not None else []
        if tags is not None and re.search(r"[\s|]", tags[number]):
            raise CorpusError(f"{path}: {row['id']}: a type of this format holds no blank and no |.")
        if number == 0 and start:
            misc.append(f"SpacesBefore={text[:start].translate(_OUT)}")
        gap = text[end : behind[number]]
        is_last = number == len(offsets) - 1
        if gap == "":
            misc += [] if is_last else ["SpaceAfter=No"]
        elif gap != " " or is_last:
            misc.append(f"SpacesAfter={gap.translate(_OUT)}")
        yield f"{number + 1}\t{token}" + "\t_" * 7 + f"\t{'|'.join(misc) or '_'}\n"


def _check(token: str, path: Path, id_: str, *, blanks: bool) -> None:
    if any(letter in token for letter in "\t\r\n\0") or (not blanks and _WHITE.search(token)):
        raise CorpusError(f"{path}: a token of {id_} holds white space that this format cannot. Write .jsonl.")


class _Spacing:
    """The comments of a sentence, and what its MISC column says of the spaces around its tokens."""

    def __init__(self) -> None:
        self.comments: dict[str, str] = {}
        self.spaces: list[dict[str, str]] = []
        self.skipped = 0  # parts of a multiword token that are still to come

    def row(self, cells: list[str]) -> None:
        if "." in cells[0]:
            return
        if cells[0].isdigit() and self.skipped:
            self.skipped -= 1
            return
        first, dash, last = cells[0].partition("-")
        self.skipped = int(last) - int(first) + 1 if dash else 0
        misc = dict(part.partition("=")[::2] for part in cells[-1].split("|"))
        self.spaces.append(misc)

    def spaced(self, tokens: tuple[str, ...], joined: str) -> tuple[str, list[list[int]]]:
        """The text and the tokens' places in it: by SpacesAfter; else as `# text` has it, if the tokens are in it."""
        known = any(key.startswith("Spaces") for misc in self.spaces for key in misc)
        text = joined if known or "text" not in self.comments else self.comments["text"]
        offsets, end = list[list[int]](), 0
        if not known:
            for token in tokens:
                start = text.find(token, end)
                if start < 0:
                    return self._joined(tokens)
                end = start + len(token)
                offsets.append([start, end])
            return text, offsets
        return self._joined(tokens)

    def _joined(self, tokens: tuple[str, ...]) -> tuple[str, list[list[int]]]:
        text, offsets = _decoded(self.spaces[0].get("SpacesBefore", "")), list[list[int]]()
        for number, (token, misc) in enumerate(zip(tokens, self.spaces, strict=True)):
            offsets.append([len(text), len(text) + len(token)])
            default = "" if misc.get("SpaceAfter") == "No" or number == len(tokens) - 1 else " "
            text += token + _decoded(misc.get("SpacesAfter", default))
        return text, offsets


def _decoded(spaces: str) -> str:
    return re.sub(r"\\(.)", lambda match: _IN.get(match[1], match[0]), spaces)


def _has_tags(path: Path, shown: str) -> bool:
    """Whether MISC names an entity anywhere, or there is an eleventh column."""
    for _, line in text_lines(path, shown):
        cells = line.split("\t")
        if len(cells) > 10 or (len(cells) == 10 and re.search(r"(?:^|\|)(?:NER|NE|Entity)=", cells[9])):
            return True
    return False


def _blocks(path: Path, shown: str) -> Iterator[_Spacing]:
    block = _Spacing()
    for number, line in text_lines(path, shown):
        if not line.strip():
            if block.spaces:
                yield block
                block = _Spacing()
        elif line.startswith("#"):
            key, _, value = line[1:].partition("=")
            block.comments[key.strip()] = value[1:] if value.startswith(" ") else value
        else:
            cells = line.split("\t")
            if len(cells) < 10 or not _NUMBER.fullmatch(cells[0]):
                raise fault(shown, number, "a line of CoNLL-U has its number and ten columns, with tabs between them.")
            block.row(cells)
    if block.spaces:
        yield block


class Conll2012(ToolFormat):
    """The format `conll2012`: twelve columns, of which the document, the token and the entities are filled."""

    holds = ALL - {
        "class",
        "classes",
        "no_class",
        "pieces",
        "overlaps",
        "confidence",
        "guess",
        "text",
        "id",
        "mixed",
        "unlabelled",
    }

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, Any]]:
        for record in ColumnFile(path, shown).read(Counter(), labelled=True):
            sentence = record.sentence
            row = {"tokens": list(sentence.tokens), "labels": list(record.labels or ())}
            yield record.line, {**row, "document": sentence.document.removesuffix(_PART), "index": sentence.index}

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        document: str | None = None
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for row in rows:
                if row["document"] != document:
                    file.write("" if document is None else "#end document\n")
                    document = row["document"]
                    file.write(f"#begin document ({document}); part {_PART[1:]}\n")
                name = _WHITE.sub("_", row["document"])
                tags = tags_of(row) or ["O"] * len(row["tokens"])
                for number, (token, tag, after) in enumerate(zip(row["tokens"], tags, [*tags[1:], "O"], strict=True)):
                    _check(token, path, row["id"], blanks=False)
                    _check(tag, path, row["id"], blanks=False)
                    if any(letter in "()*" for letter in tag):
                        raise CorpusError(
                            f"{path}: a type of {row['id']} holds ( ) or *, which this format cannot. Write .jsonl."
                        )
                    cells = [name, "0", str(number), token, *"-*----", _bracket(tag, after), "-"]
                    file.write("\t".join(cells) + "\n")
                file.write("\n")
            file.write("" if document is None else "#end document\n")


def _bracket(tag: str, after: str) -> str:
    opens = f"({tag[2:]}" if tag.startswith("B-") else ""
    closes = tag != "O" and not after.startswith("I-")
    return f"{opens}{')' if closes and opens else '*)' if closes else '*'}"
