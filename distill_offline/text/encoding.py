"""What bytes are that should be UTF-8 text and are not, and how to make them so."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

__all__ = ["BOM", "NotUTF8", "decoded", "decoded_part", "foreign", "read_utf8", "undecodable"]

BOM = codecs.BOM_UTF8
_LOOK = 4096
_AROUND = 500  # bytes around a faulty one, by which its encoding is guessed
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_UNPACK = "Unpack it first."
_EXPORT = "Export its text first, as UTF-8."
_MAGIC = (
    (b"\x1f\x8b", "a gzip file", "Unpack it first, for example with: gunzip"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "Unpack it first, for example with: unzstd"),
    (b"\xfd7zXZ\x00", "an xz file", "Unpack it first, for example with: unxz"),
    (b"BZh", "a bzip2 file", "Unpack it first, for example with: bunzip2"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"%PDF-", "a PDF file", _EXPORT),
    (b"{\\rtf", "an RTF file", _EXPORT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Word or Excel file", _EXPORT),
    (b"PAR1", "a Parquet file", "Give it the suffix .parquet."),
    (b"ARROW1\x00\x00", "an Arrow file", "Write it as Parquet or JSONL."),
    (b"SQLite format 3\x00", "an SQLite database", "Export the texts as JSONL."),
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file itself", "Fetch it: git lfs pull"),
)  # fmt: skip
_SHIFTED = re.compile(rb"\x1b\$[@B][\x21-\x7e]{2}")  # to Japanese characters of two bytes
_KANA = re.compile(r"[\u3040-\u30ff]")
_HANGUL = re.compile(r"\A(?:[\x00-\x7f]*[\uac00-\ud7a3]){4,}[\x00-\x7f]*\Z")
_LETTERS = re.compile(
    r"[\u0400-\u052f\u0590-\u06ff\u0e00-\u0eff\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uffef]|\s"
)
_ZIP = b"PK\x03\x04"


class NotUTF8(ValueError):
    """What a file is that should be UTF-8 text, where it stops being that, and what to do."""

    def __init__(self, problem: str, line: int, position: int) -> None:
        super().__init__(f"line {line}: {problem}")
        self.problem, self.line, self.position = problem, line, position


def read_utf8(path: Path) -> str:
    """The text of a file, without a byte order mark. Raises NotUTF8, or OSError."""
    return decoded(path.read_bytes())


def decoded(raw: bytes) -> str:
    """The text of a whole file's bytes, without a byte order mark. Raises NotUTF8."""
    if problem := foreign(raw):
        raise NotUTF8(problem, 1, 0)
    before = len(BOM) if raw.startswith(BOM) else 0
    return decoded_part(raw[before:], before)


def decoded_part(raw: bytes, position: int = 0, first_line: int = 1) -> str:
    """The text of bytes that begin at `position` of a file, in its line `first_line`. Raises NotUTF8."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        begin = max(0, error.start - _AROUND) // 2 * 2  # where a character of UTF-16 would begin
        around = raw[begin : error.start + _AROUND]
        problem = f"byte {position + error.start} of the file is not UTF-8. {undecodable(around)}"
        line = first_line + raw.count(b"\n", 0, error.start)
        raise NotUTF8(problem, line, position + error.start) from error
    if "\0" in text:
        at = raw.index(0)
        problem = f"byte {position + at} of the file is NUL, which no text holds. Is it damaged, or no text? {_NO_NUL}"
        raise NotUTF8(problem, first_line + raw.count(b"\n", 0, at), position + at)
    return text


_NO_NUL = "Remove it, for example with: tr -d '\\000' < OLD > NEW"


def foreign(head: bytes) -> str:
    """What a file that begins with `head` (4 KiB suffice) is, if no UTF-8 text, and what to do; empty if it may be."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return f"this is {name} text (by its byte order mark), not UTF-8. {_convert(name)}"
    for magic, what, remedy in _MAGIC:
        if head.startswith(magic):
            return f"this is {what}. {remedy}"
    if head.startswith(_ZIP):
        return _zipped(head)
    if _SHIFTED.search(head[:_LOOK]):
        return f"this is ISO-2022-JP text, not UTF-8. {_convert('ISO-2022-JP')}"
    if b"\0" in head[:_LOOK]:
        name = _wide(head[:_LOOK])
        if name:
            return f"this is {name} text without a byte order mark, not UTF-8. {_convert(name)}"
    return ""


