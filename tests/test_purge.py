"""purge: a deletion request reaches every file of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from annotated_runs import perfect, run_of

from distill_offline import manifest, pipeline
from distill_offline.completions import Answer, CompletionStore
from distill_offline.config.settings import ConfiguredArm, Settings
from distill_offline.corpus import read_examples, write_examples
from distill_offline.errors import InputError, StoreError
from distill_offline.pipeline import Shard
from distill_offline.schema import Completion
from distill_offline.spans.bio import decode_bio
from distill_offline.storage.files import read_rows


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


def test_a_run_without_the_document_stays_as_it_is_to_the_byte(tmp_path: Path, settings: Settings) -> None:
    pipeline.annotate(run_of(tmp_path, settings))
    longer = replace(settings, annotate=replace(settings.annotate, limit=60, gold=("train", "test")))
    folder = run_of(tmp_path, longer)
    pipeline.annotate(folder)
    folder.seal()
    before = purged_words(folder.path)
    (found,) = pipeline.purge("of another run", [folder.path])
    assert (found["rows"], found["failed"]) == (0, "")
    assert purged_words(folder.path) == before
    assert manifest.verify(folder.path) == []


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


def test_students_made_with_students_that_learnt_from_a_document_are_named(
    tmp_path: Path, settings: Settings, encoder: Path, pool: Path
) -> None:
    arms = (
        ConfiguredArm(name="again", schedule="distilled_only", labelled_by="mean"),
        ConfiguredArm(name="mean", average=("original_only", "tuned")),
        ConfiguredArm(name="original_only"),
        ConfiguredArm(name="tuned", schedule="original_only", updates=3),
        ConfiguredArm(name="distilled_only"),
    )
    train = replace(settings.train, encoder=str(encoder), updates=2, batch_size=2, eval_every=2, arms=arms)
    folder = run_of(tmp_path, replace(perfect(settings), train=train))
    pipeline.annotate(folder)
    pipeline.select(folder)
    pipeline.train(folder)
    distilled = {row["document"] for row in read_rows(folder.folder("select") / "annotations.jsonl")}
    gold = next(
        e.sentence.document for e in read_examples(str(pool), origin="original") if e.sentence.document not in distilled
    )
    (found,) = pipeline.purge(gold, [folder.path])
    assert found["students"] == ["again", "mean", "original_only", "tuned"]


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
