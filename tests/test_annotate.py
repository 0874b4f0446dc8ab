"""The annotate stage: nothing asked twice, nothing lost, the same bytes in the end."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from annotating import CORPUS, Stage, Teacher
from sentences import example

from distill_offline.annotate.answers import Counts
from distill_offline.errors import BackendError, Interrupted, QuarantineError, StoreError
from distill_offline.schema import Annotation, Completion, Example, Prompt, Sentence
from distill_offline.storage.files import read_rows
from distill_offline.tasks.ner import NER

DISTINCT = len({each.sentence.tokens for each in CORPUS})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "annotate"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    stage = Stage(tmp_path_factory.mktemp("reference"))
    stage.run()
    return stage.outputs()


def rows_of(stage: Stage, name: str) -> list[dict[str, Any]]:
    return list(read_rows(stage.folder / name))


def test_every_row_lands_in_exactly_one_of_the_two_files_in_order(folder: Path) -> None:
    stage = Stage(folder)
    counts = stage.run()
    annotated, quarantined = (
        [row["id"] for row in rows_of(stage, name)] for name in ("annotations.jsonl", "quarantine.jsonl")
    )
    order = [each.sentence.id for each in CORPUS]
    assert sorted([*annotated, *quarantined]) == sorted(order)
    assert annotated == [id_ for id_ in order if id_ in set(annotated)]
    assert quarantined == [id_ for id_ in order if id_ in set(quarantined)]
    assert annotated
    assert quarantined
    assert counts.rows == len(CORPUS)
    assert counts.annotated == len(annotated)
    assert sum(counts.quarantined.values()) == len(quarantined)


def test_identical_prompts_are_asked_once_and_each_row_has_the_answer(folder: Path) -> None:
    stage = Stage(folder, noise=0.0)
    counts = stage.run()
    assert len(set(stage.asked())) == len(stage.asked()) == DISTINCT < len(CORPUS)
    assert (counts.asked, counts.cached) == (DISTINCT, len(CORPUS) - DISTINCT)
    assert [tuple(row["labels"]) for row in rows_of(stage, "annotations.jsonl")] == [e.labels for e in CORPUS]


def test_identical_prompts_far_apart_are_asked_once(folder: Path) -> None:
    """Batches of 256 are looked up in the store together, and the first copy may be committed before or after."""
    again = [example(f"Unit/B-ORG P{n % 270}/I-ORG stopped", f"x:{n}") for n in range(900)]
    for chunk in (1, 100, 1000):
        stage = Stage(folder / str(chunk), noise=0.0, corpus=again, chunk=chunk)
        assert stage.run().asked == 270
        assert len(stage.asked()) == 270


def test_a_second_run_asks_nothing_makes_no_teacher_and_changes_no_byte(folder: Path) -> None:
    first, second = Stage(folder), Stage(folder)
    first.run()
    before = first.outputs()
    counts = second.run()
    assert (counts.asked, counts.cached) == (0, len(CORPUS))
    assert second.teachers == []
    assert second.outputs() == before


def test_stop_drains_commits_and_the_next_run_ends_with_the_same_bytes(
    folder: Path, uninterrupted: dict[str, bytes]
) -> None:
    asked = 0
    for answers in (0, 1, 3, 4, 5, 11):
        stage = Stage(folder)
        stage.stop = lambda a=answers, before=asked, stage=stage: len(stage.asked()) >= before + a  # type: ignore[misc]
        with pytest.raises(Interrupted, match="Run the same command again"):
            stage.run()
        assert stage.outputs() == {}
        with stage.store() as store:
            assert store.count() == len(stage.asked())  # all that was answered is stored
        asked = len(stage.asked())
    last = Stage(folder)
    last.run()
    assert last.outputs() == uninterrupted
    assert len(last.asked()) == len(set(last.asked())) == DISTINCT


BOUNDARIES = [
    ("rows", 1),
    ("answer", 1),
    ("answer", 7),
    ("before commit", 1),
    ("before commit", 3),
    ("after commit", 1),
    ("after commit", 3),
    ("asked", 1),
    ("parse", 1),
    ("parse", 20),
]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Path]:
    """A folder for each boundary, with what a process left that was killed there; they run side by side."""
    program, root = Path(__file__).with_name("annotating.py"), tmp_path_factory.mktemp("killed")
    words = [str(word) for boundary in BOUNDARIES for word in boundary]
    done = subprocess.run([sys.executable, program, root, "each", *words], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (str(len(BOUNDARIES)), "")
    return {boundary: root / f"{boundary[0]}{boundary[1]}" for boundary in BOUNDARIES}


@pytest.mark.parametrize("boundary", BOUNDARIES, ids=lambda boundary: f"{boundary[0]} {boundary[1]}")
@pytest.mark.slow
def test_killed_at_any_boundary_it_goes_on_to_the_same_bytes(
    killed: dict[tuple[str, int], Path], boundary: tuple[str, int], uninterrupted: dict[str, bytes]
) -> None:
    stage = Stage(killed[boundary])
    assert stage.outputs() == {}  # no half file under a whole one's name
    before = stage.asked()
    with stage.store() as store:
        stored = store.count()
    assert len(before) - stored <= stage.chunk
    counts = stage.run()
    assert stage.outputs() == uninterrupted
    assert counts.asked == DISTINCT - stored
    assert len(stage.asked()) - DISTINCT == len(before) - stored  # only what was not yet committed is asked again
    assert sorted(p.name for p in stage.folder.iterdir()) == [
        "annotations.jsonl",
        "asked.log",
        "completions.sqlite",
        "quarantine.jsonl",
    ]


def test_killed_while_an_older_file_is_replaced_the_older_one_stays(folder: Path) -> None:
    Stage(folder, noise=0.0).run()
    before = Stage(folder).outputs()
    program = Path(__file__).with_name("annotating.py")
    done = subprocess.run([sys.executable, program, folder, "parse", "20"], check=False)
    assert done.returncode == -9
    assert Stage(folder).outputs() == before


def test_a_changed_prompt_asks_again_and_the_old_answers_stay(folder: Path) -> None:
    Stage(folder, noise=0.0).run()
    changed = Stage(folder, noise=0.0, guidelines="Titles are no names.")
    counts = changed.run()
    assert counts.asked == DISTINCT
    with changed.store() as store:
        assert store.count() == 2 * DISTINCT
    assert Stage(folder, noise=0.0).run().asked == 0


def test_a_corpus_that_grew_or_shrank_asks_only_what_is_new(folder: Path) -> None:
    assert Stage(folder, corpus=CORPUS[:10]).run().rows == 10
    longer = Stage(folder)
    counts = longer.run()
    assert counts.asked + len({e.sentence.tokens for e in CORPUS[:10]}) == DISTINCT
    shorter = Stage(folder, corpus=CORPUS[:5])
    assert shorter.run().asked == 0
    assert sum(len(lines.splitlines()) for lines in shorter.outputs().values()) == 5


def test_completions_that_cannot_be_used_are_quarantined_with_reason_and_never_all_o(folder: Path) -> None:
    texts = ["", "There is nothing.", '[["Ada"]]', "[]", '[["Ada","PER"],["Ada","PER"],["Bob","PER"],["Ada","X"]]']
    stage = Stage(folder, noise=0.0, corpus=CORPUS[:4] + CORPUS[5:6])
    stage.answers = {e.sentence.id: text for e, text in zip(stage.corpus, texts, strict=True)}
    counts = stage.run()
    refused = rows_of(stage, "quarantine.jsonl")
    assert [row["reason"] for row in refused] == ["empty", "not_json", "wrong_shape"]
    assert counts.quarantined == {"empty": 1, "not_json": 1, "wrong_shape": 1}
    assert counts.rejected == {"overlapping": 1, "not_in_text": 1, "unknown_type": 1}
    assert counts.aligned == {"exact": 1}
    with stage.store() as store:
        assert all(store.get(bytes.fromhex(row["completion"])) is not None for row in refused)


def test_the_quarantine_holds_no_corpus_text(folder: Path) -> None:
    stage = Stage(folder, noise=1.0)
    stage.run()
    assert b"checked" not in stage.outputs()["quarantine.jsonl"]
    assert b"Ada" not in stage.outputs()["quarantine.jsonl"]


def test_an_engines_own_error_is_quarantined_now_and_asked_again_next_time(folder: Path) -> None:
    first = Stage(folder, noise=0.0)
    first.answers = {e.sentence.id: first.task.answer(e) for e in CORPUS[:20]}  # the others: error
    failed = len({e.sentence.tokens for e in CORPUS[20:]})
    counts = first.run()
    assert counts.quarantined == {"engine_error": 20}
    assert counts.asked == DISTINCT
    second = Stage(folder, noise=0.0)
    assert second.run().asked == failed
    assert len(rows_of(second, "annotations.jsonl")) == len(CORPUS)
    assert rows_of(second, "quarantine.jsonl") == []


def test_a_mended_parser_is_run_over_the_stored_completions_without_a_teacher(folder: Path) -> None:
    class Strict(NER):
        def parse(self, sentence: Sentence, completion: Completion) -> Annotation:
            return Annotation(sentence.id, ("O",) * len(sentence.tokens))

    stage = Stage(folder, noise=0.0)
    stage.run()
    again, counts = Stage(folder), Counts()
    with again.store() as store:
        again.parse(store, counts, Strict.__new__(Strict))
    assert counts.annotated == len(CORPUS)
    assert {tag for row in rows_of(again, "annotations.jsonl") for tag in row["labels"]} == {"O"}
    assert again.teachers == []


class Shuffling(Teacher):
    """Answers a few prompts behind, the newest first, as engines that batch may."""

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        held: list[tuple[int, Completion]] = []
        for answer in super().complete(prompts):
            held.append(answer)
            if len(held) == 5:
                yield from reversed(held)
                held.clear()
        yield from reversed(held)


class Dying(Teacher):
    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        for position, completion in super().complete(prompts):
            if position == 6:
                raise BackendError("scripted: the engine died.")
            yield position, completion


def test_answers_in_any_order_give_the_same_bytes(folder: Path, uninterrupted: dict[str, bytes]) -> None:
    stage = Stage(folder, kind=Shuffling)
    stage.run()
    assert stage.outputs() == uninterrupted


def test_a_dead_engine_loses_no_answer_that_it_gave(folder: Path, uninterrupted: dict[str, bytes]) -> None:
    stage = Stage(folder, chunk=100, kind=Dying)
    with pytest.raises(BackendError, match="died"):
        stage.run()
    with stage.store() as store:
        assert store.count() == 6
    last = Stage(folder)
    assert last.run().asked == DISTINCT - 6
    assert last.outputs() == uninterrupted


def test_a_store_that_can_no_longer_be_written_stops_the_stage(folder: Path) -> None:
    class Failing(Teacher):
        def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
            for position, completion in super().complete(prompts):
                if position == 9:
                    connection.execute("PRAGMA query_only=ON")
                yield position, completion

    stage = Stage(folder, kind=Failing)
    with stage.store() as store:
        assert store._connection is not None
        connection = store._connection
        with pytest.raises(StoreError, match="What was committed is untouched"):
            stage.ask(store)
        assert store.count() == 8
    assert stage.outputs() == {}


def test_rows_that_the_engine_never_answered_are_quarantined(folder: Path) -> None:
    class Forgetful(Teacher):
        def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
            wanted = list(prompts)
            alone = next(n for n, prompt in enumerate(wanted) if prompt.sentence_id == "d:2")  # it has no copy
            return ((n, completion) for n, completion in super().complete(wanted) if n != alone)

    stage = Stage(folder, noise=0.0, kind=Forgetful)
    counts = stage.run()
    assert counts.quarantined == {"engine_error": 1}
    assert counts.causes == {"the engine gave no answer": 1}
    assert counts.annotated == len(CORPUS) - 1


def test_prompts_are_taken_as_the_engine_has_room(folder: Path) -> None:
    """A corpus is streamed: nothing far ahead of the engine is read."""
    read: list[int] = []

    class Watched(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            for n, each in enumerate(super().__iter__()):
                read.append(n)
                yield each

    many = [example(f"Unit/B-ORG P{n}/I-ORG stopped", f"x:{n}") for n in range(6000)]
    stage = Stage(folder, noise=0.0, corpus=Watched(many), answers={"x:0": "[]"})
    stage.stop = lambda: len(stage.asked()) >= 10
    with pytest.raises(Interrupted):
        stage.run()
    assert len(read) < 4700  # a window of prompts and one batch of demonstrations


def test_progress_counts_up_to_the_total(folder: Path) -> None:
    stage = Stage(folder)
    stage.run()
    assert stage.progress[-1].done == stage.progress[-1].total == len(CORPUS)
    assert [p.done for p in stage.progress] == sorted(p.done for p in stage.progress)
    assert stage.progress[-1].counts["asked"] == DISTINCT


def test_a_line_has_the_contracts_fields(folder: Path) -> None:
    stage = Stage(folder, noise=0.0)
    stage.run()
    row = json.loads(stage.outputs()["annotations.jsonl"].splitlines()[0])
    assert list(row) == ["id", "document", "index", "text", "tokens", "offsets", "labels", "spans", "rejected"]
    assert row["spans"][0] == {"start": 0, "end": 2, "type": "ORG", "confidence": None, "alignment": "exact"}
    assert [row["text"][start:end] for start, end in row["offsets"]] == row["tokens"]
    assert all((stage.folder / name).stat().st_mode & 0o777 == 0o600 for name in stage.outputs())


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_goes_on_to_the_same_bytes(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    program = Path(__file__).with_name("annotating.py")
    done = subprocess.run([sys.executable, program, tmp_path, "random", "20"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 10
    for number in range(20):
        stage = Stage(tmp_path / str(number))
        before, stored = stage.asked(), {}
        if (stage.folder / "completions.sqlite").exists():
            with stage.store() as store:
                stored = {digest: completion for _, digest, completion in store.rows("unlabelled") if completion}
        assert len(before) - len(stored) <= stage.chunk
        stage.run()
        assert stage.outputs() == uninterrupted, number
        assert len(stage.asked()) - DISTINCT == len(before) - len(stored)
        with stage.store() as store:
            assert {digest: store.get(digest) for digest in stored} == stored


# -- answers that are cut off


class Terse(Teacher):
    """Cuts off what needs more than max_tokens, at 40 tokens (characters here) unless a prompt allows more."""

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        rooms: list[int] = []

        def noted() -> Iterator[Prompt]:
            for prompt in prompts:
                rooms.append(prompt.max_tokens or 40)
                yield prompt

        for position, completion in super().complete(noted()):
            room = rooms[position]
            cut = replace(completion, text=completion.text[:room], finish_reason="length", completion_tokens=room)
            whole = replace(completion, completion_tokens=len(completion.text))
            yield position, cut if len(completion.text) > room else whole


LONG = [example(f"Ada/B-PER and Bob/B-PER saw P{n}/B-ORG {'x ' * n}today", f"l:{n}") for n in range(9)]


@pytest.mark.parametrize("corpus", [LONG, LONG[:1], [*LONG, *CORPUS]])
def test_an_answer_that_is_cut_off_is_asked_once_more_with_more_room(folder: Path, corpus: list[Example]) -> None:
    stage = Stage(folder, noise=0.0, kind=Terse, corpus=corpus, retry_tokens=80)
    counts = stage.run()
    assert counts.quarantined == {}
    assert counts.retried == min(len(corpus), len(LONG))
    assert [tuple(row["labels"]) for row in rows_of(stage, "annotations.jsonl")] == [e.labels for e in corpus]
    with stage.store() as store:
        kept = [completion for _, _, completion in store.rows("unlabelled")]
    assert {completion.finish_reason for completion in kept if completion} == {"stop"}  # the first try is not kept
    answers = {completion.text for completion in kept if completion}
    if corpus is LONG:  # first tries cost tokens, too
        assert counts.completion_tokens == sum(len(c.text) for c in kept if c) + 40 * len(LONG) > len(answers)
    again = Stage(folder, noise=0.0, kind=Terse, corpus=corpus, retry_tokens=80)
    assert again.run().asked == 0


def test_an_answer_that_is_cut_off_twice_is_quarantined_and_costs_both_tries(folder: Path) -> None:
    stage = Stage(folder, noise=0.0, kind=Terse, corpus=LONG, retry_tokens=41)
    counts = stage.run()
    assert counts.quarantined == {"truncated": len(LONG)}
    assert (counts.asked, counts.retried, counts.completion_tokens) == (9, 9, 9 * (40 + 41))
    assert len(stage.asked()) == 18
    never = Stage(folder / "never", noise=0.0, kind=Terse, corpus=LONG)
    assert never.run().retried == 0


def test_a_stop_while_cut_off_answers_wait_asks_them_next_time(folder: Path) -> None:
    stage = Stage(folder, noise=0.0, kind=Terse, corpus=LONG, retry_tokens=80)
    stage.stop = lambda: len(stage.asked()) >= 4
    with pytest.raises(Interrupted):
        stage.run()
    last = Stage(folder, noise=0.0, kind=Terse, corpus=LONG, retry_tokens=80)
    assert last.run().annotated == len(LONG)


# -- too many failures


class Broken(Teacher):
    """Answers prose from the fifteenth prompt on."""

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        for position, completion in super().complete(prompts):
            yield position, completion if position < 14 else replace(completion, text="I cannot help with that.")


def test_a_run_of_useless_answers_stops_the_engine_and_keeps_what_was_said(folder: Path) -> None:
    stage = Stage(folder, noise=0.0, kind=Broken, max_failure_rate=0.5)
    with pytest.raises(QuarantineError, match=r"6 of the last 10 answers .*6 of them: not_json"):
        stage.run()
    assert len(stage.asked()) == 20
    with stage.store() as store:
        assert store.count() == 20
    tolerant = Stage(folder, noise=0.0, kind=Broken, max_failure_rate=1.0)
    assert tolerant.run().unusable == 0  # the twelve left are asked at positions that are still sound


def test_a_few_failures_do_not_stop_it(folder: Path) -> None:
    counts = Stage(folder, noise=0.3, max_failure_rate=0.9).run()
    assert counts.unusable > 0


def test_prompts_that_begin_alike_are_asked_one_after_another(folder: Path) -> None:
    """An engine computes a common prefix once; the files keep the corpus's order all the same."""
    begun: list[str] = []

    class Watching(Teacher):
        def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
            asked = list(prompts)
            begun.extend("".join(message.content for message in prompt.messages[:-1]) for prompt in asked)
            return super().complete(asked)

    stage = Stage(folder, noise=0.0, kind=Watching)
    stage.run()
    changes = sum(a != b for a, b in itertools.pairwise(begun))
    assert len(set(begun)) > 1
    assert changes == len(set(begun)) - 1
    assert [row["id"] for row in rows_of(stage, "annotations.jsonl")] == [each.sentence.id for each in CORPUS]
