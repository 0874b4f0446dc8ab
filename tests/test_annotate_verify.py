"""annotate.verify: each span is asked about, yes or no, and what the first token says stands beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from annotated_runs import TYPES, run_of

from distill_offline import manifest, pipeline
from distill_offline.annotate.out_of_fold import ask_part
from distill_offline.annotate.questions import Questions
from distill_offline.annotate.stage import annotate, annotate_shard, merge, reparse
from distill_offline.annotate.verify import ask_about
from distill_offline.annotate.work import AnnotateInputs, Shard
from distill_offline.annotations import read_lines
from distill_offline.completions import CompletionStore
from distill_offline.config.loading import as_plain, parse_settings
from distill_offline.config.settings import Settings, VerifySettings
from distill_offline.errors import ConfigError, InputError, Interrupted
from distill_offline.run.adapter import Adapter
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task, read_gold, read_labelled
from distill_offline.schema import Annotation, Completion, Example, Sentence, Span, content_digest, join_tokens
from distill_offline.spans.bio import decode_bio
from distill_offline.storage.files import ANNOTATIONS, STORE
from distill_offline.text.yes_or_no import alike, verdict

WORDS = ("Yes", "No")


def settings_of(tmp_path: Path, teacher: str = "Asked", **select: Any) -> Settings:
    """Every second teacher's PERSON is an ORGANISATION; the one who is asked again knows better."""
    settings = parse_settings(
        {
            "name": "verified",
            "task": {"types": TYPES},
            "corpus": {
                "original": {
                    "train": {"path": "package:demo/train.jsonl", "limit": 60},
                    "test": {"path": "package:demo/test.jsonl", "limit": 30},
                },
                "unlabelled": {"path": "package:demo/train.jsonl", "skip": 60, "limit": 30},
            },
            "backend": {"name": f"asked_again:{teacher}", "options": {"answers": str(tmp_path / "answers.jsonl")}},
            "annotate": {"gold": ["train", "test"], "demonstrations": {"k": 1}, "verify": {}},
            "select": select,
            "train": {"encoder": "none"},
        },
        "test",
    )
    task, gold = make_task(settings), read_gold(settings)
    assert settings.corpus.unlabelled is not None
    known = [*read_labelled(settings, settings.corpus.unlabelled, origin="original"), *gold.train, *gold.test]
    with (tmp_path / "answers.jsonl").open("w", encoding="utf-8") as answers:
        for number, each in enumerate(known):
            text = task.answer(each).replace("PERSON", "ORGANISATION") if number % 2 else task.answer(each)
            answers.write(json.dumps({"id": each.sentence.id, "text": text}) + "\n")
    truth = [[each.sentence.text, mention_of(each.sentence, span), span.type] for each in known for span in of(each)]
    (tmp_path / "truth.json").write_text(json.dumps(truth), "utf-8")
    return settings


def of(example: Example) -> list[Span]:
    return list(decode_bio(example.labels))


def mention_of(sentence: Sentence, span: Span) -> str:
    return sentence.text[sentence.offsets[span.start][0] : sentence.offsets[span.end - 1][1]]


def spans_of(folder: RunFolder, *parts: str) -> list[Span]:
    file = folder.folder("annotate").joinpath(*parts) / ANNOTATIONS
    return [span for line in read_lines(file, "token-classification") for span in line.spans]


def questions_asked(tmp_path: Path) -> int:
    """Without the one that shows whether the engine can be asked."""
    log = (tmp_path / "asked.log").read_text("utf-8").splitlines()
    return len(log) - log.count("trial")


def test_each_span_has_the_probability_of_a_yes(tmp_path: Path) -> None:
    settings, said = settings_of(tmp_path), list[str]()
    folder = run_of(tmp_path, settings, said)
    counts = annotate(folder)
    gold = {example.sentence.id: set(map(key, of(example))) for example in read_gold(settings).test}
    file = folder.folder("annotate") / "gold" / "test" / ANNOTATIONS
    judged = [
        (span.verify, key(span) in gold[line.sentence.id])
        for line in read_lines(file, "token-classification")
        for span in line.spans
    ]
    assert {is_right for _, is_right in judged} == {True, False}
    assert all(verify is not None and (verify > 0.5) == is_right for verify, is_right in judged)
    told = counts["test"]["verify"]
    assert told["spans"] == told["verified"] == len(judged)
    assert told["prompt_tokens"] == 9 * told["asked"]
    assert told["without"] == []
    assert any("annotate test: verify:" in line for line in said)
    assert manifest.is_whole(folder.folder("annotate"))


