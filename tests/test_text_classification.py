"""Classes of whole texts: the task by itself, and the whole way through every stage."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from model_fixtures import SMOLLM, real_model
from sentences import example, sentence

from distill_offline import manifest, pipeline
from distill_offline.backends.json_grammar import compact_grammar
from distill_offline.cli import commands
from distill_offline.config.loading import load, parse_settings
from distill_offline.config.settings import BackendSettings, Settings, Source, TaskSettings
from distill_offline.corpus import read_annotations, read_examples
from distill_offline.errors import ConfigError, CorpusError, InputError, UnusableAnswer
from distill_offline.evaluate.compare import compare_with_gold
from distill_offline.pipeline.export_labels import export_labels
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Annotation, Completion, Example
from distill_offline.storage.files import read_rows
from distill_offline.tasks.base import Task
from distill_offline.tasks.text_classification import TextClassification

ROOT = Path(__file__).parent.parent
TYPES = {"leak": "a fluid escapes; not steam", "visit": "somebody comes. Or goes.", "World News": "all else"}
PROMPTS = ["standard", "cot"]
TEXT = sentence("The pump leaks oil again")


def task(prompt: str = "standard", guidelines: str = "", **types: str) -> TextClassification:
    settings = TaskSettings(name="text_classification", types=types or TYPES, prompt=prompt, guidelines=guidelines)
    return TextClassification(settings)


def labelled(text: str, label: str) -> Example:
    return replace(example(text), labels=(label,))


def parse(text: str, prompt: str = "standard", finish_reason: str = "stop") -> Annotation:
    return task(prompt).parse(TEXT, Completion(text, finish_reason))


def template(folder: Path, max_words: str) -> str:
    path = folder / "own.jinja"
    path.write_text(
        f"{{% set answer = 'class' %}}{{% set max_words = {max_words} %}}"
        "{% block system %}Choose.{% endblock %}{% block user %}<{{ text }}>{% endblock %}"
    )
    return str(path)


# -- the task


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("label", TYPES)
def test_a_perfect_teachers_answer_is_read_back_as_the_gold_class(prompt: str, label: str) -> None:
    gold = labelled("The pump leaks oil again", label)
    annotation = parse(task(prompt).answer(gold), prompt)
    assert annotation == Annotation(gold.sentence.id, (label,))


def test_the_answers_are_compact_json_of_the_form_that_the_prompt_asks_for() -> None:
    gold = labelled("Ada was here", "visit")
    assert task().answer(gold) == '{"class":"visit"}'
    assert task("cot").answer(gold) == '{"reason":"somebody comes","class":"visit"}'


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompt_has_classes_guidelines_and_demonstrations_as_turns(prompt: str) -> None:
    asked = task(prompt, "Leaks first.").prompt(TEXT, [labelled("Ada was here", "visit")])
    assert [message.role for message in asked.messages] == ["system", "user", "assistant", "user"]
    system, shown, answer, question = [message.content for message in asked.messages]
    assert all(f"- {name}: {definition}" in system for name, definition in TYPES.items())
    assert "Leaks first." in system
    assert "uidelines" not in task(prompt).prompt(TEXT, []).messages[0].content
    assert (shown.endswith("Ada was here"), question.endswith(TEXT.text)) == (True, True)
    assert answer == task(prompt).answer(labelled("Ada was here", "visit"))
    assert not [m.content for m in asked.messages if "\n\n\n" in m.content or m.content != m.content.strip()]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_schema_lets_a_grammar_enforce_the_classes(prompt: str) -> None:
    schema = task(prompt).prompt(TEXT, []).schema
    assert schema is not None
    assert schema["properties"]["class"]["enum"] == list(TYPES)
    assert list(schema["properties"])[-1] == "class"
    assert r"\"World News\"" in compact_grammar(schema)


def test_a_long_text_is_shown_up_to_the_templates_max_words_in_demonstrations_too(tmp_path: Path) -> None:
    own = task(template(tmp_path, "3"))
    asked = own.prompt(TEXT, [labelled("one two three four", "leak"), labelled("one two three", "leak")])
    users = [message.content for message in asked.messages if message.role == "user"]
    assert users == ["<one two three ...>", "<one two three>", "<The pump leaks ...>"]


def test_standard_prompts_cut_a_long_article_and_a_template_may_leave_it_whole(tmp_path: Path) -> None:
    article = sentence(" ".join(f"w{n}" for n in range(400)))
    for prompt in PROMPTS:
        shown = task(prompt).prompt(article, []).messages[-1].content
        assert shown.endswith(" w149 ...")
    assert task(template(tmp_path, "none")).prompt(article, []).messages[-1].content == f"<{article.text}>"


@pytest.mark.parametrize("value", ["0", "'many'", "2.5", "true and 0"])
def test_a_max_words_that_is_no_count_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="max_words must be a whole number"):
        task(template(tmp_path, value))


@pytest.mark.parametrize(
    "text",
    [
        '{"class":"World News"}',
        '{"class": "world  news"}',
        '{"reason":"so far away","class":"WORLD NEWS"}',
        '{"label":"World News"}',
        '["World News"]',
        '"World News"',
        "world news",
        'The class is:\n```json\n{"class":"World News"}\n```',
    ],
)
def test_what_names_exactly_one_class_is_that_class(text: str) -> None:
    assert parse(text).labels == ("World News",)


@pytest.mark.parametrize(
    ("text", "finish_reason", "reason"),
    [
        ('{"class":"weather"}', "stop", "unknown_class"),
        ('{"class":""}', "stop", "unknown_class"),
        ('{"class":["leak","visit"]}', "stop", "wrong_shape"),
        ('["leak","visit"]', "stop", "wrong_shape"),
        ('{"class":null}', "stop", "wrong_shape"),
        ("{}", "stop", "wrong_shape"),
        ("[]", "stop", "wrong_shape"),
        ('{"class":"leak","class":"visit"}', "stop", "wrong_shape"),
        ("This is about a leak.", "stop", "not_json"),
        ("leak or visit", "stop", "not_json"),
        ("", "stop", "empty"),
        ('{"class":"leak"}', "length", "truncated"),
        ("leak", "length", "truncated"),
        ("", "prompt_too_long", "prompt_too_long"),
        ("", "error: no room", "engine_error"),
    ],
)
def test_what_names_no_class_for_certain_is_no_class(text: str, finish_reason: str, reason: str) -> None:
    with pytest.raises(UnusableAnswer) as caught:
        parse(text, finish_reason=finish_reason)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("types", "problem"),
    [
        ({"leak": "a"}, "at least two classes"),
        ({"leak": "a", "": "b"}, "cannot be a class"),
        ({"leak": "a", " visit": "b"}, "cannot be a class"),
        ({"leak": "a", "two\nlines": "b"}, "cannot be a class"),
        ({"leak": "a", "Leak": "b"}, "differ in case"),
    ],
)
def test_classes_that_an_answer_could_not_name_are_refused(types: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        task(**types)


def test_a_prompt_of_another_task_is_refused_by_its_form(tmp_path: Path) -> None:
    (tmp_path / "pairs.jinja").write_text(
        "{% set answer = 'pairs' %}{% block system %}{% endblock %}{% block user %}{% endblock %}"
    )
    with pytest.raises(ConfigError, match="must set answer to one of class, reasoned"):
        task(str(tmp_path / "pairs.jinja"))
    with pytest.raises(ConfigError, match=r"neither a readable file nor one of cot, standard"):
        task("nonesuch")


def test_it_is_a_task_and_its_identity_changes_with_what_shapes_the_prompt() -> None:
    assert isinstance(task(), Task)
    assert (task().head, task().labels) == ("sequence-classification", tuple(TYPES))
    identities = [t.identity() for t in (task(), task("cot"), task(guidelines="x"), task(**{**TYPES, "leak": "oil"}))]
    assert len({json.dumps(identity) for identity in identities}) == 4
    assert task().identity() == identities[0]


# -- the whole way

WORDS = {"leak": "pump valve water line", "visit": "van asked report room", "alarm": "night health heat minutes"}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder a class, twenty texts in each of them that only words of their class and a few common ones are in."""
    drawn = random.Random(3)
    for name, words in WORDS.items():
        (tmp_path / "texts" / name).mkdir(parents=True)
        for number in range(20):
            chosen = drawn.choices(words.split(), k=8)
            text = f"{' '.join(chosen[:4])}. {' '.join(chosen[4:])}.\n"
            (tmp_path / "texts" / name / f"{number:02}.txt").write_text(text)
    (tmp_path / "texts" / "alarm" / "99.txt").write_bytes(b"caf\xe9")
    return tmp_path / "texts"


