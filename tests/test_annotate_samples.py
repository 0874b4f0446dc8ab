"""Each sentence asked about more than once: the answers vote, and every way of annotating copes with it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from annotated_runs import labels, run_of

from distill_offline import pipeline
from distill_offline.annotate.pool import demonstrations
from distill_offline.config.settings import AnnotateSettings, DemonstrationSettings, Sampling, Settings
from distill_offline.errors import ConfigError
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import read_gold
from distill_offline.storage.files import read_rows


def sampled(settings: Settings, samples: int) -> Settings:
    varied = replace(settings.annotate.demonstrations, vary="set")
    return replace(settings, annotate=replace(settings.annotate, samples=samples, demonstrations=varied))


@pytest.fixture
def thrice(settings: Settings) -> Settings:
    return sampled(settings, 3)


def spans_of(folder: RunFolder) -> dict[str, list[dict[str, object]]]:
    return {row["id"]: row["spans"] for row in read_rows(folder.folder("annotate") / "annotations.jsonl")}


def test_votes_carry_their_agreement_and_a_row_is_a_sentence(tmp_path: Path, thrice: Settings) -> None:
    folder = run_of(tmp_path, thrice)
    counts = pipeline.annotate(folder)["unlabelled"]
    assert counts["rows"] == 40
    assert counts["asked"] + counts["cached"] == 120
    assert counts["annotated"] + sum(counts["quarantined"].values()) == 40
    spans = [span for each in spans_of(folder).values() for span in each]
    assert {round(float(str(span["agreement"])) * 3) for span in spans} == {2, 3}
    assert all(span["confidence"] == span["agreement"] for span in spans)  # this teacher gives no probabilities
    said: list[str] = []
    pipeline.annotate(replace(folder, say=said.append))
    assert said == ["annotate: up to date"]


def test_a_vote_mends_what_one_answer_lost(tmp_path: Path, settings: Settings) -> None:
    """Each answer fails by chance alone, so more of them are right together."""
    counts = {}
    for samples in (1, 5):
        folder = run_of(tmp_path / str(samples), sampled(settings, samples))
        counts[samples] = pipeline.annotate(folder)["unlabelled"]
    assert sum(counts[5]["quarantined"].values()) < sum(counts[1]["quarantined"].values())
    assert sum(counts[5]["aligned"].values()) > sum(counts[1]["aligned"].values())


def test_shards_of_samples_and_reading_again_give_the_same_bytes(tmp_path: Path, thrice: Settings) -> None:
    whole = run_of(tmp_path / "whole", thrice)
    pipeline.annotate(whole)
    folder = run_of(tmp_path / "shards", thrice)
    for number in (1, 2):
        pipeline.annotate_shard(folder, pipeline.Shard(number, 2))
    pipeline.merge(folder)
    assert labels(folder) == labels(whole)
    pipeline.reparse(whole)
    assert labels(folder) == labels(whole)


def test_more_samples_ask_only_for_what_is_new(tmp_path: Path, settings: Settings) -> None:
    folder = run_of(tmp_path, sampled(settings, 1))
    before = pipeline.annotate(folder)["unlabelled"]
    more = replace(folder, settings=sampled(settings, 3))
    (step, *_) = pipeline.plan(more, ("annotate",))
    assert step["rows"] == 120
    assert step["again"] == 0
    counts = pipeline.annotate(more)["unlabelled"]
    assert counts["asked"] == step["asked"] == 2 * before["asked"]


def test_samples_that_could_not_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="would be the same"):
        AnnotateSettings(samples=3)


@pytest.mark.parametrize(
    ("demonstrations", "can_differ"),
    [
        ({"vary": "order", "k": 0}, False),
        ({"vary": "order", "k": 1}, False),
        ({"vary": "order", "k": 2}, True),
        ({"vary": "set", "k": 0}, False),
        ({"vary": "set", "k": 1}, True),
        ({"vary": "order", "strategy": "none"}, False),
        ({"vary": "set", "strategy": "none"}, False),
    ],
)
def test_demonstrations_that_cannot_vary_make_no_samples(demonstrations: dict[str, Any], can_differ: bool) -> None:
    chosen = DemonstrationSettings(**demonstrations)
    AnnotateSettings(samples=3, demonstrations=chosen, sampling=Sampling(temperature=0.7))
    AnnotateSettings(samples=1, demonstrations=chosen)
    with nullcontext() if can_differ else pytest.raises(ValueError, match=r"temperature.*k of 2 or more"):
        AnnotateSettings(samples=3, demonstrations=chosen)


@pytest.mark.parametrize(("vary", "k", "few", "enough"), [("set", 2, 2, 3), ("order", 4, 1, 2)])
def test_a_pool_too_small_to_vary_makes_no_samples(
    settings: Settings, vary: Literal["order", "set"], k: int, few: int, enough: int
) -> None:
    varied = replace(settings.annotate.demonstrations, vary=vary, k=k)
    given = replace(settings, annotate=replace(settings.annotate, samples=3, demonstrations=varied))
    gold = read_gold(given)
    with pytest.raises(ConfigError, match=rf"with {few} labelled sentences .*vary: {vary}.* Give {enough} or more"):
        demonstrations(given, replace(gold, train=gold.train[:few]))
    demonstrations(given, replace(gold, train=gold.train[:enough]))
    hot = replace(given, annotate=replace(given.annotate, sampling=Sampling(temperature=0.7)))
    demonstrations(hot, replace(gold, train=gold.train[:few]))


def test_the_refusal_names_the_key(settings: Settings, tmp_path: Path) -> None:
    from distill_offline.config.loading import load

    file = tmp_path / "config.yaml"
    file.write_text("name: a\ntask: {types: {A: a}}\ncorpus: {}\nannotate: {samples: 3}\n")
    with pytest.raises(ConfigError, match=r"annotate.*temperature"):
        load(file, ())


def test_a_sample_of_rows_compares_votes(tmp_path: Path, thrice: Settings) -> None:
    folder = run_of(tmp_path, thrice)
    pipeline.annotate(folder)
    found = pipeline.sample(folder, 15)
    assert (found["rows"], found["asked"], found["same"], found["changed"]) == (15, 0, 15, 0)
    found = pipeline.sample(folder, 1000)
    assert found["rows"] == found["same"] == 40
    assert found["spans"]["kept"] == sum(len(spans) for spans in spans_of(folder).values())
    fewer = replace(folder, settings=sampled(thrice, 1))
    found = pipeline.sample(fewer, 1000)
    assert (found["rows"], found["asked"]) == (40, 0)
    assert found["unusable_now"] > found["unusable_before"]
