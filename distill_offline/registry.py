"""Name → object, by one table of `module:attribute` strings or by a user's own; and what goes wrong in users' code."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import Any

from distill_offline.errors import ConfigError, DistillError, MissingPackage

__all__ = ["check_has", "described", "load", "theirs"]

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_OUR_FOLDER = str(Path(__file__).parent)
_LONGEST = 200


def load(kind: str, name: str, table: Mapping[str, str], extras: Mapping[str, str] | None = None) -> Any:
    """The object that `name` stands for in `table`, or that `package.module:attribute` names directly.

    `kind` is the configuration key, for messages. `extras` says which extra installs a name's dependencies.
    Raises ConfigError for an unknown name and for a user's module that cannot be imported, whatever the reason, with
    its file and line; MissingPackage where a dependency of ours is not installed.
    """
    if name not in table:
        return _theirs(kind, name, table)
    module, _, attribute = table[name].partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        extra = (extras or {}).get(name)
        remedy = f" Install it: pip install 'distill_offline[{extra}]'." if extra else ""
        raise MissingPackage(
            f"{kind}: {name!r} needs {error.name or module}, which does not import ({error}).{remedy}"
        ) from error


def check_has(kind: str, name: str, value: Any, attributes: Iterable[str]) -> None:
    """Raises ConfigError where what `name` stands for lacks any of the attributes; says which."""
    if missing := [attribute for attribute in attributes if not hasattr(value, attribute)]:
        raise ConfigError(f"{kind}: {name} has no {', no '.join(missing)}; it must be there.")


@contextmanager
def theirs(kind: str, name: str, doing: str = "", *, may_quote: bool = False) -> Iterator[None]:
    """Within it, an error of a user's code becomes ConfigError: the key, what it did, its file and line, the error.

    What the error says is left out where it `may_quote` the corpus. Our own errors, and a lack of memory, pass.
    """
    try:
        yield
    except (DistillError, MemoryError):
        raise
    except Exception as error:
        what = f"{name}{f', {doing}' if doing else ''}"
        raise ConfigError(f"{kind}: {what}: {described(error, name, may_quote=may_quote)}") from error


def described(error: Exception, name: str, *, may_quote: bool = False) -> str:
    """`file:line: ErrorType: message` of an error in a user's code; `name` is its `package.module:attribute`."""
    module = sys.modules.get(name.partition(":")[0])
    return _place(error, module) + (type(error).__name__ if may_quote else _said(error))


def _theirs(kind: str, name: str, table: Mapping[str, str]) -> Any:
    if ":" not in name:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"{kind}: {name!r} is unknown.{hint} Known: {', '.join(sorted(table))}, or package.module:Name."
        )
    if not _TARGET.fullmatch(name):
        raise ConfigError(f"{kind}: {name!r} is not written as package.module:Name.")
    module, _, attribute = name.partition(":")
    loaded = _imported(kind, name, module)
    try:
        return getattr(loaded, attribute)
    except AttributeError as error:
        near = difflib.get_close_matches(attribute, vars(loaded), n=1)
        hint = f" Did you mean {module}:{near[0]}?" if near else ""
        raise ConfigError(f"{kind}: module {module} has no {attribute!r}.{hint}") from error


def _imported(kind: str, name: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:
        is_absent = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        if is_absent:
            problem = f"there is no module {error.name}. Is its folder on PYTHONPATH?"  # type: ignore[union-attr]
        else:
            problem = f"module {module} does not import: {_place(error, None)}{_said(error)}"
        raise ConfigError(f"{kind}: {name}: {problem}") from error


def _said(error: BaseException) -> str:
    first = str(error.msg if isinstance(error, SyntaxError) else error).strip().partition("\n")[0]
    shown = first if len(first) <= _LONGEST else f"{first[:_LONGEST]}..."
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


def _place(error: BaseException, module: ModuleType | None) -> str:
    """`file:line: ` of the user's code: in its own module if it is on the way, or in whatever it called last."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}:{error.lineno}: "
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    own = getattr(module, "__file__", None)
    foreign = [each for each in frames if not each[0].startswith((_OUR_FOLDER, "<")) and "importlib" not in each[0]]
    found = [each for each in frames if each[0] == own] or foreign
    return f"{found[-1][0]}:{found[-1][1]}: " if found else ""
