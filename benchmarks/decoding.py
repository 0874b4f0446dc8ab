"""Does the decoder decide anything? Finished students, scored by several decoders on the very same probabilities.

    distill-offline study configs/paper/phase2.yaml -o rows.jsonl --folder students --set study.keep_students=true \\
        --set 'study.sizes=[250]' --set 'study.seeds=[0,1]' --set study.reserve=1000 --set study.examine=null \\
        --set 'study.variants={single: {}}' --set 'train.arms=[{name: original_only},{name: simple_mix}]'
    python benchmarks/decoding.py students/single/250/* -o decoding.md

Each folder is a run's, with students under train/. What is reported is on the run's test sentences (the odd documents
of valid.txt); weights are chosen on the even documents of the same file. Differences are paired by seed and sentence,
with 95% intervals of 2,000 resamples of both (of sentences alone for one seed). Nothing is trained.

- `repaired`: each token's likeliest tag; an I- tag that continues nothing begins an entity. The package did so once.
- `Viterbi`: the likeliest valid tags: distill_offline.decoding, the package's now.
- `transitions`: with the logarithm of how often tags follow each other in what the arm learnt from (0.1 added to each
  count), times a weight; `ratio`: divided by how often the second tag comes at all, which the head knows already.
- `prior`: how often the second tag comes at all and nothing else; `for O`: so much is added to O alone. What these
  gain, transitions gain by holding back entities, not by what follows what.
- `mean`, `max`: a token's scores out of all its subwords, not its first one; `continued`: of further subwords what they
  say of going on stands for a token that begins an entity, as the pieces of a corpus's token are learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
from measuring import heading, markdown_table, say, write_report
from numpy.typing import NDArray

from distill_offline import config
from distill_offline.confidence.reliability import reliability
from distill_offline.config.settings import Settings, Source
from distill_offline.corpus import read_examples
from distill_offline.label_kinds.decoding import Scored, decode, distributions
from distill_offline.label_kinds.subwords import labels_of_words
from distill_offline.offline.connections import enforce
from distill_offline.run.gold import read_gold
from distill_offline.schema import Example
from distill_offline.scoring.sentence_counts import sentence_counts
from distill_offline.scoring.statistics import compare, f1, resampled_f1
from distill_offline.spans.bio import decode_bio
from distill_offline.student.model import Student

DRAWS = 2000
WEIGHTS = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
KINDS = {"transitions": WEIGHTS, "ratio": WEIGHTS, "prior": WEIGHTS, "for O": (0.5, 1.0, 2.0, 3.0, 4.0)}
Rows = NDArray[np.float64]  # tokens × labels, log-probabilities
Decoder = Callable[["Passed"], list[tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Passed:
    """A half of the gold, and what a student's head says of every subword of it.

    `words[i]` are for each token of sentence i the rows of its subwords. `follows` are the counts of tag pairs in what
    the student learnt from, the last row being a sentence's beginning.
    """

    labels: tuple[str, ...]
    gold: Sequence[Example]
    words: Sequence[Sequence[Rows]]
    follows: Rows

    def scored(self, token: Callable[[Rows], Rows]) -> list[Scored]:
        """One row a token, made of its subwords' by `token`."""
        found = []
        for words in self.words:
            seen = np.array([number for number, rows in enumerate(words) if len(rows)], np.intp)
            rows = np.array([token(words[number]) for number in seen], np.float32).reshape(-1, len(self.labels))
            found.append(Scored(rows, seen, len(words)))
        return found

    def counts(self, tags: Sequence[Sequence[str]]) -> NDArray[np.uint16]:
        types = sorted({label[2:] for label in self.labels if label != "O"})
        return sentence_counts("token-classification", [e.labels for e in self.gold], tags, types)


def first(rows: Rows) -> Rows:
    only: Rows = rows[0]
    return only


def repaired(passed: Passed) -> list[tuple[str, ...]]:
    found = []
    for each in passed.scored(first):
        tags: list[str | None] = [None] * each.length
        for token, number in zip(each.seen.tolist(), each.scores.argmax(1).tolist(), strict=True):
            tags[token] = passed.labels[number]
        found.append(labels_of_words(tags))
    return found


def by_token(token: Callable[[Rows], Rows]) -> Decoder:
    return lambda passed: decode(passed.scored(token), passed.labels)


def continued(passed: Passed) -> list[tuple[str, ...]]:
    goes_on = [passed.labels.index(f"I-{each[2:]}") if each != "O" else n for n, each in enumerate(passed.labels)]
    return decode(passed.scored(lambda rows: np.vstack([rows[:1], rows[1:, goes_on]]).mean(0)), passed.labels)


