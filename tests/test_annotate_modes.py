"""annotate beside its plain run: frozen inputs, samples, reparsing, shards and merge, probe, forecast, purge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from model_fixtures import tiny_llama

from distill_offline import manifest, pipeline
from distill_offline.artifacts import read_rows
from distill_offline.bio import decode_bio
from distill_offline.completions import Answer, CompletionStore
from distill_offline.config import parse_settings
from distill_offline.corpus import read_examples, write_examples
from distill_offline.errors import InputError, StoreError
from distill_offline.pipeline import Shard
from distill_offline.run_folder import RunFolder
from distill_offline.schema import Completion
from distill_offline.settings import Settings

TYPES = {name: name.lower() for name in ("PERSON", "ORGANISATION", "LOCATION", "EQUIPMENT", "DATE")}


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Thirty labelled sentences in a file of the site's own."""
    path = tmp_path / "pool.jsonl"
    examples = list(read_examples("package:demo/train.jsonl", origin="original"))
    write_examples(path, examples[:30])
    return path


@pytest.fixture
def settings(pool: Path, tmp_path: Path) -> Settings:
    guidelines = tmp_path / "guidelines.md"
    guidelines.write_text("Label what stands there.")
    return parse_settings(
        {
            "name": "modes",
            "task": {"types": TYPES, "guidelines": str(guidelines)},
            "corpus": {
                "original": {"train": str(pool), "test": {"path": "package:demo/test.jsonl", "limit": 10}},
                # gold text, so that the scripted teacher knows what a perfect one would say
                "unlabelled": {"path": "package:demo/train.jsonl", "skip": 30, "limit": 40},
            },
            "backend": {"name": "scripted", "options": {"noise": 0.2}},
            "annotate": {"gold": ["test"], "demonstrations": {"k": 2}, "max_quarantined": 0.9},
            "train": {"encoder": "none"},
        },
        "test",
    )


def run_of(tmp_path: Path, settings: Settings, said: list[str] | None = None, **more: Any) -> RunFolder:
    folder = RunFolder(tmp_path / "run", settings, say=(said if said is not None else []).append, **more)
    folder.open()
    return folder


def labels(folder: RunFolder) -> list[bytes]:
    found = sorted(folder.folder("annotate").rglob("*.jsonl"))
    return [path.read_bytes() for path in found if "frozen" not in path.parts]


def grow(pool: Path) -> None:
    write_examples(pool, list(read_examples("package:demo/train.jsonl", origin="original"))[:130])


def perfect(settings: Settings) -> Settings:
    assert settings.backend is not None
    return replace(settings, backend=replace(settings.backend, options={}))


# -- frozen inputs


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


# -- sample


def test_a_sample_shows_the_difference_and_leaves_the_run_as_it_is(tmp_path: Path, settings: Settings) -> None:
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    folder.seal()
    changed = replace(
        perfect(settings), task=replace(settings.task, guidelines="Be exact.")
    )  # a better prompt, and a teacher that heeds it
    edited = RunFolder(folder.path, changed)
    found = pipeline.sample(edited, 15)
    assert (found["rows"], found["asked"]) == (15, 15)
    assert found["same"] + found["changed"] == 15
    assert found["unusable_now"] == 0 < found["unusable_before"]
    assert found["spans"]["kept"] > 0
    assert len(found["changed_ids"]) == found["changed"] > 0
    assert sum(row["kept"] for row in found["per_type"].values()) == found["spans"]["kept"]
    assert manifest.verify(folder.path) == []
    again = pipeline.sample(edited, 15)
    assert again == {**found, "asked": 0}
    edited.open()
    assert pipeline.annotate(edited)["unlabelled"]["asked"] == 25  # the fifteen are taken over


def test_a_sample_counts_spans_that_moved_and_changed_type(tmp_path: Path, settings: Settings) -> None:
    settings = perfect(settings)
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    rows = list(read_rows(folder.folder("annotate") / "annotations.jsonl"))
    expected: dict[str, int] = dict.fromkeys(("kept", "added", "removed", "retyped"), 0)
    answers: dict[str, str] = {}
    for row in rows:
        places = [(row["offsets"][s["start"]][0], row["offsets"][s["end"] - 1][1], s["type"]) for s in row["spans"]]
        spans = [[row["text"][start:end], type_] for start, end, type_ in places]
        expected["kept"] += max(0, len(spans) - 2)
        if spans:
            spans[0][1] = "DATE" if spans[0][1] != "DATE" else "PERSON"
            expected["retyped"] += 1
        if len(spans) > 1:
            del spans[-1]
            expected["removed"] += 1
        answers[row["id"]] = json.dumps(spans)
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps({"id": id_, "text": text}) + "\n" for id_, text in answers.items()))
    assert settings.backend is not None
    other = replace(settings, backend=replace(settings.backend, options={"answers": str(file)}))
    found = pipeline.sample(RunFolder(folder.path, other), 1000)
    assert found["rows"] == 40
    assert found["spans"] == expected


