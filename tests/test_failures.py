"""Why an engine failed a prompt: kept in the store, in the quarantine file, on the screen; and asked again."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from openai_fake import Server, said

from distill_offline.cli import commands
from distill_offline.completions import CompletionStore
from distill_offline.storage.files import QUARANTINE, STORE, read_rows

NAMES = ("Ada", "Bob", "Cleo", "Dora")


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def annotate(folder: Path, server: Server, *flags: str) -> tuple[int, str]:
    rows = [{"id": f"r{n}", "document": f"d{n}", "text": f"{name} met Zacharias ."} for n, name in enumerate(NAMES)]
    (folder / "text.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    options = {"base_url": server.url, "retries": 0, "concurrency": 1}
    config = {
        "name": "run",
        "task": {"name": "ner", "types": {"PER": "a human"}},
        "corpus": {"unlabelled": str(folder / "text.jsonl")},
        "backend": {"name": "openai_server", "model": "my/model", "options": options},
        "annotate": {"demonstrations": {"strategy": "none"}, "max_quarantined": 1.0, "sampling": {"structured": False}},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    ran = CliRunner().invoke(commands, ["annotate", str(folder / "run.yaml"), "-o", str(folder / "run"), *flags])
    return ran.exit_code, f"{ran.stderr}{ran.exception or ''}"


def failing(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
    text = body["messages"][-1]["content"]
    for name, reply in (
        ("Ada", (400, {}, {"error": {"message": "no room for 'Zacharias' in slot 3"}})),
        ("Bob", (400, {}, {"error": {"message": "no room for 'Zacharias' in slot 4"}})),
        ("Cleo", (200, {}, {"choices": []})),
    ):
        if name in text:
            return reply
    return 200, {}, said("[]")


def refused(folder: Path) -> dict[str, tuple[str, str]]:
    return {row["id"]: (row["reason"], row["finish_reason"]) for row in read_rows(folder / "run/annotate" / QUARANTINE)}


CAUSES = {
    "r0": ("engine_error", "error: the server refused it with status 400: no room for '…' in slot 3"),
    "r1": ("engine_error", "error: the server refused it with status 400: no room for '…' in slot 4"),
    "r2": ("engine_error", "error: the server's answer has another shape (it has no choices)"),
}


def test_each_kind_of_failure_is_shown_once_without_text_of_the_corpus(tmp_path: Path, server: Server) -> None:
    server.reply = failing
    code, screen = annotate(tmp_path, server)
    assert code == 0
    assert refused(tmp_path) == CAUSES
    assert re.findall(r"engine_error, (\d) rows, for example: (.*)", screen) == [
        ("2", CAUSES["r0"][1].removeprefix("error: ")),
        ("1", CAUSES["r2"][1].removeprefix("error: ")),
    ]
    assert "Zacharias" not in screen + (tmp_path / "run/annotate/manifest.json").read_text()


def test_causes_outlive_the_run_and_go_when_the_prompt_is_answered(tmp_path: Path, server: Server) -> None:
    server.reply = failing
    annotate(tmp_path, server)
    before = (tmp_path / "run/annotate" / QUARANTINE).read_bytes()
    assert annotate(tmp_path, server, "--reparse")[0] == 0
    assert (tmp_path / "run/annotate" / QUARANTINE).read_bytes() == before
    server.reply = lambda body: (200, {}, said("[]"))
    assert annotate(tmp_path, server, "--set", "annotate.limit=3")[0] == 0  # something changed: it runs again
    assert refused(tmp_path) == {}
    with CompletionStore(tmp_path / "run/annotate" / STORE, read_only=True) as store:
        assert store.failures() == {}


def test_more_failures_than_are_allowed_are_said_to_be_asked_again_and_are(tmp_path: Path, server: Server) -> None:
    server.reply = failing
    code, screen = annotate(tmp_path, server, "--set", "annotate.max_quarantined=0.5")
    assert code != 0
    assert "The 3 that the engine failed on are asked again by the same command" in " ".join(screen.split())
    server.reply = lambda body: (200, {}, said("[]"))
    assert annotate(tmp_path, server, "--set", "annotate.max_quarantined=0.5")[0] == 0
    assert refused(tmp_path) == {}


def test_a_store_of_an_older_version_has_no_failures_and_can_be_read(tmp_path: Path) -> None:
    with CompletionStore(tmp_path / STORE) as store:
        assert store.failures() == {}
    with CompletionStore(tmp_path / STORE, read_only=True) as store:
        assert store.failures() == {}


def test_a_purged_document_leaves_no_failure_behind(tmp_path: Path, server: Server) -> None:
    server.reply = failing
    annotate(tmp_path, server)
    with CompletionStore(tmp_path / "run/annotate" / STORE) as store:
        assert len(store.failures()) == 3
        store.forget("d0")
    with sqlite3.connect(tmp_path / "run/annotate" / STORE) as connection:
        assert connection.execute("SELECT count(*) FROM failures").fetchone() == (2,)
    connection.close()


def test_a_run_that_stops_for_its_failures_says_what_they_are(tmp_path: Path, server: Server) -> None:
    server.reply = lambda body: (400, {}, {"error": "no such thing as a seed"})
    changes = ("--set", "annotate.failure_window=3", "--set", "annotate.max_failure_rate=0.5")
    screen = annotate(tmp_path, server, *changes)[1]
    assert "3 of the last 3 answers cannot be used (3 of them: engine_error; the last: error: " in screen
    assert "no such thing as a seed" in screen
