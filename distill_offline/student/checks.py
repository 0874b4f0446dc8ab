"""What is wrong with a student's folder and would not show: it would label, and otherwise than it learnt."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from distill_offline.errors import InputError, MissingModel
from distill_offline.models.layers import ignored_layers

__all__ = ["check_students"]


def check_students(folders: Iterable[Path]) -> None:
    """Raises MissingModel if part of a student's weights would not be used, InputError if its language is none.

    What keeps a student from being loaded is for Student.load to say.
    """
    for folder in folders:
        if layers := ignored_layers(folder):
            said, there = layers
            raise MissingModel(
                f"{folder}/config.json: num_hidden_layers is {said}, and the weights have {there} layers: the last "
                f"{there - said} would be left out, and its labels would be others. Was the file changed?"
            )
        try:
            config = json.loads((folder / "config.json").read_text("utf-8"))
        except (OSError, ValueError):
            continue
        language = config.get("distill_language") if isinstance(config, dict) else None
        if language is not None and not isinstance(language, str):
            raise InputError(
                f"{folder}/config.json: distill_language is {json.dumps(language)[:40]}, and not the code of a "
                "language. Was the file changed?"
            )
