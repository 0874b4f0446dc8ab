"""Does a linear-chain CRF pay over the best valid tags of a head that scores each token for itself?

    python benchmarks/crf.py configs/paper/phase2.yaml --rows docs/results/rows.jsonl --work crf -o crf.jsonl \\
        --set 'study.sizes=[250]' --set study.reserve=1000 --set study.examine=null --set study.baseline=simple_mix \\
        --set 'study.variants={single: {}}' --set 'study.against=[simple_mix]' --set 'train.arms=[{name: simple_mix}]'

The same arm, seeds, sentences and updates as the study's. The student has a table of transitions more, which is
learnt together with the head: the loss is minus the logarithm of the share that the labels of a sentence have of the
weight of all sequences that are valid (Lafferty et al. 2001). What the table learns is multiplied by --scale, as if its
learning rate were so much higher: else so few updates would hardly move it. It is decoded as `train.transitions` are.
-o gains a line for each seed; `--table` compares the lines with the rows of the study, paired by seed and sentence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from measuring import paired_difference

from distill_offline import offline, pipeline
from distill_offline.label_kinds.losses import CROSS_ENTROPY, Loss, LossRule
from distill_offline.label_kinds.subwords import IGNORED
from distill_offline.label_kinds.transitions import allowed_transitions
from distill_offline.run.encoder import starting_encoder
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task, read_gold
from distill_offline.schema import Sentence
from distill_offline.scoring.metrics import score
from distill_offline.scoring.sentence_counts import sentence_counts
from distill_offline.storage.files import read_rows
from distill_offline.student.model import Student
from distill_offline.study import Study
from distill_offline.study.counts import pack, unpack
from distill_offline.study.grid import Cell
from distill_offline.train import loop
from distill_offline.train.stage import blend_of, distilled_pool

FORBIDDEN = -1e4


class ChainStudent(Student):
    """A student whose tags' transitions are learnt. `scale` multiplies what they have learnt."""

    scale = 30.0

    def learn_transitions(self) -> None:
        """Begin with 0 for every pair that is allowed."""
        self.model.moves = torch.nn.Parameter(torch.zeros(len(self.labels) + 1, len(self.labels)))

    def _moves(self) -> torch.Tensor:
        allowed = torch.from_numpy(allowed_transitions(self.labels))
        return torch.where(allowed, self.scale * self.model.moves, FORBIDDEN)

    def loss(self, batch: Mapping[str, torch.Tensor], model: Any = None, rule: LossRule = CROSS_ENTROPY) -> Loss:
        """Of each window minus the logarithm of what share its tags have; `rule` has no part in it."""
        forward = model or self.model
        logits = forward(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()
        labelled = batch["labels"] != IGNORED
        lengths = labelled.sum(1)
        # The labelled subwords of a window, moved to its beginning in their order.
        order = torch.argsort(~labelled, dim=1, stable=True)[:, : int(lengths.max())]
        scores = logits.gather(1, order[..., None].expand(-1, -1, logits.shape[-1]))
        tags = batch["labels"].gather(1, order).clamp_min(0)
        losses = chain_losses(scores, tags, lengths, self._moves())
        return Loss((losses * batch["weights"]).sum(), torch.zeros((), dtype=torch.long))

    def scored(self, sentences: Sequence[Sentence], batch_tokens: int | None = None) -> list[Any]:
        with torch.no_grad():
            moves = self._moves().double().numpy()
        self._transitions = np.where(allowed_transitions(self.labels), moves, -np.inf)
        return super().scored(sentences, batch_tokens)


def chain_losses(scores: torch.Tensor, tags: torch.Tensor, lengths: torch.Tensor, moves: torch.Tensor) -> torch.Tensor:
    """Minus the log-probability of each row of `tags`: `scores` are rows × tokens × labels, of which `lengths` count.

    `moves` are labels × labels, and a row for the beginning.
    """
    rows = torch.arange(len(scores))
    total = moves[-1] + scores[:, 0]
    path = total[rows, tags[:, 0]]
    for token in range(1, scores.shape[1]):
        counts = token < lengths
        further = torch.logsumexp(total[:, :, None] + moves[None, :-1], 1) + scores[:, token]
        total = torch.where(counts[:, None], further, total)
        step = moves[tags[:, token - 1], tags[:, token]] + scores[rows, token, tags[:, token]]
        path = path + torch.where(counts, step, 0.0)
    return torch.where(lengths > 0, torch.logsumexp(total, 1) - path, 0.0)


@click.command(help=__doc__)
@click.argument("config", type=click.Path(path_type=Path, exists=True))
@click.option("--rows", type=click.Path(path_type=Path, exists=True), help="The study's rows, to compare with.")
@click.option("--work", required=True, type=click.Path(path_type=Path), help="Where labels are kept.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The rows of this.")
@click.option("--scale", default=30.0, show_default=True)
@click.option("--set", "changes", multiple=True, help="As the study's own --set.")
@click.option("--table", is_flag=True, help="Compare; train nothing.")
def main(
    config: Path, rows: Path | None, work: Path, output: Path, scale: float, changes: tuple[str, ...], table: bool
) -> None:
    made = list(read_rows(output)) if output.exists() else []
    if table:
        print_table(made, [] if rows is None else list(read_rows(rows)))
        return
    offline.enforce()
    done = {(row["seed"], row["scale"]) for row in made}
    for cell in Study.load(config, changes).cells:
        if (cell.seed, scale) not in done:
            row = trained(cell, work, scale)
            with output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, sort_keys=True) + "\n")