def part(texts: Path, skip: int, limit: int) -> dict[str, Any]:
    return {"path": str(texts), "on_bad_file": "skip", "shuffle": 5, "skip": skip, "limit": limit}


@pytest.fixture
def settings(encoder: Path, texts: Path) -> Settings:
    return parse_settings(
        {
            "name": "topics",
            "seed": 2,
            "task": {"name": "text_classification", "types": WORDS},
            "corpus": {
                "original": {"train": part(texts, 0, 12), "dev": part(texts, 12, 9), "test": part(texts, 21, 15)},
                "unlabelled": part(texts, 36, 24),
            },
            "backend": {"name": "scripted"},
            "annotate": {"gold": ["test"], "demonstrations": {"strategy": "static", "k": 3}},
            "train": {
                "encoder": str(encoder),
                "updates": 40,
                "batch_size": 8,
                "eval_every": 20,
                "learning_rate": 1e-2,
            },
        },
        "test",
    )


def run(path: Path, settings: Settings) -> dict[str, Any]:
    return pipeline.run(RunFolder(path, settings))


def canned(settings: Settings, answers: dict[str, str], file: Path) -> Settings:
    """The settings with a teacher that says these things."""
    file.write_text("".join(json.dumps({"id": id_, "text": text}) + "\n" for id_, text in answers.items()))
    return replace(settings, backend=BackendSettings(name="scripted", options={"answers": str(file)}))


