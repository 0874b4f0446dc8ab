"""A teacher's labels with some kinds of its errors put right by gold: which errors do students suffer from?

    python benchmarks/corrected_teacher.py data/distilled_chatgpt/conll2003_train.txt --work corrected

Of a column file with the teacher's tag and gold's, the same sentences in the same order are written with the teacher's
labels, corrected where it gave a wrong type (WORK/types.conll), and where it missed, invented or misplaced an entity
(WORK/places.conll, in which wrong types stay). A study's variants name them: configs/studies/why.yaml.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import click

from distill_offline.config.settings import Source
from distill_offline.corpus import read_examples, write_examples
from distill_offline.schema import Span
from distill_offline.scoring.metrics import score
from distill_offline.scoring.mistakes import Mistake, mistakes
from distill_offline.spans.bio import decode_bio, encode_bio

CORRECTED = {"types": ("wrong_type",), "places": ("wrong_boundary", "missed", "spurious")}


@click.command(help=__doc__)
@click.argument("corpus", type=click.Path(exists=True))
@click.option("--work", required=True, type=click.Path(path_type=Path), help="The folder that the files go into.")
@click.option("--teacher", default=1, show_default=True, help="The column of the teacher's tag.")
@click.option("--gold", default=2, show_default=True, help="The column of gold's.")
def main(corpus: str, work: Path, teacher: int, gold: int) -> None:
    given = list(read_examples(Source(path=corpus, tag_column=teacher), origin="distilled"))
    true = [each.labels for each in read_examples(Source(path=corpus, tag_column=gold), origin="original")]
    work.mkdir(parents=True, exist_ok=True)
    for name, kinds in CORRECTED.items():
        made, done = [], Counter[str]()
        for example, gold_labels in zip(given, true, strict=True):
            labels, corrected = _corrected(example.labels, gold_labels, kinds)
            done.update(corrected)
            made.append(replace(example, labels=labels))
        write_examples(work / f"{name}.conll", made)
        scores = score("entity_f1", true, [each.labels for each in made], on=corpus).overall
        print(f"{name}.conll: {dict(done)} corrected; F1 {100 * scores.f1:.1f}", flush=True)


def _corrected(
    given: Sequence[str], true: Sequence[str], kinds: Collection[str]
) -> tuple[tuple[str, ...], Counter[str]]:
    """The labels with mistakes of these kinds put right, and how many of each; one that would overlap others stays."""
    entities, done = _entities(given), Counter[str]()
    for mistake in mistakes(_entities(true), entities):
        if mistake.kind in kinds and (better := _without(entities, mistake)) is not None:
            entities = better
            done[mistake.kind] += 1
    return encode_bio((Span(*entity) for entity in sorted(entities)), len(given)), done


def _without(entities: set[tuple[int, int, str]], mistake: Mistake) -> set[tuple[int, int, str]] | None:
    others = entities - {mistake.predicted} if mistake.predicted else set(entities)
    if mistake.true is None:
        return others
    start, end, _ = mistake.true
    return None if any(a < end and start < b for a, b, _ in others) else others | {mistake.true}


def _entities(labels: Sequence[str]) -> set[tuple[int, int, str]]:
    return {(span.start, span.end, span.type) for span in decode_bio(labels)}


if __name__ == "__main__":
    main()
