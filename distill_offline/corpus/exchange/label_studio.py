"""Label Studio's JSON: tasks with annotations by people, and predictions with scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill_offline.corpus.exchange.json_records import as_id, json_records, listed, not_one_of, write_json_list
from distill_offline.corpus.holding import ALL, ToolFormat
from distill_offline.corpus.labelled import known_kind
from distill_offline.corpus.lines import fault
from distill_offline.corpus.lost import Lost
from distill_offline.corpus.offset_units import in_characters
from distill_offline.corpus.spans import agrees

__all__ = ["LabelStudio"]

_Region = Mapping[str, Any]
_SPANS = ("labels", "hypertextlabels", "paragraphlabels")


class LabelStudio(ToolFormat):
    """The format `label_studio`.

    Of several annotations of a task that is ground truth, or else the last one, is read; those that say something else
    are counted. Without annotations the first prediction is, and stays one. Regions count characters; those of Label
    Studio's older versions count UTF-16 units, which their own text shows.
    """

    holds = ALL - {"tokens"}

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, Any]]:
        for number, task in json_records(path, shown):
            data = task.get("data")
            if not isinstance(data, Mapping):
                hint = " Export JSON, not JSON-MIN" if "annotation_id" in task or "annotator" in task else ""
                raise not_one_of("Label Studio", task, f"a task has `data`.{hint}".rstrip("."), shown, number)
            text = data.get(self._field(data, shown, number))
            row: dict[str, Any] = {"text": text, "document": data.get("document"), "index": data.get("index")}
            id_ = as_id(data.get("id")) or as_id(task.get("id")) or str(number)
            row["id"] = id_
            _check(task, shown, number)
            given, losses = _chosen(task, id_)
            yield from ((number, loss) for loss in losses)
            if given is None and losses:
                continue
            if given is not None:
                if any(given is each for each in task.get("predictions") or ()):
                    row["confidence_kind"] = known_kind(data.get("confidence_kind")) or "plain"
                yield from ((number, loss) for loss in _fill(row, given, text, is_told=self.offsets_are_told))
            yield number, {key: value for key, value in row.items() if value is not None}

    def _field(self, data: Mapping[str, Any], shown: str, number: int) -> str:
        texts = [key for key, value in data.items() if isinstance(value, str)]
        wanted = self.text_field or ("text" if "text" in texts else "")
        if wanted in texts:
            return wanted
        texts = [key for key in texts if key not in ("id", "document", "confidence_kind")]
        if len(texts) == 1 and not self.text_field:
            return texts[0]
        raise fault(shown, number, f"which field of `data` is the text? There are: {', '.join(map(repr, data))}.")

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        write_json_list(path, (_task(number, row) for number, row in enumerate(rows, 1)))


def _check(task: Mapping[str, Any], shown: str, number: int) -> None:
    """Raises CorpusError if what is read of a task has another shape than Label Studio writes."""
    for name in ("annotations", "completions", "predictions"):
        for each in listed(task, name, shown, number):
            for result in listed(each, "result", shown, number, of=dict) if isinstance(each, Mapping) else ():
                kind, value = result.get("type"), result.get("value")
                if kind not in (*_SPANS, "choices"):
                    continue
                if not isinstance(value, Mapping):
                    raise fault(shown, number, f"a result of the type {kind} has no `value`.")
                for key in (*_SPANS, "choices"):
                    listed(value, key, shown, number, of=str)
                if kind != "choices" and isinstance(value.get("start"), str):
                    raise fault(
                        shown, number, "a region in HTML or a dialogue, whose place no text says. Label plain text."
                    )


def _chosen(task: Mapping[str, Any], id_: str) -> tuple[Mapping[str, Any] | None, list[Lost]]:
    """The annotation or prediction that is read, and what is not."""
    annotations = task.get("annotations", task.get("completions")) or []
    kept = [each for each in annotations if isinstance(each, Mapping) and not each.get("was_cancelled")]
    losses = [Lost("cancelled", id_, len(annotations) - len(kept))] if len(annotations) > len(kept) else []
    if kept:
        truth = [each for each in kept if each.get("ground_truth")]
        chosen = (truth or sorted(kept, key=lambda each: str(each.get("updated_at") or "")))[-1]
        others = sum(_said(each) != _said(chosen) for each in kept)
        return chosen, [*losses, *([Lost("further_annotators", id_, others)] if others else [])]
    predictions = [each for each in task.get("predictions") or [] if isinstance(each, Mapping)]
    return (predictions[0] if predictions and not annotations else None), losses


def _said(given: Mapping[str, Any]) -> list[str]:
    return sorted(repr((each.get("type"), each.get("value"))) for each in given.get("result") or [])


def _fill(row: dict[str, Any], given: Mapping[str, Any], text: Any, *, is_told: bool) -> Iterator[Lost]:
    """The row gains what the result says; gives what it does not. `is_told`: regions count what somebody says."""
    result = [each for each in given.get("result") or [] if isinstance(each, Mapping)]
    regions = [each for each in result if each.get("type") in _SPANS and isinstance(each.get("value"), Mapping)]
    choices = [c for each in result if each.get("type") == "choices" for c in each["value"].get("choices") or ()]
    relations = sum(each.get("type") == "relation" for each in result)
    others = len(result) - len(regions) - relations - sum(each.get("type") == "choices" for each in result)
    if relations:
        yield Lost("relations", row["id"], relations)
    if others:
        yield Lost("other_results", row["id"], others)
    if not regions and any(each.get("type") == "choices" for each in result):
        row["labels"], row["confidence"] = choices, given.get("score")
        return
    if choices:
        yield Lost("classes_beside", row["id"], len(choices))
    score = given.get("score") if all(each.get("score") is None for each in regions) else None
    row["spans"] = [span for value in _placed(regions, text, is_told=is_told) for span in _spans(value, score)]
    if untyped := sum(not _names(region) for region in regions):
        yield Lost("untyped", row["id"], untyped)


def _placed(regions: list[_Region], text: Any, *, is_told: bool) -> list[dict[str, Any]]:
    """The regions' values in characters; as they are if their own text agrees with nothing, or their unit is told."""
    values = [{**region["value"], "labels": _names(region), "score": region.get("score")} for region in regions]
    for value in values:
        own = value.get("text")
        if isinstance(own, str) and not (isinstance(text, str) and own in text):
            value["text"] = own.replace("\\n", "\n")  # as Label Studio writes a line end in it
    read = in_characters("utf16", text) if isinstance(text, str) and not is_told else None
    if read is None or all(_fits(value, text, value.get("start"), value.get("end")) for value in values):
        return values
    places = [read(value.get("start", -1), value.get("end", -1)) for value in values]
    if all(place and _fits(value, text, *place) for place, value in zip(places, values, strict=True)):
        return [
            {**value, "start": place[0], "end": place[1]} for place, value in zip(places, values, strict=True) if place
        ]
    return values


