"""Sentences and examples to a file of any format that can be written, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from distill_offline.corpus.columns import DOCUMENT_BORDER, unwritable
from distill_offline.corpus.formats import COLUMNS, TEXT, format_named, format_of_suffix, is_folder_format, is_ours
from distill_offline.corpus.guarded import GuardedFormat
from distill_offline.corpus.holding import COLUMNS_HOLD, ToolFormat, evenly, fitted
from distill_offline.corpus.labelled import Labelled
from distill_offline.corpus.lost import Losses
from distill_offline.errors import CorpusError
from distill_offline.schema import Example, Sentence

__all__ = ["check_writable", "write_examples", "write_labelled", "write_sentences", "written_format"]


def write_examples(path: str | Path, examples: Iterable[Example], *, file_format: str | None = None) -> None:
    """Write the examples, streamed, as a file of mode 0600 that replaces the old one.

    `file_format`: columns, jsonl, parquet or one from outside; by itself the suffix names it. .conll (columns) holds
    tokens and IOB2 tags alone, with borders between documents; .jsonl and .parquet hold everything but origin, weight
    and masked tokens. Raises CorpusError for a suffix that names no format, and where .conll cannot hold a token or
    label.
    """
    write_labelled(path, (Labelled(example.sentence, example.labels) for example in examples), file_format=file_format)


def write_sentences(path: str | Path, sentences: Iterable[Sentence], *, file_format: str | None = None) -> None:
    """`write_examples` without labels."""
    write_labelled(path, (Labelled(sentence) for sentence in sentences), file_format=file_format)


def write_labelled(
    path: str | Path, items: Iterable[Labelled], *, file_format: str | None = None, lost: Losses | None = None
) -> None:
    """`write_examples` with what is known beside the labels: entities with confidences, or that of a class.

    `lost` gains what the format cannot hold. A format that is a folder takes the place of one that it wrote before.
    """
    _write(Path(path), iter(items), file_format, Losses() if lost is None else lost)


def check_writable(
    path: str | Path, sentences: Iterable[Sentence], labels: Iterable[str] = (), *, file_format: str | None = None
) -> None:
    """Raises CorpusError if `path` could not hold the sentences with such labels, before any work is done for them.

    `sentences` are read, once, for columns alone.
    """
    target = Path(path)
    name = written_format(target, file_format)
    if not target.parent.is_dir():
        raise CorpusError(f"{target}: cannot be written: there is no folder {target.parent}. Make it first.")
    if name != COLUMNS:
        chosen = format_named(name)
        if isinstance(chosen, GuardedFormat):
            chosen.check("write")
        return
    for label in labels:
        _check_label(label, target)
    for sentence in sentences:
        _check_tokens(_encodable(Labelled(sentence, ()), target), target)


def written_format(path: Path, file_format: str | None = None) -> str:
    """The format in which `path` is to be written. Raises CorpusError if it cannot be told, or is only read."""
    suffix = path.suffix.lower()
    name = file_format or _SUFFIXES.get(suffix) or (None if is_ours(path) else format_of_suffix(path))
    if name is None or name == TEXT:
        what = TEXT if name else suffix or "without a suffix"
        raise CorpusError(
            f"{path}: cannot write the format {what}. Known: .conll, .jsonl, .parquet, .conllu, .json (Label Studio), "
            ".csv, .xlsx, .spacy, others by name, or a format from outside."
        )
    if suffix == ".ann":
        raise CorpusError(f"{path}: brat's format is a folder of files. Name a folder, and the format brat.")
    return name


_SUFFIXES = {".conll": COLUMNS, ".conllu": "conllu", ".jsonl": "jsonl", ".parquet": "parquet"}


def _write(path: Path, items: Iterator[Labelled], file_format: str | None, lost: Losses) -> None:
    name = written_format(path, file_format)
    if name != COLUMNS and is_folder_format(name):
        _write_folder(path, name, items, lost)
        return
    try:
        # mkstemp makes the file with mode 0600, and beside the target, so that replacing it is atomic.
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be written ({error.strerror}). Does its folder exist?") from error
    try:
        _fill(Path(temporary), name, items, path, lost)
        with Path(temporary).open("rb") as file:
            os.fsync(file.fileno())
        Path(temporary).chmod(0o600)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write_folder(path: Path, name: str, items: Iterator[Labelled], lost: Losses) -> None:
    """A folder of files, each 0600, in the place of one that holds nothing else but such."""
    if path.is_file() or (path.is_dir() and any(each.suffix not in (".txt", ".ann") for each in path.iterdir())):
        raise CorpusError(f"{path}: is no folder of this format. Name one that is not there yet.")
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise CorpusError(f"{path}: cannot be written ({error.strerror}). Does its folder exist?") from error
    try:
        _fill(temporary, name, items, path, lost)
        for file in temporary.iterdir():
            file.chmod(0o600)
        if path.is_dir():
            shutil.rmtree(path)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _fill(temporary: Path, name: str, items: Iterator[Labelled], path: Path, lost: Losses) -> None:
    if name == COLUMNS:
        with temporary.open("wb") as file:
            for chunk in _column_lines(_told(items, lost), path):
                file.write(chunk.encode())
        return
    given = items if name == "jsonl" else (_encodable(item, path) for item in items)
    chosen = format_named(name)
    try:
        if isinstance(chosen, ToolFormat):
            rows = evenly((item.row() for item in given), chosen.holds, path)
            chosen.write(temporary, (fitted(row, chosen.holds, lost, path) for row in rows))
            lost.merge(chosen.lost)
        else:
            chosen.write(temporary, (item.row() for item in given))
    except CorpusError as error:  # a format knows no other name than the one that it was given
        raise CorpusError(str(error).replace(str(temporary), str(path))) from error


def _told(items: Iterator[Labelled], lost: Losses) -> Iterator[Labelled]:
    """The items; what tags cannot say of their entities is counted."""
    for item in items:
        row = item.row()
        if row.get("entities") is not None:
            fitted(row, COLUMNS_HOLD, lost, Path())
        yield item


def _column_lines(items: Iterator[Labelled], path: Path) -> Iterator[str]:
    document: str | None = None
    for item in items:
        _encodable(item, path)
        sentence, labels = item.sentence, item.labels
        if labels is not None and len(labels) != len(sentence.tokens):
            raise CorpusError(
                f"{path}: {sentence.id} has no tag a token, which .conll needs. Write .jsonl or .parquet."
            )
        if sentence.document != document:
            yield f"{DOCUMENT_BORDER}\tO\n\n" if labels is not None else f"{DOCUMENT_BORDER}\n\n"
            document = sentence.document
        _check_tokens(item, path)
        for label in labels or ():
            _check_label(label, path)
        rows = sentence.tokens if labels is None else map("\t".join, zip(sentence.tokens, labels, strict=True))
        yield "\n".join(rows) + "\n\n"


def _check_tokens(item: Labelled, path: Path) -> None:
    sentence = item.sentence
    for position, token in enumerate(sentence.tokens):
        if problem := unwritable(token, tagged=item.labels is not None):
            raise CorpusError(
                f"{path}: token {position} of {sentence.id} {problem}, which .conll cannot hold. "
                "Write .jsonl or .parquet."
            )


def _check_label(label: str, path: Path) -> None:
    if label != label.strip(" ") or any(letter in label for letter in "\t\r\n\0"):
        raise CorpusError(f"{path}: the label {label[:60]!r} holds white space that .conll cannot. Write .jsonl.")


def _encodable(item: Labelled, path: Path) -> Labelled:
    sentence = item.sentence
    try:
        "".join((sentence.id, sentence.document, sentence.text, *sentence.tokens)).encode()
    except UnicodeEncodeError as error:
        raise CorpusError(f"{path}: {sentence.id} holds half a character (a lone surrogate). Write .jsonl.") from error
    return item
