"""What a user sees: results on stdout, all else on stderr."""

from __future__ import annotations

import io
import json
import os
import select
from collections.abc import Iterator
from typing import Any

import pytest

from distill_offline.cli.console import Console
from distill_offline.errors import ConfigError
from distill_offline.schema import Progress

RESULT = {
    "split": "test",
    "sentences": 7,
    "rows": [
        {
            "name": name,
            "overall": {"precision": 0.25, "recall": 1.0, "f1": 0.4567, "support": 4},
            "per_type": types,
        }
        for name, types in (("teacher", {}), ("simple_mix", {"PER": {"f1": 0.5}}))
    ],
}


class Terminal:
    """A pseudo-terminal to put in the place of standard error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._reader, self._writer = os.openpty()
        os.set_blocking(self._reader, False)
        self.stream = open(self._writer, "w", encoding="utf-8")  # noqa: PTH123, SIM115

    def close(self) -> None:
        self.stream.close()
        os.close(self._reader)

    def console(self) -> Console:
        # Not in the fixture: pytest sets its own stream anew when the test begins.
        self._monkeypatch.setattr("sys.stderr", self.stream)
        return Console()

    def shown(self) -> str:
        self.stream.flush()
        read = b""
        while select.select([self._reader], [], [], 0.2)[0]:  # what was written may arrive in several parts
            read += os.read(self._reader, 65536)
        return read.decode().replace("\r\n", "\n")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    opened = Terminal(monkeypatch)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    yield opened
    opened.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The console's monotonic clock, set by hand."""
    now = [1000.0]
    monkeypatch.setattr("distill_offline.cli.console.time.monotonic", lambda: now[0])
    return now


def train(done: int, total: int = 100, **counts: float) -> Progress:
    return Progress("train a", done, total, counts)


def annotate(done: int, asked: int, total: int = 100) -> Progress:
    counts = {"asked": asked, "cached": done - asked, "prompt_tokens": asked * 300, "completion_tokens": asked * 20}
    return Progress("annotate unlabelled", done, total, counts)


def test_stages_that_go_on_at_the_same_time_share_the_line(terminal: Terminal, clock: list[float]) -> None:
    console = terminal.console()
    for step in range(3):
        for stage in ("train a", "train b"):
            console.watch(Progress(stage, 10 + step, 100))
            clock[0] += 0.5
    line = terminal.shown().split("\r")[-1]
    assert "train a: 12/100" in line
    assert " | train b: 12/100" in line
    clock[0] += 60
    console.watch(Progress("evaluate", 1, 10))
    assert "train" not in terminal.shown().split("\r")[-1]


def test_results_go_to_stdout_and_news_progress_and_errors_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.say("news")
    console.error(ConfigError("x.yaml: seed is wrong."))
    console.result("a result")
    console.table("a table", ["name", "n"], [["x", 1]])
    out, err = capsys.readouterr()
    assert err == "news\nerror: x.yaml: seed is wrong.\n"
    assert out.startswith("a result\n")
    assert "a table" in out


def test_json_is_one_value_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(as_json=True)
    console.say("news")
    console.watch(train(1))
    console.json({"ä": "\ud800\u2028", "f1": 0.5})
    console.say("more news")
    assert json.loads(capsys.readouterr().out) == {"ä": "\ud800\u2028", "f1": 0.5}


def test_scores_are_a_row_a_model_in_percent(capsys: pytest.CaptureFixture[str]) -> None:
    Console().scores(RESULT)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["model", "precision", "recall", "F1", "PER"] in lines
    assert ["teacher", "25.0", "100.0", "45.7", "-"] in lines
    assert ["simple_mix", "25.0", "100.0", "45.7", "50.0"] in lines


def test_a_wide_table_is_not_folded_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    columns = [f"column{n}" for n in range(15)]
    Console().table("t", columns, [[f"value{n}" for n in range(15)]])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert columns in lines
    assert [f"value{n}" for n in range(15)] in lines


def test_markup_in_names_is_only_text(capsys: pytest.CaptureFixture[str]) -> None:
    console, evil = Console(), "[red]x[/nothing] :warning:"
    console.say(evil)
    console.result(evil)
    console.error(ConfigError(evil))
    console.table(evil, [evil], [[evil]])
    out, err = capsys.readouterr()
    assert (out.count(evil), err.count(evil)) == (4, 2)


