"""The only file that knows rich: progress, tables, news and errors. Results go to stdout, all else to stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from distill_offline.cli.log import Level, log
from distill_offline.errors import DistillError
from distill_offline.schema import Progress

__all__ = ["Console", "duration", "percent"]

_EVERY_S = 10.0  # between plain progress lines, if there is no terminal
_REDRAW_S = 0.2
_LIVE_S = 2.0  # stages that were shown so lately go on at the same time, and share the line


@dataclass(slots=True)
class _Clock:
    """When a stage was first and last shown, and how far it was the first time: rates count from there."""

    began: float
    first: Progress
    shown: float = 0.0
    has_ended: bool = False
    line: str = ""


@dataclass(slots=True)
class Console:
    """Shows what the library reports. `as_json`: stdout carries one JSON value and nothing else.

    What goes to stderr, and whether as JSON, is up to cli/log.py.
    """

    as_json: bool = False
    _out: RichConsole = field(default_factory=lambda: RichConsole(soft_wrap=True, width=_width()))
    _err: RichConsole = field(default_factory=lambda: RichConsole(stderr=True, soft_wrap=True))
    _clocks: dict[str, _Clock] = field(default_factory=dict)
    _line_open: bool = False

    def say(self, line: str) -> None:
        """One line of news."""
        self._tell("info", line)

    def watch(self, progress: Progress) -> None:
        """How far a stage is: redrawn in place on a terminal, a plain line every ten seconds elsewhere."""
        if not log.shows("progress"):
            return
        now = time.monotonic()
        clock = self._clocks.setdefault(progress.stage, _Clock(now, progress, now - _EVERY_S + 2))
        ended = progress.total and progress.done >= progress.total and clock.first is not progress
        # Not rich's is_terminal: FORCE_COLOR makes that true for a log file, too.
        redraws = not log.as_json and self._err.file.isatty() and not self._err.is_dumb_terminal
        if clock.has_ended or (not ended and now - clock.shown < (_REDRAW_S if redraws else _EVERY_S)):
            return
        clock.shown, clock.has_ended = now, bool(ended)
        clock.line = line = _text(_describe(progress, clock.first, now - clock.began)).plain
        if not redraws:
            total = progress.total or None  # 0: not known
            counts = dict(progress.counts)
            self._tell("progress", line, stage=progress.stage, done=progress.done, total=total, counts=counts)
            return
        width = max(20, self._err.width - 1)
        at_once = (
            [] if ended else [c.line for c in self._clocks.values() if not c.has_ended and now - c.shown < _LIVE_S]
        )
        share = max(20, (width + 3) // max(1, len(at_once)) - 3)
        line = " | ".join(each[:share] for each in at_once) or line
        self._err.file.write(f"\r\x1b[2K{line[:width]}")
        self._err.file.flush()
        self._line_open = True
        if ended:
            self._close_line()

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A table of results on stdout; the first column is text, the others are set flush right."""
        self._close_line()
        table = Table(title=_text(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        for number, column in enumerate(columns):
            table.add_column(_text(column), justify="right" if number else "left", no_wrap=not number, overflow="fold")
        for row in rows:
            table.add_row(*(_text(str(cell)) for cell in row))
        self._out.print(table)

    def tree(self, branch: tuple[str, Sequence[Any]]) -> None:
        """A tree on stdout; a branch is its line and the branches below it."""
        self._close_line()
        self._out.print(_grown(branch))

    def json(self, value: Any) -> None:
        """One JSON value on stdout."""
        self._close_line()
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True) + "\n")

    def result(self, line: str) -> None:
        """A line of results on stdout."""
        self._close_line()
        self._out.print(_text(line))

    def error(self, error: DistillError) -> None:
        """A user's mistake, or the machine's: clean lines, no traceback."""
        label, kind = ("error: ", "bold red"), type(error).__name__
        self._tell("error", str(error), label, error=kind, exit_code=error.exit_code)

    def warn(self, line: str) -> None:
        """One line that nobody should miss; the work goes on."""
        self._tell("warning", line, ("warning: ", "bold yellow"))

    def scores(self, result: Mapping[str, Any]) -> None:
        """What `evaluate` of a run found: a row a model."""
        from distill_offline.scoring.metrics import METRICS

        types = sorted({name for row in result["rows"] for name in row["per_type"]})
        whole = ["accuracy"] if any("accuracy" in row for row in result["rows"]) else []
        averages = sorted({name for row in result["rows"] for name in row.get("averages", ())})
        what = "exact-match scores" if not whole else "macro averages over the classes"
        if result.get("metric", "entity_f1") not in METRICS:
            what = f"scores by {result['metric']}"
        self.table(
            f"{result['split']}: {result['sentences']} sentences, {what} in percent",
            ["model", *whole, "precision", "recall", "F1", *(f"{name} F1" for name in averages), *types],
            [
                [
                    row["name"],
                    *(percent(row[key]) for key in whole),
                    *(percent(row["overall"][key]) for key in ("precision", "recall", "f1")),
                    *(percent(row["averages"][name]["f1"]) for name in averages),
                    *(percent(row["per_type"][name]["f1"]) if name in row["per_type"] else "-" for name in types),
                ]
                for row in result["rows"]
            ],
        )
        for arm in result.get("arms", ()):
            self.result(_mean_in_words(arm))

    def quality(self, quality: Mapping[str, Any]) -> None:
        """What kinds of error a teacher's spans have, in JSON as Quality.as_dict() gives it."""
        self._kinds("by type", "type", quality["by_type"])
        self._kinds("by how the mention was found", "alignment", quality["by_alignment"])
        ways = (f"{way.replace('_', ' ')} {percent(scores['f1'])}" for way, scores in quality["matches"].items())
        self.result(f"F1 by nervaluate: {' · '.join(ways)}")
        if quality["reliability"] is not None:
            self._kinds(
                "by confidence",
                "confidence",
                {f"{row['lowest']:.2f} to {row['highest']:.2f}": row for row in quality["by_confidence"]},
            )
            self.result(_reliability_in_words(quality["reliability"]))
        if "verify" in quality:
            self.result(f"yes or no: {_reliability_in_words(quality['verify'])}")

    def _kinds(self, title: str, what: str, groups: Mapping[str, Mapping[str, Any]]) -> None:
        kinds = ["correct", "wrong_type", "wrong_boundary", "spurious"]
        if any("missed" in row for row in groups.values()):
            kinds.append("missed")
        self.table(
            f"spans {title}",
            [what, "spans", "precision", *(kind.replace("_", " ") for kind in kinds)],
            [
                [
                    name,
                    row["spans"],
                    "-" if row["precision"] is None else percent(row["precision"]),
                    *(row[k] for k in kinds),
                ]
                for name, row in groups.items()
            ],
        )

    def _tell(self, level: Level, line: str, label: tuple[str, str] = ("", ""), **fields: Any) -> None:
        """One line on stderr after its label (text and style), or as JSON with the fields."""
        self._close_line()
        if log.as_json:
            log.write(level, line, **fields)
        elif log.shows(level):
            self._err.print(Text.assemble(label, _text(line)))

    def _close_line(self) -> None:
        if self._line_open:
            self._err.file.write("\n")
            self._line_open = False


