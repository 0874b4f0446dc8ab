"""What has to stand beside a study's tables: what a number is of, which gold was used, and how p-values are made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from distill_offline.config.settings import ConfiguredArm
from distill_offline.scoring.statistics import smallest_sign_flip
from distill_offline.study.grid import Study
from distill_offline.study.methods import methods_note
from distill_offline.study.results import Row

__all__ = ["caveats"]

_METRICS = {
    "entity_f1": "exact-match entity F1",
    "macro_f1": "macro-averaged F1",
    "label_set_f1": "macro-averaged F1 over classes of which a text may have several",
}


def caveats(study: Study, rows: Sequence[Row], comparisons: int) -> tuple[str, ...]:
    """A sentence or two each, for a table made of `rows` with so many comparisons."""
    if not rows:
        return ("No cell is done yet.",)
    seeds = len(study.plan.seeds)
    what = _METRICS.get(rows[0].metric, rows[0].metric)
    sentences = {row.on: len(row.sentence_counts()) for row in rows}
    sets = ", ".join(f"{count} sentences with gold digest {on[:12]}" for on, count in sorted(sentences.items()))
    notes = [
        *study.plan.notes,
        f"Scores are {what} in percent on the {rows[0].split} split ({sets}).",
        _gold(study, rows),
        f"± is the standard deviation over seeds; [t] is Student's 95% interval over seeds, [both] the 95% interval of "
        f"{study.plan.draws} bootstrap draws of seeds and sentences together. A seed stands for a draw of the gold "
        "sentences, the head's first weights and the training order at once.",
        f"p is two-sided, of the same draws, paired by seed and sentence: its unit is a (seed, sentence), it is never "
        f"below {2 / (study.plan.draws + 1):.2g}. p Holm is corrected for the {comparisons} comparisons of this study. "
        f"p t is a paired t-test over seeds alone: its unit is a seed. A sign flip over {seeds} seeds cannot go below "
        f"{smallest_sign_flip(seeds):.3g}, whatever the difference.",
    ]
    if learnt := sorted({_labelled(c.arm) for c in study.cells if c.arm.labelled_by}):
        notes.append(
            f"Arms that learn the labels of another arm's student, not the teacher's: {', '.join(learnt)}. Their "
            "updates are those of all students that they took."
        )
    if pretrained := sorted({f"{row.variant}/{row.arm}" for row in rows if row.training.get("pretrained")}):
        notes.append(
            f"Their encoder guessed hidden words of unlabelled text before (pretrain), the same for all seeds: "
            f"{', '.join(pretrained)}. No text of dev or test of any seed was among it."
        )
    if len(rows) < len(study.cells):
        notes.append(f"Unfinished: {len(rows)} of {len(study.cells)} cells; arms may have different seeds.")
    if note := methods_note(rows):
        notes.append(note)
    if any(row.pools["dropped"] for row in rows):
        most = max(row.pools["dropped"] for row in rows)
        notes.append(f"Up to {most} gold sentences of a cell also occur in dev or test, and were not trained on.")
    on_seeds = Counter(len({r.seed for r in rows if (r.variant, r.size, r.arm) == group}) for group in _groups(rows))
    if on_seeds[1]:
        notes.append(f"{on_seeds[1]} rows have one seed: their intervals and p-values are of sentences alone.")
    if on_seeds[2]:
        notes.append(
            f"{on_seeds[2]} rows have two seeds: with two, p falls below 0.05 in up to 15% of comparisons of equal "
            "arms. It is only a hint."
        )
    return tuple(notes)


def _labelled(arm: ConfiguredArm) -> str:
    together = f", {arm.labellers} together" if arm.labellers else ""
    sure = f", {arm.min_label_confidence:g} sure at least" if arm.min_label_confidence else ""
    return f"{arm.name} ({arm.labelled_by}'s{together}{', soft labels' if arm.soft_labels else ''}{sure})"


def _gold(study: Study, rows: Sequence[Row]) -> str:
    if all(row.pools["dev_in_size"] for row in rows):
        share = study.plan.dev_share or 0
        chosen = (
            f"{share:.0%} of it is dev, which picks the best update"
            if share
            else "there is no dev, the last weights count"
        )
        text = f"The size is all the gold that was used: {chosen}."
    else:
        used = sorted({row.pools["dev"] for row in rows if not row.pools["dev_in_size"]})
        text = f"Beyond the size, {' or '.join(map(str, used))} gold dev sentences picked the best update."
    settings = study.settings
    if settings.asks_a_teacher and settings.annotate.demonstrations.pool is not None:
        text += " Beyond the size, demonstrations came from a pool of their own."
    return text


def _groups(rows: Sequence[Row]) -> set[tuple[str, int, str]]:
    return {(row.variant, row.size, row.arm) for row in rows}
