"""manifest: what made a folder; whether it still is that, down to the teacher and the signer; what differs; signing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distill_offline.cli import completing
from distill_offline.cli.console import Console
from distill_offline.cli.options import json_option
from distill_offline.errors import InputError, IntegrityError

if TYPE_CHECKING:
    from distill_offline.provenance import Link

__all__ = ["manifest"]

_PATH = click.Path(path_type=Path)
_MARKS = {"holds": "✓", "gap": "?", "broken": "✗"}


@click.group()
def manifest() -> None:
    """Show, verify, compare or sign what made a folder."""


@manifest.command()
@click.argument("folder", type=_PATH, shell_complete=completing.folders)
def show(folder: Path) -> None:
    """Show the manifest of a stage or run, in short, as JSON.

    Example: distill-offline manifest show runs/quickstart/evaluate
    """
    from distill_offline import manifest as manifests

    Console().json(manifests.show(folder))


@manifest.command()
@click.argument("folder", type=_PATH, shell_complete=completing.folders)
@click.option("--deep", is_flag=True, help="Walk the whole chain behind it: student, teacher, inputs, bundle, signer.")
@click.option("--bundle", type=_PATH, help="The bundle, or the installed release, that made it.")
@click.option("--run", "run_folder", type=_PATH, help="For a folder made by `release`: the run that it came from.")
@click.option("--allowed-signers", type=_PATH, help="Your list of signers (ssh-keygen's ALLOWED SIGNERS).")
@click.option("--openssl-key", type=_PATH, help="The P-256 public key that you trust (PEM).")
@click.option("--strict", is_flag=True, help="Exit code 1 also for what could not be checked here.")
@json_option
def verify(folder: Path, deep: bool, as_json: bool, **options: Any) -> None:
    """Find every changed, missing or extra file of a stage or a run.

    Exit code 1 if there is any.

    With --deep, every link of the chain that made it is checked and named. ✓ holds, ? could not be checked here, ✗ is
    broken. Exit code 1 for a broken link; with --strict also for one that could not be checked.

    Example: distill-offline manifest verify --deep runs/quickstart --allowed-signers signers
    """
    console = Console(as_json)
    if deep:
        _verify_deep(console, folder, **options)
        return
    if any(options.values()):
        raise InputError("manifest verify: --bundle, --run, --strict and keys go with --deep.")
    from distill_offline import manifest as manifests

    findings = manifests.verify(folder)
    if as_json:
        console.json([{"path": finding.path, "problem": finding.problem} for finding in findings])
    for finding in findings if not as_json else ():
        console.result(f"{finding.path}: {finding.problem}")
    if findings:
        raise IntegrityError(f"{folder}: {len(findings)} differences from its manifest.")
    if not as_json:
        console.result(f"{folder}: every file is what its manifest says.")


def _verify_deep(
    console: Console,
    folder: Path,
    bundle: Path | None,
    run_folder: Path | None,
    allowed_signers: Path | None,
    openssl_key: Path | None,
    strict: bool,
) -> None:
    from distill_offline.provenance import Trust, walk

    chain = walk(folder, bundle=bundle, trust=Trust(allowed_signers, openssl_key), run=run_folder)
    broken = [problem for problem in chain.all_problems() if problem.state == "broken"]
    gaps = [problem for problem in chain.all_problems() if problem.state == "gap"]
    verdict = "broken" if broken else "gaps" if gaps else "whole"
    if console.as_json:
        listed = {"broken": [problem.as_dict() for problem in broken], "gaps": [gap.as_dict() for gap in gaps]}
        console.json({"verdict": verdict, **listed, "chain": chain.as_dict()})
    else:
        console.tree(_branch(chain))
        for problem in broken:
            console.result(f"broken: {problem.message} [{problem.what}]")
        for problem in gaps:
            console.result(f"not checked: {problem.message} [{problem.what}]")
    if broken or (strict and gaps):
        raise IntegrityError(f"{folder}: {len(broken)} broken links, {len(gaps)} that could not be checked here.")
    if not console.as_json:
        rest = f"; {len(gaps)} could not be checked here" if gaps else ""
        console.result(f"{folder}: no link is broken{rest}.")


def _branch(link: Link) -> tuple[str, list[Any]]:
    """A link as console.tree takes it: its line, and the branches below it."""
    words = "; ".join([problem for problem in (link.detail, *(problem.what for problem in link.problems)) if problem])
    line = f"{_MARKS[link.state]} {link.kind} {link.name}" + (f" ({words})" if words else "")
    return line, [_branch(part) for part in link.parts]


@manifest.command()
@click.argument("a", type=_PATH, shell_complete=completing.folders)
@click.argument("b", type=_PATH, shell_complete=completing.folders)
@json_option
@click.pass_context
def diff(context: click.Context, a: Path, b: Path, as_json: bool) -> None:
    """Show what differs between two runs, or between two stages.

    Causes come first, then what came out. Exit code 1 if anything differs.

    Example: distill-offline manifest diff runs/first runs/second
    """
    from distill_offline.provenance import difference

    console = Console(as_json)
    differences, in_words = difference(a, b)
    if as_json:
        stages = [stage.as_dict() for stage in differences]
        console.json({"equal": not differences, "first_cause": in_words or None, "stages": stages})
    else:
        console.result(in_words or f"{a} and {b} are equal.")
        for stage in differences:
            console.result(f"\n{stage.stage}")
            for difference_ in (*stage.causes, *stage.effects):
                console.result(f"  {difference_}")
    context.exit(1 if differences else 0)


@manifest.command()
@click.argument("folder", type=_PATH, shell_complete=completing.folders)
@click.option("--ssh-key", type=_PATH, help="Sign with this key (ssh-keygen -Y).")
@click.option("--openssl-key", type=_PATH, help="Sign with this P-256 key (PEM).")
@click.option("--dsse", is_flag=True, help="Besides, write manifest.json.dsse by the P-256 key, for in-toto's tools.")
@json_option
def sign(folder: Path, ssh_key: Path | None, openssl_key: Path | None, dsse: bool, as_json: bool) -> None:
    """Sign the manifest of a run, a stage or a release.

    The signature of a run covers all its stages.

    Example: distill-offline manifest sign runs/quickstart --ssh-key ~/.ssh/release
    """
    from distill_offline import manifest as manifests
    from distill_offline.bundle.dsse import wrap
    from distill_offline.bundle.signing import Keys
    from distill_offline.bundle.signing import sign as make

    keys = Keys(ssh_key, openssl_key)
    if not keys or (dsse and openssl_key is None):
        wanted = "--openssl-key PEM, which --dsse needs" if dsse else "--ssh-key KEY or --openssl-key PEM"
        raise InputError(f"manifest sign: give {wanted}.")
    manifests.read(folder)
    if findings := manifests.verify(folder):
        raise IntegrityError(f"{folder}: {findings[0].path} {findings[0].problem}. Nothing was signed.")
    signers = make(folder / manifests.NAME, keys)
    if dsse and openssl_key is not None:
        signers.append(wrap(folder / manifests.NAME, openssl_key))
    console = Console(as_json)
    if as_json:
        console.json({"folder": str(folder), "signers": signers})
    for signer in signers if not as_json else ():
        console.result(f"signed: {signer}")
