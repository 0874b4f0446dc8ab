"""Prodigy's JSONL: a task a line, with tokens, spans and an answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill_offline.corpus.exchange.json_records import as_id, json_records, listed, not_one_of, write_json_lines
from distill_offline.corpus.holding import ALL, ToolFormat, flat, on_borders
from distill_offline.corpus.labelled import known_kind
from distill_offline.corpus.lines import fault
from distill_offline.corpus.lost import Lost

__all__ = ["Prodigy"]

_OF_SPANS = ("ner", "ner_manual", "spans", "spans_manual")  # where a task without `spans` has no entity
_DROPPED = {"reject": "rejected", "ignore": "ignored"}


class Prodigy(ToolFormat):
    """The format `prodigy`: what was rejected or ignored is left out and counted; of several
    annotators of a task the last one counts. The last token of a span is in it."""

    holds = ALL

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, Any]]:
        overruled = _overruled(path, shown)
        for line, task in json_records(path, shown):
            if not isinstance(task.get(self.text_field or "text"), str):
                raise not_one_of("Prodigy", task, "it has no `text`", shown, line)
            meta = task["meta"] if isinstance(task.get("meta"), Mapping) else {}
            row = {key: meta[key] for key in ("id", "document", "index") if meta.get(key) is not None}
            row["text"], id_ = task[self.text_field or "text"], as_id(meta.get("id")) or str(line)
            if task.get("answer") in _DROPPED:
                yield line, Lost(_DROPPED[task["answer"]], id_)
                continue
            if line in overruled:
                yield from ([(line, Lost("further_annotators", id_))] if overruled[line] else [])
                continue
            if relations := listed(task, "relations", shown, line):
                yield line, Lost("relations", id_, len(relations))
            try:
                _fill(row, task, meta, shown, line)
            except KeyError as error:
                raise fault(shown, line, f"a span or token lacks {error}.") from error
            yield line, row

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        write_json_lines(path, map(_task, rows))


def _overruled(path: Path, shown: str) -> dict[int, bool]:
    """The lines of tasks that somebody else answered later on, by whether they say something else."""
    last: dict[Any, tuple[int, str, Any]] = {}
    found = dict[int, bool]()
    for line, task in json_records(path, shown):
        who = task.get("_annotator_id") or task.get("_session_id")
        if not who or task.get("answer") in _DROPPED:
            continue
        said = repr([task.get(key) for key in ("spans", "label", "accept")])
        key = repr(task.get("_input_hash", task.get("text")))
        if key in last and last[key][2] != who:
            found[last[key][0]] = last[key][1] != said
        last[key] = line, said, who
    return found


def _fill(row: dict[str, Any], task: Mapping[str, Any], meta: Mapping[str, Any], shown: str, line: int) -> None:
    tokens, spans = (listed(task, key, shown, line, of=dict) for key in ("tokens", "spans"))
    if tokens:
        row["tokens"] = [token["text"] for token in tokens]
        row["offsets"] = [[token["start"], token["end"]] for token in tokens]
    has_scores = meta.get("score") is not None or any(span.get("score") is not None for span in spans)
    kind = known_kind(meta.get("confidence_kind")) or ("plain" if has_scores else None)
    if kind and task.get("answer") is None:
        row["confidence_kind"] = kind
    is_looked_through = task.get("answer") == "accept" and task.get("_view_id") in _OF_SPANS
    if task.get("spans") is not None or is_looked_through:
        row["entities"] = [
            {"start": s["start"], "end": s["end"], "type": s["label"], "confidence": s.get("score")} for s in spans
        ]
    elif task.get("accept") is not None:
        row["labels"], row["confidence"] = list(map(str, listed(task, "accept", shown, line))), meta.get("score")
    elif isinstance(task.get("label"), str):
        row["labels"], row["confidence"] = [task["label"]], meta.get("score")


def _task(row: Mapping[str, Any]) -> dict[str, Any]:
    meta = {key: row[key] for key in ("id", "document", "index")}
    task: dict[str, Any] = {"text": row["text"], "meta": meta}
    task["tokens"] = [
        {"text": token, "start": start, "end": end, "id": number, "ws": row["text"][end : end + 1] == " "}
        for number, (token, (start, end)) in enumerate(zip(row["tokens"], row["offsets"], strict=True))
    ]
    is_guess = row.get("confidence_kind") is not None
    meta |= {"confidence_kind": row["confidence_kind"]} if is_guess else {}
    if "entities" in row:
        task["spans"] = [_span(entity, row["offsets"]) for entity in row["entities"]]
        is_guess = is_guess or any("score" in span for span in task["spans"])
        task["_view_id"] = "spans_manual" if flat(row["entities"])[1] else "ner_manual"
    elif row.get("labels") is not None:
        _classes(task, row)
    else:
        return task
    return task if is_guess else {**task, "answer": "accept"}


def _classes(task: dict[str, Any], row: Mapping[str, Any]) -> None:
    if row.get("confidence") is not None:
        task["meta"]["score"] = row["confidence"]
    if len(row["labels"]) == 1:
        task |= {"label": row["labels"][0], "_view_id": "classification"}
    else:
        options = [{"id": name, "text": name} for name in row["labels"]]
        task |= {"options": options, "accept": list(row["labels"]), "_view_id": "choice"}


def _span(entity: Mapping[str, Any], offsets: list[list[int]]) -> dict[str, Any]:
    span = {"start": entity["start"], "end": entity["end"], "label": entity["type"]}
    if place := on_borders(entity, offsets):
        span |= {"token_start": place[0], "token_end": place[1] - 1}
    return span if entity.get("confidence") is None else {**span, "score": entity["confidence"]}
