"""The yes-or-no question about an entity: how it is put, how its answer is read, and whether an engine can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distill_offline.backends.base import Backend
from distill_offline.config.settings import BackendSettings, VerifySettings
from distill_offline.errors import BackendError, ConfigError, UnusableAnswer
from distill_offline.label_kinds import kind_of
from distill_offline.schema import Completion, Head, Message, Prompt, Sentence, Span, join_tokens
from distill_offline.text.yes_or_no import Verdict, verdict

__all__ = ["Questions", "check_can_be_asked", "recipe_of"]

LISTED = 20  # first tokens; servers list no more


def recipe_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the answers to such questions besides the prompt, out of the recipe of the labels.

    How labels are drawn does not: the probabilities are those before any drawing.
    """
    return {key: value for key, value in recipe.items() if key != "sampling"} | {"first_tokens": LISTED}


@dataclass(frozen=True, slots=True)
class Questions:
    """Writes the question about a span, and reads the answer. `types` are the task's, with their definitions."""

    settings: VerifySettings
    types: Mapping[str, str]

    def about(self, sentence: Sentence, span: Span) -> Prompt:
        """The chat: instructions and types, then the sentence, then what differs between its spans."""
        mention = sentence.text[sentence.offsets[span.start][0] : sentence.offsets[span.end - 1][1]]
        values = {"mention": mention, "type": span.type, "definition": self.types.get(span.type, span.type)}
        types = "\n".join(f"- {name}: {definition}" for name, definition in self.types.items())
        system = Message("system", f"{self._filled(self.settings.instructions, {})}\n\n{types}")
        user = Message("user", f"{sentence.text}\n\n{self._filled(self.settings.question, values)}")
        return Prompt(sentence.id, (system, user), max_tokens=1, first_tokens=LISTED)

    def read(self, completion: Completion) -> Verdict | None:
        """How sure of yes; None if the answer begins with neither word."""
        return verdict(completion.first_tokens, self.settings.words)

    def judge(self, sentence: Sentence, completion: Completion) -> None:
        """Raises UnusableAnswer if the answer begins with neither word."""
        if self.read(completion) is None:
            raise UnusableAnswer("neither_yes_nor_no", sentence.id)

    def _filled(self, text: str, values: Mapping[str, str]) -> str:
        yes, no = self.settings.words
        named = {"yes": yes, "no": no, **values}
        pieces = text.split("{")  # a mention that holds braces is text
        filled = [pieces[0]]
        for piece in pieces[1:]:
            name, closed, rest = piece.partition("}")
            filled.append(named[name] + rest if closed and name in named else "{" + piece)
        return "".join(filled)

    def identity(self) -> dict[str, Any]:
        """JSON of what shapes the questions."""
        chosen = self.settings
        return {"instructions": chosen.instructions, "question": chosen.question, "words": list(chosen.words)}

    def check_lists(self, backend: Backend) -> None:
        """Ask the engine one question about a sentence of ours, before any other. Raises ConfigError if it lists no
        first tokens, BackendError where it does not answer."""
        tokens = ("Ada", "lives", "in", "Paris", ".")
        sentence = Sentence("trial", "", 0, join_tokens(tokens)[0], tokens, join_tokens(tokens)[1])
        trial = self.about(sentence, Span(0, 1, next(iter(self.types))))
        answers = [completion for _, completion in backend.complete([trial])]
        if any(answer.first_tokens for answer in answers):
            return
        said = answers[0].finish_reason if answers else "no answer"
        if said not in ("stop", "length"):
            raise BackendError(f"annotate.verify: the engine does not answer a question of one token ({said}).")
        raise ConfigError(
            f"annotate.verify: the engine lists no log-probabilities of an answer's first token (top_logprobs: {LISTED}"
            "), and without them there is no confidence. Nothing was asked. Use another engine, or leave "
            "annotate.verify out."
        )


def check_can_be_asked(backend: BackendSettings, kind: type[Backend], head: Head) -> None:
    """Raises ConfigError if annotate.verify cannot work with this engine or task."""
    if not kind_of(head).per_token:
        raise ConfigError("annotate.verify asks about entities, and the task labels whole texts. Leave it out.")
    if not getattr(kind, "lists_first_tokens", False):
        raise ConfigError(
            f"annotate.verify: the backend {backend.name} gives no log-probabilities of an answer's first token. Use "
            "llama_cpp, transformers, vllm or openai_server, or leave annotate.verify out."
        )
    if backend.options.get("thinking"):
        raise ConfigError(
            "annotate.verify reads the first token of an answer, and a model that thinks begins with a thought. Set "
            "backend.options.thinking: false, or leave annotate.verify out."
        )