def test_a_sample_asks_nothing_where_the_prompt_has_not_changed(tmp_path: Path, settings: Settings) -> None:
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    found = pipeline.sample(folder, 15)
    assert (found["rows"], found["asked"], found["same"]) == (15, 0, 15)


def test_a_sample_of_nothing_is_a_mistake(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(InputError, match="nothing is annotated here"):
        pipeline.sample(RunFolder(tmp_path / "run", settings), 5)


# -- reparse


def test_a_mended_parser_reads_the_stored_answers_without_the_teacher(tmp_path: Path, settings: Settings) -> None:
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    whole, fingerprint = labels(folder), manifest.fingerprint_of(folder.folder("annotate"))
    (folder.folder("annotate") / "annotations.jsonl").write_text("what an older parser made of it\n")
    assert settings.backend is not None
    # no such model: whoever asks for the teacher fails
    gone = replace(settings, backend=replace(settings.backend, name="llama_cpp", model="nowhere"))
    counts = pipeline.reparse(RunFolder(folder.path, gone))
    assert labels(folder) == whole
    assert counts["unlabelled"]["rows"] == counts["unlabelled"]["cached"] == 40
    assert manifest.verify(folder.folder("annotate")) == []
    assert manifest.fingerprint_of(folder.folder("annotate")) == fingerprint
    said: list[str] = []
    pipeline.annotate(replace(folder, say=said.append))
    assert said == ["annotate: up to date"]


def test_reparse_refuses_where_rows_were_never_asked(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(InputError, match="no answers are stored"):
        pipeline.reparse(RunFolder(tmp_path / "run", settings))
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    more = replace(settings, corpus=replace(settings.corpus, unlabelled=settings.corpus.original.test))
    with pytest.raises(InputError, match="40 rows of unlabelled were answered to another prompt, or never asked"):
        pipeline.reparse(RunFolder(folder.path, more))


def test_reparse_refuses_rows_that_were_answered_to_another_prompt(tmp_path: Path, settings: Settings) -> None:
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    changed = replace(settings, task=replace(settings.task, types={**TYPES, "DATE": "a day"}))
    with pytest.raises(InputError, match="40 rows of unlabelled were answered to another prompt"):
        pipeline.reparse(RunFolder(folder.path, changed))
    said: list[str] = []
    pipeline.annotate(replace(folder, say=said.append))
    assert said == ["annotate: up to date"]


# -- a corpus that changes meanwhile


@pytest.mark.parametrize("change", ["text", "order"])
def test_a_corpus_that_changes_while_it_is_annotated_is_told_and_not_sealed(
    tmp_path: Path, settings: Settings, change: str
) -> None:
    file = tmp_path / "corpus.jsonl"
    examples = list(read_examples("package:demo/train.jsonl", origin="original"))[30:50]
    write_examples(file, examples)
    settings = replace(settings, corpus=replace(settings.corpus, unlabelled=str(file)))
    other = (
        examples[::-1] if change == "order" else [*examples[:-1], replace(examples[-1], sentence=examples[0].sentence)]
    )
    if change == "text":
        other[-1] = replace(other[-1], sentence=replace(examples[0].sentence, id=examples[-1].sentence.id))
        other[-1] = replace(other[-1], labels=examples[0].labels)
    asked: list[int] = []

    def edit_once() -> bool:
        asked.append(1)
        if len(asked) == 5:
            write_examples(file, other)
        return False

    folder = run_of(tmp_path, perfect(settings), stop=edit_once)
    with pytest.raises(InputError, match="changed"):
        pipeline.annotate(folder)
    assert not (folder.folder("annotate") / "manifest.json").exists()
    pipeline.annotate(replace(folder, stop=lambda: False))
    assert [row["tokens"] for row in read_rows(folder.folder("annotate") / "annotations.jsonl")] == [
        list(example.sentence.tokens) for example in other
    ]


def test_a_second_process_is_told_before_it_changes_the_run(tmp_path: Path, settings: Settings) -> None:
    folder = run_of(tmp_path, settings)
    config = (folder.path / "config.yaml").read_bytes()
    with CompletionStore(folder.folder("annotate") / "completions.sqlite"):
        other = replace(settings, annotate=replace(settings.annotate, limit=5))
        with pytest.raises(StoreError, match="another process"):
            RunFolder(folder.path, other).open()
    assert (folder.path / "config.yaml").read_bytes() == config


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


# -- shards


@pytest.mark.parametrize(("of", "order"), [(1, [1]), (3, [2, 3, 1]), (7, [7, 1, 6, 2, 5, 3, 4])])
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


# -- probe and forecast


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


# -- purge


def purged_words(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_purged_document_is_in_no_file_of_the_run(tmp_path: Path, settings: Settings, pool: Path) -> None:
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    pipeline.select(folder)
    pipeline.annotate_shard(folder, Shard(1, 2))
    folder.seal()
    rows = list(read_rows(folder.folder("annotate") / "annotations.jsonl"))
    gone = next(row for row in rows if row["spans"])["document"]
    texts = [row["text"] for row in rows if row["document"] == gone]
    assert any(texts[0].encode() in content for content in purged_words(folder.path).values())
    (found,) = pipeline.purge(gone, [folder.path])
    assert found["rows"] >= found["completions"] // 2 > 0
    assert found["lines"] > 0
    for name, content in purged_words(folder.path).items():
        assert gone.encode() not in content or name in ("config.yaml",), name
        assert not [text for text in texts if text.encode() in content], name
    assert manifest.verify(folder.path) == []
    assert manifest.verify(folder.folder("annotate")) == []
    statement = json.loads((folder.folder("annotate") / "manifest.json").read_text())
    (change,) = statement["predicate"]["buildDefinition"]["internalParameters"]["changes"]
    assert set(change) == {"document_sha256", "purged", "replaces"}
    (again,) = pipeline.purge(gone, [folder.path])
    assert (again["rows"], again["completions"], again["lines"], again["demonstrations"]) == (0, 0, 0, 0)
    assert manifest.verify(folder.path) == []  # nothing found, nothing touched


def test_a_purge_meets_a_running_annotation_before_it_changes_anything(
    tmp_path: Path, settings: Settings, pool: Path
) -> None:
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    gone = next(read_examples(str(pool), origin="original")).sentence.document
    before = purged_words(folder.path)
    with CompletionStore(folder.folder("annotate") / "completions.sqlite"), pytest.raises(StoreError):
        pipeline.purge(gone, [folder.path])
    assert purged_words(folder.path) == before
    assert pipeline.purge(gone, [folder.path])[0]["demonstrations"] > 0


def test_a_purge_that_was_killed_is_finished_by_the_next_one(tmp_path: Path, settings: Settings, pool: Path) -> None:
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    document = next(read_examples(str(pool), origin="original")).sentence.document
    frozen = folder.folder("annotate") / "frozen" / "1" / "pool.jsonl"
    before = frozen.read_bytes()
    pipeline.purge(document, [folder.path])
    after = frozen.read_bytes()
    frozen.write_bytes(before)  # killed before the pool, which is written last
    with pytest.raises(InputError, match="demonstrations changed after being frozen"):
        pipeline.annotate(folder)
    pipeline.purge(document, [folder.path])
    assert frozen.read_bytes() == after
    pipeline.annotate(folder)


def test_a_run_without_demonstrations_can_be_purged(tmp_path: Path, settings: Settings) -> None:
    chosen = replace(settings.annotate.demonstrations, strategy="none")
    folder = run_of(tmp_path, replace(settings, annotate=replace(settings.annotate, demonstrations=chosen)))
    pipeline.annotate(folder)
    document = next(read_rows(folder.folder("annotate") / "annotations.jsonl"))["document"]
    assert pipeline.purge(document, [folder.path])[0]["rows"] > 0


def test_quotes_are_found_in_shards_and_in_answers_that_could_not_be_used(
    tmp_path: Path, settings: Settings, pool: Path
) -> None:
    first = next(e for e in read_examples(str(pool), origin="original") if set(e.labels) != {"O"})
    span = decode_bio(first.labels)[0]
    name = first.sentence.text[first.sentence.offsets[span.start][0] : first.sentence.offsets[span.end - 1][1]]
    file = tmp_path / "answers.jsonl"
    rows = [e.sentence for e in read_examples("package:demo/train.jsonl", origin="original")][30:70]
    test = [e.sentence for e in read_examples("package:demo/test.jsonl", origin="original")][:10]
    others = [s for s in (*rows, *test) if name not in s.text]
    texts = {s.id: "[]" for s in (*rows, *test)} | {others[0].id: f"Sure, as in {name}: none."}
    file.write_text("".join(json.dumps({"id": id_, "text": text}) + "\n" for id_, text in texts.items()))
    assert settings.backend is not None
    chosen = replace(settings, backend=replace(settings.backend, options={"answers": str(file)}))
    folder = run_of(tmp_path, chosen)
    for number in (1, 2):
        pipeline.annotate_shard(folder, Shard(number, 2))
    (found,) = pipeline.purge(first.sentence.document, [folder.path])
    assert found["completions"] >= 1
    assert not [n for n, content in purged_words(folder.path).items() if f"as in {name}".encode() in content]


def test_students_that_cannot_be_looked_up_are_said_to_be_unchecked(
    tmp_path: Path, settings: Settings, encoder: Path, pool: Path
) -> None:
    train = replace(settings.train, encoder=str(encoder), updates=2, batch_size=2, eval_every=2)
    corpus = replace(settings.corpus, original=replace(settings.corpus.original, dev=settings.corpus.original.test))
    folder = run_of(tmp_path, replace(settings, train=train, corpus=corpus))
    pipeline.annotate(folder)
    pipeline.select(folder)
    pipeline.train(folder)
    pool.unlink()
    (found,) = pipeline.purge("nobody", [folder.path])
    assert "human-labelled" in found["unchecked"][0]


def test_a_purged_demonstration_leaves_the_pool_and_the_answers_that_quote_it(
    tmp_path: Path, settings: Settings, pool: Path
) -> None:
    examples = list(read_examples(str(pool), origin="original"))
    gone = examples[0].sentence.document
    folder = run_of(tmp_path, perfect(settings))
    pipeline.annotate(folder)
    place = folder.folder("annotate")
    quoter = next(row for row in read_rows(place / "annotations.jsonl"))
    mention = examples[0].sentence.text[:25]
    with CompletionStore(place / "completions.sqlite") as store:
        digest = next(d for id_, d, _ in store.rows("unlabelled") if id_ == quoter["id"])
        recipe = next(iter(store.recipes()))
        store.forget_answers([digest])
        text = json.dumps([[mention, "PERSON"]])
        store.add([Answer(digest, recipe, quoter["id"], quoter["document"], Completion(text, "stop"))])
    pipeline.reparse(folder)
    (found,) = pipeline.purge(gone, [folder.path])
    assert found["demonstrations"] == sum(e.sentence.document == gone for e in examples)
    kept = list(read_examples(str(place / "frozen/1/pool.jsonl"), origin="original"))
    assert [e.sentence.id for e in kept] == [e.sentence.id for e in examples if e.sentence.document != gone]
    assert quoter["id"] not in {row["id"] for row in read_rows(place / "annotations.jsonl")}
    with CompletionStore(place / "completions.sqlite", read_only=True) as store:
        assert store.get(digest) is None
    write_examples(pool, kept)  # the user deletes it, too: that is no change then
    said: list[str] = []
    pipeline.plan(replace(folder, say=said.append), ["annotate"])
    assert said == []


def test_students_that_learnt_from_a_document_are_named(tmp_path: Path, settings: Settings, encoder: Path) -> None:
    train = replace(settings.train, encoder=str(encoder), updates=2, batch_size=2, eval_every=2)
    corpus = replace(settings.corpus, original=replace(settings.corpus.original, dev=settings.corpus.original.test))
    folder = run_of(tmp_path, replace(settings, train=train, corpus=corpus))
    pipeline.annotate(folder)
    pipeline.select(folder)
    pipeline.train(folder)
    rows = list(read_rows(folder.folder("select") / "annotations.jsonl"))
    original = {e.sentence.document for e in read_examples(str(tmp_path / "pool.jsonl"), origin="original")}
    distilled_only = next(row["document"] for row in rows if row["document"] not in original)
    (found,) = pipeline.purge(distilled_only, [folder.path])
    assert found["students"] == ["distilled_only", "simple_mix"]
    both = sorted(original - {row["document"] for row in rows})
    if both:
        (found,) = pipeline.purge(both[0], [folder.path])
        assert found["students"] == ["original_only", "simple_mix"]
    assert pipeline.purge("nobody", [folder.path])[0]["students"] == []


def test_purge_refuses_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run is here"):
        pipeline.purge("x", [tmp_path])


def test_files_stay_the_owners_alone_after_all_of_this(tmp_path: Path, settings: Settings) -> None:
    folder = run_of(tmp_path, settings)
    pipeline.annotate_shard(folder, Shard(1, 1))
    pipeline.merge(folder)
    pipeline.purge("nobody", [folder.path])
    modes = {oct(path.stat().st_mode & 0o077) for path in folder.path.rglob("*") if path.is_file()}
    assert modes == {"0o0"}
