"""annotate --dry-run and --probe: what is to come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from annotated_runs import TYPES, run_of
from model_fixtures import tiny_llama

from distill_offline import pipeline
from distill_offline.config.settings import Settings
from distill_offline.errors import InputError
from distill_offline.run.folder import RunFolder


def test_a_probe_keeps_its_answers_and_says_what_is_left(tmp_path: Path, settings: Settings) -> None:
    assert settings.backend is not None
    slow = replace(settings, backend=replace(settings.backend, options={"noise": 0.2, "delay_s": 0.01}))
    folder = run_of(tmp_path, slow)
    found = pipeline.probe(folder, 8)
    assert found["asked"] == 8
    assert found["missing"] == 32
    assert 20 < found["rows_per_s"] <= 100
    assert found["eta_s"] == round(32 / found["rows_per_s"])
    assert pipeline.annotate(folder)["unlabelled"]["asked"] == 32
    with pytest.raises(InputError, match="nothing to time"):
        pipeline.probe(folder, 8)


def test_a_forecast_counts_rows_shows_prompts_and_writes_nothing(tmp_path: Path, settings: Settings) -> None:
    folder = RunFolder(tmp_path / "run", settings)
    step = pipeline.plan(folder, ["annotate"])[0]
    assert not folder.path.exists()
    assert (step["rows"], step["cached"], step["asked"], step["again"]) == (40, 0, 40, 0)
    assert (step["prompt_tokens"], step["too_long"]) == (None, None)  # no tokenizer
    assert [messages[0][0] for messages in step["examples"]] == ["system"] * 3
    assert "Label what stands there." in step["examples"][0][0][1]
    assert 0 < step["disk_bytes"] < step["disk_free"]
    folder.open()
    pipeline.annotate(folder)
    changed = replace(settings, task=replace(settings.task, types={**TYPES, "DATE": "a day"}))
    step = pipeline.plan(RunFolder(folder.path, changed), ["annotate"])[0]
    assert (step["cached"], step["asked"], step["again"]) == (0, 40, 40)
    assert any("a day" in line for line in step["changes"])
    assert "40 rows AGAIN" in step["detail"]


def test_a_forecast_counts_tokens_by_the_models_own_tokenizer(tmp_path: Path, settings: Settings) -> None:
    assert settings.backend is not None
    backend = replace(settings.backend, name="transformers", model=str(tiny_llama(tmp_path)), options={})
    folder = RunFolder(tmp_path / "run", replace(settings, backend=backend))
    step = pipeline.plan(folder, ["annotate"])[0]
    assert step["tokens_are_exact"]
    assert step["too_long"] == 40  # the tiny model holds 512 of its tokens
    backend = replace(backend, options={"max_context": step["prompt_tokens"] // 40})
    step = pipeline.plan(replace(folder, settings=replace(settings, backend=backend)), ["annotate"])[0]
    assert 0 < step["too_long"] < 40
