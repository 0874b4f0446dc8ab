"""GGUF files: which one is meant, and the chat template it carries."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import BinaryIO

from distill_offline.errors import BackendError, MissingModel

__all__ = ["find_gguf", "read_chat_template"]

_PART = re.compile(r"-(\d{5})-of-\d{5}\.gguf$", re.IGNORECASE)
_STRING, _ARRAY = 8, 9
# Sizes in bytes of the scalar value types, by their number in the format.
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_CHAT_TEMPLATE = b"tokenizer.chat_template"


def find_gguf(model: Path) -> Path:
    """The GGUF file at `model`: the file itself, or the one in that folder (of a split model, its first part).

    Raises MissingModel where there is none, or more than one to choose from.
    """
    if model.is_file():
        return model
    found = sorted(path for path in model.glob("*") if path.suffix.lower() == ".gguf") if model.is_dir() else []
    first_or_whole = [path for path in found if (part := _PART.search(path.name)) is None or part[1] == "00001"]
    if len(first_or_whole) == 1:
        return first_or_whole[0]
    if not found:
        raise MissingModel(
            f"backend.model: {model.name}: no GGUF file there. Fetch the model, or give the file's path."
        )
    names = ", ".join(path.name for path in found)
    raise MissingModel(f"backend.model: {model.name}: several GGUF files ({names}). Give the path of one of them.")


def read_chat_template(file: Path) -> str | None:
    """The Jinja chat template in a GGUF file's metadata, or None where it has none.

    Reads the key-value header of versions 2 and 3 (ggml's docs/gguf.md); raises BackendError where that is damaged.
    """
    try:
        with file.open("rb") as stream:
            magic, version, _, count = struct.unpack("<4sIQQ", _read(stream, 24))
            if magic != b"GGUF" or version not in (2, 3):
                raise ValueError("not a little-endian GGUF file of version 2 or 3")
            for _ in range(count):
                key = _read_bytes(stream)
                (kind,) = struct.unpack("<I", _read(stream, 4))
                if key == _CHAT_TEMPLATE and kind == _STRING:
                    return _read_bytes(stream).decode("utf-8")
                _skip(stream, kind)
    except (OSError, ValueError, struct.error) as error:
        raise BackendError(f"backend.model: {file.name}: unreadable GGUF header ({error}). Fetch it again.") from error
    return None


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise ValueError("the file ends too early")
    return data


def _read_bytes(stream: BinaryIO) -> bytes:
    (length,) = struct.unpack("<Q", _read(stream, 8))
    if length > 1 << 26:
        raise ValueError("a string of impossible length")
    return _read(stream, length)


def _skip(stream: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        _read_bytes(stream)
    elif kind == _ARRAY:
        inner, count = struct.unpack("<IQ", _read(stream, 12))
        if inner in _SCALARS:
            stream.seek(_SCALARS[inner] * count, 1)
        else:
            for _ in range(count):
                _skip(stream, inner)
    elif kind in _SCALARS:
        stream.seek(_SCALARS[kind], 1)
    else:
        raise ValueError(f"value type {kind} is unknown")
