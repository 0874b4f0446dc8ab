"""annotate and merge: verbs over the teacher's answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from distill_offline.cli.console import Console, duration
from distill_offline.cli.options import config_options, open_run, show_plan
from distill_offline.errors import InputError

__all__ = ["annotate", "merge"]


@click.command()
@config_options
@click.option("--status", is_flag=True, help="Show how far a running or stopped annotation is.")
@click.option("--probe", type=click.IntRange(1), metavar="N", help="Time N of the missing rows; say how long all take.")
@click.option("--sample", type=click.IntRange(1), metavar="N", help="After an edit: ask N rows anew, compare labels.")
@click.option("--refreeze", is_flag=True, help="Use prompt, guidelines and demonstrations as they are now.")
@click.option("--reparse", is_flag=True, help="Read the stored answers again with the parser as it is now; no model.")
@click.option("--shard", metavar="I/N", help="Ask only every N-th row, from the I-th on, into a store of its own.")
def annotate(
    config: Path,
    output: Path | None,
    changes: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **mode: Any,
) -> None:
    """Let the teacher label the corpus.

    Ctrl-C stops cleanly; the same command goes on and asks only what is missing.

    Example: distill-offline annotate configs/quickstart.yaml --set annotate.limit=40
    """
    console = Console(as_json)
    _check_one(mode, dry_run=dry_run)
    from distill_offline import pipeline

    shard = None if mode["shard"] is None else pipeline.Shard.parse(mode["shard"])
    with open_run(config, output, changes, console) as folder:
        if dry_run:
            _show_forecast(console, pipeline.plan(folder, ("adapt", "annotate"), refreeze=mode["refreeze"]))
        elif mode["status"]:
            _show_status(console, pipeline.status(folder))
        elif mode["sample"]:
            _show_sample(console, pipeline.sample(folder, mode["sample"]))
        else:
            folder.open()
            if mode["probe"]:
                _show_probe(console, pipeline.probe(folder, mode["probe"]))
                return
            if shard is not None:
                _show_counts(console, pipeline.annotate_shard(folder, shard))
                return
            if not mode["reparse"] and folder.settings.adapt is not None:
                pipeline.adapt(folder, refreeze=mode["refreeze"])
            counts = (
                pipeline.reparse(folder) if mode["reparse"] else pipeline.annotate(folder, refreeze=mode["refreeze"])
            )
            folder.seal()
            _show_counts(console, counts)


@click.command()
@config_options
@click.argument("stores", nargs=-1, metavar="[STORE]...", type=click.Path(path_type=Path))
def merge(
    config: Path,
    output: Path | None,
    changes: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    stores: tuple[Path, ...],
) -> None:
    """Join the answers of shards into one run, and write its annotations.

    STORE is a completions.sqlite, or the folder that holds one; by default those of the run's shards. Any number, in
    any order; duplicates and gaps are shown. Of a damaged store, what can still be read is used.

    Example: distill-offline merge configs/quickstart.yaml
    """
    console = Console(as_json)
    with open_run(config, output, changes, console) as folder:
        from distill_offline import pipeline

        if dry_run:
            _show_forecast(console, pipeline.plan(folder, ("annotate",)))
            return
        folder.open()
        result = pipeline.merge(folder, stores)
        folder.seal()
    if as_json:
        console.json(result)
        return
    keys = ("new", "duplicate", "different", "unreadable")
    console.table(
        "merge",
        ["store", *keys],
        [[name, *(absorbed[key] for key in keys)] for name, absorbed in result["stores"].items()],
    )
    _show_counts(console, result["counts"])


def _check_one(mode: Mapping[str, Any], *, dry_run: bool) -> None:
    options = [f"--{name}" for name, value in mode.items() if value not in (None, False) and name != "refreeze"]
    options += ["--dry-run"] * dry_run
    if len(options) > 1:
        raise InputError(f"annotate: {' and '.join(options)} do not go together.")
    if mode["refreeze"] and options and not dry_run:
        raise InputError(f"annotate: --refreeze and {options[0]} do not go together.")


def _show_counts(console: Console, counts: Mapping[str, Any]) -> None:
    if console.as_json:
        console.json(counts)
        return
    plain = [key for key in ("rows", "cached", "asked", "retried", "annotated") if key in counts["unlabelled"]]
    summed = [key for key in ("quarantined", "aligned", "rejected") if key in counts["unlabelled"]]
    names = {"aligned": "spans", "rejected": "rejected mentions"}
    console.table(
        "annotate",
        ["part", *plain, *(names.get(key, key) for key in summed)],
        [
            [corpus_part, *(row[key] for key in plain), *(sum(row[key].values()) for key in summed)]
            for corpus_part, row in counts.items()
        ],
    )


def _show_status(console: Console, status: dict[str, Any]) -> None:
    if console.as_json:
        console.json(status)
        return
    places = {"annotate": status, **status.get("shards", {})}
    rows = [
        [f"{store_folder} {corpus_part}", row["reached"], row["answered"], "yes" if status["finished"] else "no"]
        for store_folder, status in places.items()
        for corpus_part, row in status["parts"].items()
    ]
    console.table("annotate", ["part", "rows reached", "answered", "finished"], rows)
    stored = sum(status["completions"] for status in places.values())
    console.result(f"{stored} completions stored; {'finished' if status['finished'] else 'not finished'}.")


def _show_probe(console: Console, probe: dict[str, Any]) -> None:
    if console.as_json:
        console.json(probe)
        return
    eta = f"about {duration(probe['eta_s'])}" if probe["eta_s"] is not None else "unknown"
    console.result(
        f"{probe['asked']} rows in {probe['seconds']} s after {probe['start_s']} s to start: "
        f"{probe['rows_per_s']} rows/s, {probe['input_tokens_per_s']} + {probe['output_tokens_per_s']} tokens/s "
        f"in + out, {100 * probe['unusable']:.0f}% unusable. {probe['missing']} rows are missing: {eta}."
    )


def _show_sample(console: Console, sample: dict[str, Any]) -> None:
    if console.as_json:
        console.json(sample)
        return
    console.result(
        f"{sample['rows']} rows, {sample['asked']} asked: {sample['same']} keep their labels, {sample['changed']} "
        f"change; unusable answers {sample['unusable_before']} before, {sample['unusable_now']} now."
    )
    keys = ("kept", "added", "removed", "retyped")
    rows = [
        [name, *(row[key] for key in keys)] for name, row in (("all", sample["spans"]), *sample["per_type"].items())
    ]
    console.table("spans", ["type", *keys], rows)
    if sample["changed_ids"]:
        console.result(f"changed: {', '.join(sample['changed_ids'])}")
    console.result("The run is as it was. annotate takes the change, and these answers, over.")


def _show_forecast(console: Console, plan: list[dict[str, Any]]) -> None:
    if console.as_json:
        console.json(plan)
        return
    for line in next((step["changes"] for step in plan if step.get("changes")), ()):
        console.result(line)
    for step in plan:
        for number, messages in enumerate(step.get("examples", ()), 1):
            console.result(f"--- prompt {number} of {step['stage']}")
            for role, content in messages:
                console.result(f"[{role}]\n{content}")
    show_plan(console, plan)
    for step in (step for step in plan if "disk_bytes" in step):
        about = "" if step["tokens_are_exact"] else "about "
        tokens = (
            "prompt tokens unknown: this backend has no tokenizer at hand"
            if step["prompt_tokens"] is None
            else f"{about}{step['prompt_tokens']} prompt tokens, {about}{step['too_long']} prompts too long"
        )
        console.result(
            f"{step['stage']}: {tokens}; about {step['disk_bytes'] / 1e6:.1f} MB of disk, "
            f"{step['disk_free'] / 1e9:.1f} GB free"
        )
