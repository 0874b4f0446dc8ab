"""Named-entity recognition: flat entities, asked for as JSON, located in the tokens, kept as BIO tags."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from distill_offline.confidence.token_probabilities import spelled
from distill_offline.config.settings import TaskSettings
from distill_offline.errors import ConfigError
from distill_offline.schema import Annotation, Completion, Example, Head, Message, Prompt, Rejection, Sentence, Span
from distill_offline.spans.bio import decode_bio, encode_bio
from distill_offline.spans.locate import locate, twins_of
from distill_offline.spans.matching import squeezed
from distill_offline.tasks.naming import TypeNames
from distill_offline.tasks.prompting import PromptTemplate, Turns, first_clause
from distill_offline.tasks.reading import Read, read_answer

__all__ = ["NER"]

_NONE_TOO = {"none", "o", "null", "na", "noentity", "notanentity", "nonentity", "noneentity"}
_FILLING = re.compile(r"[\W_]+")
_NO_ENTITY = "no entity here"
_NO_ENTITIES = re.compile(
    r"(?:has|have|contains?|names?|mentions?)?\s*no\s+(?:named\s+)?entit(?:y|ies)"
    r"(?:\s+(?:here|at\s+all|found|in\s+(?:it|the|this)(?:\s+(?:text|sentence|passage))?))?",
    re.IGNORECASE,
)
_NOTHING = re.compile(r"none|nothing|empty|(?:an?\s+)?empty\s+(?:list|array)|n/?a", re.IGNORECASE)
Decisions = tuple[tuple[str, str], ...]
NONE = "NONE"  # the chain-of-thought prompt's word for a candidate that is no entity


class NER:
    """Entities of the types in `task.types`. The answer's form is set by the prompt template's `answer`.

    `pairs`: `[["Ada Lovelace","PERSON"]]`. `reasoned`: an object whose `decisions` hold `[mention, type, reason]`.
    """

    head: ClassVar[Head] = "token-classification"
    metric: ClassVar[str] = "entity_f1"

    def __init__(self, settings: TaskSettings) -> None:
        if not settings.types:
            raise ConfigError("task.types: name at least one entity type with its definition.")
        reserved = ("", "O", NONE)
        if bad := [name for name in settings.types if name in reserved or any(c.isspace() for c in name)]:
            raise ConfigError(f"task.types: {bad[0]!r} cannot be a type: no white space, not empty, not O or {NONE}.")
        self.types = dict(settings.types)
        self._names = TypeNames(tuple(self.types), settings.synonyms, tagged=True)
        self._synonyms = {name: list(others) for name, others in settings.synonyms.items()}
        self._repeats, self._every = settings.repeats, settings.repeats == "every"
        self.labels = ("O", *(f"{prefix}-{name}" for name in settings.types for prefix in ("B", "I")))
        self._template = PromptTemplate(settings, known=("pairs", "reasoned"))
        self._system = Message("system", self._template.system)
        self._question_line = self._template.question()
        self._turns = Turns(self._question, self.answer)
        self._schema = (
            _reasoned_schema(self.types) if self._template.answer == "reasoned" else _pairs_schema(self.types)
        )

    def identity(self) -> dict[str, Any]:
        reading = {"repeats": self._repeats, **({"synonyms": self._synonyms} if self._synonyms else {})}
        return {"task": "ner", "types": self.types, **reading, **self._template.identity()}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of the task's settings."""
        return self._names.warnings

    def prompt(self, sentence: Sentence, demonstrations: Sequence[Example]) -> Prompt:
        messages = [self._system]
        for example in demonstrations:
            messages += self._turns.of(example)
        messages.append(self._question(sentence))
        return Prompt(sentence.id, tuple(messages), self._schema)

    def _question(self, sentence: Sentence) -> Message:
        return Message("user", self._template.user(sentence.text, sentence.before, sentence.after))

    def answer(self, example: Example) -> str:
        spans = decode_bio(example.labels)
        if self._template.answer == "pairs":
            return _compact([[_surface(example.sentence, span), span.type] for span in spans])
        counts = {name: sum(span.type == name for span in spans) for name in self.types}
        named = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        # A place of the same text that is no entity is said to be none: else it would be one.
        twins = (Span(start, end, NONE) for start, end in twins_of(spans, example.sentence.tokens))
        decided = sorted((*spans, *twins), key=lambda span: span.start)
        return _compact(
            {
                "context": f"The sentence names {named}." if named else "The sentence names no entity.",
                "candidates": [_surface(example.sentence, span) for span in decided],
                "decisions": [
                    [_surface(example.sentence, span), span.type, first_clause(self.types.get(span.type, _NO_ENTITY))]
                    for span in decided
                ],
            }
        )

    def parse(self, sentence: Sentence, completion: Completion) -> Annotation:
        read = self.read(sentence, completion)
        decisions = read.answer
        meant = [self._meant(type_) for _, type_ in decisions]
        kept = [number for number, type_ in enumerate(meant) if type_ in self.types]
        kept = sorted([*kept, *self._twins(decisions, meant)])
        alignment = locate([(decisions[n][0], meant[n] or "") for n in kept], sentence.tokens, every=self._every)
        placed = [
            (span, kept[n]) for span, n in zip(alignment.spans, alignment.numbers, strict=True) if span.type != NONE
        ]
        spans = tuple(span for span, _ in placed)
        if completion.token_logprobs:
            after = '"decisions"' if self._template.answer == "reasoned" else ""
            sure = spelled(completion, decisions, source=read.source, after=after)
            spans = tuple(
                replace(span, confidence=said.confidence if (said := sure[number]) else None) for span, number in placed
            )
        lost = [
            rejection for rejection, n in zip(alignment.rejected, alignment.lost, strict=True) if meant[kept[n]] != NONE
        ]
        unknown = [
            Rejection(mention, "unknown_type")
            for (mention, _), type_ in zip(decisions, meant, strict=True)
            if type_ is None
        ]
        return Annotation(
            id=sentence.id,
            labels=encode_bio(spans, len(sentence.tokens)),
            spans=spans,
            rejected=(*lost, *unknown),
            renamed=tuple(
                (written, type_)
                for (_, written), type_ in zip(decisions, meant, strict=True)
                if type_ in self.types and written != type_
            ),
        )

    def _meant(self, written: str) -> str | None:
        """The type that an answer means, NONE if the prompt has that word, or None for what is neither."""
        if (name := self._names.read(written)) is not None:
            return name
        if self._template.answer == "reasoned" and _FILLING.sub("", written).casefold() in _NONE_TOO:
            return NONE
        return None

    def _twins(self, decisions: Decisions, meant: Sequence[str | None]) -> list[int]:
        """Decisions for NONE about what is an entity elsewhere: they have places that the entity has not."""
        if NONE not in meant:
            return []
        mentions = [squeezed(mention) for mention, _ in decisions]
        entities = {mention for mention, type_ in zip(mentions, meant, strict=True) if type_ in self.types}
        return [n for n, type_ in enumerate(meant) if type_ == NONE and mentions[n] in entities]

    def read(self, sentence: Sentence, completion: Completion) -> Read[Decisions]:
        """The `(mention, type)` that a completion gives, as it gives them. Raises UnusableAnswer: read_answer's."""
        return read_answer(
            completion,
            _understood,
            alike=self._alike,
            joined=self._joined,
            in_words=_none_in_words,
            mentions=lambda decisions: [mention for mention, _ in self._alike(decisions)],
            asked=sentence.text,
            question=self._question_line,
        )

    def _alike(self, decisions: Decisions) -> list[tuple[str, str]]:
        """What two answers must share to be one: neither order matters, nor what is decided to be no entity."""
        meant = ((mention, self._meant(type_) or type_) for mention, type_ in decisions)
        return sorted(pair for pair in meant if pair[1] != NONE)

    def _joined(self, values: list[Any]) -> list[Any] | None:
        """Values that are an entity each as the list that they make together; a pair alone may be anything."""
        alone = len(values) == 1
        return values if all(self._is_part(value, alone=alone) for value in values) else None

    def _is_part(self, value: Any, *, alone: bool) -> bool:
        pair = _pair(value)
        return pair is not None and (isinstance(value, dict) or (not alone and self._meant(pair[1]) is not None))


