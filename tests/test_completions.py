"""The store of raw completions."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from distill_offline.completions import Answer, CompletionStore, Row, prompt_digest
from distill_offline.errors import StoreError
from distill_offline.schema import Completion, Message, Prompt

RECIPE = {"model": "m", "sampling": {"temperature": 0.0}}
PROMPT = Prompt("s1", (Message("system", "label"), Message("user", "text")), {"type": "array"})
RAW = Completion(
    text='\ufeff [["Ada",\n"PER"]] \r\n\x00 trailing \ud800 𝐀',
    finish_reason="stop",
    thinking="hm\n",
    token_texts=("[", "", "x"),
    token_logprobs=(-0.1, 0.0, float("-inf")),
    prompt_tokens=3,
    completion_tokens=2,
    cached_tokens=1,
    sample=2,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "completions.sqlite"


def put(store: CompletionStore, **answers: str) -> None:
    recipe = store.add_recipe(RECIPE)
    store.add(Answer(key.encode(), recipe, key, "d", Completion(text, "stop")) for key, text in answers.items())


@pytest.mark.parametrize(
    "completion",
    [RAW, Completion("", "prompt_too_long"), Completion("", ""), Completion("x", "length", token_texts=("x",))],
)
def test_what_was_said_is_read_back_exactly(path: Path, completion: Completion) -> None:
    with CompletionStore(path) as store:
        recipe = store.add_recipe(RECIPE)
        store.add([Answer(b"k", recipe, "s1", "d", completion)])
        assert store.get(b"k") == completion
    with CompletionStore(path) as store:
        assert store.get(b"k") == completion
        assert store.recipes() == {recipe: RECIPE}


def test_a_stored_completion_is_never_changed(path: Path) -> None:
    with CompletionStore(path) as store:
        put(store, k="first")
        put(store, k="second", other="x")
        assert store.get(b"k") == Completion("first", "stop")
        assert store.count() == 2


def test_known_are_those_that_are_stored(path: Path) -> None:
    with CompletionStore(path) as store:
        put(store, **{f"k{n}": "x" for n in range(1200)})
        asked = [f"k{n}".encode() for n in range(0, 2400, 2)]
        assert store.known(asked) == {f"k{n}".encode() for n in range(0, 1200, 2)}
        assert store.known([]) == set()
        assert store.get(b"nothing") is None


def test_rows_say_in_the_corpuss_order_which_completion_each_sentence_wants(path: Path) -> None:
    with CompletionStore(path) as store:
        put(store, a="A")
        store.set_rows("dev", 0, [Row("s0", "d", b"a"), Row("s1", "d", b"b"), Row("\ud800", "\ud800", b"a")])
        store.set_rows("test", 0, [Row("t0", "d", b"a")])
        store.set_rows("dev", 1, [Row("s1'", "d", b"a")])
        assert [(id_, digest, c and c.text) for id_, digest, c in store.rows("dev")] == [
            ("s0", b"a", "A"),
            ("s1'", b"a", "A"),
            ("\ud800", b"a", "A"),
        ]
        store.end_rows("dev", 1)
        assert [id_ for id_, _, _ in store.rows("dev")] == ["s0"]
        assert [id_ for id_, _, _ in store.rows("test")] == ["t0"]


def test_a_failed_batch_leaves_nothing_behind_and_the_store_usable(path: Path) -> None:
    with CompletionStore(path) as store:
        recipe = store.add_recipe(RECIPE)
        with pytest.raises(StoreError):
            store.add([Answer(b"a", recipe, "s", "d", RAW), Answer(None, recipe, "s", "d", RAW)])  # type: ignore[arg-type]
        assert store.count() == 0
        put(store, a="x")
        assert store.count() == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(PROMPT, messages=(Message("system", "label "), Message("user", "text"))),
        replace(PROMPT, messages=(Message("system", "labeltext"), Message("user", ""))),
        replace(PROMPT, messages=PROMPT.messages[1:]),
        replace(PROMPT, messages=(Message("user", "label"), Message("user", "text"))),
        replace(PROMPT, schema=None),
        replace(PROMPT, schema={"type": "object"}),
        replace(PROMPT, sample=1),
    ],
)
def test_a_changed_prompt_can_never_meet_an_old_answer(other: Prompt) -> None:
    assert prompt_digest(other, b"r") != prompt_digest(PROMPT, b"r")


def test_the_digest_depends_on_the_recipe_and_not_on_the_sentences_id() -> None:
    assert prompt_digest(PROMPT, b"r") != prompt_digest(PROMPT, b"q")
    assert prompt_digest(replace(PROMPT, sentence_id="s2"), b"r") == prompt_digest(PROMPT, b"r")
    assert prompt_digest(replace(PROMPT, messages=(Message("user", "\ud800"),)), b"r")


def test_recipes_that_differ_have_different_digests(path: Path) -> None:
    with CompletionStore(path) as store:
        digests = {
            store.add_recipe(recipe) for recipe in (RECIPE, {**RECIPE, "model": "n"}, dict(reversed(RECIPE.items())))
        }
        assert len(digests) == 2
        assert len(store.recipes()) == 2


def test_files_are_the_owners_alone_while_open_and_after(path: Path) -> None:
    with CompletionStore(path) as store:
        put(store, a="x")
        assert {p.stat().st_mode & 0o777 for p in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_closed_store_is_one_file(path: Path) -> None:
    with CompletionStore(path) as store:
        put(store, a="x")
    assert [p.name for p in path.parent.iterdir()] == ["completions.sqlite"]


def test_a_closed_store_says_that_it_is_closed(path: Path) -> None:
    with CompletionStore(path) as store:
        pass
    with pytest.raises(StoreError, match="closed"):
        store.count()


# -- two processes

_HOLD = """
import sys
from pathlib import Path
from distill_offline.completions import Answer, CompletionStore
from distill_offline.schema import Completion
with CompletionStore(Path(sys.argv[1])) as store:
    recipe = store.add_recipe({})
    for chunk in range(10**6):
        # Numbered answers, ten to a chunk; each chunk is announced when it is committed.
        numbers = range(chunk * 10, chunk * 10 + 10)
        store.add(Answer(b"%d" % n, recipe, str(n), "d", Completion("x" * 500, "stop")) for n in numbers)
        print(chunk, flush=True)
        if chunk == int(sys.argv[2]):
            sys.stdin.read()
            break