def with_transitions(weight: float, kind: str) -> Decoder:
    """Viterbi with `weight` times the smoothed logarithms of what follows what, or of a KIND besides."""

    def decoder(passed: Passed) -> list[tuple[str, ...]]:
        allowed = _allowed(passed.labels)
        follows = np.where(allowed, passed.follows + 0.1, 0.0)
        with np.errstate(divide="ignore"):
            moves = weight * np.log(follows / follows.sum(1, keepdims=True))
        prior = weight * np.log(follows.sum(0) / follows.sum())
        if kind == "ratio":
            moves -= prior
        elif kind == "prior":
            moves = np.where(allowed, prior, -np.inf)
        elif kind == "for O":
            moves = np.where(allowed, weight * np.array([label == "O" for label in passed.labels]), -np.inf)
        found = []
        for each in passed.scored(first):
            tags: list[str | None] = [None] * each.length
            for token, number in zip(each.seen.tolist(), _viterbi(each.scores, moves), strict=True):
                tags[token] = passed.labels[number]
            found.append(labels_of_words(tags))
        return found

    return decoder


def _viterbi(rows: NDArray[np.float32], moves: Rows) -> list[int]:
    """The best path with any transitions: `moves` are labels × labels, and a row for the beginning."""
    if not len(rows):
        return []
    best, back = moves[-1] + rows[0], []
    for row in rows[1:]:
        paths = best[:, None] + moves[:-1]
        back.append(paths.argmax(0))
        best = paths.max(0) + row
    found = [int(best.argmax())]
    for before in reversed(back):
        found.append(int(before[found[-1]]))
    return found[::-1]


def _allowed(labels: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([[to[:2] != "I-" or one[2:] == to[2:] for to in labels] for one in (*labels, "O")])


DECODERS: dict[str, Decoder] = {
    "repaired": repaired,
    "Viterbi": by_token(first),
    "Viterbi, mean of a token's subwords": by_token(lambda rows: rows.mean(0)),
    "Viterbi, max of a token's subwords": by_token(lambda rows: rows.max(0)),
    "Viterbi, mean of a token's subwords, continued": continued,
}
TRANSITIONS = {
    f"Viterbi with {kind}, weight {weight:g}": with_transitions(weight, kind)
    for kind, weights in KINDS.items()
    for weight in weights
}


@dataclass(slots=True)
class Found:
    """Of one arm: for each half and decoder the counts of its students, seeds × sentences × types × 3."""

    counts: dict[str, dict[str, list[NDArray[np.uint16]]]]
    changed: list[int]  # sentences of the reported half that the decoder gives other tags
    stray: list[int]  # I- tags of theirs that continue nothing
    sure: list[tuple[float, float, bool]]  # of each entity found: probability, geometric mean of its own, is right

    def f1(self, half: str, name: str) -> list[float]:
        return [float(f1(each.sum(0), "micro")) for each in self.counts[half][name]]

    def against(self, half: str, name: str, other: str) -> str:
        """How much better, in points."""
        pair = [np.array(self.counts[half][each]) for each in (name, other)]
        drawn = [resampled_f1(each, draws=DRAWS) for each in pair]
        found = compare(self.f1(half, name), self.f1(half, other), *drawn)
        return f"{100 * found.difference:+.2f} ({100 * found.low:+.2f} to {100 * found.high:+.2f})"


@click.command(help=__doc__)
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--sentences", type=click.IntRange(1), help="At most so many of each half.")
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(runs: tuple[Path, ...], sentences: int | None, output: Path | None) -> None:
    enforce()
    torch.set_num_threads(1)
    arms: dict[str, Found] = {}
    seeds = []
    for run in runs:
        settings = config.load(run / "config.yaml")
        seeds.append(settings.seed)
        for arm in settings.train.arms:
            say(f"{run.name}: {arm.name}")
            student = Student.load(run / "train" / arm.name / "student")
            found = arms.setdefault(arm.name, Found({"even": {}, "odd": {}}, [], [], []))
            follows = _follows(student.labels, _learnt(run, settings, arm.name))
            test = settings.corpus.original.test
            assert isinstance(test, Source)
            for half in ("even", "odd"):
                gold = list(read_examples(replace(test, documents=half, limit=sentences), origin="original"))
                _add(found, half, Passed(student.labels, gold, _pass(student, gold), follows))
    sizes = {half: len(next(iter(f.counts[half].values()))[0]) for f in arms.values() for half in ("even", "odd")}
    notes = [
        f"Seeds {', '.join(map(str, seeds))}; {sizes['odd']} sentences reported, {sizes['even']} to choose weights on. "
        "F1 is strict, in percent; ± is the standard deviation over seeds."
    ]
    parts = [
        heading("Does the decoder decide?", notes),
        _old_and_new(arms),
        *(_variants(*each) for each in arms.items()),
    ]
    write_report("\n\n".join([*parts, _confidences(arms)]), output)


def _pass(student: Student, gold: Sequence[Example]) -> list[list[Rows]]:
    """For each token of each sentence the log-probabilities of its subwords; sentences of like length together."""
    student.model.eval()
    order = sorted(range(len(gold)), key=lambda number: len(gold[number].sentence.text))
    found: list[list[Rows]] = [[] for _ in gold]
    for start in range(0, len(order), 32):
        part = order[start : start + 32]
        words = [list(gold[number].sentence.tokens) for number in part]
        batch = student.tokenizer(words, is_split_into_words=True, padding=True, return_tensors="pt")
        with torch.inference_mode():
            given = {key: batch[key] for key in ("input_ids", "attention_mask")}
            rows = student.model(**given).logits.float().log_softmax(-1).double().numpy()
        for row, number in enumerate(part):
            places: list[list[int]] = [[] for _ in words[row]]
            for place, word in enumerate(batch.word_ids(row)):
                if word is not None:
                    places[word].append(place)
            found[number] = [rows[row, each] for each in places]
    return found


def _learnt(run: Path, settings: Settings, arm: str) -> Iterator[Example]:
    yield from read_gold(settings).train
    if arm != "original_only":
        yield from read_examples(run / "select" / "annotations.jsonl", origin="distilled")


def _follows(labels: Sequence[str], examples: Iterator[Example]) -> Rows:
    number, counts = {label: n for n, label in enumerate(labels)}, np.zeros((len(labels) + 1, len(labels)))
    for example in examples:
        before = len(labels)
        for tag in example.labels:
            counts[before, number[tag]] += 1
            before = number[tag]
    return counts


def _add(found: Found, half: str, passed: Passed) -> None:
    """One student's counts by every decoder on a half."""
    decoders = DECODERS | TRANSITIONS
    tags = {name: decoder(passed) for name, decoder in decoders.items()}
    for name, given in tags.items():
        found.counts[half].setdefault(name, []).append(passed.counts(given))
    if half == "even":
        return
    scored = passed.scored(first)
    found.changed.append(sum(a != b for a, b in zip(tags["repaired"], tags["Viterbi"], strict=True)))
    found.stray.append(sum(_strays(each, passed.labels) for each in scored))
    for each, own, example, labels in zip(
        distributions(scored, passed.labels), scored, passed.gold, tags["Viterbi"], strict=True
    ):
        true = {(span.start, span.end, span.type) for span in decode_bio(example.labels)}
        if len(own.seen) < own.length:
            continue
        for span in decode_bio(labels):
            rows = np.exp(own.scores[span.start : span.end + 1])
            inside = passed.labels.index(f"I-{span.type}")
            parts = [rows[0, passed.labels.index(f"B-{span.type}")], *rows[1 : span.end - span.start, inside]]
            parts += list(1 - rows[span.end - span.start :, inside])
            geometric = float(np.prod(parts) ** (1 / len(parts)))
            found.sure.append((each.of(span), geometric, (span.start, span.end, span.type) in true))


def _strays(each: Scored, labels: Sequence[str]) -> int:
    tags = [labels[number] for number in each.scores.argmax(1)]
    return sum(tag[:2] == "I-" and before[2:] != tag[2:] for before, tag in zip(["O", *tags], tags, strict=False))


def _mean(values: Sequence[float]) -> str:
    spread = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.2f}{spread}"


