"""Fixtures for all tests: offline from the start, and a tiny encoder made once."""

from __future__ import annotations

import gc
import os
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
