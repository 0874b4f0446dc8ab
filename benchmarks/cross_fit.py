"""What a cross-fitted student's confidence tells of labels that came without one.

    python benchmarks/cross_fit.py --model models/all-MiniLM-L6-v2 --work FOLDER [-o cross-fit.md]
        --labels ../shared/data/distilled_chatgpt/conll2003_train.txt

The file has three columns: token, distilled tag, gold tag. Of one shuffle of it the first 250 sentences are the
original data, the next 2,500 are labelled by the distilled tags, and judged by students of the other folds: once by
students of distilled labels alone, once with the original sentences mixed in. Gold is looked at only to score. Finished
folds are kept in --work, so that the command can be stopped and run again; with --most it stops after so many. About 10
minutes on 2 free cores.

The tables of 2026-11-23: results/cross-fit.md and docs/confidence-without-probabilities.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import click
import numpy as np
from measuring import heading, markdown_table, say, write_report
from numpy.typing import NDArray

from distill_offline.confidence.reliability import reliability
from distill_offline.config.settings import Source, TrainSettings
from distill_offline.corpus import read_examples
from distill_offline.label_kinds.decoding import Distribution, Scored, distributions
from distill_offline.label_kinds.tags import span_confidence
from distill_offline.offline.connections import enforce
from distill_offline.schema import Example, Progress, Span, content_digest
from distill_offline.spans.bio import decode_bio
from distill_offline.student.model import Student
from distill_offline.student.out_of_fold import folds
from distill_offline.train.blending import Blend, make_schedule
from distill_offline.train.loop import Pools, prepare, train

LABELS = ("O", *(f"{prefix}-{kind}" for kind in ("PER", "ORG", "LOC", "MISC") for prefix in "BI"))
FOLDS, SEED = 5, 1
USED = "probability, its geometric mean"  # what the package calls a span's confidence


@dataclass(frozen=True, slots=True)
class Data:
    """Distilled and gold labels of the same sentences, and the original ones beside them."""

    distilled: list[Example]
    gold: list[Example]
    original: list[Example]

    @classmethod
    def read(cls, path: Path, sentences: int) -> Data:
        def part(column: int, skip: int, limit: int) -> list[Example]:
            source = Source(path=str(path), tag_column=column, shuffle=0, skip=skip, limit=limit)
            return list(read_examples(source, origin="original" if column == 2 else "distilled"))

        return cls(part(1, 250, sentences), part(2, 250, sentences), part(2, 0, 250))


@click.command()
@click.option("--model", required=True, type=click.Path(path_type=Path), help="The students' encoder.")
@click.option("--labels", required=True, type=click.Path(path_type=Path), help="Token, distilled tag, gold tag.")
@click.option("--work", required=True, type=click.Path(path_type=Path), help="Where finished folds are kept.")
@click.option("--sentences", default=2500)
@click.option("--updates", default=150, help="Of 16 sentences, for each student.")
@click.option("--most", type=click.IntRange(1), help="Stop after so many folds; run it again to go on.")
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(
    model: Path, labels: Path, work: Path, sentences: int, updates: int, most: int | None, output: Path | None
) -> None:
    """Judge distilled labels by cross-fitted students, and the judgement by gold."""
    enforce()
    data = Data.read(labels, sentences)
    parts, left = [], count(most or 2 * FOLDS, -1)
    for title, original in (("Distilled labels alone", []), ("With 250 original sentences", data.original)):
        found = judged(model, data.distilled, original, updates, work / f"{updates}-{len(original)}", left)
        parts += [f"## {title}", *tables(data, found)]
    notes = [
        f"{sentences} sentences, {FOLDS} folds, {updates} updates of 16 at 3e-4 for each student. Gold only scores. "
        "Ranges are 95% intervals by 500 resamplings of sentences."
    ]
    write_report("\n\n".join([heading("Confidence by cross-fitted students", notes), *parts]), output)


def judged(
    model: Path, distilled: list[Example], original: list[Example], updates: int, work: Path, left: Iterator[int]
) -> list[Distribution]:
    """The out-of-fold probabilities of each sentence; folds that were finished before are read.

    Exits where `left`, the number of folds that may still be trained, has come to 0.
    """
    fold_of = folds([content_digest(e.sentence) for e in distilled], FOLDS, SEED)
    found: dict[int, Scored] = {}
    for fold in range(FOLDS):
        inside = [n for n, each in enumerate(fold_of) if each == fold]
        file = work / f"{fold}.npz"
        if not file.exists():
            if not next(left):
                raise click.exceptions.Exit(0)
            never = {content_digest(distilled[n].sentence) for n in inside}
            rest = [e for e, each in zip(distilled, fold_of, strict=True) if each != fold]
            student = trained(model, rest, [e for e in original if content_digest(e.sentence) not in never], updates)
            scored = student.scored([distilled[n].sentence for n in inside])
            arrays: dict[str, NDArray[Any]] = {f"scores_{n}": each.scores for n, each in enumerate(scored)}
            arrays |= {f"seen_{n}": each.seen for n, each in enumerate(scored)}
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(file.with_suffix(".part.npz"), **arrays)  # type: ignore[arg-type]
            file.with_suffix(".part.npz").replace(file)
            say(f"{work.name}: fold {fold + 1} of {FOLDS}")
        with np.load(file, allow_pickle=False) as stored:
            for position, n in enumerate(inside):
                length = len(distilled[n].sentence.tokens)
                found[n] = Scored(stored[f"scores_{position}"], stored[f"seen_{position}"], length)
    return distributions([found[n] for n in range(len(distilled))], LABELS)


def trained(model: Path, distilled: list[Example], original: list[Example], updates: int) -> Student:
    settings = TrainSettings(updates=updates, batch_size=16, learning_rate=3e-4)
    prepare(SEED)
    student = Student.create(model, LABELS, "token-classification")
    sizes = len(distilled), len(original)
    name = "union" if original else "distilled_only"
    schedule = make_schedule(name, {}, tau=0.5, n_distilled=sizes[0], n_original=sizes[1])
    blend = Blend(schedule, *sizes, updates, 16, SEED)
    train(student, Pools(distilled, original, ()), blend, settings, name="fold", metric="entity_f1", watch=_quiet)
    return student


def _quiet(progress: Progress) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Judged:
    """A span of the distilled labels: its sentence, whether gold has it, and what its probability is.

    `factors` are each token's own probabilities (the last: its end), whatever tags are valid together.
    """

    sentence: int
    span: Span
    is_right: bool
    factors: tuple[float, ...]
    ends_with_sentence: bool
    probability: float
    confidence: float

    @property
    def own(self) -> tuple[float, ...]:
        return self.factors if self.ends_with_sentence else self.factors[:-1]


FORMULAS: dict[str, Callable[[Judged], float]] = {
    "probability": lambda each: each.probability,
    USED: lambda each: each.confidence,
    "product": lambda each: math.prod(each.own),
    "product, with the end": lambda each: math.prod(each.factors),
    "geometric mean": lambda each: _geometric(each.own),
    "geometric mean, with the end": lambda each: _geometric(each.factors),
    "least": lambda each: min(each.own),
    "least, with the end": lambda each: min(each.factors),
}


def _geometric(factors: Sequence[float]) -> float:
    return math.prod(factors) ** (1 / len(factors))


def tables(data: Data, found: Sequence[Distribution]) -> list[str]:
    """Formulas, thresholds for what is labelled, thresholds for what is not."""
    spans = list(_judged(data, found))
    confidence = {id(each): FORMULAS[USED](each) for each in spans}
    return [
        f"{sum(each.is_right for each in spans)} of {len(spans)} spans are right.",
        _formulas(spans),
        f"Labels against gold when spans below a confidence ({USED}) become O, are masked, or cost their "
        "sentence. Masked tokens count for neither side.",
        _thresholds(data, spans, confidence),
        "Tokens labelled O and judged an entity (1 − p(O)) at least so probably: how many there are, how many of them "
        "gold calls an entity, and what share that is of all that the labels missed.",
        _missed(data, found),
    ]


def _judged(data: Data, found: Sequence[Distribution]) -> Iterator[Judged]:
    for number, (mine, gold) in enumerate(zip(data.distilled, data.gold, strict=True)):
        truth = {(s.start, s.end, s.type) for s in decode_bio(gold.labels)}
        for span in decode_bio(mine.labels):
            is_right = (span.start, span.end, span.type) in truth
            sure = found[number].of(span), span_confidence(found[number], span)
            yield Judged(number, span, is_right, _factors(found[number], span), span.end == len(mine.labels), *sure)


def _factors(found: Distribution, span: Span) -> tuple[float, ...]:
    """What must be true for the span, token by token: B-, each I-, and no I- behind it; tokens unseen have no say."""
    first, end = np.searchsorted(found.seen, (span.start, span.end)).tolist()
    rows, inside = np.exp(found.scores[first : end + 1]), LABELS.index(f"I-{span.type}")
    own = (
        [float(rows[0, LABELS.index(f"B-{span.type}")]), *rows[1 : end - first, inside].tolist()]
        if end > first
        else [0.0]
    )
    return (*own, *(1.0 - rows[end - first :, inside]).tolist())


def _formulas(spans: Sequence[Judged]) -> str:
    rows = []
    for name, formula in FORMULAS.items():
        scores, right = [formula(each) for each in spans], [each.is_right for each in spans]
        result = reliability(scores, right)
        low, high = _interval(spans, scores)
        rows.append([name, f"{result.auroc:.3f} ({low:.3f} to {high:.3f})", f"{result.ece:.3f}", f"{result.brier:.3f}"])
    return markdown_table(["confidence of a span", "AUROC", "calibration error", "Brier"], rows)


def _interval(spans: Sequence[Judged], scores: Sequence[float]) -> tuple[float, float]:
    """The AUROC's 2.5% and 97.5% points over resampled sentences."""
    random = np.random.default_rng(0)
    sentences, p = np.array([each.sentence for each in spans]), np.array(scores)
    right = np.array([each.is_right for each in spans])
    drawn = []
    for _ in range(500):
        times = random.poisson(1.0, sentences.max() + 1)[sentences]  # a bootstrap by weights
        drawn.append(_weighted_auroc(p, right, times))
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def _weighted_auroc(scores: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.int64]) -> float:
    order = np.argsort(scores, kind="stable")
    scores, right, weights = scores[order], right[order], weights[order]
    borders = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    good = np.add.reduceat(weights * right, borders).astype(float)
    bad = np.add.reduceat(weights * ~right, borders).astype(float)
    below = np.cumsum(bad) - bad
    return float(((below + bad / 2) * good).sum() / (good.sum() * bad.sum()))


