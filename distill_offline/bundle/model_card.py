"""A student's model card in Markdown, for the person who decides whether it may leave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from distill_offline.bundle.release_facts import Facts

__all__ = ["model_card"]


def model_card(facts: Facts, files: Mapping[str, tuple[int, str]]) -> str:
    """The card's text; `files` maps each other file of the release to its size in bytes and SHA-256."""
    scores, counts = facts.scores["overall"], facts.scores["counts"]
    parts = [
        f"# Student `{facts.arm}`",
        f"A {facts.architecture}, trained by distill_offline in an isolated network. This folder holds its weights, "
        "its tokenizer, its labels and what is told here; no sentence of the corpus, no answer of the teacher.",
        "## What it labels",
        ", ".join(f"`{label}`" for label in facts.labels),
        "## How good it is",
        f"On {facts.sentences} human-labelled {_units(counts)} of the split "
        f"`{facts.split}`, of which none was trained on. The split's digest is `{facts.scores['on']}`. Scores are "
        "fractions; `support` is how many the human labels have.",
        _table(("", "precision", "recall", "F1", "support"), _score_rows(scores, facts.scores.get("per_type", {}))),
        _how_to_label(facts),
        "## What it was made from",
        _table(
            ("role", "model", "SHA-256", "licence", "training on its outputs"),
            [(model.role, model.name, model.digest or "none", model.licence, model.outputs) for model in facts.models],
        ),
        _without_teacher(facts),
        _pretraining(facts),
        _other_students(facts),
        _table(("in training", ""), [(key.replace("_", " "), value) for key, value in sorted(facts.numbers.items())]),
        _table(
            ("setting", ""),
            [
                *sorted(facts.settings.items()),
                *((f"seed `{key}`", value) for key, value in sorted(facts.seeds.items())),
            ],
        ),
        "## What is in this folder",
        _table(("file", "bytes", "SHA-256"), [(name, size, digest) for name, (size, digest) in sorted(files.items())]),
        "`manifest.json` lists them, this card included. If it is signed:",
        "    ssh-keygen -Y verify -f ALLOWED_SIGNERS -I SIGNER -n distill-offline-run -s manifest.json.sig "
        "< manifest.json\n    sha256sum -c SHA256SUMS",
        "## What cannot be checked from here",
        "Weights can remember what they were trained on, names among them, and no check of these files rules that out. "
        "Whoever releases a student decides whether its corpus allows it.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _how_to_label(facts: Facts) -> str:
    if not facts.per_token:
        return ""
    each_token = facts.scores.get("token_by_token")
    points = ""
    if each_token is not None:
        difference = 100 * (facts.scores["overall"]["f1"] - each_token["f1"])
        points = (
            f' With "first", on the same sentences and tokens, its F1 is {each_token["f1"]:.3f}: that of `label.py` is '
            f"{abs(difference):.1f} points {'lower' if difference < 0 else 'higher'}."
        )
    return (
        "## How to label with it\n\n`label.py` in this folder needs nothing but torch and transformers, and gives the "
        "tags that were scored: the likeliest of all valid ones. transformers' own `pipeline` gives others. It takes "
        'each token\'s likeliest tag: with `aggregation_strategy` "first" or "simple" it makes an entity of an I- tag '
        'that continues none, and with "simple" it also judges every subword by itself, so that a word may fall into '
        "pieces." + points
    )


def _without_teacher(facts: Facts) -> str:
    if any(model.role == "teacher" for model in facts.models):
        return ""
    return "No teacher of its run had a part in it."


def _pretraining(facts: Facts) -> str:
    counts = facts.pretraining
    if counts is None:
        return ""
    loss = ""
    if counts.get("loss_before") is not None:
        loss = (
            f" On {counts['sentences_held_out']} sentences that it did not learn from, its loss fell from "
            f"{counts['loss_before']:.3f} to {counts['loss_after']:.3f} nats a hidden subword."
        )
    return (
        f"Before, the encoder was pre-trained on text of the site: it guessed hidden words of "
        f"{counts['sentences_learnt']} sentences in {counts['updates']} updates; none of them is in dev or test.{loss} "
        "Weights that learnt a text can remember it, with or without labels."
    )


def _other_students(facts: Facts) -> str:
    if facts.averaged:
        return f"It was not trained itself: its weights are the mean of {facts.averaged} students' of its run."
    if not facts.labellers:
        return ""
    several, least = facts.labellers > 1, facts.least_confidence
    who = f"those of {facts.labellers} students' of its run together" if several else "another student's of its run"
    soft = ", and it learned how probable each of them is" if facts.soft_labels else ""
    unsure = f" It learned nothing from what {'they were' if several else 'that one was'} less sure of than {least:g}."
    return f"The distilled labels that it learned are {who}{soft}.{unsure if least else ''}"


def _units(counts: Mapping[str, Any]) -> str:
    """What was scored: sentences with so many tokens, or whole texts."""
    return f"sentences ({counts['tokens']} tokens)" if "tokens" in counts else "texts"


def _score_rows(overall: Mapping[str, Any], per_type: Mapping[str, Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    keys = ("precision", "recall", "f1")
    rows = [("all", overall), *sorted(per_type.items())]
    return [(name, *(f"{row[key]:.3f}" for key in keys), row["support"]) for name, row in rows]


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
