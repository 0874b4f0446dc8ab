"""A review of a run: what is looked at, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from distill_offline import manifest
from distill_offline.annotations import read_lines
from distill_offline.config.loading import as_plain, load
from distill_offline.config.settings import Source
from distill_offline.corpus import write_examples
from distill_offline.errors import InputError
from distill_offline.review.decisions import DECISIONS, latest, read
from distill_offline.review.joining import Joined, Reading, join, readings_of_decisions, readings_of_examples
from distill_offline.review.queue import Order, assigned, choose, items_of
from distill_offline.review.server import Review, guideline_digest
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task, read_labelled
from distill_offline.schema import Sentence
from distill_offline.storage.files import ANNOTATIONS, fresh_folder, replacing, write_rows, write_text
from distill_offline.student.checks import check_students
from distill_offline.student.model import Student
from distill_offline.tasks.prompting import guidelines_text

__all__ = ["ADJUDICATE", "REVIEWED", "import_reviews", "open_review", "opened_run", "write_page"]

REVIEWED, ADJUDICATE, QUEUE = "reviewed.jsonl", "adjudicate.jsonl", "queue.json"


def opened_run(path: Path) -> RunFolder:
    """The run in a folder, as its configuration says. Raises InputError if there is none, or no annotations."""
    if not (path / "config.yaml").is_file():
        raise InputError(f"{path}: no run is here (config.yaml is missing).")
    folder = RunFolder(path, load(path / "config.yaml", ()))
    folder.check()
    folder.whole("annotate")
    return folder


def open_review(
    folder: RunFolder,
    reviewers: Sequence[str],
    *,
    count: int = 100,
    order: Order = "value",
    seed: int = 0,
    student: Path | None = None,
    double: float = 0.0,
) -> Review:
    """`count` annotations for the reviewers, a share of `double` of them for two people each.

    A review that was stopped goes on: what these people have not decided yet, by `queue.json` beside the decisions,
    comes first, and counts; sentences that anybody has looked at, or is to look at, are not given out again.
    """
    head, file = make_task(folder.settings).head, folder.path / "review" / DECISIONS
    annotations, queue = folder.folder("annotate") / ANNOTATIONS, file.with_name(QUEUE)
    if len(set(reviewers)) < len(reviewers):
        raise InputError("review: each reviewer needs a name of their own.")
    for name in reviewers:
        if not name.isprintable() or name != name.strip() or not name:
            raise InputError(f"review: {name!r} is no name: a name has letters, and no blank at its ends.")
    decided = set(latest(read(file))) if file.exists() else set()
    given = _given(queue)
    open_ids = {name: [id_ for id_ in given.get(name, ()) if (id_, name) not in decided] for name in reviewers}
    items = {name: items_of(annotations, head, ids) for name, ids in open_ids.items()}
    more = max(0, count - len({item.sentence.id for part in items.values() for item in part}))
    if more:
        known = frozenset(id_ for ids in given.values() for id_ in ids) | frozenset(id_ for id_, _ in decided)
        check_students([student] if student is not None else [])
        label = Student.load(student).predict if student is not None else None
        new = choose(annotations, head, more, order=order, seed=seed, label=label, without=known)
        for name, part in assigned(new, reviewers, double).items():
            items[name] += part
            given.setdefault(name, []).extend(item.sentence.id for item in part)
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text(queue, json.dumps(given))
    settings = folder.settings.task
    return Review(
        name=folder.settings.name,
        head=head,
        types=settings.types,
        guideline=guidelines_text(settings.guidelines),
        items=items,
        file=file,
    )


def _given(queue: Path) -> dict[str, list[str]]:
    """The ids that were given to each person."""
    if not queue.exists():
        return {}
    try:
        given = json.loads(queue.read_text("utf-8"))
        if not all(isinstance(id_, str) for ids in given.values() for id_ in ids):
            raise ValueError("ids are strings")
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{queue}: this is not the list of who looks at what ({error}). Move it away: it is made anew, and nothing "
            "that was decided is lost."
        ) from error
    return dict(given)


def write_page(output: Path, html: str) -> None:
    """The page as a new file of mode 0600: it holds text of the corpus. Raises InputError if something is there."""
    if output.exists():
        raise InputError(f"{output}: is there already. Choose another name, or remove it.")
    with replacing(output) as out:
        out.write(html)


def import_reviews(
    folder: RunFolder,
    output: Path,
    *,
    files: Sequence[Path] = (),
    labelled: Mapping[str, Path] | None = None,
    prefer: str | None = None,
    command: Sequence[str] = (),
) -> Joined:
    """Decisions of the run's page, of `files` that pages without a server saved, and of `labelled` files of other
    tools (by reviewer), as human-labelled sentences in the new folder `output`, sealed with its manifest.

    Raises InputError if there is no decision at all, or the folder exists.
    """
    started = datetime.now(UTC)
    head = make_task(folder.settings).head
    own = folder.path / "review" / DECISIONS
    given = [*([own] if own.exists() else []), *files]
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output}: it exists, and is not empty. Name a new folder.")
    if not given and not labelled:
        raise InputError(f"{folder.path}: nobody has reviewed anything yet. Begin with `review {folder.path}`.")
    sentences = _sentences(folder)
    joined = Joined()
    decisions = [decision for file in given for decision in read(file, may_be_cut=file == own)]
    task = folder.settings.task
    digest = guideline_digest(task.types, guidelines_text(task.guidelines))
    decided = readings_of_decisions(head, decisions, sentences, joined, types=task.types, guideline=digest)
    readings: list[Reading] = list(decided)
    for reviewer, path in (labelled or {}).items():
        examples = read_labelled(folder.settings, Source(path=str(path)), origin="original")
        readings += readings_of_examples(examples, reviewer, sentences, joined)
    _check_names(readings, labelled or {}, prefer)
    join(head, readings, sentences, joined, prefer=prefer)
    if not joined.examples and not joined.differing:
        raise InputError(_nothing_usable([*given, *(labelled or {}).values()], joined))
    guidelines = sorted({decision.guideline for decision in decisions})
    fresh_folder(output)
    write_examples(output / REVIEWED, joined.examples)
    if joined.differing:
        write_rows(output / ADJUDICATE, joined.differing)
    manifest.seal(
        output,
        stage="review",
        config=as_plain(folder.settings),
        seeds={"seed": folder.settings.seed},
        inputs=[*given, *(labelled or {}).values()],
        models={},
        parents=[folder.folder("annotate") / manifest.NAME],
        command=command,
        started=started,
        counts=joined.counts() | {"guidelines": len(guidelines)},
    )
    return joined


def _nothing_usable(files: Sequence[Path], joined: Joined) -> str:
    """The error of an import that would make an empty gold file."""
    lost = "; ".join(
        f"{reason}: {len(ids)} ({', '.join(ids[:3])}{' …' if len(ids) > 3 else ''})"
        for reason, ids in joined.lost.items()
    )
    shown, why = ", ".join(map(str, files)), lost or "There is none, or all were skipped"
    return f"{shown}: no decision can be used. {why}. Review some sentences first, or name the run that was reviewed."


def _check_names(readings: Sequence[Reading], labelled: Mapping[str, Path], prefer: str | None) -> None:
    """Raises InputError if one person has said two things of a sentence, or the preferred one has said nothing."""
    said: dict[tuple[str, str], Reading] = {}
    for reading in readings:
        before = said.setdefault((reading.id, reading.reviewer), reading)
        if before.labels != reading.labels:
            where = labelled.get(reading.reviewer, "a file")
            raise InputError(
                f"{where}: {reading.reviewer} has decided {reading.id} otherwise before. Give the file another name "
                "and settle by --prefer."
            )
    if prefer is not None and prefer not in (names := {reading.reviewer for reading in readings}):
        raise InputError(f"--prefer {prefer}: nobody of that name has decided anything. There are: {_names(names)}.")


def _names(names: Collection[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"


def _sentences(folder: RunFolder) -> dict[str, Sentence]:
    head = make_task(folder.settings).head
    lines = read_lines(folder.folder("annotate") / ANNOTATIONS, head)
    return {line.sentence.id: line.sentence for line in lines}