def undecodable(line: bytes) -> str:
    """What the bytes of a line that is not UTF-8 probably are, and what to do."""
    name = _wide(line) or _wide_without_nul(line) or _guess(line)
    return f"It looks like {name}. {_convert(name)}" if name else f"Find out its encoding. {_convert('ENCODING')}"


def _convert(name: str) -> str:
    return f"Convert the file, for example with: iconv -f {name} -t UTF-8 OLD > NEW"


def _zipped(head: bytes) -> str:
    for inner, what in ((b"xl/", "an Excel workbook"), (b"word/", "a Word document"), (b"ppt/", "a presentation"),
                        (b"mimetypeapplication/vnd.oasis", "an OpenDocument file"), (b"mimetypeapplication/epub", "an e-book")):  # fmt: skip # noqa: E501
        if inner in head:
            return f"this is {what}. {_EXPORT}"
    return "this is a zip archive (or an Office document). Unpack it first, or export its text as UTF-8."


def _wide(head: bytes) -> str:
    """UTF-16 or UTF-32 without a mark: nearly every second byte (or three of four) of what is ASCII is NUL there."""
    if len(head) < 2:
        return ""
    places = [head[start::4].count(0) / max(1, len(head[start::4])) for start in range(4)]
    for name, empty in (("UTF-32LE", (1, 2, 3)), ("UTF-32BE", (0, 1, 2))):
        if all(places[offset] > 0.9 for offset in empty) and len(head) >= 8:
            return name
    even, odd = head[0::2].count(0) / len(head[0::2]), head[1::2].count(0) / len(head[1::2])
    is_likely = min(even, odd) < max(even, odd) / 4 and not _is_plain(head)
    if is_likely and _reads(head, "be" if even > odd else "le"):
        return "UTF-16BE" if even > odd else "UTF-16LE"
    return ""


def _is_plain(head: bytes) -> bool:
    """Whether the bytes are UTF-8 with hardly a control character in it."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return sum(letter < " " and letter not in "\t\r\n" for letter in text) <= 0.1 * len(text)


def _reads(head: bytes, order: str) -> bool:
    """Whether the bytes, read as UTF-16, are characters that text is made of."""
    text = head[: len(head) // 2 * 2].decode(f"utf-16-{order}", "replace")
    return sum(letter.isprintable() or letter in "\t\r\n" for letter in text) > 0.9 * len(text)


def _wide_without_nul(line: bytes) -> str:
    """UTF-16 of a script that needs no NUL: it reads well so, and has kana, or control characters among its bytes."""
    controls = sum(byte < 32 and byte not in b"\t\r\n" for byte in line)
    best, share = "", 0.9
    for name in ("UTF-16LE", "UTF-16BE"):
        text = line[: len(line) // 2 * 2].decode(name, "replace")
        known = len(_LETTERS.findall(text)) / len(text) if text else 0.0
        if known > share and (controls * 50 >= len(line) or len(_KANA.findall(text)) * 5 > len(text)):
            best, share = name, known
    return best


def _guess(line: bytes) -> str:
    """An encoding of one byte a character has few of them above ASCII; those of two bytes have runs of them."""
    runs = re.findall(rb"[\x80-\xff]+", line)
    if not runs:
        return ""
    if sum(map(len, runs)) * 3 < len(line) or max(map(len, runs)) <= 2:
        return "WINDOWS-1252"
    for name, letters in (("SHIFT_JIS", _KANA), ("EUC-JP", _KANA), ("EUC-KR", _HANGUL), ("GB18030", None)):
        text = line.decode(name, "replace")
        if "\ufffd" not in text and (letters is None or letters.search(text)):
            # A second byte of a character that is ASCII is common in Big5, and rare in GB18030.
            return "BIG5" if name == "GB18030" and _is_big5(line) else name
    # Small letters are the most: KOI8-R has them where WINDOWS-1251 has capitals.
    low = sum(0xC0 <= byte < 0xE0 for byte in line)
    return "KOI8-R" if low * 2 > sum(map(len, runs)) else "WINDOWS-1251"


def _is_big5(line: bytes) -> bool:
    pairs = re.findall(rb"[\xa1-\xf9][\x40-\x7e\xa1-\xfe]", line)
    text = line.decode("big5", "replace")
    return "\ufffd" not in text and sum(pair[1] < 0x80 for pair in pairs) * 5 > len(pairs)
