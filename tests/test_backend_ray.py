from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from engines import Echo
from model_fixtures import ENTITIES, SMOLLM, ner_prompt, real_model

from distill_offline import pipeline
from distill_offline.backends.base import Backend
from distill_offline.backends.llama_cpp import LlamaCpp
from distill_offline.backends.ray_cluster import RayCluster
from distill_offline.backends.ray_ledger import Failure, Ledger
from distill_offline.backends.ray_session import own_folder
from distill_offline.backends.ray_worker import (
    decode_completion,
    decode_prompt,
    encode_completion,
    encode_prompt,
)
from distill_offline.backends.scripted import Scripted
from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import ClusterSettings
from distill_offline.errors import BackendError, ConfigError, DistillError, MissingPackage
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Completion, Message, Prompt, Sampling

# Not by importing it: there are switches to set before that.
NEEDS_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
# Ray warns of its own settings, and its pipes are closed when the collector comes by.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")

TWO = ClusterSettings(workers=2, cpus=0.5, batch=8)
ROWS = 600
ANSWERS = {f"s{number}": f'[["mention {number}","PER"]]' for number in range(ROWS)}


class Noted(Scripted):
    """Scripted answers; each engine process leaves a file `PID.PARENT` in the folder `options["pids"]`."""

    def __init__(self, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
        options = dict(options)
        Path(options.pop("pids"), f"{os.getpid()}.{os.getppid()}").touch()
        super().__init__(model, sampling, options)


def prompts(count: int = ROWS) -> Iterator[Prompt]:
    return (Prompt(f"s{number}", (Message("user", f"text {number}"),)) for number in range(count))


def answers(engine: Backend, asked: Iterator[Prompt], at_fifty: Callable[[], object] = int) -> dict[int, Completion]:
    found: dict[int, Completion] = {}
    for position, completion in engine.complete(asked):
        assert position not in found
        found[position] = completion
        if len(found) == 50:
            at_fifty()
    return found


def bare(count: int = ROWS, noise: float = 0.2) -> dict[int, Completion]:
    return dict(Scripted(Path(), Sampling(), {"answers": ANSWERS, "noise": noise}).complete(prompts(count)))


def ray_processes() -> set[int]:
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"raylet" in words or b"gcs_server" in words or words.startswith(b"ray::"):
            found.add(int(folder.name))
    return found


@pytest.fixture(scope="module")
def pids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pids")


@pytest.fixture(scope="module")
def cluster(pids: Path) -> Iterator[RayCluster]:
    options = {"answers": ANSWERS, "noise": 0.2, "delay_s": 0.005, "pids": str(pids)}
    with closing(RayCluster(Noted, Path(), Sampling(), options, TWO)) as made:
        yield made


# What crosses the wire


def test_a_prompt_survives_the_wire_with_the_order_of_its_schema() -> None:
    prompt = Prompt("s\ud800", (Message("system", "é"), Message("user", "x")), {"b": 1, "a": {"z": 0, "y": 1}}, 2, 99)
    back = decode_prompt(encode_prompt(prompt))
    assert back == prompt
    assert back.schema is not None
    assert list(back.schema) == ["b", "a"]
    assert list(back.schema["a"]) == ["z", "y"]


def test_a_completion_survives_the_wire_to_the_last_bit() -> None:
    completion = Completion("a\ud83d", "length", "hm", ("a", "b"), (-0.1, -1e-17), 7, 2, 3, 1)
    assert decode_completion(encode_completion(completion)) == completion


# The ledger


def keys(lot: list[tuple[tuple[int, int], bytes]] | None) -> list[int]:
    assert lot is not None
    return [key[1] for key, _ in lot]


def lot(*positions: int, stream: int = 1, data: bytes = b"?") -> list[tuple[tuple[int, int], bytes]]:
    return [((stream, position), data) for position in positions]


def test_prompts_of_a_killed_worker_go_to_the_next_and_a_late_answer_is_dropped() -> None:
    async def story() -> None:
        ledger = Ledger()
        assert await ledger.begin(0, "0/a")
        await ledger.exchange(lot(*range(6)), 0, 0)
        assert keys(await ledger.take("0/a", 3, 0)) == [0, 1, 2]
        await ledger.put("0/a", lot(1, data=b"first"))
        assert await ledger.begin(0, "0/b")
        assert keys(await ledger.take("0/b", 4, 0)) == [0, 2, 3, 4]
        await ledger.put("0/b", lot(0, 2, data=b"second"))
        await ledger.put("0/a", lot(0, 1, 5, data=b"late"))
        news = await ledger.exchange([], 0, 0)
        assert [(key[1], data) for key, data in news.answers] == [
            (1, b"first"),
            (0, b"second"),
            (2, b"second"),
            (5, b"late"),
        ]
        assert news.queued == 0

    asyncio.run(story())


def test_a_worker_that_falls_silent_loses_its_prompts_to_the_others() -> None:
    async def story() -> None:
        now = 0.0
        ledger = Ledger(lambda: now)
        await ledger.exchange(lot(0, 1), 0, 0)
        await ledger.take("0/a", 1, 0)
        await ledger.take("1/b", 1, 0)
        now = 20.0
        await ledger.put("1/b", [])
        now = 31.0
        assert (await ledger.exchange([], 0, 0)).queued == 1
        assert keys(await ledger.take("1/b", 9, 0)) == [0]

    asyncio.run(story())


def test_answers_of_an_abandoned_stream_are_forgotten() -> None:
    async def story() -> None:
        ledger = Ledger()
        await ledger.exchange(lot(0, 1), 0, 0)
        await ledger.take("0/a", 1, 0)
        await ledger.forget()
        await ledger.exchange(lot(0, stream=2), 0, 0)
        await ledger.put("0/a", lot(0))
        news = await ledger.exchange([], 0, 0)
        assert (news.answers, news.queued) == ([], 1)

    asyncio.run(story())


def test_a_worker_that_is_killed_again_and_again_without_an_answer_is_given_up() -> None:
    async def story() -> None:
        ledger = Ledger()
        for life in range(5):
            assert await ledger.begin(1, f"1/{life}")
        assert not await ledger.begin(1, "1/5")
        failures = (await ledger.exchange([], 0, 0)).failures
        assert set(failures) == {1}
        assert "killed 5 times" in failures[1].message

    asyncio.run(story())


def test_a_worker_that_answers_between_its_deaths_goes_on() -> None:
    async def story() -> None:
        ledger = Ledger()
        await ledger.exchange(lot(*range(20)), 0, 0)
        for life in range(20):
            assert await ledger.begin(0, f"0/{life}")
            await ledger.take(f"0/{life}", 1, 0)
            await ledger.put(f"0/{life}", lot(life))

    asyncio.run(story())


def test_an_engine_that_differs_from_the_first_is_told_by_its_keys() -> None:
    async def story() -> None:
        ledger = Ledger()
        assert await ledger.ready("0/a", {"backend": "x", "template": 1}) == ""
        assert await ledger.ready("1/b", {"backend": "x", "template": 1}) == ""
        assert await ledger.ready("2/c", {"backend": "x", "template": 2, "dtype": "f"}) == "dtype, template"

    asyncio.run(story())


def test_waiting_for_prompts_ends_when_there_are_some_and_when_it_is_over() -> None:
    async def story() -> None:
        ledger = Ledger()
        taking = asyncio.create_task(ledger.take("0/a", 5, 30))
        await asyncio.sleep(0)
        await ledger.exchange(lot(0), 0, 0)
        assert keys(await taking) == [0]
        await ledger.failed(0, Failure("BackendError", "gone"))
        assert (await ledger.exchange([], 2, 30)).queued == 1
        taking = asyncio.create_task(ledger.take("1/b", 5, 30))
        assert keys(await taking) == [0]
        taking = asyncio.create_task(ledger.take("1/b", 5, 30))
        await asyncio.sleep(0)
        await ledger.close()
        assert await taking is None

    asyncio.run(story())


# The driver's side


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in ("RAY_BACKEND_LOG_LEVEL", "RAY_ENABLE_AUTO_CONNECT"):
        monkeypatch.setenv(name, "")
    with pytest.raises(MissingPackage, match=r"pip install 'distill_offline\[ray\]'"):
        RayCluster(Scripted, Path(), Sampling(), {"answers": {}}, TWO).identity()


def test_closing_what_never_started_is_harmless() -> None:
    cluster = RayCluster(Scripted, Path(), Sampling(), {"answers": {}}, TWO)
    cluster.close()
    assert isinstance(cluster, Backend)


@pytest.mark.parametrize(
    ("folder", "message"), [("/tmp/" + "x" * 40, "at most 26 characters"), ("/proc", "cannot write")]
)
def test_a_folder_that_will_not_do_is_told_before_ray_starts(folder: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"annotate\.cluster\.folder: {message}"):
        own_folder(folder)


def test_the_folder_is_for_its_owner_alone_and_goes_away() -> None:
    with own_folder("") as folder:
        assert Path(folder).stat().st_mode & 0o777 == 0o700
    assert not Path(folder).exists()


@pytest.mark.slow
@NEEDS_RAY
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"broken": "config"}, ConfigError, r"worker \d on node 127\.0\.0\.1: backend\.options\.broken is unknown"),
        ({"broken": "death"}, BackendError, r"could not start: its process ended with signal SIGKILL.*cluster\.log"),
    ],
)
def test_an_engine_that_cannot_start_ends_the_job_in_one_line_and_leaves_nothing(
    options: dict[str, str], error: type[DistillError], message: str
) -> None:
    before = ray_processes()
    folder = tempfile.mkdtemp(prefix="d-", dir="/tmp")  # pytest's own is too long a path for a socket
    settings = ClusterSettings(workers=2, cpus=0.5, folder=folder)
    with closing(RayCluster(Echo, Path("model"), Sampling(), options, settings)) as made:
        with pytest.raises(error, match=message) as raised:
            answers(made, prompts(3))
        assert len(str(raised.value).splitlines()) == 1
    deadline = time.monotonic() + 30  # a process that was told to end needs a moment on a busy machine
    while not ray_processes() <= before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray_processes() <= before
    Path(folder).rmdir()  # nothing is left in it


