"""Our training against transformers' Trainer, and our predict against its pipeline: sentences a second and F1.

    python benchmarks/training.py --model models/all-MiniLM-L6-v2 -o training.md
    python benchmarks/training.py --model models/all-MiniLM-L6-v2 --train train.txt --dev valid.txt --rows 1000

All train on the same sentences, from the same encoder, with the same batch size, number of updates, peak rate,
warm-up, decay and clipping, and tokenise once. The Trainer pads each batch to its longest sentence, as in
transformers' own token-classification example. Every pass has a process of its own, contestants take turns, and a
ratio is of two passes of the same round, since a machine's speed drifts. A round of training has a seed of its own.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from measuring import heading, in_own_process, markdown_table, say, spread, write_report

from distill_offline.config.settings import TrainSettings
from distill_offline.corpus import read_examples
from distill_offline.offline.connections import ENVIRONMENT
from distill_offline.schema import Example, Sentence
from distill_offline.scoring.metrics import score
from distill_offline.student.model import Student
from distill_offline.train import loop as training
from distill_offline.train.blending import Blend, make_schedule


@dataclass(frozen=True, slots=True)
class Job:
    """What all contestants share; `student` is the folder of a trained one."""

    encoder: Path
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    settings: TrainSettings
    student: Path
    seed: int = 0

    @property
    def labels(self) -> tuple[str, ...]:
        types = sorted({label[2:] for example in self.train for label in example.labels if label != "O"})
        return ("O", *(f"{prefix}-{name}" for name in types for prefix in "BI"))

    @property
    def sentences(self) -> list[Sentence]:
        return [example.sentence for example in self.dev]

    def f1(self, predicted: Sequence[Sequence[str]]) -> float:
        return score("entity_f1", [example.labels for example in self.dev], predicted, on="dev").overall.f1


@dataclass(frozen=True, slots=True)
class Passed:
    """One pass: how fast, and how good what came out is."""

    sentences_per_s: float
    f1: float


def our_training(job: Job) -> Passed:
    student = _begin(job)
    schedule = make_schedule("original_only", {}, tau=0.5, n_distilled=0, n_original=len(job.train))
    settings = job.settings
    blend = Blend(schedule, 0, len(job.train), settings.updates, settings.batch_size, job.seed)
    began = time.perf_counter()
    pools = training.Pools((), job.train, ())
    training.train(student, pools, blend, settings, name="ours", metric="entity_f1", watch=lambda progress: None)
    seconds = time.perf_counter() - began
    student.save(job.student)
    return _trained(job, student, seconds)


def trainers_training(job: Job) -> Passed:
    from transformers import DataCollatorForTokenClassification, Trainer, TrainingArguments

    student, settings = _begin(job), job.settings
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        began = time.perf_counter()
        trainer = Trainer(
            model=student.model,
            args=TrainingArguments(
                output_dir=place,
                max_steps=settings.updates,
                per_device_train_batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
                lr_scheduler_type="linear",
                warmup_steps=settings.warmup,
                weight_decay=settings.weight_decay,
                max_grad_norm=settings.clip,
                logging_strategy="no",
                save_strategy="no",
                eval_strategy="no",
                disable_tqdm=True,
                report_to=[],
                seed=job.seed,
            ),
            data_collator=DataCollatorForTokenClassification(student.tokenizer),
            train_dataset=_tokenised(student.tokenizer, job),
            processing_class=student.tokenizer,
        )
        trainer.train()
        seconds = time.perf_counter() - began
    return _trained(job, student, seconds)


def _tokenised(tokenizer: Any, job: Job) -> list[dict[str, Any]]:
    """Each word's label at its first subword, as transformers' example has it."""
    index = {label: number for number, label in enumerate(job.labels)}
    words = [list(example.sentence.tokens) for example in job.train]
    batch = tokenizer(words, is_split_into_words=True, truncation=True, max_length=512)
    rows = []
    for number, example in enumerate(job.train):
        before, labels = None, []
        for word in batch.word_ids(number):
            labels.append(-100 if word is None or word == before else index[example.labels[word]])
            before = word
        rows.append({key: values[number] for key, values in batch.items()} | {"labels": labels})
    return rows


def our_predict(job: Job) -> Passed:
    student = Student.load(job.student)
    student.predict(job.sentences[:32])
    began = time.perf_counter()
    predicted = student.predict(job.sentences)
    return Passed(len(job.dev) / (time.perf_counter() - began), job.f1(predicted))


def pipelines_predict(job: Job, batch_size: int) -> Passed:
    from transformers import pipeline

    student = Student.load(job.student)
    tag = pipeline(
        "token-classification",
        model=student.model,
        tokenizer=student.tokenizer,
        aggregation_strategy="first",
        batch_size=batch_size,
        device=student.model.device,
    )
    texts = [sentence.text for sentence in job.sentences]
    tag(texts[:32])
    began = time.perf_counter()
    found = tag(texts)
    seconds = time.perf_counter() - began
    return Passed(len(job.dev) / seconds, job.f1([_tags(*pair) for pair in zip(job.sentences, found, strict=True)]))


def _tags(sentence: Sentence, entities: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tokens that each entity's characters touch, as tags."""
    labels = ["O"] * len(sentence.tokens)
    for entity in entities:
        prefix = "B"
        for position, (start, end) in enumerate(sentence.offsets):
            if start < entity["end"] and entity["start"] < end and labels[position] == "O":
                labels[position] = f"{prefix}-{entity['entity_group']}"
                prefix = "I"
    return labels


