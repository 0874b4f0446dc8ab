"""An uncased encoder learns to see capitals: rows of embeddings for subwords with capitals, beside those it has.

Small encoders are mostly uncased: their tokenizer lowercases all text, and "May" and "may", "US" and "us" are the same
to them. Here every subword gets twins, `May` and `MAY`, whose embeddings are those of `may` plus a direction that all
twins of a kind share. So a text is cut where it was before, an encoder that was never trained with capitals still reads
the words, and what training makes of a direction holds for words that it never saw. What comes out is a plain model of
transformers with a larger vocabulary. docs/training.md has what it is worth.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from distill_offline.models.casing import reads_capitals, require_capitals

__all__ = ["twins", "with_capitals"]

Kind = Literal["capital", "capitals"]

_LENGTH = 0.5  # of a direction, in median lengths of the table's rows; 2 is far too much (docs/results.md)


def with_capitals(model: Any, tokenizer: Any, name: str) -> Any:
    """The tokenizer that keeps capitals; the model's table of embeddings grows by the twins. Nothing if it keeps them.

    `name` is the encoder's, for messages. Raises InputError if the tokenizer lowercases, and is not BERT's.
    """
    if reads_capitals(tokenizer):
        return tokenizer
    require_capitals(tokenizer, name)
    with tempfile.TemporaryDirectory(prefix="distill-") as folder:
        tokenizer.save_pretrained(folder)
        file = Path(folder) / "tokenizer.json"
        core = json.loads(file.read_text(encoding="utf-8"))
        vocabulary: dict[str, int] = core["model"]["vocab"]
        added = core["added_tokens"]
        # Those that the vocabulary lacks are numbered again when they are loaded, and would get a twin's number.
        vocabulary |= {token["content"]: token["id"] for token in added}
        exact = {token["content"] for token in added if token["special"] or not token["normalized"]}
        found = list(twins(vocabulary, exact, core["model"]["continuing_subword_prefix"]))
        rows = max(len(model.get_input_embeddings().weight), max(vocabulary.values()) + 1)
        vocabulary |= {twin: rows + number for number, (twin, _, _) in enumerate(found)}
        normalizer = core["normalizer"]
        # If it does not say, accents go with the capitals; they are to go still.
        strips = normalizer["lowercase"] if normalizer["strip_accents"] is None else normalizer["strip_accents"]
        core["normalizer"] = {**normalizer, "lowercase": False, "strip_accents": strips}
        file.write_text(json.dumps(core, ensure_ascii=False), encoding="utf-8")
        settings_file = Path(folder) / "tokenizer_config.json"
        settings = json.loads(settings_file.read_text(encoding="utf-8"))
        settings |= {"do_lower_case": False, "strip_accents": strips}
        settings_file.write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
        (Path(folder) / "vocab.txt").unlink(missing_ok=True)
        cased = type(tokenizer).from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    _grow(model, rows, [(vocabulary[of], kind) for _, kind, of in found])
    return cased


def twins(vocabulary: Mapping[str, int], exact: set[str], prefix: str) -> Iterator[tuple[str, Kind, str]]:
    """(twin, kind, of which subword), each twin once: with a capital at a word's beginning, and in capitals.

    A letter that no subword is made of in capitals has one of its own, so that no word is unknown that was known.
    Subwords in `exact` stand for themselves as they are written, and have none.
    """
    known = set(vocabulary)

    def new(twin: str, body: str, kind: Kind, of: str) -> Iterator[tuple[str, Kind, str]]:
        if len(twin) != len(of) or not body:
            return
        twin = twin.replace("I\u0307", "\u0130")  # Turkish text has these two as one
        if twin not in known:
            known.add(twin)
            yield twin, kind, of

    for piece in vocabulary:
        if piece in exact or (piece[:1] == "[" and piece[-1:] == "]" and len(piece) > 2):  # [unused7]
            continue
        start = prefix if piece.startswith(prefix) else ""
        body = piece[len(start) :]
        if not start:
            yield from new(body[:1].upper() + body[1:], body, "capital", piece)
        yield from new(start + body.upper(), body, "capitals", piece)
    for letter in map(chr, range(sys.maxunicode + 1)):
        small = letter.lower()
        if small != letter and all(prefix + other in vocabulary for other in small[1:]):  # \u0130 in small has two
            if small[0] in vocabulary:
                yield from new(letter, letter, "capital", small[0])
            if prefix + small[0] in vocabulary:
                yield from new(prefix + letter, letter, "capitals", prefix + small[0])


def _grow(model: Any, rows: int, new: list[tuple[int, Kind]]) -> None:
    """A row for each twin: its subword's, and the direction of its kind. Those that `rows` lack are the mean row."""
    import torch

    table = model.get_input_embeddings().weight.detach()
    directions = np.random.RandomState(0).standard_normal((2, table.shape[1]))  # the same in every version of numpy
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    by_kind = torch.tensor(directions, dtype=table.dtype) * table.norm(dim=1).median() * _LENGTH
    table = torch.cat([table, table.mean(dim=0, keepdim=True).expand(rows - len(table), -1)])
    of = torch.tensor([number for number, _ in new], dtype=torch.long)
    kinds = torch.tensor([int(kind == "capitals") for _, kind in new], dtype=torch.long)
    grown = torch.cat([table, table[of] + by_kind[kinds]])
    with torch.random.fork_rng(devices=[]):  # the rows that it draws are not used
        model.resize_token_embeddings(len(grown), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(grown)
