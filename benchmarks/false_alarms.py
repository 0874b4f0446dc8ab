"""How often a study calls equal arms different: p below 0.05 by `scoring.statistics.compare`, simulated.

    python benchmarks/false_alarms.py -o false_alarms.md

Differences of two arms are normal around 0: each seed has its own deviation, and all seeds of a study share that of the
sentences that they are scored on, which the study's bootstrap draws again. What the noise of single predictions adds
to both is left out, so that real studies are more careful than the table says.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from measuring import heading, markdown_table, write_report

from distill_offline.scoring.statistics import compare

SEEDS = (2, 3, 5, 10)
BETWEEN_SEEDS = (1.3, 1.6, 2.0)  # points of F1: differences of paired arms in docs/results.md have such deviations
OF_SENTENCES = 0.85  # of a difference of two students, over resamples of 1,394 sentences


def false_alarms(seeds: int, between: float, sentences: float, *, studies: int, draws: int, seed: int = 0) -> float:
    """The share of `studies` of two equal arms whose p is below 0.05."""
    random = np.random.default_rng([seed, seeds, round(1000 * between), round(1000 * sentences)])
    alarms = 0
    for study in range(studies):
        found = random.normal(0.0, between, seeds) + random.normal(0.0, sentences)
        resampled = found + random.normal(0.0, sentences, (draws, 1))
        alarms += compare(found, np.zeros(seeds), resampled, np.zeros_like(resampled), seed=study).p < 0.05
    return alarms / studies


@click.command(help=__doc__)
@click.option("--studies", default=4000, show_default=True)
@click.option("--draws", default=2000, show_default=True, help="Resamples of each study.")
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(studies: int, draws: int, output: Path | None) -> None:
    rows = [
        (
            f"{between:g}",
            *(
                f"{100 * false_alarms(seeds, between, OF_SENTENCES, studies=studies, draws=draws):.1f}%"
                for seeds in SEEDS
            ),
        )
        for between in BETWEEN_SEEDS
    ]
    note = (
        f"Of {studies} simulated studies each, with {draws} resamples; the sentences' part of a difference has a "
        f"deviation of {OF_SENTENCES} points. A fair test has 5%."
    )
    table = markdown_table(("points between seeds", *(f"{seeds} seeds" for seeds in SEEDS)), rows)
    write_report("\n\n".join([heading("How often equal arms are called different", [note]), table]), output)


if __name__ == "__main__":
    main()