def test_names_cannot_steer_the_terminal_nor_fail_to_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    console, evil = Console(), "a\x1b[2J\x07\rb\udcff\ud800"
    console.say(evil)
    console.result(evil)
    console.error(ConfigError(evil))
    console.table(evil, [evil], [[evil]])
    console.watch(Progress(evil, 1, 2))
    for text in capsys.readouterr():
        assert r"a\x1b[2J\x07\rb\udcff\ud800" in text
        assert not any(character in text for character in "\x1b\x07\r\udcff\ud800")


def test_without_a_terminal_progress_is_plain_lines_ten_seconds_apart(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    console = Console()
    for second in range(61):
        clock[0] = 1000.0 + second
        console.watch(train(second, loss=0.5))
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b" not in err
    assert "\r" not in err
    assert [line.split(" · ")[0] for line in err.splitlines()] == [f"train a: {n}/100" for n in (2, 12, 22, 32, 42, 52)]
    assert err.splitlines()[-1] == "train a: 52/100 · loss 0.500 · 1.00/s · ETA 0:48"


def test_forced_colour_does_not_make_a_log_file_a_terminal(
    capsys: pytest.CaptureFixture[str], clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = Console()
    console.watch(train(0))
    clock[0] += 20
    console.watch(train(1))
    assert capsys.readouterr().err == "train a: 1/100 · 0.05/s · ETA 33:00\n"


def test_the_end_of_a_stage_is_shown_at_once_and_once(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    console = Console()
    console.watch(train(1))
    clock[0] += 1
    console.watch(train(100))
    console.watch(train(100))
    assert capsys.readouterr().err.splitlines() == ["train a: 100/100 · 99.00/s"]


def test_rates_count_what_was_asked_and_not_what_was_stored_already(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    console = Console()
    console.watch(annotate(40, 0))
    clock[0] += 20
    console.watch(annotate(60, 10))
    assert capsys.readouterr().err == (
        "annotate unlabelled: 60/100 · 50 cached · 0.50 rows/s, 150 + 10 tokens/s in + out · ETA 1:20\n"
    )


def test_an_unknown_total_and_hours_are_shown(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    console = Console()
    console.watch(Progress("a", 0, 0))
    console.watch(Progress("b", 0, 100_000))
    clock[0] += 10
    console.watch(Progress("a", 10, 0))
    console.watch(Progress("b", 10, 100_000))
    assert capsys.readouterr().err == "a: 10 · 1.00/s\nb: 10/100000 · 1.00/s · ETA 27:46:30\n"


def test_on_a_terminal_progress_is_redrawn_in_place_and_closed_before_other_lines(
    terminal: Terminal, clock: list[float]
) -> None:
    console = terminal.console()
    for tenth in range(11):
        clock[0] = 1000.0 + tenth / 10
        console.watch(train(tenth))
    console.say("news")
    shown = terminal.shown()
    assert shown.count("\r\x1b[2K") >= 5
    assert shown.endswith("\nnews\n")
    assert shown.count("\n") == 2


def test_a_narrow_terminal_cuts_the_line_of_progress(terminal: Terminal, clock: list[float], monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    terminal.console().watch(Progress("x" * 200, 1, 2))
    assert len(terminal.shown()) < 30 + len("\r\x1b[2K")


def test_a_dumb_terminal_gets_plain_lines(terminal: Terminal, clock: list[float], monkeypatch: Any) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console = terminal.console()
    console.watch(train(0))
    clock[0] += 20
    console.watch(train(1))
    assert "\x1b" not in terminal.shown()


def test_errors_are_coloured_on_a_terminal_unless_no_color_is_set(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.console().error(ConfigError("wrong"))
    assert "\x1b[1;31m" in terminal.shown()
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.console().error(ConfigError("wrong"))
    assert "31m" not in terminal.shown()


def test_a_stream_that_knows_no_unicode_is_borne(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii", errors="strict", write_through=True))
    Console().table("größe", ["naïve"], [["–"]])
    Console().result("größe")
    assert b"gr" in raw.getvalue()