"""


def holder(path: Path, chunks: int) -> subprocess.Popen[str]:
    """A process that has committed so many chunks and holds the store."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path), str(chunks - 1)], stdin=-1, stdout=-1, text=True
    )
    assert process.stdout is not None
    while process.stdout.readline() != f"{chunks - 1}\n":
        assert process.poll() is None
    return process


def test_a_second_process_is_told_and_a_reader_is_not_shut_out(path: Path) -> None:
    with holder(path, 3) as process:
        with pytest.raises(StoreError, match="another process is annotating into this store"), CompletionStore(path):
            pass
        with CompletionStore(path, read_only=True) as view:
            assert view.count() == 30
            with pytest.raises(StoreError, match="readonly"):
                view.add([Answer(b"new", b"r", "s", "d", RAW)])
        process.communicate("")
    assert process.returncode == 0
    with CompletionStore(path) as store:
        assert store.count() == 30


def test_a_view_sees_what_is_committed_meanwhile(path: Path) -> None:
    with CompletionStore(path) as store, CompletionStore(path, read_only=True) as view:
        put(store, a="x")
        assert view.count() == 1
        put(store, b="y")
        assert view.known([b"a", b"b"]) == {b"a", b"b"}


@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.1])
def test_a_killed_process_loses_at_most_the_chunk_it_had_not_committed(path: Path, after_s: float) -> None:
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(path), "-1"], stdout=-1, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL)
    announced = len(process.communicate()[0].splitlines()) + 1
    with CompletionStore(path) as store:  # nobody has to remove a lock
        stored = store.count()
        assert stored % 10 == 0
        assert announced * 10 <= stored <= announced * 10 + 10
        assert store.known(b"%d" % n for n in range(stored)) == {b"%d" % n for n in range(stored)}
        assert store.get(b"0") == Completion("x" * 500, "stop")