def _thresholds(data: Data, spans: Sequence[Judged], confidence: dict[int, float]) -> str:
    gold = [[(s.start, s.end) for s in decode_bio(e.labels)] for e in data.gold]
    total = sum(map(len, gold))
    rows = []
    for threshold in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        doubtful = [each for each in spans if confidence[id(each)] < threshold]
        kept = [each for each in spans if confidence[id(each)] >= threshold]
        right = sum(each.is_right for each in kept)
        hidden = _hidden(gold, doubtful)
        gone = {each.sentence for each in doubtful}
        staying = [each for each in kept if each.sentence not in gone]
        in_staying = sum(len(each) for n, each in enumerate(gold) if n not in gone)
        rows.append(
            [
                f"{threshold:g}",
                f"{100 * len(doubtful) / len(spans):.1f}",
                _scores(right, len(kept), total),
                _scores(right, len(kept), total - hidden),
                f"{len(data.gold) - len(gone)}",
                _scores(sum(each.is_right for each in staying), len(staying), in_staying),
            ]
        )
    columns = [
        "below",
        "% of spans",
        "become O: P / R / F1",
        "masked: P / R / F1",
        "sentences left",
        "their P / R / F1",
    ]
    return markdown_table(columns, rows)


def _hidden(gold: Sequence[Sequence[tuple[int, int]]], masked: Sequence[Judged]) -> int:
    """Gold entities that masked tokens touch: no label is right or wrong there any more."""
    touched = {
        (each.sentence, start, end)
        for each in masked
        for start, end in gold[each.sentence]
        if start < each.span.end and each.span.start < end
    }
    return len(touched)