def gold_of(source: Any) -> list[Example]:
    assert isinstance(source, Source)
    return list(read_examples(source, origin="original", head="sequence-classification"))


def perfect(settings: Settings) -> dict[str, str]:
    examples = [*gold_of(settings.corpus.unlabelled), *gold_of(settings.corpus.original.test)]
    return {e.sentence.id: json.dumps({"class": e.labels[0]}) for e in examples}


def invoke(*arguments: str) -> Result:
    return CliRunner(catch_exceptions=False).invoke(commands, arguments)


@pytest.mark.slow
def test_a_run_goes_through_every_stage_and_students_learn_the_classes(tmp_path: Path, settings: Settings) -> None:
    result = run(tmp_path / "run", settings)
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == ["teacher", "original_only", "distilled_only", "simple_mix"]
    assert rows["teacher"]["accuracy"] == rows["teacher"]["overall"]["f1"] == 1.0
    assert all(rows[arm]["accuracy"] >= 0.9 for arm in list(rows)[1:]), rows
    assert result["metric"] == "macro_f1"
    assert manifest.verify(tmp_path / "run") == []
    annotated = list(read_rows(tmp_path / "run/annotate/annotations.jsonl"))
    assert len(annotated) == 24
    assert all(row["labels"] == [row["document"].split("/")[0]] for row in annotated)
    page = (tmp_path / "run/report/index.html").read_text("utf-8")
    assert "Macro averages over the classes" in page
    assert "<td>teacher</td><td>100.0</td>" in page
    before = manifest.fingerprint_of(tmp_path / "run/report")
    assert run(tmp_path / "run", settings) == result
    assert manifest.fingerprint_of(tmp_path / "run/report") == before


def test_the_teachers_accuracy_is_counted_over_all_texts(tmp_path: Path, settings: Settings) -> None:
    answers = perfect(settings)
    first, second, third, *_ = gold_of(settings.corpus.original.test)
    answers[first.sentence.id] = '{"class":"weather"}'  # quarantined: no class at all, and no class of that name
    answers[second.sentence.id] = "I cannot tell."
    answers[third.sentence.id] = json.dumps({"class": next(n for n in WORDS if n != third.labels[0])})
    folder = RunFolder(tmp_path / "run", canned(settings, answers, tmp_path / "answers.jsonl"))
    counts = pipeline.annotate(folder)
    assert counts["test"]["quarantined"] == {"not_json": 1, "unknown_class": 1}
    (teacher,) = pipeline.evaluate(folder)["rows"]
    assert teacher["accuracy"] == pytest.approx(12 / 15)
    assert teacher["counts"] == {"sentences": 15, "correct": 12, "unanswered": 2}
    assert set(teacher["per_type"]) == set(WORDS)
    assert teacher["overall"]["support"] == 15