def _begin(job: Job) -> Student:
    training.prepare(job.seed)
    return Student.create(job.encoder, job.labels, "token-classification")


def _trained(job: Job, student: Student, seconds: float) -> Passed:
    speed = job.settings.updates * job.settings.batch_size / seconds
    return Passed(speed, job.f1(student.predict(job.sentences)))


def _note(line: str, name: str, runs: list[Passed], passed: Passed) -> None:
    runs.append(passed)
    say(f"{line}, {name}: {passed.sentences_per_s:.1f} sentences/s, F1 {passed.f1:.3f}")


def _table(rows: Mapping[str, list[Passed]]) -> str:
    ours, *_ = rows.values()
    lines = []
    for name, runs in rows.items():
        ratios = [a.sentences_per_s / b.sentences_per_s for a, b in zip(ours, runs, strict=True)]
        speeds = spread([run.sentences_per_s for run in runs], ".1f")
        lines.append((name, speeds, "" if runs is ours else spread(ratios), spread([run.f1 for run in runs], ".3f")))
    return markdown_table(("", "sentences/s", "ours is faster by", "F1 on dev"), lines)


@click.command(help=__doc__)
@click.option("--model", type=click.Path(path_type=Path), default=Path("models/all-MiniLM-L6-v2"), show_default=True)
@click.option("--train", "train_file", default="package:demo/train.jsonl", show_default=True)
@click.option("--dev", "dev_file", default="package:demo/test.jsonl", show_default=True)
@click.option("--rows", type=int, default=500, show_default=True, help="Training sentences, spread over the file.")
@click.option("--dev-rows", type=int, default=300, show_default=True)
@click.option("--updates", type=int, default=60, show_default=True)
@click.option("--batch-size", type=int, default=16, show_default=True)
@click.option("--repeats", type=int, default=3, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(
    model: Path,
    train_file: str,
    dev_file: str,
    rows: int,
    dev_rows: int,
    updates: int,
    batch_size: int,
    repeats: int,
    output: Path | None,
) -> None:
    os.environ.update(ENVIRONMENT)
    settings = TrainSettings(updates=updates, batch_size=batch_size, learning_rate=3e-4)
    train: dict[str, list[Passed]] = {"ours": [], "Trainer": []}
    predict: dict[str, list[Passed]] = {"`predict`": [], "pipeline, one by one": [], "pipeline, batches of 16": []}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        job = Job(model.resolve(), _spread(train_file, rows), _spread(dev_file, dev_rows), settings, Path(place))
        for seed in range(repeats):
            seeded = replace(job, seed=seed)
            _note("training", "ours", train["ours"], in_own_process(our_training, seeded))
            _note("training", "Trainer", train["Trainer"], in_own_process(trainers_training, seeded))
        for _ in range(repeats):
            for name, runs in predict.items():
                if name == "`predict`":
                    _note("predicting", name, runs, in_own_process(our_predict, job))
                else:
                    _note("predicting", name, runs, in_own_process(pipelines_predict, job, 16 if "16" in name else 1))
    note = (
        f"{updates} updates of {batch_size} sentences out of {len(job.train)}; {len(job.dev)} sentences to predict. "
        f"Median of {repeats} rounds (training: seeds 0 to {repeats - 1}), with the lowest and highest. "
        f"Encoder: {model.name}."
    )
    parts = [heading("Training and predicting", [note]), _table(train), _table(predict)]
    write_report("\n\n".join(parts), output)


def _spread(file: str, rows: int) -> tuple[Example, ...]:
    """About `rows` sentences, spread evenly over the file."""
    examples = list(read_examples(file, origin="original"))
    step = max(1, len(examples) // rows)
    return tuple(examples[::step][:rows])


if __name__ == "__main__":
    main()
