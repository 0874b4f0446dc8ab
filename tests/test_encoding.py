"""Bytes that should be UTF-8 text and are not are named, with what to do, wherever text is read."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest
from corpus_files import fault_of, write_file

from distill_offline import corpus
from distill_offline.backends.scripted import Scripted
from distill_offline.config.loading import load
from distill_offline.errors import ConfigError, CorpusError
from distill_offline.schema import Sampling
from distill_offline.tasks.prompting import guidelines_text
from distill_offline.text.encoding import NotUTF8, decoded

_PROSE = "Anna lives in Oslo.\nBob left.\n"
_COLUMNS = "Anna B-PER\nlives O\n\nOslo B-LOC\n. O\n"
_JSONL = '{"text": "Anna lives in Oslo.", "spans": []}\n'
_WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")


@pytest.mark.parametrize("encoding", _WIDE)
@pytest.mark.parametrize(("name", "content"), [("a.txt", _PROSE), ("a.conll", _COLUMNS), ("a.jsonl", _JSONL)])
def test_wide_text_is_named_with_and_without_a_mark(tmp_path: Path, encoding: str, name: str, content: str) -> None:
    path = write_file(tmp_path, name, content.encode(encoding))
    wanted = rf"{name}:1: this is {encoding[:6].upper()}.* iconv -f UTF-"
    with pytest.raises(CorpusError, match=wanted):
        list(corpus.read_sentences(path))
    with pytest.raises(CorpusError, match=wanted):
        list(corpus.read_sentences(path, head="sequence-classification"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text", ["東京に住んでいます。\nオスロです。\n", "Она живёт в Осло.\nХорошо.\n", "她住在奥斯陆。\n很好。\n"]
)
def test_wide_text_of_other_scripts_is_named_too(tmp_path: Path, encoding: str, text: str) -> None:
    with pytest.raises(CorpusError, match=r"UTF-16[LB]E"):
        list(corpus.read_sentences(write_file(tmp_path, "a.txt", text.encode(encoding))))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Er wohnt in München.", "WINDOWS-1252"),
        ("東京に住んでいます。", "SHIFT_JIS"),
        ("東京に住んでいます。", "EUC-JP"),
        ("她住在奥斯陆，很好。", "GB18030"),
        ("她住在奧斯陸，很好。今天天氣不錯。", "BIG5"),
        ("그녀는 오슬로에 산다.", "EUC-KR"),
        ("Она живёт в Осло.", "WINDOWS-1251"),
        ("Она живёт в Осло.", "KOI8-R"),
    ],
)
def test_the_likely_encoding_is_said_with_the_line_and_the_byte(tmp_path: Path, text: str, encoding: str) -> None:
    content = b"first line\n" + text.encode(encoding)
    with pytest.raises(CorpusError, match=rf"a\.txt:2: byte \d+ of the file is not UTF-8.*{encoding}.*iconv"):
        list(corpus.read_sentences(write_file(tmp_path, "a.txt", content)))


@pytest.mark.parametrize("text", ["王小明在北京大学演讲。", "田中花子さんは東京駅に着いた"])
@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE"])
def test_wide_text_without_a_nul_is_named(tmp_path: Path, text: str, encoding: str) -> None:
    with pytest.raises(CorpusError, match=rf"looks like {encoding}\. .*iconv -f {encoding} "):
        list(corpus.read_sentences(write_file(tmp_path, "a.txt", text.encode(encoding))))


def test_japanese_text_of_mails_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"a\.txt:1: this is ISO-2022-JP text"):
        list(corpus.read_sentences(write_file(tmp_path, "a.txt", "東京に住んでいます。\n".encode("iso2022_jp"))))


def test_a_nul_is_named_with_its_place(tmp_path: Path) -> None:
    for name, content in (
        ("a.txt", b"One line.\nAnna\0 sang.\n"),
        ("a.conll", b"a O\nb\0 O\n"),
        ("a.jsonl", b'{"text": "Anna sang."}\n\0\n'),
    ):
        with pytest.raises(CorpusError, match=rf"{name}:[12]: .*(NUL|neither)"):
            list(corpus.read_sentences(write_file(tmp_path, name, content)))


def archive(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"Anna", mtime=0), "gzip"),
        (archive("a.txt"), "zip archive"),
        (archive("[Content_Types].xml", "xl/workbook.xml"), "Excel"),
        (archive("[Content_Types].xml", "word/document.xml"), "Word"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"{\\rtf1 Anna}", "RTF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "Word or Excel"),
        (b"PAR1" + bytes(9), "Parquet"),
        (b"SQLite format 3\0", "SQLite"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\x28\xb5\x2f\xfd1234", "Zstandard"),
        (b"\xfd7zXZ\x00", "xz"),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.conll"])
def test_what_is_no_text_is_refused_by_its_name(tmp_path: Path, content: bytes, said: str, name: str) -> None:
    path = write_file(tmp_path, name, content)
    with pytest.raises(CorpusError, match=rf"{name}:1: this is .*{said}"):
        list(corpus.read_sentences(path))
    assert said in fault_of(path) or name == "a.txt"


def test_a_mark_of_utf_8_is_no_part_of_any_text(tmp_path: Path) -> None:
    for name, content in (("a.txt", _PROSE), ("a.conll", _COLUMNS), ("a.jsonl", _JSONL)):
        path = write_file(tmp_path, name, b"\xef\xbb\xbf" + content.encode())
        assert next(corpus.read_sentences(path)).tokens[0] == "Anna"
    assert decoded(b"\xef\xbb\xbfx") == "x"


def test_configuration_guidelines_and_answers_are_named_alike(tmp_path: Path) -> None:
    wide = write_file(tmp_path, "wide.md", "name: x\n".encode("utf-16"))
    latin = write_file(tmp_path, "latin.md", "name: M\u00fcnchen\n".encode("latin-1"))
    for path, said in ((wide, "UTF-16"), (latin, "WINDOWS-1252")):
        with pytest.raises(ConfigError, match=said):
            load(path)
        with pytest.raises(ConfigError, match=rf"task\.guidelines: .*{said}"):
            guidelines_text(str(path))
        with pytest.raises(ConfigError, match=rf"backend\.options\.answers: .*{said}"):
            Scripted(Path(), Sampling(), {"answers": str(path)})


def test_one_nul_in_a_long_text_is_no_wide_text() -> None:
    with pytest.raises(NotUTF8, match="byte 400 of the file is NUL"):
        decoded(b"Anna" * 100 + b"\0" + b"Oslo" * 100)