def test_copies_are_dropped_and_classes_made_elsewhere_are_taken(tmp_path: Path, settings: Settings) -> None:
    unlabelled = gold_of(settings.corpus.unlabelled)
    held_out = gold_of(settings.corpus.original.test)[0]
    rows = [(unlabelled[0], "x"), (unlabelled[0], "y"), (held_out, "z")]
    file = tmp_path / "elsewhere.jsonl"
    file.write_text(
        "".join(json.dumps({"id": i, "text": e.sentence.text, "label": e.labels[0]}) + "\n" for e, i in rows)
    )
    corpus = replace(settings.corpus, unlabelled=None, distilled=str(file))
    folder = RunFolder(tmp_path / "run", replace(settings, corpus=corpus))
    counts = pipeline.select(folder)
    assert {key: counts[key] for key in counts if counts[key]} == {
        "seen": 3,
        "kept": 1,
        "duplicate": 1,
        "in_dev_or_test": 1,
    }
    (row,) = read_rows(tmp_path / "run/select/annotations.jsonl")
    assert (row["labels"], row["spans"]) == (list(unlabelled[0].labels), [])


def test_static_demonstrations_show_every_class(settings: Settings, tmp_path: Path) -> None:
    step = pipeline.plan(RunFolder(tmp_path / "run", settings), ["annotate"])[0]
    answers = [content for role, content in step["examples"][0] if role == "assistant"]
    assert sorted(answers) == sorted(f'{{"class":"{name}"}}' for name in WORDS)


def test_classes_that_samples_disagree_on_are_dropped_and_their_agreement_travels(
    tmp_path: Path, settings: Settings, texts: Path
) -> None:
    demonstrations = replace(settings.annotate.demonstrations, k=2, vary="set")
    annotate = replace(settings.annotate, samples=4, demonstrations=demonstrations, max_quarantined=1.0)
    noisy = BackendSettings(name="scripted", options={"noise": 0.4})
    settings = replace(settings, annotate=annotate, backend=noisy)
    folder = RunFolder(tmp_path / "run", settings)
    pipeline.annotate(folder)
    rows = {row["id"]: row for row in read_rows(folder.folder("annotate") / "annotations.jsonl")}
    agreements = [row["agreement"] for row in rows.values()]
    assert set(agreements) <= {0.25, 0.5, 0.75, 1.0}
    assert len(set(agreements)) > 1
    assert all(row["confidence"] == row["agreement"] for row in rows.values())
    settings = replace(settings, select=replace(settings.select, min_agreement=0.75, doubtful="mask"))
    counts = pipeline.select(RunFolder(folder.path, settings))
    assert counts["doubtful"] == sum(each < 0.75 for each in agreements) > 0
    export_labels(folder.folder("annotate"), texts, tmp_path / "labels.jsonl", on_bad_file="skip")
    source = Source(path=str(texts), labels=str(tmp_path / "labels.jsonl"), on_bad_file="skip")
    found = [line.beside.agreement or 0 for line in read_annotations(source, head="sequence-classification")]
    assert sorted(found) == sorted(agreements)
    plain = read_annotations(folder.folder("annotate") / "annotations.jsonl", head="sequence-classification")
    assert [line.beside.agreement for line in plain] == agreements


def test_a_sample_shows_which_texts_change_their_class(tmp_path: Path, settings: Settings) -> None:
    answers = perfect(settings)
    folder = RunFolder(tmp_path / "run", canned(settings, answers, tmp_path / "a.jsonl"))
    folder.open()
    pipeline.annotate(folder)
    leak = next(id_ for id_, text in answers.items() if "leak" in text and id_ in unlabelled_ids(settings))
    answers[leak] = '{"class":"visit"}'
    found = pipeline.sample(RunFolder(folder.path, canned(settings, answers, tmp_path / "b.jsonl")), 24)
    assert (found["same"], found["changed"], found["changed_ids"]) == (23, 1, [leak])
    assert found["spans"] == {"kept": 23, "added": 0, "removed": 0, "retyped": 1}
    assert found["per_type"]["leak"]["retyped"] == 1


def unlabelled_ids(settings: Settings) -> set[str]:
    return {e.sentence.id for e in gold_of(settings.corpus.unlabelled)}


