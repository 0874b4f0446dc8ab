"""What goes to stderr, and how: chosen by `--quiet` and `--log-format`, or by two variables of the environment."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Literal, TypeAlias

__all__ = ["FORMAT_VARIABLE", "QUIET_VARIABLE", "Level", "log"]

FORMAT_VARIABLE = "DISTILL_LOG_FORMAT"
QUIET_VARIABLE = "DISTILL_QUIET"

Level: TypeAlias = Literal["info", "progress", "warning", "error"]


class Log:
    """`quiet`: only warnings and errors. `as_json`: each message is one line of JSON. `verb`: what the lines name."""

    def __init__(self) -> None:  # no dataclass: importing that costs `--help` more than all of this
        self.quiet = False
        self.as_json = False
        self.verb: str | None = None

    def shows(self, level: Level) -> bool:
        return not self.quiet or level in ("warning", "error")

    def write(self, level: Level, message: str, **fields: Any) -> None:
        """One line of JSON on stderr, if the level is shown."""
        if self.shows(level):
            sys.stderr.write(self.line(level, message, **fields))
            sys.stderr.flush()

    def line(self, level: Level, message: str, **fields: Any) -> str:
        """The line with its end: ASCII only. Fields that are None are left out; a number that is none becomes null."""
        import json
        from datetime import UTC, datetime

        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        value = {"time": now, "level": level, "verb": self.verb, "message": _clean(message), **fields}
        return json.dumps({key: _finite(item) for key, item in value.items() if item is not None}) + "\n"

    def take_over(self) -> None:
        """From now on Python's warnings, other libraries' messages and faults of ours become lines of JSON, too."""
        import logging
        import warnings

        class Lines(logging.Handler):
            """Other libraries' messages."""

            def emit(self, record: logging.LogRecord) -> None:
                level: Level = "error" if record.levelno >= logging.ERROR else "warning"
                log.write(level if record.levelno >= logging.WARNING else "info", record.getMessage(), by=record.name)

        def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            log.write("warning", str(message), by=category.__name__)

        warnings.showwarning = show
        logging.getLogger().handlers[:] = [Lines()]
        sys.excepthook = _report_fault


def _report_fault(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    import traceback

    whole = _clean("".join(traceback.format_exception(kind, fault, trace)))
    log.write("error", f"{kind.__name__}: {fault}", error=kind.__name__, exit_code=1, traceback=whole)


def _clean(text: str) -> str:
    """Text that cannot steer a terminal, even when the JSON is decoded again: a name may hold escape codes."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {_clean(str(key)): _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and value - value != 0 else value  # infinite, or not a number


log = Log()
