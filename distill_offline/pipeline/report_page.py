"""The page of a run: everything that its stages left behind, gathered into one view."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

from distill_offline import manifest, report
from distill_offline.annotations import read_lines
from distill_offline.completions import CompletionStore
from distill_offline.config.loading import as_plain, load
from distill_offline.errors import DistillError, InputError
from distill_offline.evaluate.predictions import PREDICTIONS
from distill_offline.report.words import duration
from distill_offline.run.encoder import PRETRAIN
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task, read_gold
from distill_offline.scoring.mistakes import mistakes
from distill_offline.storage.files import ANNOTATIONS, QUARANTINE, STORE, read_rows

__all__ = ["page_of_run", "view_of"]

_ANSWERS = 200  # quarantined answers that the page lists
_LONGEST = 500  # characters of such an answer
_SENTENCES = 20_000  # sentences that the page holds
_CELLS = 20  # pairs of confused types for each reading


def page_of_run(run: Path, *, redact: bool = False) -> str:
    """The page of a run's folder as HTML; with `redact` no text of the corpus is in it.

    Raises InputError if the run was not evaluated.
    """
    if not (run / "config.yaml").is_file():
        raise InputError(f"{run}: no run is here (config.yaml is missing).")
    folder = RunFolder(run, load(run / "config.yaml", ()))
    file = folder.whole("evaluate") / "report.json"
    return report.render(view_of(folder, json.loads(file.read_text("utf-8")), redact=redact))


def view_of(folder: RunFolder, result: Mapping[str, Any], *, redact: bool = False) -> report.View:
    """What the page shows of a run whose evaluation gave `result`."""
    stages = [name for name in _stages(folder) if manifest.is_whole(folder.folder(name))]
    shown = {name: manifest.show(folder.folder(name)) for name in stages}
    arms = [name for name in stages if name.startswith("train/")]
    histories = {name.removeprefix("train/"): folder.folder(name) / "history.jsonl" for name in arms}
    rows = _predictions(folder)
    unsealed = [name for name in _stages(folder) if name not in stages]
    return report.View(
        name=folder.settings.name,
        result=result,
        histories={name: list(read_rows(path)) for name, path in histories.items() if path.exists()},
        counts={name: shown[name]["counts"] for name in stages if name != "evaluate"},
        settings=as_plain(folder.settings),
        gold_sentences=next((_learnt(shown[name]["counts"]) for name in arms), None),
        stages=[_link(name, made) for name, made in shown.items()],
        costs=_costs(shown),
        confusion=_confusion(rows),
        quarantined=_quarantined(folder, redact=redact),
        pretraining=list(read_rows(folder.folder(PRETRAIN) / "history.jsonl")) if PRETRAIN in stages else (),
        unsealed=unsealed,
        page=None if redact or not rows else _page(folder, result["split"], rows),
    )


def _stages(folder: RunFolder) -> list[str]:
    """All that a run of these settings has, in order."""
    before = ["adapt"] if folder.settings.adapt is not None else []
    before += ["annotate"] if folder.settings.asks_a_teacher else []
    before += [PRETRAIN] if folder.settings.pretrain is not None else []
    return [*before, "select", *(f"train/{student.name}" for student in folder.settings.train.students), "evaluate"]


def _predictions(folder: RunFolder) -> list[dict[str, Any]]:
    file = folder.folder("evaluate") / PREDICTIONS
    return list(read_rows(file)) if file.exists() else []


def _learnt(counts: Mapping[str, Any]) -> int | None:
    pool = counts.get("original_pool")
    return int(pool) if pool else None


def _seconds(made: Mapping[str, Any]) -> float | None:
    return _seconds_of([made]) if made["started"] else None


def _seconds_of(stages: Iterable[Mapping[str, Any]]) -> float:
    """How long these stages took together; time in which several went on counts once."""
    spans = sorted(tuple(datetime.fromisoformat(made[key]) for key in ("started", "finished")) for made in stages)
    total, until = 0.0, None
    for started, finished in spans:
        since = started if until is None else max(started, until)
        total += max(0.0, (finished - since).total_seconds())
        until = finished if until is None else max(finished, until)
    return total


def _link(name: str, made: Mapping[str, Any]) -> dict[str, str]:
    seconds, fingerprint = _seconds(made), made["fingerprint"]
    inputs = [str(row["name"]) for row in made["inputs"]] + sorted(made["models"])
    return {
        "name": name,
        "finished": made["finished"].replace("T", " ").removesuffix("Z"),
        "took": "–" if seconds is None else duration(seconds),
        "fingerprint": fingerprint[:16] if fingerprint else "–",
        "inputs": ", ".join(inputs),
    }


def _costs(shown: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """People's labels, the teacher's tokens, and the time of each stage when it last ran."""
    costs = []
    for name, made in shown.items():
        if name.startswith("train/") and (pool := made["counts"].get("original_pool")):
            costs.append(("sentences labelled by people, to learn from", f"{pool:,}"))
            break
    parts = [
        part_counts
        for part_counts in shown.get("annotate", {"counts": {}})["counts"].values()
        if isinstance(part_counts, Mapping)
    ]
    parts += [
        part_counts["verify"] for part_counts in parts if "verify" in part_counts
    ]  # its questions cost tokens, too
    for key, what in (("annotated", "sentences labelled by the teacher"), ("prompt_tokens", "tokens that it read"),
                      ("completion_tokens", "tokens that it wrote")):  # fmt: skip
        if total := sum(int(part_counts.get(key) or 0) for part_counts in parts):
            costs.append((what, f"{total:,}"))
    times = {name: seconds for name, made in shown.items() if (seconds := _seconds(made)) is not None}
    if times:
        words = ", ".join(f"{name} {duration(seconds)}" for name, seconds in times.items())
        whole = _seconds_of(made for made in shown.values() if made["started"])
        costs.append(("time, of each stage's last run", f"{duration(whole)} ({words})"))
    return costs


def _confusion(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[str, str, int]]]:
    """For each reading the commonest pairs of gold's type and the one given at the very same place.

    Of several classes a text it cannot be said which one stands for which: only texts with one are counted.
    """
    counts: dict[str, Counter[tuple[str, str]]] = {}
    for row in rows:
        gold = _one_at_each_place(row["gold"])
        for reading, spans in _readings(row):
            for place, name in _one_at_each_place(spans or ()).items():
                if gold.get(place, name) != name:
                    counts.setdefault(reading, Counter())[gold[place], name] += 1
    names = dict.fromkeys(reading for row in rows for reading, _ in _readings(row))
    return {name: [(*pair, n) for pair, n in counts[name].most_common(_CELLS)] for name in names if name in counts}


def _one_at_each_place(spans: Sequence[Sequence[Any]]) -> dict[tuple[Any, Any], str]:
    """The type at each place that has a single one."""
    often = Counter((start, end) for start, end, _, _ in spans)
    return {(start, end): name for start, end, name, _ in spans if often[start, end] == 1}


def _readings(row: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[Sequence[Any]] | None]]:
    yield "teacher", row["teacher"]
    yield from row["students"].items()


def _page(folder: RunFolder, split: str, rows: Sequence[Mapping[str, Any]]) -> report.Page:
    """The sentences with what everybody says of them; without texts if gold cannot be read any more."""
    texts, left_out = dict[str, str](), ""
    try:
        texts = {example.sentence.id: example.sentence.text for example in read_gold(folder.settings).split(split)}
    except (DistillError, OSError, ValueError) as error:
        first_line = str(error).partition("\n")[0]
        left_out = f"The texts are not shown, since gold cannot be read: {first_line}"
    if len(rows) > _SENTENCES:
        left_out = f"{left_out} The first {_SENTENCES:,} of {len(rows):,} sentences are shown.".strip()
    asked = any(row["teacher"] is not None for row in rows)
    students = list(dict.fromkeys(name for row in rows for name in row["students"]))
    names = ["gold", *(["teacher"] if asked else []), *students]
    rejected = _rejected(folder, split) if asked else {}
    return report.Page(
        names, [_shown(row, names, texts.get(row["id"]), rejected) for row in rows[:_SENTENCES]], left_out
    )


def _shown(
    row: Mapping[str, Any], names: Sequence[str], text: str | None, rejected: Mapping[str, Sequence[tuple[str, str]]]
) -> dict[str, Any]:
    readings: dict[str, Any] = {"gold": row["gold"], **dict(_readings(row))}
    judged = {name: _judged(row["gold"], readings.get(name)) for name in names}
    units = _utf16(text) if text is not None and not text.isascii() and max(text) > "\uffff" else None
    return {
        "id": row["id"],
        "document": row["document"],
        "text": text,
        "readings": {name: _in_units(spans, units) for name, (spans, _) in judged.items()},
        "kinds": {name: sorted(kinds) for name, (_, kinds) in judged.items() if kinds},
        "absent": {"teacher": "no answer that can be read, or one to another text"},
        "rejected": rejected.get(row["id"], ()),
    }


def _judged(gold: Sequence[Any], reading: Sequence[Any] | None) -> tuple[list[list[Any]] | None, set[str]]:
    """Each span of a reading with its kind of error ("right" if there is none), and all kinds, missed ones included."""
    if reading is None:
        return None, set()
    true, predicted = ({_entity(span) for span in side} for side in (gold, reading))
    mistakes_made = mistakes(true, predicted)
    kinds = {mistake.predicted: mistake.kind for mistake in mistakes_made if mistake.predicted is not None}
    return [[*span, kinds.get(_entity(span), "right")] for span in reading], {mistake.kind for mistake in mistakes_made}


def _entity(span: Sequence[Any]) -> tuple[int, int, str]:
    """A place and a type; a class has the same place as any other class of its text."""
    return (0, 0, span[2]) if span[0] is None else (span[0], span[1], span[2])


def _utf16(text: str) -> list[int]:
    """Where each character begins, in the units that browsers count."""
    return list(accumulate((1 + (character > "\uffff") for character in text), initial=0))


def _in_units(spans: list[list[Any]] | None, units: Sequence[int] | None) -> list[list[Any]] | None:
    if spans is None or units is None:
        return spans
    return [[units[start], units[end], *rest] if start is not None else [start, end, *rest]
            for start, end, *rest in spans]  # fmt: skip


def _rejected(folder: RunFolder, split: str) -> dict[str, list[tuple[str, str]]]:
    file = folder.folder("annotate") / "gold" / split / ANNOTATIONS
    if not file.exists():
        return {}
    lines = read_lines(file, make_task(folder.settings).head)
    return {
        line.sentence.id: [(rejection.mention, rejection.reason) for rejection in line.rejected]
        for line in lines
        if line.rejected
    }


def _quarantined(folder: RunFolder, *, redact: bool) -> dict[str, Any] | None:
    """How many answers could not be used, and the first of them; with `redact` none of them is listed."""
    annotate = folder.folder("annotate")
    total, answers = 0, list[dict[str, Any]]()
    for file in sorted(annotate.rglob(QUARANTINE)) if manifest.is_whole(annotate) else ():
        part = file.parent.relative_to(annotate).as_posix()
        for row in read_rows(file):
            total += 1
            if len(answers) < _ANSWERS and not redact:
                answers.append({"part": "unlabelled" if part == "." else part, **row})
    if not total:
        return None
    _add_texts(annotate / STORE, answers)
    return {"total": total, "answers": answers}


def _add_texts(store: Path, answers: Sequence[dict[str, Any]]) -> None:
    """What the teacher said, out of the store; nothing is added if that cannot be opened."""
    for answer in answers:
        answer["text"] = "–"
    if not answers or not store.exists():
        return
    try:
        with CompletionStore(store, read_only=True) as opened:
            for answer in answers:
                completion = opened.get(bytes.fromhex(answer["completion"]))
                answer["text"] = completion.text[:_LONGEST] if completion else "–"
    except DistillError:
        return
