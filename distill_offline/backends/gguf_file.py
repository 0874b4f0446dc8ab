"""GGUF files: which one is meant, whether it is whole, and the chat template it carries."""

from __future__ import annotations

import re
from pathlib import Path

from distill_offline.errors import MissingModel
from distill_offline.models.folder import parts_of
from distill_offline.models.headers import Unusable, foreign_problem, gguf_header

__all__ = ["find_gguf", "read_chat_template"]

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_CHAT_TEMPLATE = "tokenizer.chat_template"


def find_gguf(model: Path) -> Path:
    """The GGUF file at `model`: the file itself, or the one in that folder (of a split model, its first part).

    Raises MissingModel if there is none, more than one to choose from, or a part of it is missing.
    """
    if model.is_file():
        return _with_all_parts(model)
    files = sorted(path for path in model.glob("*") if path.suffix.lower() == ".gguf") if model.is_dir() else []
    first_or_whole = [path for path in files if (part := _PART.search(path.name)) is None or part[1] == "00001"]
    if len(first_or_whole) == 1:
        return _with_all_parts(first_or_whole[0])
    if not files:
        raise MissingModel(
            f"backend.model: {model.name}: no GGUF file there. Fetch the model, or give the file's path."
        )
    names = ", ".join(path.name for path in files)
    if not first_or_whole:
        raise MissingModel(f"backend.model: {model.name}: the first part is missing, there are {names}. Fetch it.")
    raise MissingModel(f"backend.model: {model.name}: several GGUF files ({names}). Give the path of one of them.")


def _with_all_parts(file: Path) -> Path:
    lacking = [part.name for part in parts_of(file) if not part.is_file()]
    if lacking:
        raise MissingModel(f"backend.model: {lacking[0]} is missing ({len(lacking)} parts of {file.name}). Fetch it.")
    return file


def read_chat_template(file: Path) -> str | None:
    """The Jinja chat template in a GGUF file's metadata, or None if it has none.

    The header is read strictly, and that of a split model's other parts too: raises MissingModel that says what is
    wrong with which of them.
    """
    template = None
    for part in parts_of(file):
        try:
            with part.open("rb") as stream:
                start = stream.read(1024)
                stream.seek(0)
                bad = foreign_problem(start, part.name)
                if bad:
                    raise Unusable(bad)
                header = gguf_header(stream, part.stat().st_size, [_CHAT_TEMPLATE])
        except (OSError, Unusable) as error:
            reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else error
            raise MissingModel(f"backend.model: {part.name} {reason}.") from error
        template = template or header.get(_CHAT_TEMPLATE)
    try:
        return template.decode("utf-8") if isinstance(template, bytes) else None
    except UnicodeDecodeError as error:
        raise MissingModel(f"backend.model: {file.name}: its chat template is not UTF-8.") from error