def _fits(value: Mapping[str, Any], text: str, start: Any, end: Any) -> bool:
    own = value.get("text")
    return isinstance(start, int) and isinstance(end, int) and (own is None or agrees(own, text[start:end]))


def _names(region: _Region) -> list[str]:
    return [name for kind in _SPANS for name in region["value"].get(kind) or ()]


def _spans(value: Mapping[str, Any], score: Any) -> Iterator[dict[str, Any]]:
    score = value["score"] if score is None else score
    for name in value["labels"]:
        span = {"start": value.get("start"), "end": value.get("end"), "type": name, "confidence": score}
        yield span if value.get("text") is None else {**span, "text": value["text"]}


def _task(number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    data = {key: row[key] for key in ("text", "id", "document", "index")}
    task: dict[str, Any] = {"id": number, "data": data, "annotations": [], "predictions": []}
    if "entities" in row:
        result = [_region(position, entity) for position, entity in enumerate(row["entities"])]
        scores = [entity["confidence"] for entity in row["entities"] if entity.get("confidence") is not None]
    elif row.get("labels") is not None:
        choice = {"id": "c0", "from_name": "class", "to_name": "text", "type": "choices"}
        result = [{**choice, "value": {"choices": list(row["labels"])}}]
        scores = [row["confidence"]] if row.get("confidence") is not None else []
    else:
        return task
    if scores or row.get("confidence_kind") is not None:
        data |= {"confidence_kind": row["confidence_kind"]} if row.get("confidence_kind") is not None else {}
        score = sum(scores) / len(scores) if scores else None
        task["predictions"] = [{"model_version": "distill_offline", "score": score, "result": result}]
    else:
        task["annotations"] = [{"result": result, "was_cancelled": False}]
    return task


def _region(position: int, entity: Mapping[str, Any]) -> dict[str, Any]:
    value = {"start": entity["start"], "end": entity["end"], "text": entity["text"], "labels": [entity["type"]]}
    region = {"id": f"r{position}", "from_name": "label", "to_name": "text", "type": "labels", "value": value}
    return region if entity.get("confidence") is None else {**region, "score": entity["confidence"]}