def key(span: Span) -> tuple[int, int, str]:
    return span.start, span.end, span.type


def test_nothing_is_asked_twice_and_stopping_loses_nothing(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    whole = run_of(tmp_path / "whole", settings)
    annotate(whole)
    asked = questions_asked(tmp_path)
    (tmp_path / "asked.log").write_text("")
    log = tmp_path / "asked.log"
    stopping = RunFolder(tmp_path / "run", settings, stop=lambda: questions_asked(tmp_path) >= 12)
    stopping.open()
    with pytest.raises(Interrupted):
        annotate(stopping)
    assert 12 <= questions_asked(tmp_path) < asked
    annotate(run_of(tmp_path, settings))
    assert questions_asked(tmp_path) == asked
    assert log.read_text("utf-8").count("trial") == 2  # once an engine
    assert spans_of(stopping) == spans_of(whole)
    reparse(stopping)
    assert spans_of(stopping) == spans_of(whole)
    assert questions_asked(tmp_path) == asked


def test_shards_ask_their_own_and_merge_asks_nothing(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    whole = run_of(tmp_path / "whole", settings)
    annotate(whole)
    sharded = run_of(tmp_path, settings)
    for number in (1, 2):
        counts = annotate_shard(sharded, Shard(number, 2))
        assert counts["unlabelled"]["verify"]["asked"] > 0
    before = questions_asked(tmp_path)
    merge(sharded)
    assert questions_asked(tmp_path) == before
    assert spans_of(sharded) == spans_of(whole)
    # a document that is deleted takes the questions about it along
    store = sharded.folder("annotate") / STORE
    document = read_gold(settings).test[0].sentence.document
    with CompletionStore(store) as opened:
        rows, completions = opened.forget(document)
        assert completions > rows // 2 > 0
        assert document not in {row[0].rpartition(":")[0] for row in opened.rows("test, verify")}


def test_labels_whose_questions_were_never_asked_are_not_sealed_as_verified(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    plain = replace(settings, annotate=replace(settings.annotate, verify=None))
    for number in (1, 2):
        annotate_shard(run_of(tmp_path, plain), Shard(number, 2))
    with pytest.raises(InputError, match=r"rows of unlabelled, verify have no answer"):
        merge(run_of(tmp_path, settings))
    merge(run_of(tmp_path, plain))
    with pytest.raises(InputError, match=r"never asked about the entities of unlabelled .* Run annotate"):
        reparse(run_of(tmp_path, settings))
    assert not (tmp_path / "asked.log").exists()
    counts = annotate(run_of(tmp_path, settings))["unlabelled"]
    assert (counts["asked"], counts["verify"]["unanswered"]) == (0, 0)
    assert counts["verify"]["asked"] > 0


def test_each_fold_is_asked_about_by_the_teacher_that_labelled_it(tmp_path: Path) -> None:
    folder = run_of(tmp_path, settings_of(tmp_path))
    plain = AnnotateInputs.of(folder)
    contents = [content_digest(example.sentence) for example in plain.gold.train]
    fold_of = {content: 1 + number % 2 for number, content in enumerate(contents)}
    parts = tuple(Adapter(tmp_path / f"fold{n}", f"digest{n}", "") for n in (1, 2))
    adapter = Adapter(tmp_path / "whole", "digest", "", parts, fold_of)
    work = replace(plain, teacher=replace(plain.teacher, adapter=adapter))
    with CompletionStore(tmp_path / "folds.sqlite") as store, work.engine() as engine:
        ask_part(work, "train", store, engine)
        verified = ask_about(work, "train", store, engine)
        assert verified is not None
        ids = [row[0] for row in store.rows("train, verify")]
        assert {row[2] is None for row in store.rows("train, verify")} == {False}
        assert not [name for name in store.progress() if "fold" in name]
        folds = {
            example.sentence.id: fold_of[content] for example, content in zip(plain.gold.train, contents, strict=True)
        }
        log = (tmp_path / "adapters.log").read_text("utf-8").splitlines()
        asked = {id_: name for name, id_ in (line.split(" ", 1) for line in log) if id_ != "trial"}
        assert asked == {id_: f"fold{folds[id_]}" for id_ in ids}
        again = ask_about(work, "train", store, engine)
        assert again is not None
        assert (again.asked.asked, again.asked.cached) == (0, len(ids))


def test_an_answer_of_neither_word_leaves_the_span_without_and_is_counted(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    answers = tmp_path / "answers.jsonl"
    rows = [json.loads(line) for line in answers.read_text("utf-8").splitlines()]
    first = next(row for row in rows if json.loads(row["text"]))
    assert settings.annotate.verify is not None
    odd = replace(settings.annotate.verify, question='Is "?{mention}" in this sentence an entity of the type {type}')
    said: list[str] = []
    folder = run_of(tmp_path, replace(settings, annotate=replace(settings.annotate, verify=odd)), said)
    counts = annotate(folder)["unlabelled"]["verify"]
    assert counts["verified"] == 0
    assert counts["unreadable"] == counts["spans"] == len(spans_of(folder)) > 0
    assert first["id"] in counts["without"]
    assert all(span.verify is None for span in spans_of(folder))
    assert any("begin with neither Yes nor No" in line for line in said)


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ({"name": "scripted"}, "scripted gives no log-probabilities"),
        ({"name": "asked_again:Mute"}, "the engine lists no log-probabilities"),
        ({"name": "asked_again:Asked", "options": {"thinking": True}}, "begins with a thought"),
    ],
)
def test_engine_without_probabilities_is_an_error_before_anything_is_asked(
    tmp_path: Path, backend: dict[str, Any], message: str
) -> None:
    settings = settings_of(tmp_path)
    assert settings.backend is not None
    options = settings.backend.options | backend.get("options", {})
    folder = run_of(
        tmp_path, replace(settings, backend=replace(settings.backend, name=backend["name"], options=options))
    )
    with pytest.raises(ConfigError, match=message):
        annotate(folder)
    store = folder.folder("annotate") / STORE
    if store.exists():
        with CompletionStore(store, read_only=True) as opened:
            assert opened.count() == 0


def test_off_it_changes_nothing_of_a_run(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    plain = replace(settings, annotate=replace(settings.annotate, verify=None))
    assert "verify" not in as_plain(plain)["annotate"]
    assert "confidence_from" not in as_plain(plain)["select"]
    folder = run_of(tmp_path, plain)
    counts = annotate(folder)
    assert "verify" not in counts["unlabelled"]
    assert b'"verify"' not in (folder.folder("annotate") / ANNOTATIONS).read_bytes()
    assert not (tmp_path / "asked.log").exists()
    # switched on later, the labels are not asked for again
    counts = annotate(run_of(tmp_path, settings))
    assert counts["unlabelled"]["asked"] == 0
    assert counts["unlabelled"]["verify"]["asked"] > 0


@pytest.mark.parametrize("way", ["verify", "both"])
def test_select_goes_by_it_calibrated_on_gold(tmp_path: Path, way: str) -> None:
    said: list[str] = []
    more: dict[str, Any] = {"min_confidence": 0.5, "doubtful": "span", "confidence_from": way}
    folder = run_of(tmp_path, settings_of(tmp_path, **more), said)
    annotate(folder)
    if way == "verify":
        before, kept = spans_of(folder), []
        pipeline.select(folder)
        kept = [
            span
            for line in read_lines(folder.folder("select") / ANNOTATIONS, "token-classification")
            for span in line.spans
        ]
        assert 0 < len(kept) < len(before)
        assert all((span.verify or 0.0) > 0.5 for span in kept)
        learnt = json.loads((folder.folder("select") / "calibration.json").read_text("utf-8"))
        assert learnt["confidence_from"] == "verify"
        assert learnt["before"]["auroc"] == 1.0
        (effect,) = pipeline.selection_report(folder)["effect"]
        assert effect["after"]["precision"] > effect["before"]["precision"]
        return
    # this teacher gives no probabilities of its answers
    pipeline.select(folder)
    assert any("no span of its 60 gold training sentences has one" in line for line in said)


def test_select_by_what_is_not_asked_for_is_a_mistake(tmp_path: Path) -> None:
    plain = as_plain(settings_of(tmp_path))
    del plain["annotate"]["verify"]
    with pytest.raises(ConfigError, match="wants what annotate"):
        parse_settings(plain | {"select": {"confidence_from": "verify"}}, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": ["yes", "Yeah"]}, "the first letters must tell them apart"),
        ({"words": ["", "No"]}, "the first letters must tell them apart"),
        ({"question": "Is {mention} right?"}, "{type} is not in it"),
    ],
)
def test_question_that_cannot_be_answered_is_a_mistake(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    plain = as_plain(settings_of(tmp_path))
    plain["annotate"]["verify"] = change
    with pytest.raises(ConfigError, match=message):
        parse_settings(plain, "test")


def test_question_names_mention_type_and_definition_in_any_language() -> None:
    tokens = ("{type}", "wohnt", "in", "München")
    sentence = Sentence("a", "d", 0, join_tokens(tokens)[0], tokens, join_tokens(tokens)[1])
    german = VerifySettings(
        instructions="Antworte mit {yes} oder {no}.",
        question="„{mention}“ ein {type} ({definition})?",
        words=("Ja", "Nein"),
    )
    questions = Questions(german, {"ORT": "Städte und Länder", "PER": "Menschen"})
    first, second = (questions.about(sentence, Span(n, n + 1, "ORT")) for n in (3, 0))
    assert first.messages[0] == second.messages[0]
    assert first.messages[0].content == "Antworte mit Ja oder Nein.\n\n- ORT: Städte und Länder\n- PER: Menschen"
    assert first.messages[1].content == "{type} wohnt in München\n\n„München“ ein ORT (Städte und Länder)?"
    assert second.messages[1].content.endswith("\n\n„{type}“ ein ORT (Städte und Länder)?")
    assert first.max_tokens == 1
    found = questions.read(Completion("", "length", first_tokens=((" Ne", -0.5), ("ja", -2.0), ("Nun", -3.0))))
    assert found is not None
    assert found.probability == pytest.approx(0.135335 / (0.135335 + 0.606531), abs=1e-5)


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ((("Yes", -0.5), (" yes", -2.5), ("▁No", -1.5), ("Ġno", -4.0)), (0.606531 + 0.082085, 0.22313 + 0.018316)),
        ((("Y", -0.5), ("N", -1.0)), (0.606531, 0.367879)),
        ((("Yes", -0.1), ("Maybe", -3.0)), (0.904837, 0.049787)),  # a no is at most as likely as the last
        (((" No.", -0.1), ('"Yes"', -2.0)), (0.135335, 0.904837)),
        ((("Not", -0.1), ("Yesterday", -1.0), ("", -2.0), ("\ufffd", -2.0)), None),
        ((), None),
    ],
)
def test_words_are_found_in_any_of_their_forms(
    listed: tuple[tuple[str, float], ...], expected: tuple[float, float] | None
) -> None:
    found = verdict(listed, WORDS)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.probability == pytest.approx(expected[0] / sum(expected), abs=1e-5)


def test_words_of_other_scripts_can_be_told_apart() -> None:
    assert not alike(("是", "否"))
    assert not alike(("Да", "Нет"))
    assert alike(("نعم", "نفي"))
    found = verdict((("是", -0.1), ("否", -2.4)), ("是", "否"))
    assert found is not None
    assert found.are_both


def test_lines_keep_it_and_refuse_what_is_none(tmp_path: Path) -> None:
    from distill_offline.annotations import AnnotationLine, checked_span, write_lines

    tokens = ("Ada", "smiled")
    sentence = Sentence("a", "d", 0, join_tokens(tokens)[0], tokens, join_tokens(tokens)[1])
    span = Span(0, 1, "PER", 0.5, "exact", None, 0.25)
    line = AnnotationLine.of(sentence, Annotation("a", ("B-PER", "O"), (span,)))
    write_lines(tmp_path / ANNOTATIONS, [line])
    (read,) = read_lines(tmp_path / ANNOTATIONS, "token-classification")
    assert read == line
    with pytest.raises(ValueError, match="numbers, 0 to 1"):
        checked_span(replace(span, verify=1.5))