def _grown(branch: tuple[str, Sequence[Any]]) -> Tree:
    line, below = branch
    tree = Tree(_text(line))
    for child in below:
        tree.children.append(_grown(child))
    return tree


def _width() -> int | None:
    """A file or pipe has no edge at which a table would have to fold."""
    return None if sys.stdout is not None and sys.stdout.isatty() else 200


def _text(line: str) -> Text:
    """Text that cannot steer the terminal, nor fail to be written: a name may hold escape codes or half a character."""
    plain = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in line)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return Text(plain.encode(encoding, "backslashreplace").decode(encoding))


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _mean_in_words(arm: Mapping[str, Any]) -> str:
    """One line, of JSON as arm_means() gives it."""
    seeds, deviation = len(arm["students"]), arm["deviation"]
    spread = "" if deviation is None else f" ± {percent(deviation)} (standard deviation)"
    together = f"; {percent(arm['together']['f1'])} together (predict --with)" if "together" in arm else ""
    return f"{arm['name']}: F1 {percent(arm['f1'])}{spread}, the mean of {seeds} seed{'s' * (seeds > 1)}{together}"


def _reliability_in_words(reliability: Mapping[str, Any]) -> str:
    """One line, of JSON as Reliability.as_dict() gives it."""
    auroc = reliability["auroc"]
    told = "" if auroc is None else f" · AUROC {auroc:.3f}"
    return f"expected calibration error {reliability['ece']:.3f} · Brier score {reliability['brier']:.3f}{told}"


def _describe(progress: Progress, first: Progress, seconds: float) -> str:
    parts = [f"{progress.stage}: {progress.done}" + (f"/{progress.total}" if progress.total else "")]
    counts = progress.counts
    worked = counts["asked"] - first.counts["asked"] if "asked" in counts else progress.done - first.done
    rate = worked / seconds if seconds > 0.5 else 0.0
    if "asked" in counts:
        parts.append(f"{counts['cached']:.0f} cached")
        if rate:
            tokens_in = (counts["prompt_tokens"] - first.counts["prompt_tokens"]) / seconds
            tokens_out = (counts["completion_tokens"] - first.counts["completion_tokens"]) / seconds
            parts.append(f"{rate:.2f} rows/s, {tokens_in:.0f} + {tokens_out:.0f} tokens/s in + out")
        if counts.get("unusable"):
            parts.append(f"{counts['unusable']:.0f} unusable ({counts['unusable'] / max(1, counts['asked']):.0%})")
    else:
        parts += [f"{name} {value:.3f}" for name, value in counts.items()]
        if rate:
            parts.append(f"{rate:.2f}/s")
    if rate and progress.total > progress.done:
        parts.append(f"ETA {duration((progress.total - progress.done) / rate)}")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