@pytest.mark.slow
@NEEDS_RAY
def test_answers_are_those_of_the_bare_engine(cluster: RayCluster) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    assert answers(cluster, prompts()) == bare()
    assert cluster.identity()["backend"] == "scripted"
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.slow
@NEEDS_RAY
def test_a_stream_that_is_abandoned_leaves_nothing_for_the_next(cluster: RayCluster) -> None:
    stream = cluster.complete(prompts())
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert answers(cluster, prompts(30)) == bare(30)
    assert answers(cluster, prompts(0)) == {}


@pytest.mark.slow
@NEEDS_RAY
def test_a_killed_worker_loses_and_doubles_nothing(cluster: RayCluster, pids: Path) -> None:
    cluster.identity()
    killed = sorted(int(file.suffix[1:]) for file in pids.iterdir())[0]
    before = len(list(pids.iterdir()))
    started = time.monotonic()
    assert answers(cluster, prompts(), lambda: os.kill(killed, signal.SIGKILL)) == bare()
    assert time.monotonic() - started < 60
    deadline = time.monotonic() + 60
    while len(list(pids.iterdir())) == before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(list(pids.iterdir())) > before  # Ray started it again


@pytest.mark.slow
@NEEDS_RAY
def test_a_killed_engine_loses_and_doubles_nothing(cluster: RayCluster, pids: Path) -> None:
    cluster.identity()
    alive = [int(file.stem) for file in pids.iterdir() if Path(f"/proc/{file.stem}").exists()]
    assert answers(cluster, prompts(), lambda: os.kill(alive[0], signal.SIGKILL)) == bare()


