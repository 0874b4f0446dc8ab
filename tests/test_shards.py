"""annotate --shard, and merge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from annotated_runs import labels, run_of

from distill_offline import manifest, pipeline
from distill_offline.config.settings import Settings
from distill_offline.errors import InputError, StoreError
from distill_offline.pipeline import Shard


@pytest.mark.parametrize(("of", "order"), [(1, [1]), (3, [2, 3, 1]), (7, [7, 1, 6, 2, 5, 3, 4])])
@pytest.mark.slow
def test_shards_in_any_order_merge_into_the_same_bytes(
    tmp_path: Path, settings: Settings, of: int, order: list[int]
) -> None:
    whole = run_of(tmp_path / "whole", settings)
    counts = pipeline.annotate(whole)
    folder = run_of(tmp_path, settings)
    shards = [pipeline.annotate_shard(folder, Shard(number, of)) for number in order]
    assert sum(each["unlabelled"]["rows"] for each in shards) == 40
    merged = pipeline.merge(folder)
    assert labels(folder) == labels(whole)
    assert merged["counts"]["unlabelled"]["annotated"] == counts["unlabelled"]["annotated"]
    assert manifest.fingerprint_of(folder.folder("annotate")) == manifest.fingerprint_of(whole.folder("annotate"))
    folder.seal()
    assert manifest.verify(folder.path) == []
    stages = manifest.show(folder.path)["stages"]
    assert {f"shards/{n}-of-{of}" for n in order} < set(stages)
    said: list[str] = []
    pipeline.annotate(replace(folder, say=said.append))
    assert said == ["annotate: up to date"]


def test_gaps_and_duplicates_are_told_and_annotate_fills_the_gaps(tmp_path: Path, settings: Settings) -> None:
    said: list[str] = []
    folder = run_of(tmp_path, settings, said)
    for shard in (Shard(1, 3), Shard(3, 3), Shard(1, 2)):  # 1/2 shares rows with both others; some rows lack
        pipeline.annotate_shard(folder, shard)
    with pytest.raises(InputError, match=r"rows of unlabelled have no answer, the first is .*\n.* of test have"):
        pipeline.merge(folder)
    assert any("shards/1-of-3/completions.sqlite: " in line and "0 here already" not in line for line in said)
    counts = pipeline.annotate(folder)
    assert 0 < counts["unlabelled"]["asked"] < 10
    whole = run_of(tmp_path / "whole", settings)
    pipeline.annotate(whole)
    assert labels(folder) == labels(whole)


def test_stores_that_were_carried_here_merge_by_name(tmp_path: Path, settings: Settings) -> None:
    there = run_of(tmp_path / "there", settings)
    pipeline.annotate_shard(there, Shard(1, 2))
    pipeline.annotate_shard(there, Shard(2, 2))
    folder = run_of(tmp_path, settings)
    with pytest.raises(InputError, match="no shards in"):
        pipeline.merge(folder)
    stores = (there.folder("shards/2-of-2"), there.folder("shards/1-of-2") / "completions.sqlite")
    assert pipeline.merge(folder, stores)["counts"]["unlabelled"]["rows"] == 40


def test_status_tells_of_shards_as_well(tmp_path: Path, settings: Settings) -> None:
    folder = run_of(tmp_path, settings)
    assert pipeline.status(folder) == {"finished": False, "completions": 0, "parts": {}}
    pipeline.annotate_shard(folder, Shard(2, 4))
    status = pipeline.status(folder)
    assert status["shards"]["shards/2-of-4"]["parts"]["unlabelled"] == {"reached": 10, "answered": 10}
    assert status["shards"]["shards/2-of-4"]["finished"]
    assert not status["finished"]


def test_a_merge_that_cannot_be_leaves_a_finished_run_sealed(tmp_path: Path, settings: Settings) -> None:
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    own = folder.folder("annotate") / "completions.sqlite"
    (tmp_path / "text").write_text("no store")
    for store, error in ((tmp_path / "nowhere", InputError), (own, InputError), (tmp_path / "text", StoreError)):
        with pytest.raises(error):
            pipeline.merge(folder, (store,))
    assert manifest.verify(folder.folder("annotate")) == []


def test_shards_do_not_ask_what_a_probe_has_asked(tmp_path: Path, settings: Settings) -> None:
    folder = run_of(tmp_path, settings)
    pipeline.probe(folder, 10)
    asked = [pipeline.annotate_shard(folder, Shard(n, 2))["unlabelled"]["asked"] for n in (1, 2)]
    assert sum(asked) == 30
    merged = pipeline.merge(folder)["counts"]["unlabelled"]
    assert (merged["rows"], merged["cached"]) == (40, 40)


def test_a_shard_asks_nothing_twice(tmp_path: Path, settings: Settings) -> None:
    folder = run_of(tmp_path, settings)
    first = pipeline.annotate_shard(folder, Shard(2, 4))
    said: list[str] = []
    assert pipeline.annotate_shard(replace(folder, say=said.append), Shard(2, 4)) == first
    assert said == ["shards/2-of-4: up to date"]


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/4/2"])
def test_what_is_no_shard_is_told(text: str) -> None:
    with pytest.raises(InputError, match="write i/n"):
        Shard.parse(text)