def test_the_lock_goes_with_its_process_and_leaves_no_file(path: Path) -> None:
    process = holder(path, 1)
    process.kill()
    process.communicate()
    with CompletionStore(path):
        pass
    assert [p.name for p in path.parent.iterdir()] == ["completions.sqlite"]


# -- files that are no store, or not whole


def test_a_view_of_a_store_that_is_not_there_is_empty_and_makes_nothing(path: Path) -> None:
    with CompletionStore(path, read_only=True) as view:
        assert view.count() == 0
        assert view.known([view.add_recipe(RECIPE)]) == set()
        assert list(view.rows("dev")) == []
    assert not path.parent.exists()


def test_a_file_that_a_killed_process_had_only_just_made_is_an_empty_store(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with CompletionStore(path, read_only=True) as view:
        assert view.count() == 0
    assert path.stat().st_size == 0
    with CompletionStore(path) as store:
        put(store, a="x")
        assert store.count() == 1


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("content", [b"no database at all, but text" * 50, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_file_that_is_no_store_is_refused_and_left_alone(path: Path, content: bytes, read_only: bool) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"completions\.sqlite: "), CompletionStore(path, read_only=read_only):
        pass
    assert path.read_bytes() == content


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("version", [0, 1, 7])
def test_another_programs_database_is_refused_and_left_alone(path: Path, version: int, read_only: bool) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(f"CREATE TABLE theirs (x); PRAGMA user_version={version}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="no completion store of format 2"), CompletionStore(path, read_only=read_only):
        pass
    assert path.read_bytes() == before


def test_a_store_of_a_later_format_is_refused(path: Path) -> None:
    with CompletionStore(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=3")
    connection.close()
    with pytest.raises(StoreError, match="format is 3"), CompletionStore(path):
        pass


def test_a_damaged_page_is_an_error_and_not_a_wrong_answer(path: Path) -> None:
    with CompletionStore(path) as store:
        put(store, **{f"k{n}": "answer " * 50 for n in range(300)})
    content = bytearray(path.read_bytes())
    content[4096 * 3 :] = b"\xa5" * (len(content) - 4096 * 3)
    path.write_bytes(content)
    with CompletionStore(path) as store, pytest.raises(StoreError, match="damaged"):
        [store.get(f"k{n}".encode()) for n in range(300)]


@pytest.mark.parametrize("text", ["{", "3", "[" * 10_000, '{"text": "x", "unknown": 1}', '{"token_texts": 3}'])
def test_a_damaged_answer_is_an_error_and_not_a_traceback(path: Path, text: str) -> None:
    with CompletionStore(path) as store:
        put(store, a="x")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE completions SET completion = ?", (text,))
    connection.commit()
    connection.close()
    with CompletionStore(path) as store, pytest.raises(StoreError, match="damaged"):
        store.get(b"a")


def test_a_path_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match="Something else has that name"),
        CompletionStore(tmp_path / "file" / "x.sqlite"),
    ):
        pass
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(StoreError), CompletionStore(tmp_path / "folder.sqlite"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_store_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="permissions"), CompletionStore(tmp_path / "x.sqlite"):
            pass
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_is_a_store_error_and_what_was_committed_stays(path: Path) -> None:
    with CompletionStore(path) as store:
        put(store, a="x")
        assert store._connection is not None
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(StoreError, match="disk"):
            put(store, big="y" * 100_000)
        assert store.get(b"a") == Completion("x", "stop")
        assert store.count() == 1


def test_what_is_stored_holds_the_teachers_words_as_json_that_others_can_read(path: Path) -> None:
    with CompletionStore(path) as store:
        put(store, a="héllo")
    connection = sqlite3.connect(path)
    ((text,),) = connection.execute("SELECT completion FROM completions").fetchall()
    connection.close()
    assert json.loads(text) == {"text": "héllo", "finish_reason": "stop"}
