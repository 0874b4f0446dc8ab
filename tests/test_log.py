"""What goes to stderr with --quiet and with --log-format json, and by their variables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distill_offline import cli, offline
from distill_offline.cli.console import Console
from distill_offline.cli.log import FORMAT_VARIABLE, QUIET_VARIABLE, log
from distill_offline.cli.options import stopping
from distill_offline.errors import ConfigError, Interrupted
from distill_offline.schema import Progress

Said = tuple[int | str | None, str, str]


@pytest.fixture
def chosen() -> Iterator[Any]:
    """The log, to be set by a test; as it was, afterwards."""
    yield log
    log.quiet, log.as_json, log.verb = False, False, None


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], chosen: Any) -> Callable[..., Said]:
    """The entry point in this process: exit code, stdout and stderr. Python's own hooks stay as they are."""

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(offline, "enforce", lambda allow=(): None)
        monkeypatch.setattr(chosen, "take_over", lambda: None)
        monkeypatch.setattr(sys, "argv", ["distill-offline", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    return run


def lines(err: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in err.splitlines()]


def say_all(console: Console) -> None:
    console.say("news")
    console.watch(Progress("train a", 0, 2, {"loss": 0.5}))
    console.watch(Progress("train a", 2, 2, {"loss": float("nan")}))
    console.warn("a warning")
    console.error(ConfigError("x.yaml: seed is wrong."))
    console.result("a result")


def test_quiet_leaves_warnings_errors_and_results(capsys: pytest.CaptureFixture[str], chosen: Any) -> None:
    chosen.quiet = True
    say_all(Console())
    assert capsys.readouterr() == ("a result\n", "warning: a warning\nerror: x.yaml: seed is wrong.\n")


def test_json_is_a_line_for_each_message_and_results_stay(capsys: pytest.CaptureFixture[str], chosen: Any) -> None:
    chosen.as_json, chosen.verb = True, "train"
    say_all(Console())
    out, err = capsys.readouterr()
    said = lines(err)
    assert out == "a result\n"
    assert [(line["level"], line["message"].split(" · ")[0]) for line in said] == [
        ("info", "news"),
        ("progress", "train a: 2/2"),
        ("warning", "a warning"),
        ("error", "x.yaml: seed is wrong."),
    ]
    assert {line["verb"] for line in said} == {"train"}
    assert all(line["time"].endswith("Z") and line["time"][10] == "T" for line in said)
    assert said[1] | {"stage": "train a", "done": 2, "total": 2, "counts": {"loss": None}} == said[1]
    assert said[3] | {"error": "ConfigError", "exit_code": 2} == said[3]


def test_quiet_json_is_warnings_and_errors_only(capsys: pytest.CaptureFixture[str], chosen: Any) -> None:
    chosen.quiet = chosen.as_json = True
    say_all(Console())
    assert [line["level"] for line in lines(capsys.readouterr().err)] == ["warning", "error"]


def test_names_cannot_steer_a_terminal_through_json(capsys: pytest.CaptureFixture[str], chosen: Any) -> None:
    chosen.as_json = True
    evil = "a\x1b[2J\x07\rb\udcff\x7f"
    Console().say(evil)
    Console().error(ConfigError(evil))
    err = capsys.readouterr().err
    assert err.isascii()
    assert all(line["message"] == r"a\x1b[2J\x07\rb\udcff\x7f" for line in lines(err))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--log-format", "json", "doctor", "nowhere.yaml"], "ConfigError"),
        (["--log-format=json", "run"], "MissingParameter"),
        (["--log-format", "json", "run", "--bogus"], "NoSuchOption"),
        (["--bogus", "--log-format", "json", "run"], "NoSuchOption"),
        (["--log-format", "json", "runn"], "NoSuchCommand"),
        (["--log-format", "json", "select", "x.yaml", "--set", "a"], "ConfigError"),
    ],
)
def test_every_mistake_is_one_line_of_json(program: Callable[..., Said], arguments: list[str], error: str) -> None:
    code, out, err = program(*arguments)
    (line,) = lines(err)
    assert (code, out) == (2, "")
    assert line | {"level": "error", "error": error, "exit_code": 2} == line


def test_the_variables_do_the_same_and_the_option_wins(
    program: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    assert lines(program("runn")[2])[0]["level"] == "error"
    assert lines(program("models", "pin", "nowhere")[2])[0]["verb"] == "models"
    assert program("--log-format", "text", "models", "pin", "nowhere")[2].startswith("error: ")
    monkeypatch.delenv(FORMAT_VARIABLE)
    monkeypatch.setenv(QUIET_VARIABLE, "1")
    assert program("models", "pin", "nowhere")[2].startswith("error: ")
    assert log.quiet


def test_a_mistake_in_text_still_shows_the_usage(program: Callable[..., Said]) -> None:
    code, out, err = program("run")
    assert (code, out) == (2, "")
    assert err.startswith("Usage: distill-offline run")
    assert "Missing argument 'CONFIG'" in err


def test_a_signal_is_told_in_the_same_form(capfd: pytest.CaptureFixture[str], chosen: Any) -> None:
    def work() -> None:
        with stopping(Console()) as asked:
            os.kill(os.getpid(), signal.SIGTERM)
            if asked():
                raise Interrupted("stopped.")

    chosen.as_json = True
    with pytest.raises(Interrupted):
        work()
    assert [line["message"].partition(":")[0] for line in lines(capfd.readouterr().err)] == ["SIGTERM", "to go on"]
    chosen.as_json, chosen.quiet = False, True
    with pytest.raises(Interrupted):
        work()
    assert capfd.readouterr().err == ""


def test_ctrl_c_warnings_other_libraries_and_faults_of_ours_are_json(tmp_path: Path) -> None:
    code = """
        import logging, sys, warnings
        from distill_offline import cli
        from distill_offline.cli.console import Console
        @cli.commands.command()
        def wait(): raise KeyboardInterrupt
        @cli.commands.command()
        def fail():
            Console().say("begun")
            import tqdm.auto
            for _ in tqdm.auto.tqdm(range(3), desc="weights"): pass  # as libraries do
            warnings.warn("old", DeprecationWarning)
            logging.getLogger("other").warning("said %s", 1)
            raise RuntimeError("a bug")
        sys.argv[1:] = ["--log-format", "json", *sys.argv[1:]]
        cli.main()
    """
    command = [sys.executable, "-W", "always", "-c", textwrap.dedent(code)]
    waited = subprocess.run([*command, "wait"], cwd=tmp_path, capture_output=True, text=True)
    (line,) = lines(waited.stderr)
    assert waited.returncode == 130
    assert line | {"level": "error", "error": "Interrupted", "verb": "wait", "exit_code": 130} == line
    failed = subprocess.run([*command, "fail"], cwd=tmp_path, capture_output=True, text=True)
    said = lines(failed.stderr)
    assert failed.returncode == 1
    assert [(line["level"], line["message"]) for line in said] == [
        ("info", "begun"),
        ("warning", "old"),
        ("warning", "said 1"),
        ("error", "RuntimeError: a bug"),
    ]
    assert said[2]["by"] == "other"
    assert "Traceback" in said[3]["traceback"]
