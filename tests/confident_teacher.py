"""A scripted teacher that is less sure where it errs, for tests of confidence; a configuration can name it."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from distill_offline.backends.scripted import Scripted
from distill_offline.config.settings import BackendSettings, Settings
from distill_offline.run.gold import make_task, read_gold, read_labelled
from distill_offline.schema import Completion, Prompt

__all__ = ["Confident", "confident"]


class Confident(Scripted):
    """Calls every person of some sentences an organisation. Each answer is one token; its probability says how sure."""

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        asked: list[Prompt] = []

        def noted() -> Iterator[Prompt]:
            for prompt in prompts:
                asked.append(prompt)
                yield prompt

        for position, completion in super().complete(noted()):
            chance = random.Random(asked[position].sentence_id)
            errs, drawn = chance.random() < 0.4, chance.random()
            text = completion.text.replace("PERSON", "ORGANISATION") if errs else completion.text
            sure = 0.7 * drawn + 1e-3 if errs else 0.3 + 0.7 * drawn
            # mention and type are spelled by this one token: its probability counts twice
            yield position, replace(completion, text=text, token_texts=(text,), token_logprobs=(math.log(sure) / 2,))


def confident(settings: Settings, folder: Path) -> Settings:
    """The settings with this teacher, which knows all their sentences."""
    assert settings.corpus.unlabelled is not None
    task, gold, answers = make_task(settings), read_gold(settings), folder / "answers.jsonl"
    known = [
        *read_labelled(settings, settings.corpus.unlabelled, origin="original"),
        *gold.train,
        *gold.dev,
        *gold.test,
    ]
    answers.write_text(
        "".join(json.dumps({"id": each.sentence.id, "text": task.answer(each)}) + "\n" for each in known)
    )
    backend = BackendSettings(name="confident_teacher:Confident", options={"answers": str(answers)})
    return replace(settings, backend=backend)
