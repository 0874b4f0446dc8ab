"""Label tokens with the student in this folder: of all valid tags (IOB2) the likeliest ones, as they were scored.

    python label.py < sentences.txt

A sentence a line, tokens apart by spaces; its tags come out in the same way. Needs torch and transformers, no network.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = ["label", "likeliest", "load"]


def load(folder: Path) -> tuple[Any, Any]:
    """The student's model and tokenizer."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(folder, add_prefix_space=True, **local)
    return AutoModelForTokenClassification.from_pretrained(folder, dtype="float32", **local).eval(), tokenizer


def label(tokens: Sequence[str], model: Any, tokenizer: Any) -> list[str]:
    """One tag a token. A long sentence is read in overlapping windows, each token where it is farthest from a cut."""
    import torch

    length, names = _window(model, tokenizer), [model.config.id2label[n] for n in range(model.config.num_labels)]
    batch = tokenizer(
        [[token.encode("utf-8", "replace").decode() for token in tokens]],
        is_split_into_words=True,
        truncation=True,
        max_length=length,
        stride=length // 4,
        return_overflowing_tokens=True,
    )
    rows: dict[int, tuple[int, list[float]]] = {}
    count = len(batch["input_ids"])
    for window, ids in enumerate(batch["input_ids"]):
        words = batch.word_ids(window)
        with torch.inference_mode():
            scores = model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1).double().tolist()
        for word in dict.fromkeys(word for word in words if word is not None):
            position = words.index(word)  # its first subword
            room = min(position if window else len(words), len(words) - position if window < count - 1 else len(words))
            if word not in rows or room > rows[word][0]:
                rows[word] = (room, scores[position])
    seen = sorted(rows)
    tags: list[str] = ["O"] * len(tokens)
    transitions = getattr(model.config, "distill_transitions", None)
    for word, tag in zip(seen, likeliest([rows[word][1] for word in seen], names, transitions), strict=True):
        tags[word] = tag
    for word, following in pairwise(seen):  # between them: tokens in which the tokenizer sees nothing
        if tags[following].startswith("I-"):
            tags[word + 1 : following] = [tags[following]] * (following - word - 1)
    return tags


def likeliest(
    rows: Sequence[Sequence[float]], names: Sequence[str], transitions: Sequence[Sequence[float | None]] | None = None
) -> list[str]:
    """Viterbi: of all tags in which I- follows B- or I- of its own type, those of the highest sum of `rows`.

    `transitions` are added for each tag (a column) after another (a row; the last is the sentence's beginning).
    """
    if not rows:
        return []
    never = float("-inf")
    moves = [
        [
            (0.0 if transitions is None else transitions[before][tag] or 0.0)
            if _may_follow(one, name, names)
            else never
            for tag, name in enumerate(names)
        ]
        for before, one in enumerate([*names, "O"])
    ]
    best = [move + score for move, score in zip(moves[-1], rows[0], strict=True)]
    back: list[list[int]] = []
    for row in rows[1:]:
        paths = [[best[before] + moves[before][tag] for before in range(len(names))] for tag in range(len(names))]
        back.append([max(range(len(names)), key=path.__getitem__) for path in paths])
        best = [path[before] + score for path, before, score in zip(paths, back[-1], row, strict=True)]
    path = [max(range(len(names)), key=best.__getitem__)]
    for came_from in reversed(back):
        path.append(came_from[path[-1]])
    tags, previous = list[str](), "O"
    for number in reversed(path):
        tag = names[number]
        tags.append(f"B-{tag[2:]}" if tag.startswith("I-") and previous[2:] != tag[2:] else tag)
        previous = tag
    return tags


def _may_follow(before: str, tag: str, names: Sequence[str]) -> bool:
    return not tag.startswith("I-") or f"B-{tag[2:]}" not in names or before[2:] == tag[2:]


def _window(model: Any, tokenizer: Any) -> int:
    """How many subwords the student reads at once; some encoders count positions from behind their padding's."""
    config = model.config
    limits = [getattr(config, "distill_max_length", 512), getattr(config, "max_position_embeddings", None)]
    limits.append(getattr(tokenizer, "model_max_length", None))
    for name, module in model.named_modules():
        table, padding = getattr(module, "weight", None), getattr(module, "padding_idx", None)
        if name.rpartition(".")[2] == "position_embeddings" and table is not None and table.dim() == 2:
            limits.append(len(table) - (0 if padding is None else padding + 1))
    return int(min(limit for limit in limits if limit is not None and 0 < limit < 1 << 31))


if __name__ == "__main__":
    student = load(Path(__file__).parent)
    for stream in (sys.stdin, sys.stdout):
        stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    for line in sys.stdin:
        # Not split(): a no-break space may be part of a token.
        tokens = [token for token in re.split(r"[ \t\r\n]+", line) if token]
        sys.stdout.write(" ".join(label(tokens, *student)) + "\n")
