"""A scripted teacher that can also be asked yes or no, for tests of annotate.verify; a configuration can name it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from distill_offline.backends.scripted import Scripted
from distill_offline.schema import Completion, Prompt, Sampling

__all__ = ["Asked", "Mute"]

_MENTION = re.compile(r'"(.*)" in this sentence an entity of the type (\S+)')


class Asked(Scripted):
    """Says yes to what the file `truth` beside its answers lists, [text, mention, type], and no to all else.

    It is the surer the longer the mention. To mentions that begin with "?" it says something else. Questions are
    written down in `asked.log` there, and with the adapter's name in `adapters.log`.
    """

    lists_first_tokens: ClassVar[bool] = True

    def __init__(self, model: Path, sampling: Sampling, options: Any) -> None:
        self._adapter = Path(options.get("adapter", "none")).name
        super().__init__(model, sampling, {key: value for key, value in options.items() if key != "adapter"})
        self._folder = Path(str(options["answers"])).parent
        self._truth = {tuple(row) for row in json.loads((self._folder / "truth.json").read_text("utf-8"))}

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        for position, prompt in enumerate(prompts):
            if not prompt.first_tokens:
                yield position, self._answer(prompt)
                continue
            with (self._folder / "asked.log").open("a", encoding="utf-8") as log:
                log.write(f"{prompt.sentence_id}\n")
            with (self._folder / "adapters.log").open("a", encoding="utf-8") as log:
                log.write(f"{self._adapter} {prompt.sentence_id}\n")
            yield position, self._verdict(prompt)

    def _verdict(self, prompt: Prompt) -> Completion:
        text, _, question = prompt.messages[-1].content.rpartition("\n\n")
        found = _MENTION.search(question)
        assert found is not None, question
        if found[1].startswith("?"):
            return Completion("Hm", "length", first_tokens=(("Hm", -0.1), ("Well", -3.0)), prompt_tokens=9)
        is_true = (text, found[1], found[2]) in self._truth
        sure = 1 - 0.4 / (1 + len(found[1]))
        yes = sure if is_true else 1 - sure
        listed = sorted(((" Yes", math.log(yes)), ("no", math.log(1 - yes))), key=lambda each: -each[1])
        return Completion(listed[0][0], "length", first_tokens=tuple(listed), prompt_tokens=9, completion_tokens=1)


class Mute(Asked):
    """The same, of an engine that gives no probabilities after all."""

    def _verdict(self, prompt: Prompt) -> Completion:
        return Completion("Yes", "length")
