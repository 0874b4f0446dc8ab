"""init: a first configuration that is valid and fits the user's files."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from distill_offline.cli import commands
from distill_offline.config.loading import load
from distill_offline.corpus import read_examples, write_examples
from distill_offline.errors import DistillError, InputError
from distill_offline.pipeline.first_config import first_config, look_at
from distill_offline.run.gold import make_task, read_gold, read_labelled


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    examples = islice(read_examples("package:demo/train.jsonl", origin="original"), 120)
    write_examples(tmp_path / "labelled.jsonl", examples)
    return tmp_path / "labelled.jsonl"


def init(*words: str | Path) -> str:
    result = CliRunner().invoke(commands, ["init", *map(str, words)])
    if isinstance(result.exception, DistillError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_the_configuration_is_valid_and_its_splits_share_no_document(tmp_path: Path, gold: Path) -> None:
    file = tmp_path / "new" / "mine.yaml"
    said = init(file, "--gold", gold, "--text", "package:demo/unlabelled", "--type", "PERSON=a named human: no titles")
    assert "120 sentences" in said
    settings = load(file, ())
    assert settings.task.types["PERSON"] == "a named human: no titles"
    assert set(settings.task.types) == {"PERSON", "ORGANISATION", "LOCATION", "EQUIPMENT", "DATE"}
    splits = read_gold(settings)
    documents = [{e.sentence.document for e in part} for part in (splits.train, splits.test)]
    assert all(documents)
    assert not documents[0] & documents[1]
    assert len(splits.train) + len(splits.test) == 120
    assert make_task(settings).head == "token-classification"
    assert [arm.name for arm in settings.train.arms] == ["original_only", "distilled_only", "simple_mix"]
    assert "such as" in file.read_text("utf-8")


def numbered(path: Path, sentences: int, documents: int) -> Path:
    """Sentences with an entity each; one document is the same as none."""
    rows = [
        {
            "id": f"{n}", "document": f"{n * documents // sentences}", "tokens": ["Nr", f"{n}", "Ann"],
            "labels": ["O", "O", "B-PER"],
        }
        for n in range(sentences)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize("documents", [1, 12])
@pytest.mark.parametrize("has_test", [False, True])
@pytest.mark.parametrize("sentences", [40, 299, 300, 600])
def test_with_few_sentences_all_that_is_not_for_test_is_learnt_from(
    tmp_path: Path, sentences: int, has_test: bool, documents: int
) -> None:
    gold = numbered(tmp_path / "gold.jsonl", sentences, documents)
    init(tmp_path / "c.yaml", "--gold", gold, *(["--test", "package:demo/test.jsonl"] if has_test else []))
    settings = load(tmp_path / "c.yaml", [] if not has_test else ["task.types={PER: x}"])
    original = settings.corpus.original
    assert (original.dev is None) == (sentences < 300)
    assert "dev: " in (tmp_path / "c.yaml").read_text("utf-8")  # it says why there is none
    parts = [
        [example.sentence.id for example in read_labelled(settings, source, origin="original")]
        for source in (original.train, original.dev, None if has_test else original.test)
        if source is not None
    ]
    assert all(parts)
    every = [id_ for part in parts for id_ in part]
    assert len(every) == len(set(every)) == sentences
    if not has_test:
        assert len(parts[-1]) >= sentences // 5


def test_a_file_to_score_on_is_looked_at_before_anything_is_written(tmp_path: Path) -> None:
    gold, config = numbered(tmp_path / "gold.jsonl", 40, 4), tmp_path / "c.yaml"
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "bare.jsonl").write_text('{"tokens": ["a"], "labels": ["O"]}\n')
    for name, told in (
        ("none.jsonl", "none.jsonl"),
        ("empty.jsonl", "empty.jsonl"),
        ("bare.jsonl", "none of its sentences has a label"),
        ("gold.jsonl", "--test is --gold itself"),
    ):
        with pytest.raises(DistillError, match=told):
            init(config, "--gold", gold, "--test", tmp_path / name)
        assert not config.exists()
    (tmp_path / "test.jsonl").write_text('{"tokens": ["Rome"], "labels": ["B-LOC"]}\n')
    assert "LOC is in none of your labels" in init(config, "--gold", gold, "--test", tmp_path / "test.jsonl")
    settings = load(config, [])
    assert set(settings.task.types) == {"PER", "LOC"}
    assert len(read_gold(settings).test) == 1


@pytest.mark.parametrize("sizes", [[10, 30, 10, 30], [30, 10, 30, 10, 30], [1, 117, 1, 1], [400, 1, 1, 1]])
def test_train_has_the_larger_half_of_the_documents_and_parts_of_sentences_if_the_other_is_nothing(
    tmp_path: Path, sizes: list[int]
) -> None:
    names = [f"d{number}" for number, size in enumerate(sizes) for _ in range(size)]
    rows = [{"id": f"{n}", "document": d, "tokens": [f"Ann{n}"], "labels": ["B-PER"]} for n, d in enumerate(names)]
    gold = tmp_path / "gold.jsonl"
    gold.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    init(tmp_path / "c.yaml", "--gold", gold)
    splits = read_gold(load(tmp_path / "c.yaml", []))
    assert len(splits.train) >= len(names) / 2
    assert len(splits.test) + len(splits.dev) >= min(2, len(names) / 8)
    shared = {e.sentence.document for e in splits.train} & {e.sentence.document for e in splits.test}
    assert bool(shared) == (max(sizes) > 100)


def test_capitals_are_asked_for_if_they_tell_entities_from_other_words(tmp_path: Path, gold: Path) -> None:
    init(tmp_path / "with.yaml", "--gold", gold)
    assert load(tmp_path / "with.yaml", ()).train.capitals
    for name, change in (("small", str.lower), ("large", str.upper)):
        rows = [json.loads(line) for line in gold.read_text("utf-8").splitlines()]
        rows = [{"tokens": [change(token) for token in row["tokens"]], "labels": row["labels"]} for row in rows]
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        init(tmp_path / f"{name}.yaml", "--gold", file)
        assert not load(tmp_path / f"{name}.yaml", ()).train.capitals


def test_too_little_gold_is_refused_and_types_without_labels_are_told(tmp_path: Path, gold: Path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text('{"tokens": ["Ann"], "labels": ["B-PERSON"]}\n' * 2)
    with pytest.raises(InputError, match="2 labelled sentences cannot be divided"):
        init(tmp_path / "few.yaml", "--gold", few)
    assert "PLANET is in none of your labels" in init(tmp_path / "p.yaml", "--gold", gold, "--type", "PLANET=a planet")
    one = tmp_path / "one.jsonl"
    one.write_text('{"text": "a b", "label": "x"}\n' * 9)
    assert "there is one class alone" in init(tmp_path / "one.yaml", "--gold", one)


def test_a_file_without_documents_is_divided_by_sentence_and_without_text_there_is_no_teacher(tmp_path: Path) -> None:
    rows = [
        {"id": f"{n}", "text": f"Zeile {n}: größer", "label": "gut: ja" if n % 3 else "#schlecht"} for n in range(50)
    ]
    gold = tmp_path / "classes.jsonl"
    gold.write_text("".join(json.dumps({**r, "document": "one"}) + "\n" for r in rows), "utf-8")
    init(tmp_path / "c.yaml", "--gold", gold)
    settings = load(tmp_path / "c.yaml", ())
    assert settings.task.name == "text_classification"
    assert set(settings.task.types) == {"gut: ja", "#schlecht"}
    assert settings.backend is None
    splits = read_gold(settings)
    assert [len(part) for part in (splits.train, splits.dev, splits.test)] == [40, 0, 10]


def test_a_file_to_score_on_is_taken_as_test(tmp_path: Path, gold: Path) -> None:
    init(tmp_path / "t.yaml", "--gold", gold, "--test", "package:demo/test.jsonl")
    assert len(read_gold(load(tmp_path / "t.yaml", ())).test) == 129


def test_what_cannot_be_is_told_and_nothing_is_overwritten(tmp_path: Path, gold: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("kept")
    with pytest.raises(InputError, match="it exists"):
        init(file, "--gold", gold)
    assert file.read_text() == "kept"
    with pytest.raises(InputError, match="NAME=MEANING"):
        init(tmp_path / "x.yaml", "--gold", gold, "--type", "PERSON")
    with pytest.raises(DistillError):
        init(tmp_path / "x.yaml", "--gold", tmp_path / "absent.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DistillError):
        init(tmp_path / "x.yaml", "--gold", gold, "--text", tmp_path / "empty")
    assert not (tmp_path / "x.yaml").exists()


def test_strange_names_and_paths_stay_what_they_are(tmp_path: Path, gold: Path) -> None:
    look = look_at(gold)
    odd = tmp_path / "a: b #c.yaml"
    settings = yaml.safe_load(
        first_config(look, odd, gold, definitions={"DATE": "when: 'today', #1"}, model="my models/x: y.gguf")
    )
    assert settings["name"] == "a-b-c"
    assert settings["task"]["types"]["DATE"] == "when: 'today', #1"
