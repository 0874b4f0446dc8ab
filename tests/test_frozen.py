"""What shapes a run's prompts is frozen in it, until it is told to take the new."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from annotated_runs import grow, labels, run_of

from distill_offline import manifest, pipeline
from distill_offline.config.settings import Settings
from distill_offline.corpus import read_examples, write_examples
from distill_offline.errors import ConfigError, InputError
from distill_offline.storage.files import read_rows


def test_a_pool_that_grew_does_not_ask_for_the_corpus_again(tmp_path: Path, settings: Settings, pool: Path) -> None:
    said: list[str] = []
    folder = run_of(tmp_path, settings, said)
    pipeline.annotate(folder)
    before = labels(folder)
    grow(pool)
    manifest.unseal(folder.folder("annotate"))
    counts = pipeline.annotate(folder)
    assert counts["unlabelled"]["asked"] == counts["test"]["asked"] == 0
    assert labels(folder) == before
    assert any("demonstrations changed since this run began" in line and "--refreeze" in line for line in said)
    assert pipeline.plan(folder, ["annotate"])[0]["asked"] == 0
    assert pipeline.plan(folder, ["annotate"], refreeze=True)[0]["again"] > 30


def test_the_new_pool_is_taken_when_told_to_and_both_versions_are_kept(
    tmp_path: Path, settings: Settings, pool: Path
) -> None:
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    grow(pool)
    counts = pipeline.annotate(folder, refreeze=True)
    assert counts["unlabelled"]["asked"] > 30
    versions = folder.folder("annotate") / "frozen"
    assert [sum(1 for _ in read_rows(versions / n / "pool.jsonl")) for n in ("1", "2")] == [30, 130]
    assert json.loads((versions / "current.json").read_text())["version"] == 2
    said: list[str] = []
    assert pipeline.annotate(replace(folder, say=said.append))["unlabelled"]["asked"] > 30  # sealed counts
    assert said == ["annotate: up to date"]
    assert manifest.verify(folder.folder("annotate")) == []


def test_edited_guidelines_and_templates_wait_for_refreeze_too(tmp_path: Path, settings: Settings) -> None:
    template = tmp_path / "own.jinja"
    source = "{% set answer = 'pairs' %}{% block system %}S {{ guidelines }}{% endblock %}"
    template.write_text(source + "{% block user %}{{ text }}{% endblock %}")
    settings = replace(settings, task=replace(settings.task, prompt=str(template)))
    said: list[str] = []
    folder = run_of(tmp_path, settings, said)
    pipeline.annotate(folder)
    Path(settings.task.guidelines).write_text("Label nothing.")
    template.write_text(source + "{% block user %}Text: {{ text }}{% endblock %}")
    assert pipeline.plan(folder, ["annotate"])[0]["asked"] == 0
    assert any("guidelines and prompt changed" in line for line in said)
    assert pipeline.annotate(folder, refreeze=True)["unlabelled"]["asked"] == 40


def test_a_configuration_that_names_another_pool_needs_no_refreeze(
    tmp_path: Path, settings: Settings, pool: Path
) -> None:
    pipeline.annotate(run_of(tmp_path, settings))
    other = pool.with_name("other.jsonl")
    write_examples(other, list(read_examples(str(pool), origin="original"))[:10])
    chosen = replace(settings.annotate.demonstrations, pool=str(other))
    changed = replace(settings, annotate=replace(settings.annotate, demonstrations=chosen))
    said: list[str] = []
    counts = pipeline.annotate(run_of(tmp_path, changed, said))
    assert counts["unlabelled"]["asked"] > 30
    assert any("other.jsonl" in line for line in said)  # the difference is printed
    back = pipeline.annotate(run_of(tmp_path, settings))
    assert back["unlabelled"]["asked"] == 0  # the old answers are still there


def test_without_demonstrations_a_pool_does_not_matter(tmp_path: Path, settings: Settings, pool: Path) -> None:
    chosen = replace(settings.annotate.demonstrations, strategy="none")
    settings = replace(settings, annotate=replace(settings.annotate, demonstrations=chosen))
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    grow(pool)  # no demonstrations: the pool does not matter
    said: list[str] = []
    assert pipeline.plan(replace(folder, say=said.append), ["annotate"])[0]["asked"] == 0
    assert said == []


def test_a_frozen_file_that_was_changed_is_told(tmp_path: Path, settings: Settings) -> None:
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    frozen = folder.folder("annotate") / "frozen"
    pool, current = frozen / "1" / "pool.jsonl", (frozen / "current.json").read_text()
    pool.write_text("".join(pool.read_text().splitlines(keepends=True)[:5]))
    with pytest.raises(InputError, match="demonstrations changed after being frozen"):
        pipeline.annotate(folder)
    for content in ("{}", "[]", "x", '{"version": 1, "choice": "", "digests": []}'):
        (frozen / "current.json").write_text(content)
        with pytest.raises(InputError, match=r"current\.json: .*Restore"):
            pipeline.annotate(folder)
    (frozen / "current.json").write_text(current)
    (frozen / "1" / "prompt.jinja").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        pipeline.annotate(folder)


def test_a_pool_that_is_all_in_test_is_refused_before_it_is_frozen(
    tmp_path: Path, settings: Settings, pool: Path
) -> None:
    own = tmp_path / "own.jsonl"
    shown = replace(settings.annotate.demonstrations, pool=str(own))
    settings = replace(settings, annotate=replace(settings.annotate, demonstrations=shown))
    write_examples(own, list(read_examples("package:demo/test.jsonl", origin="original"))[:10])
    folder = run_of(tmp_path, settings)
    with pytest.raises(ConfigError, match=r"^annotate\.demonstrations: strategy knn needs labelled sentences"):
        pipeline.annotate(folder)
    own.write_bytes(pool.read_bytes())
    assert pipeline.annotate(folder)["unlabelled"]["asked"] == 40