def _scores(right: int, given: int, gold: int) -> str:
    precision, recall = right / max(given, 1), right / max(gold, 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return f"{100 * precision:.1f} / {100 * recall:.1f} / {100 * f1:.1f}"


def _missed(data: Data, found: Sequence[Distribution]) -> str:
    scores, is_entity = [], []
    for mine, gold, distribution in zip(data.distilled, data.gold, found, strict=True):
        probabilities = distribution.of_tokens()
        for token, (tag, truth) in enumerate(zip(mine.labels, gold.labels, strict=True)):
            if tag == "O":
                scores.append(1.0 - float(probabilities[token, 0]))
                is_entity.append(truth != "O")
    p, right = np.array(scores), np.array(is_entity)
    rows = [
        [
            f"{threshold:g}",
            f"{(p >= threshold).sum()}",
            f"{100 * right[p >= threshold].mean():.1f}",
            f"{100 * right[p >= threshold].sum() / right.sum():.1f}",
        ]
        for threshold in (0.1, 0.3, 0.5, 0.7, 0.9)
        if (p >= threshold).any()
    ]
    table = markdown_table(["from", "tokens", "% entities in gold", "% of all missed"], rows)
    auroc = reliability(scores, is_entity).auroc
    return f"{table}\n\nAUROC over the {len(p)} tokens labelled O, {right.sum()} of them missed: {auroc:.3f}."


if __name__ == "__main__":
    main()