@pytest.mark.slow
def test_shards_merge_and_a_purged_text_is_gone(tmp_path: Path, settings: Settings) -> None:
    whole, folder = RunFolder(tmp_path / "whole", settings), RunFolder(tmp_path / "run", settings)
    for each in (whole, folder):
        each.open()
    pipeline.annotate(whole)
    for number in (1, 2):
        pipeline.annotate_shard(folder, pipeline.Shard(number, 2))
    pipeline.merge(folder)
    name = "annotate/annotations.jsonl"
    assert (folder.path / name).read_bytes() == (whole.path / name).read_bytes()
    pipeline.select(folder)
    pipeline.train(folder, ["simple_mix"])
    shown = gold_of(settings.corpus.original.train)[0]
    (found,) = pipeline.purge(shown.sentence.document, [folder.path])
    assert (found["demonstrations"], found["students"]) == (1, ["simple_mix"])
    document = next(iter(read_rows(folder.path / name)))["document"]
    (found,) = pipeline.purge(document, [folder.path])
    assert (found["demonstrations"], found["rows"], found["lines"]) == (0, 2, 2)
    assert document not in {row["document"] for row in read_rows(folder.path / name)}
    assert manifest.verify(folder.path / "annotate") == []


@pytest.mark.slow
def test_evaluate_and_predict_by_the_command_line(
    tmp_path: Path, settings: Settings, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "run", replace(settings, train=replace(settings.train, arms=settings.train.arms[:1])))
    student, gold = "run/train/original_only/student", ["--gold", str(texts), "--on-bad-file", "skip"]
    scores = json.loads(invoke("evaluate", student, *gold, "--json").stdout)
    assert scores["counts"]["sentences"] == 60
    assert scores["counts"]["bad_file"] == 1
    assert scores["accuracy"] == scores["counts"]["correct"] / 60 > 0.7
    assert "accuracy" in invoke("evaluate", student, *gold).stdout
    for suffix in ("jsonl", "parquet"):
        result = invoke("predict", student, str(texts), "-o", f"out.{suffix}", "--on-bad-file", "skip")
        assert "60 sentences labelled" in result.stdout
        assert "1 bad files skipped" in result.stdout
        again = json.loads(invoke("evaluate", f"out.{suffix}", *gold, "--json").stdout)
        assert {key: again[key] for key in ("on", "overall", "accuracy")} == {
            key: scores[key] for key in ("on", "overall", "accuracy")
        }
    teacher = json.loads(invoke("evaluate", "run/annotate", *gold, "--json").stdout)
    assert teacher["counts"] == {"sentences": 60, "correct": 24, "unanswered": 36, "not_in_gold": 0, "bad_file": 1}
    with pytest.raises(CorpusError, match="no tag a token"):
        invoke("predict", student, str(texts / "leak"), "-o", "out.conll")
    with pytest.raises(CorpusError, match=r"99\.txt:1: not UTF-8|99\.txt:1"):
        invoke("predict", student, str(texts), "-o", "out.jsonl")


def test_entities_are_not_compared_with_classes(tmp_path: Path, texts: Path) -> None:
    tagged = tmp_path / "tagged.jsonl"
    tagged.write_text('{"tokens":["Ada","left"],"labels":["B-PER","O"]}\n')
    with pytest.raises(InputError, match=r"holds entities.*holds classes"):
        compare_with_gold(tagged, Source(path=str(texts), on_bad_file="skip"))


# -- ours, and the real thing


def test_the_configuration_for_bbc_topics_asks_for_parts_that_do_not_overlap() -> None:
    settings = load(ROOT / "configs/bbc-topics.yaml")
    original = settings.corpus.original
    parts = [original.train, original.dev, original.test, settings.corpus.unlabelled]
    ranges = []
    for each in parts:
        assert isinstance(each, Source)
        assert (each.path, each.shuffle, each.on_bad_file) == ("data/bbc", 0, "skip")
        assert each.limit is not None
        ranges.append((each.skip, each.skip + each.limit))
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ranges))
    assert len(settings.train.arms) == 3
    TextClassification(settings.task)


@pytest.mark.slow
def test_a_real_small_teacher_labels_bbc_articles(tmp_path: Path) -> None:
    articles = ROOT.parent / "shared/data/bbc"
    if not articles.is_dir():
        pytest.skip("../shared/data/bbc is not there")
    model = real_model(SMOLLM)
    keys = ("original.train", "original.dev", "original.test", "unlabelled")
    changes = [f"corpus.{key}.path={articles}" for key in keys]
    changes += ["corpus.unlabelled.limit=6", f"backend.model={model}"]
    folder = RunFolder(tmp_path / "run", load(ROOT / "configs/bbc-topics.yaml", changes))
    counts = pipeline.annotate(folder)["unlabelled"]
    assert (counts["rows"], counts["annotated"]) == (6, 6)
    classes = set(folder.settings.task.types)
    assert {
        label for row in read_rows(tmp_path / "run/annotate/annotations.jsonl") for label in row["labels"]
    } <= classes
