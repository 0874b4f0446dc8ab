"""What a wheel says of itself: name, version, requirements, licence and its texts, size once installed."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement

from distill_offline.bundle.verifier.verify import plain_name
from distill_offline.errors import IntegrityError

__all__ = ["WheelMetadata", "licence_texts", "read"]

_LICENCE_FILE = re.compile(r"(licen[cs]e|copying|notice|authors|third.?party).*", re.IGNORECASE)
_LICENCE_LIMIT = 8 << 20  # bytes of one text


@dataclass(frozen=True, slots=True)
class WheelMetadata:
    """`name` is normalised (PEP 503). `licence` is an SPDX expression where `is_expression`, else its makers' words."""

    name: str
    version: str
    requires: tuple[Requirement, ...]
    extras: tuple[str, ...]
    licence: str
    is_expression: bool
    installed_bytes: int


def read(wheel: Path) -> WheelMetadata:
    """Raises IntegrityError for a file that is no wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            folder = _info_folder(archive)
            headers = HeaderParser().parsestr(archive.read(f"{folder}/METADATA").decode("utf-8", "replace"))
            installed = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
        raise IntegrityError(f"{wheel.name}: cannot be read as a wheel ({error}).") from error
    licence, is_expression = _licence(
        headers.get("License-Expression"), headers.get("License"), headers.get_all("Classifier") or []
    )
    try:
        requires = tuple(Requirement(line) for line in headers.get_all("Requires-Dist") or [])
    except InvalidRequirement as error:
        raise IntegrityError(f"{wheel.name}: has a requirement that cannot be read ({error}).") from error
    return WheelMetadata(
        name=plain_name(headers["Name"] or ""),
        version=headers["Version"] or "",
        requires=requires,
        extras=tuple(plain_name(extra) for extra in headers.get_all("Provides-Extra") or []),
        licence=licence,
        is_expression=is_expression,
        installed_bytes=installed,
    )


def licence_texts(wheel: Path) -> dict[str, bytes]:
    """The licence files of a wheel, by their path below its .dist-info folder."""
    with zipfile.ZipFile(wheel) as archive:
        folder = _info_folder(archive)
        texts = {}
        for member in archive.infolist():
            if not member.filename.startswith(folder + "/") or member.is_dir() or member.file_size > _LICENCE_LIMIT:
                continue
            inner = PurePosixPath(member.filename).relative_to(folder)
            if inner.parts[0] in ("licenses", "license_files") or _LICENCE_FILE.fullmatch(inner.name):
                texts[inner.as_posix()] = archive.read(member)
        return texts


def _info_folder(archive: zipfile.ZipFile) -> str:
    folders = {name.split("/")[0] for name in archive.namelist() if re.match(r"[^/]+\.dist-info/", name)}
    if len(folders) != 1:
        raise ValueError(f"{len(folders)} .dist-info folders instead of one")
    return folders.pop()


def _licence(expression: str | None, words: str | None, classifiers: list[str]) -> tuple[str, bool]:
    """The new field, else the old one where it is a name and not a whole text, else the classifiers'."""
    if expression:
        return _one_line(expression), True
    if words and "\n" not in words.strip() and 0 < len(words.strip()) <= 120:
        return _one_line(words), False
    named = sorted(
        {classifier.rpartition(" :: ")[2] for classifier in classifiers if classifier.startswith("License :: ")}
    )
    return _one_line(" and ".join(licence for licence in named if licence != "OSI Approved")) or "unknown", False


def _one_line(text: str) -> str:
    return "".join(character for character in " ".join(text.split()) if " " <= character <= "~")