def _old_and_new(arms: dict[str, Found]) -> str:
    rows = [
        (
            f"`{arm}`",
            _mean(found.f1("odd", "repaired")),
            _mean(found.f1("odd", "Viterbi")),
            found.against("odd", "Viterbi", "repaired"),
            ", ".join(map(str, found.changed)),
            ", ".join(map(str, found.stray)),
        )
        for arm, found in arms.items()
    ]
    columns = ("student", "repaired", "Viterbi", "difference", "sentences changed", "stray I- of the head")
    return markdown_table(columns, rows)


def _variants(arm: str, found: Found) -> str:
    """Every other decoder against Viterbi; of transitions the weight that is best on the choosing half."""
    names = [name for name in DECODERS if name not in ("repaired", "Viterbi")]
    for kind in KINDS:
        same = [name for name in TRANSITIONS if name.startswith(f"Viterbi with {kind},")]
        names.append(max(same, key=lambda name: float(np.mean(found.f1("even", name)))))
    rows = [(name, *(found.against(half, name, "Viterbi") for half in ("even", "odd"))) for name in names]
    return f"## `{arm}`: over Viterbi\n\n" + markdown_table(("", "choosing half", "reporting half"), rows)


def _confidences(arms: dict[str, Found]) -> str:
    rows = []
    for arm, found in arms.items():
        right = [each for _, _, each in found.sure]
        for name, column in (("probability among all valid tags", 0), ("geometric mean of each token's own", 1)):
            result = reliability([each[column] for each in found.sure], right)
            rows.append((f"`{arm}`: {name}", f"{result.auroc:.3f}", f"{result.ece:.3f}", f"{result.brier:.3f}"))
    columns = ("confidence of an entity that is found", "AUROC", "calibration error", "Brier")
    return "## Confidence\n\n" + markdown_table(columns, rows)


if __name__ == "__main__":
    main()
