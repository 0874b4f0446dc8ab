"""Canned answers, for tests, dry runs and rehearsals of what goes wrong: no model at all."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from distill_offline.backends.options import read_options
from distill_offline.errors import ConfigError
from distill_offline.schema import Completion, Prompt, Sampling, canonical_json
from distill_offline.text.encoding import NotUTF8, read_utf8

__all__ = ["Scripted", "ScriptedOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedOptions:
    """Options of the backend `scripted`."""

    answers: Mapping[str, str] | str = field(metadata={"default": "the corpus's own labels"})
    """Texts by sentence id, or a JSONL file of id and text."""
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """[share of answers] How many are damaged."""
    delay_s: Annotated[float, Field(ge=0)] = 0.0
    """[seconds] Time before each answer."""


class Scripted:
    """Answers each prompt with the text that `options["answers"]` holds for its sentence id.

    With `noise`, an answer is damaged with that chance in one of four ways: cut off (finish_reason `length`), prose
    instead of JSON, one item dropped, or one string changed to something that no text contains. What happens to a
    sentence depends on its id, its sample and `sampling.seed` alone. A sentence without an answer gets the
    finish_reason `error: no scripted answer`. `model` is not read. Token counts are 0: there is no tokenizer.
    """

    needs_model: ClassVar[bool] = False
    speed_only: ClassVar[frozenset[str]] = frozenset({"delay_s"})

    def __init__(self, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
        settings = read_options(ScriptedOptions, options)
        self._answers = _read_answers(settings.answers) if isinstance(settings.answers, str) else settings.answers
        self._noise = settings.noise
        self._delay = settings.delay_s
        self._seed = sampling.seed

    def identity(self) -> Mapping[str, Any]:
        """The answers' digest and the noise."""
        digest = hashlib.sha256(canonical_json(dict(self._answers))).hexdigest()
        return {"backend": "scripted", "answers_sha256": digest, "noise": self._noise}

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        """One answer a prompt, in order."""
        for position, prompt in enumerate(prompts):
            if self._delay:
                time.sleep(self._delay)
            yield position, self._answer(prompt)

    def close(self) -> None:
        """Nothing is held."""

    def _answer(self, prompt: Prompt) -> Completion:
        text = self._answers.get(prompt.sentence_id)
        if text is None:
            return Completion(text="", finish_reason="error: no scripted answer", sample=prompt.sample)
        if self._noise:
            chance = random.Random(f"{self._seed}\x1f{prompt.sample}\x1f{prompt.sentence_id}")
            if chance.random() < self._noise:
                damaged, finish_reason = _damage(text, chance)
                return Completion(text=damaged, finish_reason=finish_reason, sample=prompt.sample)
        return Completion(text=text, finish_reason="stop", sample=prompt.sample)


def _read_answers(path: str) -> dict[str, str]:
    answers: dict[str, str] = {}
    try:
        text = read_utf8(Path(path))
    except NotUTF8 as error:
        raise ConfigError(f"backend.options.answers: {path}:{error.line}: {error.problem}") from error
    except OSError as error:
        raise ConfigError(f"backend.options.answers: cannot read {path}: {error}.") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            answers[str(row["id"])] = str(row["text"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f'backend.options.answers: {path}:{number}: not a JSON object with "id" and "text".'
            ) from error
    return answers


def _damage(text: str, chance: random.Random) -> tuple[str, str]:
    """(damaged answer, finish_reason)."""
    way = chance.choice(("cut", "prose", "drop", "invent"))
    if way == "prose":
        return "Sure! Here is what I found in the sentence you gave me.", "stop"
    if way in ("drop", "invent"):
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        items = _items(value)
        if items:
            position = chance.randrange(len(items))
            if way == "drop":
                del items[position]
            else:
                items[position] = _invented(items[position], f"Nowhereville-{chance.randrange(10**6)}")
            return json.dumps(value, ensure_ascii=False, separators=(",", ":")), "stop"
    return text[: chance.randrange(max(len(text), 1))], "length"


def _items(value: Any) -> list[Any] | None:
    """The answer's list: the value itself, or the first list in an object."""
    if isinstance(value, dict):
        value = next((member for member in value.values() if isinstance(member, list)), None)
    return value if isinstance(value, list) else None


def _invented(item: Any, mention: str) -> Any:
    """The item with its first string replaced."""
    if isinstance(item, str):
        return mention
    if isinstance(item, list) and item and isinstance(item[0], str):
        return [mention, *item[1:]]
    if isinstance(item, dict):
        key = next((key for key, member in item.items() if isinstance(member, str)), None)
        if key is not None:
            return {**item, key: mention}
    return mention