@pytest.mark.slow
@NEEDS_RAY
def test_a_second_cluster_in_one_process_is_refused_and_harms_nobody(cluster: RayCluster) -> None:
    cluster.identity()
    second = RayCluster(Scripted, Path(), Sampling(), {"answers": {}}, TWO)
    with pytest.raises(BackendError, match="part of a Ray cluster already"):
        second.identity()
    second.close()
    assert answers(cluster, prompts(5)) == bare(5)


@pytest.mark.slow
@NEEDS_RAY
def test_a_worker_whose_engine_differs_is_left_out_and_the_others_answer(
    caplog: pytest.LogCaptureFixture, cluster: RayCluster
) -> None:
    cluster.close()
    with closing(RayCluster(Echo, Path("model"), Sampling(), {}, TWO)) as made:  # its identity holds its process id
        found = answers(made, prompts(40))
        deadline = time.monotonic() + 30
        while "not the one of the other workers: pid" not in caplog.text and time.monotonic() < deadline:
            made.identity()
    assert {position: completion.text for position, completion in found.items()} == {n: f"TEXT {n}" for n in range(40)}
    assert caplog.text.count("not the one of the other workers: pid") == 1


@pytest.mark.slow
@NEEDS_RAY
def test_a_real_engine_answers_as_it_does_alone(cluster: RayCluster) -> None:
    model, sampling, options = real_model(SMOLLM), Sampling(max_tokens=24), {"slots": 1, "context": 1024, "threads": 1}
    cluster.close()
    asked = [
        ner_prompt(text, ENTITIES) for text in ("Nokia left Helsinki .", "It rained .", "EU rejects German call .")
    ]
    alone = LlamaCpp(model, sampling, options)
    expected = {position: completion.text for position, completion in alone.complete(asked)}
    alone.close()
    with closing(RayCluster(LlamaCpp, model, sampling, options, ClusterSettings(workers=1))) as made:
        assert {position: completion.text for position, completion in made.complete(asked)} == expected


