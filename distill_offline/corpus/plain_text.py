"""Plain text: a file is a document, a folder is a corpus of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distill_offline.corpus.columns import are_columns
from distill_offline.corpus.languages import tokeniser
from distill_offline.corpus.lines import fault, read_text
from distill_offline.corpus.record import Head, Record
from distill_offline.corpus.sentences import sentence_offsets
from distill_offline.corpus.tokenise import Offsets, has_tokens
from distill_offline.errors import CorpusError
from distill_offline.label_kinds import kind_of
from distill_offline.schema import Sentence

__all__ = ["OnBadFile", "TextFile", "read_folder", "read_text_file", "sentences_of", "text_files"]

OnBadFile = Literal["error", "skip"]

_BEGINNING = 1 << 16  # characters that tell columns from prose
_NOTICES = frozenset({"readme", "license", "licence"})


def read_text_file(path: Path, shown: str, head: Head, language: str | None = None) -> Iterator[Record]:
    """The sentences of one document, or, if labels are of whole texts, all of it as one."""
    yield from TextFile(path, shown, path.stem, None, 0).read(head, language)


@dataclass(frozen=True, slots=True)
class TextFile:
    """One document of a folder: where it is, its id, and the class that its folder names."""

    path: Path
    shown: str
    document: str
    label: str | None
    document_position: int

    def read(self, head: Head, language: str | None = None) -> Iterator[Record]:
        """Its sentences, or, if labels are of whole texts, all of it as one; tokens as `language` says."""
        text = read_text(self.path, self.shown)
        labels = (self.label,) if not kind_of(head).per_token and self.label is not None else None
        line, counted, is_empty = 1, 0, True
        for start, sentence in sentences_of(text, self.document, head, tokeniser(language)):
            line += text.count("\n", counted, start)
            counted, is_empty = start, False
            yield Record(sentence, labels, self.shown, line, document_position=self.document_position)
        if is_empty:
            raise _empty(self.shown)

    def check(self) -> None:
        """Raises CorpusError if it is empty, not UTF-8, or no prose but a column file."""
        text = read_text(self.path, self.shown)
        if not has_tokens(text):
            raise _empty(self.shown)
        if are_columns(text[:_BEGINNING]):
            raise fault(
                self.shown, 1, "this holds columns (a token and its tags a line), and a folder is of prose. "
                "Name the file itself, or take it out."
            )  # fmt: skip


def sentences_of(
    text: str, document: str, head: Head, tokenise: Callable[[str], Offsets]
) -> Iterator[tuple[int, Sentence]]:
    """(where it begins in the text, sentence) of each sentence; of the whole text, if labels are of whole texts.

    What has no token is no sentence.
    """
    sentences = sentence_offsets(text, tokenise) if kind_of(head).per_token else [tokenise(text)]
    for index, offsets in enumerate(offsets_ for offsets_ in sentences if offsets_):
        yield offsets[0][0], _cut(text, offsets, document, index)


def read_folder(
    folder: Path,
    shown: str,
    head: Head,
    *,
    on_bad_file: OnBadFile,
    counts: Counter[str],
    language: str | None = None,
) -> Iterator[Record]:
    """The sentences of every file that `text_files` names."""
    for file in text_files(folder, shown, on_bad_file=on_bad_file, counts=counts):
        yield from file.read(head, language)


def text_files(folder: Path, shown: str, *, on_bad_file: OnBadFile, counts: Counter[str]) -> Iterator[TextFile]:
    """Every .txt file below the folder, sorted; document ids are relative paths without suffix.

    If labels are of whole texts, the first folder on the way names the class. Files with another suffix, hidden ones
    and notices (README, LICENSE) are no documents, and counted as `ignored_file`. A file that is empty or not UTF-8
    raises CorpusError, or is counted as `bad_file` where `on_bad_file` is `skip`.
    """
    paths = _documents(folder, counts)
    if not paths:
        raise CorpusError(f"{shown}: there is no .txt file in this folder. Name a folder of plain text, or one file.")
    stems = Counter(path.with_suffix("").as_posix() for path in paths)
    for position, path in enumerate(paths):
        stem = path.with_suffix("").as_posix()
        name = stem if stems[stem] == 1 else path.as_posix()
        label = path.parts[0] if len(path.parts) > 1 else None
        file = TextFile(folder / path, f"{shown.rstrip('/')}/{path.as_posix()}", name, label, position)
        try:
            file.check()
        except CorpusError:
            if on_bad_file == "error":
                raise
            counts["bad_file"] += 1
            continue
        yield file


def _documents(folder: Path, counts: Counter[str]) -> list[Path]:
    documents = []
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        if path.suffix.lower() == ".txt" and path.stem.lower() not in _NOTICES:
            documents.append(relative)
        else:
            counts["ignored_file"] += 1
    return sorted(documents, key=lambda path: path.as_posix())


def _empty(shown: str) -> CorpusError:
    return fault(shown, 1, "the file is empty. Remove it.")


def _cut(text: str, offsets: Offsets, document: str, index: int) -> Sentence:
    first, last = offsets[0][0], offsets[-1][1]
    tokens = tuple(text[start:end] for start, end in offsets)
    shifted = tuple((start - first, end - first) for start, end in offsets)
    return Sentence(f"{document}:{index}", document, index, text[first:last], tokens, shifted)
