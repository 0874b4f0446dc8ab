"""doctor: what this machine has and lacks, and what keeps the network out of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from distill_offline.cli import completing
from distill_offline.cli.console import Console
from distill_offline.cli.options import json_option
from distill_offline.errors import EnvironmentFault, InputError

__all__ = ["doctor"]


@click.command()
@click.argument(
    "words",
    metavar="[CONFIG] | --network [-- COMMAND...]",
    nargs=-1,
    type=click.UNPROCESSED,
    shell_complete=completing.configs,
)
@click.option(
    "--network", is_flag=True, help="Show which layers keep the network out; with COMMAND, every address it names."
)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep COMMAND's raw trace in this file.")
@json_option
@click.pass_context
def doctor(context: click.Context, words: tuple[str, ...], network: bool, keep: Path | None, as_json: bool) -> None:
    """Check this machine: Python, packages, GPU, models, disks, offline environment.

    With CONFIG, every fault of that configuration, too: task, prompt, corpora, options of the engine, arms. Exit code 4
    if the work cannot be done.

    With --network, it tries three layers that keep the network out (environment, kernel, a trace of system calls), and
    says what they do not prove. Exit code 4 if one is violated. With a COMMAND after `--`, it runs that under strace
    and lists every address that it or a child named to the kernel. Exit code 4 if one is beyond this machine, else
    that of COMMAND.

    Example: distill-offline doctor configs/quickstart.yaml
    """
    console = Console(as_json)
    if keep and not (network and words):
        raise InputError("doctor: --keep is for the trace of a command: doctor --network --keep FILE -- COMMAND.")
    if network and words:
        context.exit(_trace(console, words, keep))
    elif network:
        _examine_network(console)
    elif len(words) > 1:
        raise InputError(f"doctor: give one configuration; {words[1]!r} is one too many (a command needs --network).")
    else:
        _examine(console, Path(words[0]) if words else None)


def _examine(console: Console, config: Path | None) -> None:
    from distill_offline import doctor as checks
    from distill_offline.config.loading import load
    from distill_offline.corpus import resolve_path

    settings = load(resolve_path(str(config))) if config else None
    checks_done = checks.examine(settings)
    if settings is not None:
        from distill_offline.pipeline.faults import faults

        checks_done += [checks.Check("configuration", "fail", fault) for fault in faults(settings)]
    if console.as_json:
        keys = ("name", "status", "detail", "remedy")
        console.json([{key: getattr(check, key) for key in keys} for check in checks_done])
    else:
        for check in checks_done:
            console.result(
                f"{check.status:4}  {check.name}: {check.detail}" + (f"  → {check.remedy}" if check.remedy else "")
            )
    if checks.worst(checks_done) == "fail":
        raise EnvironmentFault("doctor: the work cannot be done yet; see the lines marked fail.")


def _examine_network(console: Console) -> None:
    from distill_offline.offline.layers import examine_network

    layers = examine_network()
    if console.as_json:
        console.json([asdict(layer) for layer in layers])
    for layer in layers if not console.as_json else ():
        console.result(f"{layer.name}: {layer.verdict}")
        for line in layer.proven:
            console.result(f"  proven: {line}")
        for line in layer.not_proven:
            console.result(f"  NOT proven: {line}")
        if layer.remedy:
            console.result(f"  → {layer.remedy}")
    violated = [layer.name for layer in layers if layer.verdict == "violated"]
    if violated:
        raise EnvironmentFault(f"doctor --network: violated: {', '.join(violated)}. See above for what was seen.")


def _trace(console: Console, command: tuple[str, ...], keep: Path | None) -> int:
    """The command's exit status. What it prints goes to stderr: stdout is for the report."""
    from distill_offline.offline import isolation, strace

    done = strace.trace(command, keep=keep)
    isolated = isolation.is_loopback_only()
    if console.as_json:
        console.json({"status": done.status, "isolated": isolated} | done.trace.facts())
    else:
        for touch, times in done.trace.touches.items():
            if touch.place == "here":
                console.result(f"{touch}, {times} times: this machine")
        for line in done.trace.findings():
            console.result(line)
        console.result(
            f"status {done.status}; {done.trace.lines} lines of trace; it ran "
            + ("with no network but loopback" if isolated else "with whatever network this machine has")
        )
    if beyond := done.trace.at("beyond"):
        places = len({(touch.address, touch.port) for touch in beyond})
        raise EnvironmentFault(f"doctor --network: {command[0]} reached for {places} addresses beyond this machine.")
    if not done.trace.is_whole:
        raise EnvironmentFault("doctor --network: the trace is not whole, so it proves nothing. See above.")
    if not console.as_json:
        console.result("No address beyond this machine was named.")
    return done.status
