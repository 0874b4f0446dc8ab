"""What the teacher learns from: each gold sentence as its prompt's tokens and those of the right answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from distill_offline.backends.chat import Chat
from distill_offline.schema import Example, Message, Prompt

__all__ = ["Encoder", "Lesson", "Pair", "pairs"]

_PROBE = Message("user", "Hello"), "distill-offline-answer"


@dataclass(frozen=True, slots=True)
class Pair:
    """A sentence's id and content digest, its prompt, and the answer of a perfect teacher."""

    id: str
    content: str
    prompt: Prompt
    answer: str


@dataclass(frozen=True, slots=True)
class Lesson:
    """Token ids of prompt and answer; the answer, with the token that ends it, begins at `start`."""

    ids: Sequence[int]
    start: int

    @property
    def answer_tokens(self) -> int:
        return len(self.ids) - self.start


def pairs(examples: Sequence[Example], sentences: Iterable[Any], picker: Any, task: Any) -> Iterator[Pair]:
    """Each example as `annotate` would ask about it; `sentences` are those that prompts show, with their neighbours.

    An example with masked tokens is left out, as is one some of whose entities its labels cannot hold: its answer would
    lack what gold does not say.
    """
    from distill_offline.schema import content_digest

    known = {
        (example.sentence.id, example.sentence.tokens): example
        for example in examples
        if not (example.unheld or example.masked)
    }
    for sentence, shown in picker.pick(sentences):
        example = known.get((sentence.id, sentence.tokens))
        if example is not None:
            prompt = task.prompt(sentence, shown)
            yield Pair(sentence.id, content_digest(sentence), prompt, task.answer(example))


class Encoder:
    """Makes lessons with a model's tokenizer and chat template, as `annotate` renders prompts.

    `ends` are the ids of tokens that end an answer. The one that is learnt is what the template puts behind an answer,
    where that is one of them; else the tokenizer's own.
    """

    def __init__(self, tokenizer: Any, chat: Chat, ends: Sequence[int]) -> None:
        self._tokenizer, self._chat = tokenizer, chat
        self._end = self._ending(ends)

    def lesson(self, pair: Pair) -> Lesson:
        """Raises jinja2.TemplateError where the template refuses the prompt."""
        prompt = self._chat.token_ids(pair.prompt.messages)
        # Together, so that what joins them is as in a generated answer; some tokenizers put a blank before a text.
        whole = self._ids(self._chat.render(pair.prompt.messages) + pair.answer)
        answer = whole[len(prompt) :] if whole[: len(prompt)] == prompt else self._ids(pair.answer)
        return Lesson((*prompt, *answer, self._end), len(prompt))

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _ending(self, ends: Sequence[int]) -> int:
        question, answer = _PROBE
        rendered = self._chat.render((question, Message("assistant", answer)))
        behind = self._ids(rendered.rpartition(answer)[2].lstrip())
        found = behind[0] if behind and answer in rendered else None
        if found is not None and found in ends:
            return found
        own = self._tokenizer.eos_token_id
        return int(ends[0] if own is None else own)