def trained(cell: Cell, work: Path, scale: float) -> dict[str, Any]:
    """Train the cell's arm with a CRF, and score it on the test set."""
    settings, arm = cell.settings, cell.arm
    resolved = settings.train.of(arm)
    run = RunFolder(work / str(cell.seed), settings, say=lambda line: print(line, flush=True))
    run.open()
    pipeline.select(run)
    gold, task = read_gold(settings), make_task(settings)
    pools = loop.Pools(distilled_pool(run), gold.train, gold.dev)
    loop.prepare(settings.seed)
    student = ChainStudent.create(
        starting_encoder(run, arm.name).folder, task.labels, task.head, max_length=resolved.max_length
    )
    student.scale = scale
    student.learn_transitions()
    how = loop.train(
        student,
        pools,
        blend_of(arm, resolved, pools, settings.seed),
        resolved,
        name=arm.name,
        metric=task.metric,
        watch=lambda progress: None,
    )
    test = gold.split("test")
    labels = student.predict([example.sentence for example in test])
    true, types = [example.labels for example in test], sorted(settings.task.types)
    overall = score("entity_f1", true, labels, on="test").overall
    print(f"seed {cell.seed}: F1 {100 * overall.f1:.1f}", flush=True)
    return {
        "arm": arm.name,
        "seed": cell.seed,
        "scale": scale,
        "best_update": how.best_update,
        "precision": overall.precision,
        "recall": overall.recall,
        "f1": overall.f1,
        "types": types,
        "counts": pack(sentence_counts(task.head, true, labels, types)),
    }


def print_table(made: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> None:
    """Every arm of the rows against the CRF, over the seeds that both have."""
    for scale in sorted({row["scale"] for row in made}):
        chain = {row["seed"]: row for row in made if row["scale"] == scale}
        print(f"CRF, scale {scale:g}: " + ", ".join(f"seed {n} {100 * row['f1']:.1f}" for n, row in chain.items()))
        for arm in sorted({row["arm"] for row in rows if row["variant"] == "single" and row["size"] == 250}):
            other = {r["seed"]: r for r in rows if (r["variant"], r["size"], r["arm"]) == ("single", 250, arm)}
            if seeds := sorted(chain.keys() & other.keys()):
                print(f"  over {arm}, seeds {seeds}: {_difference(chain, other, seeds)}")


def _difference(chain: Mapping[int, Any], other: Mapping[int, Any], seeds: Sequence[int]) -> str:
    pair = [[of_seeds[seed] for seed in seeds] for of_seeds in (chain, other)]
    return paired_difference(
        [[row["f1"] for row in pair[0]], [row["overall"]["f1"] for row in pair[1]]],
        [[unpack(row["counts"], len(row["types"])) for row in rows] for rows in pair],
    )


if __name__ == "__main__":
    main()