def _understood(value: Any) -> Decisions | None:
    """The `(mention, type)` of an answer; None of what is no list of them."""
    if isinstance(value, dict):
        value = value.get("decisions", value.get("entities"))
    if not isinstance(value, list):
        return None
    pairs = [_pair(item) for item in value]
    return None if None in pairs else tuple(pair for pair in pairs if pair is not None)


def _none_in_words(words: str, concludes: bool) -> Decisions | None:
    """No decisions, if the words say that there is no entity."""
    return () if _NO_ENTITIES.fullmatch(words) or (concludes and _NOTHING.fullmatch(words)) else None


def _pair(item: Any) -> tuple[str, str] | None:
    if isinstance(item, dict):
        item = [item.get("text", item.get("entity")), item.get("type", item.get("label"))]
    if not isinstance(item, list) or len(item) < 2:
        return None
    mention, type_ = item[:2]
    return (mention, type_) if isinstance(mention, str) and isinstance(type_, str) else None


def _surface(sentence: Sentence, span: Span) -> str:
    return sentence.text[sentence.offsets[span.start][0] : sentence.offsets[span.end - 1][1]]


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _pairs_schema(types: dict[str, str]) -> dict[str, Any]:
    pair = {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "string", "enum": list(types)}],
        "minItems": 2,
        "maxItems": 2,
    }
    return {"type": "array", "items": pair}


def _reasoned_schema(types: dict[str, str]) -> dict[str, Any]:
    decision = {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "string", "enum": [*types, NONE]}, {"type": "string"}],
        "minItems": 3,
        "maxItems": 3,
    }
    return {
        "type": "object",
        "properties": {
            "context": {"type": "string"},
            "candidates": {"type": "array", "items": {"type": "string"}},
            "decisions": {"type": "array", "items": decision},
        },
        "required": ["context", "candidates", "decisions"],
        "additionalProperties": False,
    }
