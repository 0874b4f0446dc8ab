"""purge: no byte of any file of a run, or of a study's cells, holds the purged text, in whatever encoding."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import pytest
import yaml
from annotated_runs import perfect, run_of
from studying import runner, write_config

from distill_offline import pipeline
from distill_offline.completions import CompletionStore
from distill_offline.config.settings import Settings
from distill_offline.corpus import read_examples, write_examples
from distill_offline.pipeline import Shard
from distill_offline.schema import Example, Sentence
from distill_offline.storage.files import read_rows, write_rows

DOCUMENT = "Akte-Žižková-4711"
NAME, FIRM, PLAIN = "Žižková-Ønskedal", "Quärzwerk-Xyphon", "zerknäuselt"
NEEDLES = (DOCUMENT, NAME, FIRM, PLAIN)


def secret(number: int) -> Example:
    """A sentence of the document to be purged, with two entities and a rare word."""
    tokens = (NAME, "hat", "bei", FIRM, "alles", f"{PLAIN}{number}", ".")
    text, offsets, start = " ".join(tokens), list[tuple[int, int]](), 0
    for token in tokens:
        offsets.append((start, start + len(token)))
        start += len(token) + 1
    labels = ("B-PERSON", "O", "O", "B-ORGANISATION", "O", "O", "O")
    return Example(Sentence(f"{DOCUMENT}:{number}", DOCUMENT, number, text, tokens, tuple(offsets)), labels, "original")


def spellings(word: str) -> Iterator[bytes]:
    """The word as files may hold it: in either case, composed or not, escaped once or twice, in wide characters."""
    for each in (word, word.upper(), word.lower(), normalize("NFD", word)):
        yield from (each.encode(), each.encode("utf-16-le"), each.encode("utf-16-be"))
        escaped = json.dumps(each)[1:-1]
        yield from (
            escaped.encode(),
            escaped.upper().replace("\\U", "\\u").encode(),
            escaped.replace("\\", "\\\\").encode(),
        )


def holders(folder: Path, needles: tuple[str, ...] = NEEDLES) -> list[str]:
    """The files that hold one of the words, in any spelling, or have it in their name."""
    wanted = {spelt for word in needles for spelt in spellings(word)}
    found = list[str]()
    for path in sorted(folder.rglob("*")):
        if any(spelt in str(path).encode() for spelt in wanted):
            found.append(f"{path} by its name")
        if path.is_file() and any(spelt in path.read_bytes() for spelt in wanted):
            found.append(str(path.relative_to(folder)))
    return found


def corpora(folder: Path, settings: Settings, encoder: Path, *, with_secret: bool) -> Settings:
    """The document among what is annotated, among the demonstrations and among dev and test."""
    more = [secret(number) for number in range(4)] if with_secret else []
    train = list(read_examples("package:demo/train.jsonl", origin="original"))
    test = list(read_examples("package:demo/test.jsonl", origin="original"))[:10]
    parts = {"unlabelled": train[30:60], "pool": train[:20], "dev": test[:5], "test": test[5:]}
    for place, (name, examples) in enumerate(parts.items()):
        write_examples(folder / f"{name}.jsonl", [*examples[:3], *more[place : place + 1], *examples[3:]])
    paths = {name: str(folder / f"{name}.jsonl") for name in parts}
    original = replace(settings.corpus.original, train=paths["pool"], dev=paths["dev"], test=paths["test"])
    return replace(
        perfect(settings),
        corpus=replace(settings.corpus, original=original, unlabelled=paths["unlabelled"]),
        train=replace(settings.train, encoder=str(encoder), updates=2, batch_size=2, eval_every=2),
    )


def test_the_search_finds_every_spelling(tmp_path: Path) -> None:
    for number, content in enumerate(
        (
            NAME.encode(), NAME.upper().encode(), json.dumps(NAME).encode(), json.dumps(json.dumps(NAME)).encode(),
            f"x{NAME}".encode("utf-16"), f"x{NAME}".encode("utf-16-be"), normalize("NFD", FIRM).encode(),
        )
    ):  # fmt: skip
        (tmp_path / f"{number}").write_bytes(b"before " + content + b" after")
    assert holders(tmp_path) == [str(number) for number in range(7)]


@pytest.mark.slow
def test_no_byte_of_any_file_of_a_run_holds_the_purged_text(
    tmp_path: Path, settings: Settings, pool: Path, encoder: Path
) -> None:
    folder = run_of(tmp_path, corpora(tmp_path, settings, encoder, with_secret=True))
    pipeline.annotate_shard(folder, Shard(1, 2))
    pipeline.annotate_shard(folder, Shard(2, 2))
    pipeline.merge(folder)
    pipeline.sample(folder, 10)
    pipeline.run(folder)
    stages = {"annotate", "sample", "select", "train", "evaluate", "report"}
    assert stages <= {each.name for each in folder.path.iterdir()}
    for stage in ("annotate", "select", "shards/1-of-2"):  # as kills leave them
        rows = list(read_rows(folder.folder("annotate") / "annotations.jsonl"))
        write_rows(folder.folder(stage) / "annotations.jsonl.partial", rows)
        write_rows(folder.folder(stage) / "quarantine.jsonl.partial", rows)
    held = {Path(name).parts[0] for name in holders(folder.path)}
    assert {"annotate", "select", "shards"} <= held
    pipeline.purge_below(DOCUMENT, [folder.path])
    assert holders(folder.path) == []


def test_a_log_that_a_kill_left_is_purged_with_the_store(
    tmp_path: Path, settings: Settings, pool: Path, encoder: Path
) -> None:
    folder = run_of(tmp_path, corpora(tmp_path, settings, encoder, with_secret=True))
    if (child := os.fork()) == 0:
        CompletionStore.close = lambda self: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
        pipeline.annotate(folder)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    place = folder.folder("annotate")
    assert (place / "completions.sqlite-wal").stat().st_size > 0
    assert "annotate/completions.sqlite-wal" in holders(folder.path)
    pipeline.purge_below(DOCUMENT, [folder.path])
    assert holders(folder.path) == []


@pytest.mark.slow
def test_no_byte_of_a_studys_cells_holds_the_purged_text(tmp_path: Path, settings: Settings, encoder: Path) -> None:
    config = write_config(tmp_path / "small.yaml", encoder, seeds=[0], keep_students=True)
    chosen = corpora(tmp_path, settings, encoder, with_secret=True)
    value = yaml.safe_load(config.read_text("utf-8"))
    value["corpus"] = {
        "on_overlap": "drop",
        "original": {"train": chosen.corpus.original.train, "test": chosen.corpus.original.test},
        "unlabelled": chosen.corpus.unlabelled,
    }
    value["backend"], value["annotate"] = {"name": "scripted"}, {"demonstrations": {"k": 2}}
    value["study"]["sizes"] = [12]
    config.write_text(yaml.safe_dump(value), "utf-8")
    assert runner(config).run() == 2
    assert any(name.endswith("completions.sqlite") for name in holders(tmp_path / "study"))
    pipeline.purge_below(DOCUMENT, [tmp_path / "study"])
    assert holders(tmp_path / "study") == []
    rows = tmp_path / "rows"
    rows.mkdir()
    for path in tmp_path.glob("rows*.jsonl"):
        path.rename(rows / path.name)
    assert list(rows.iterdir())
    assert holders(rows) == []
