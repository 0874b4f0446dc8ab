"""Fixtures for all tests: offline from the start, and a tiny encoder made once."""

from __future__ import annotations

import gc
import os
from collections import Counter
from pathlib import Path

import pytest
from annotated_runs import pool, settings  # noqa: F401  fixtures

from distill_offline.offline.connections import ENVIRONMENT

# Tiny models gain nothing from a second thread, and waiting for it on a busy machine costs them up to fifty times.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# By default the collector walks over all that torch and transformers hold some thousand times: a tenth of the time.
gc.set_threshold(100_000, 50, 50)
os.environ.update(ENVIRONMENT)  # before transformers is imported: it reads its switches then


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_models import tiny_encoder

    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What the test attacks goes with its report, to be counted."""
    for mark in item.iter_markers("attack"):
        kind, number = (*mark.args, 1)[:2]
        item.user_properties.append(("attack", (kind, number)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many attacks were tried in this run, and how many of them were refused."""
    tried, refused = Counter[str](), Counter[str]()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties if report.when == "call" else ():
                if name == "attack":
                    kind, number = value
                    tried[kind] += number
                    refused[kind] += number if outcome == "passed" else 0
    if tried:
        told = ", ".join(f"{refused[kind]} of {tried[kind]} {kind}" for kind in sorted(tried))
        terminalreporter.write_line(f"attacks refused: {told}")
