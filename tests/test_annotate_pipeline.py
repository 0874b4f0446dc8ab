"""annotate over a run's folder: read again, met by another process, or by a corpus that changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from annotated_runs import TYPES, labels, perfect, run_of

from distill_offline import manifest, pipeline
from distill_offline.annotate.teacher import Teacher
from distill_offline.completions import CompletionStore
from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import DemonstrationSettings, OriginalSettings, Settings
from distill_offline.corpus import read_examples, write_examples
from distill_offline.errors import ConfigError, InputError, StoreError
from distill_offline.run.folder import RunFolder
from distill_offline.storage.files import read_rows, write_rows


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


def test_without_labelled_sentences_the_missing_key_is_named(tmp_path: Path, settings: Settings) -> None:
    bare = replace(settings, corpus=replace(settings.corpus, original=OriginalSettings()))
    bare = replace(bare, annotate=replace(bare.annotate, gold=()))
    with pytest.raises(ConfigError, match=r"needs labelled sentences. Give corpus\.original\.train"):
        pipeline.annotate(run_of(tmp_path, bare))
    none = replace(bare, annotate=replace(bare.annotate, demonstrations=DemonstrationSettings(strategy="none")))
    assert pipeline.annotate(run_of(tmp_path, none))["unlabelled"]["rows"] == 40


def losing(tmp_path: Path, whole: int, cut: int) -> RunFolder:
    """A run whose teacher gives `whole` mentions that are tokens, and `cut` that begin inside one."""
    words = [f"pump{n}x" for n in range(whole + cut)]
    given = [word if n < whole else word[1:] for n, word in enumerate(words)]
    answers, corpus = tmp_path / "answers.jsonl", tmp_path / "text.jsonl"
    said = zip(words, given, strict=True)
    write_rows(answers, [{"id": word, "text": json.dumps([[mention, "DATE"]])} for word, mention in said])
    write_rows(corpus, [{"id": word, "text": f"The {word} ."} for word in words])
    settings = {
        "name": "losing",
        "task": {"types": TYPES},
        "corpus": {"unlabelled": str(corpus)},
        "backend": {"name": "scripted", "options": {"answers": str(answers)}},
        "annotate": {"demonstrations": {"strategy": "none"}},
    }
    return run_of(tmp_path, parse_settings(settings, "test"))


@pytest.mark.parametrize(("whole", "cut", "warns"), [(96, 2, False), (30, 5, True), (3, 1, True), (20, 2, False)])
def test_mentions_lost_inside_tokens_are_warned_of_where_they_are_many(
    tmp_path: Path, whole: int, cut: int, warns: bool
) -> None:
    warned = list[str]()
    folder = replace(losing(tmp_path, whole, cut), on_warning=warned.append)
    counts = pipeline.annotate(folder)["unlabelled"]
    assert counts["rejected"]["inside_token"] == cut
    assert bool(warned) == bool(counts.get("warnings")) == warns
    if warns:
        assert f"annotate unlabelled: {cut} of {whole + cut} mentions" in warned[0]
        assert "corpus.language" in warned[0]
        assert warned[0].endswith(manifest.show(folder.folder("annotate"))["counts"]["unlabelled"]["warnings"][0])
    pipeline.annotate(folder)  # up to date, and warns again
    assert len(warned) == 2 * warns
    settings = replace(folder.settings, annotate=replace(folder.settings.annotate, max_inside_token=0.5))
    pipeline.annotate(replace(folder, settings=settings))
    assert len(warned) == 2 * warns


def test_a_finished_run_is_known_without_reading_a_label(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    folder = run_of(tmp_path, settings, said)
    counts = pipeline.annotate(folder)

    def refuse(*_: object) -> dict[str, str]:
        raise AssertionError("the labels were read, of which there may be millions")

    monkeypatch.setitem(Teacher.start.__globals__, "_gold_answers", refuse)
    assert pipeline.annotate(folder) == counts
    assert said[-1] == "annotate: up to date"


def test_other_labels_are_another_teacher(tmp_path: Path, settings: Settings, pool: Path) -> None:
    own = replace(settings, corpus=replace(settings.corpus, unlabelled=str(pool)))
    folder = run_of(tmp_path, own)
    pipeline.annotate(folder)
    rows = [json.loads(line) for line in pool.read_text("utf-8").splitlines()]
    changed = next(row for row in rows if set(row["labels"]) != {"O"})
    changed["labels"] = ["O"] * len(changed["tokens"])
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert pipeline.annotate(folder)["unlabelled"]["asked"] == len(rows)
