"""Sentences and examples to .conll, .jsonl or .parquet, whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from distill_offline.corpus.columns import DOCUMENT_BORDER, unwritable
from distill_offline.corpus.parquet import write_parquet
from distill_offline.errors import CorpusError
from distill_offline.schema import Example, Sentence

__all__ = ["check_writable", "write_examples", "write_sentences"]

_Labelled = tuple[Sentence, tuple[str, ...] | None]


def write_examples(path: str | Path, examples: Iterable[Example]) -> None:
    """Write the examples in the format of the suffix, streamed, as a file of mode 0600 that replaces the old one.

    .conll holds tokens and IOB2 tags alone, with borders between documents; .jsonl and .parquet hold everything but
    origin, weight and masked tokens. Raises CorpusError for another suffix, and where .conll cannot hold a token or
    label.
    """
    _write(Path(path), ((example.sentence, example.labels) for example in examples), labelled=True)


def write_sentences(path: str | Path, sentences: Iterable[Sentence]) -> None:
    """`write_examples` without labels."""
    _write(Path(path), ((sentence, None) for sentence in sentences), labelled=False)


def check_writable(path: str | Path, sentences: Iterable[Sentence], labels: Iterable[str] = ()) -> None:
    """Raises CorpusError where `path` could not hold the sentences with such labels, before any work is done for them.

    `sentences` are read, once, for .conll alone.
    """
    target = Path(path)
    suffix = _suffix(target)
    if not target.parent.is_dir():
        raise CorpusError(f"{target}: cannot be written: there is no folder {target.parent}. Make it first.")
    if suffix != ".conll":
        return
    for label in labels:
        _check_label(label, target)
    for sentence in sentences:
        _check_tokens(*_encodable((sentence, ()), target), target)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in {".conll", ".jsonl", ".parquet"}:
        raise CorpusError(
            f"{path}: cannot write the format {suffix or 'without a suffix'}. Known: .conll, .jsonl, .parquet."
        )
    return suffix


def _write(path: Path, items: Iterator[_Labelled], *, labelled: bool) -> None:
    suffix = _suffix(path)
    try:
        # mkstemp makes the file with mode 0600, and beside the target, so that replacing it is atomic.
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be written ({error.strerror}). Does its folder exist?") from error
    try:
        with os.fdopen(handle, "wb") as file:
            _fill(file, suffix, items, path, labelled=labelled)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _fill(file: IO[bytes], suffix: str, items: Iterator[_Labelled], path: Path, *, labelled: bool) -> None:
    if suffix == ".parquet":
        write_parquet(file, (_row(*_encodable(item, path)) for item in items), labelled=labelled)
    elif suffix == ".jsonl":
        for item in items:
            row = _row(*item)
            try:
                file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            except UnicodeEncodeError:
                file.write(json.dumps(row).encode() + b"\n")
    else:
        for chunk in _column_lines(items, path):
            file.write(chunk.encode())


def _row(sentence: Sentence, labels: tuple[str, ...] | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": sentence.id,
        "document": sentence.document,
        "index": sentence.index,
        "text": sentence.text,
        "tokens": list(sentence.tokens),
        "offsets": [list(pair) for pair in sentence.offsets],
    }
    if labels is not None:
        row["labels"] = list(labels)
    return row


def _column_lines(items: Iterator[_Labelled], path: Path) -> Iterator[str]:
    document: str | None = None
    for item in items:
        sentence, labels = _encodable(item, path)
        if labels is not None and len(labels) != len(sentence.tokens):
            raise CorpusError(
                f"{path}: {sentence.id} has no tag a token, which .conll needs. Write .jsonl or .parquet."
            )
        if sentence.document != document:
            yield f"{DOCUMENT_BORDER}\tO\n\n" if labels is not None else f"{DOCUMENT_BORDER}\n\n"
            document = sentence.document
        _check_tokens(sentence, labels, path)
        for label in labels or ():
            _check_label(label, path)
        rows = sentence.tokens if labels is None else map("\t".join, zip(sentence.tokens, labels, strict=True))
        yield "\n".join(rows) + "\n\n"


def _check_tokens(sentence: Sentence, labels: tuple[str, ...] | None, path: Path) -> None:
    for position, token in enumerate(sentence.tokens):
        if problem := unwritable(token, tagged=labels is not None):
            raise CorpusError(
                f"{path}: token {position} of {sentence.id} {problem}, which .conll cannot hold. "
                "Write .jsonl or .parquet."
            )


def _check_label(label: str, path: Path) -> None:
    if label != label.strip(" ") or any(letter in label for letter in "\t\r\n\0"):
        raise CorpusError(f"{path}: the label {label[:60]!r} holds white space that .conll cannot. Write .jsonl.")


def _encodable(item: _Labelled, path: Path) -> _Labelled:
    sentence = item[0]
    try:
        "".join((sentence.id, sentence.document, sentence.text, *sentence.tokens)).encode()
    except UnicodeEncodeError as error:
        raise CorpusError(f"{path}: {sentence.id} holds half a character (a lone surrogate). Write .jsonl.") from error
    return item