@NEEDS_RAY
@pytest.mark.slow
def test_one_process_shards_and_a_cluster_annotate_alike(tmp_path: Path) -> None:
    """The three ways give the same bytes from the same answers."""
    settings = parse_settings(
        {
            "name": "ways",
            "task": {"types": {n: n.lower() for n in ("PERSON", "ORGANISATION", "LOCATION", "EQUIPMENT", "DATE")}},
            "corpus": {
                "original": {"train": {"path": "package:demo/train.jsonl", "limit": 30}},
                "unlabelled": {"path": "package:demo/train.jsonl", "skip": 30, "limit": 60},
            },
            "backend": {"name": "scripted", "options": {"noise": 0.2}},
            "annotate": {"demonstrations": {"k": 2}, "max_quarantined": 0.9},
        },
        "test",
    )
    clustered = replace(settings, annotate=replace(settings.annotate, cluster=TWO))
    one, shards, cluster = (
        RunFolder(tmp_path / name, chosen)
        for name, chosen in (("one", settings), ("shards", settings), ("cluster", clustered))
    )
    for folder in (one, shards, cluster):
        folder.open()
    pipeline.annotate(one)
    for number in (3, 1, 2):
        pipeline.annotate_shard(shards, pipeline.Shard(number, 3))
    pipeline.merge(shards)
    counts = pipeline.annotate(cluster)
    assert counts["unlabelled"]["asked"] == 60
    for name in ("annotations.jsonl", "quarantine.jsonl"):
        found = {(folder.path / "annotate" / name).read_bytes() for folder in (one, shards, cluster)}
        assert len(found) == 1, name
