"""release: the verb that carries a student out."""

from __future__ import annotations

from pathlib import Path

import click

from distill_offline.cli.console import Console
from distill_offline.cli.options import json_option

__all__ = ["release"]


@click.command()
@click.argument("student", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The new folder.")
@click.option("--ssh-key", type=click.Path(path_type=Path), help="Sign with this key (ssh-keygen -Y).")
@click.option("--openssl-key", type=click.Path(path_type=Path), help="Sign with this P-256 key (PEM).")
@json_option
def release(student: Path, output: Path, ssh_key: Path | None, openssl_key: Path | None, as_json: bool) -> None:
    """Carry a student out in a small signed folder.

    It holds weights, tokenizer, labels, a model card, and a redacted manifest that a person can read.

    Example: distill-offline release runs/quickstart/train/simple_mix/student -o carried
    """
    from distill_offline.bundle.release import release as make
    from distill_offline.bundle.signing import Keys

    console = Console(as_json)
    made = make(student, output, Keys(ssh_key, openssl_key))
    if as_json:
        console.json({"folder": str(made.folder), "files": made.files, "signers": made.signers})
        return
    console.table("release", ["file", "bytes", "sha256"], [[name, *row] for name, row in sorted(made.files.items())])
    for signer in made.signers:
        console.result(f"signed: {signer}")
    console.result(f"{made.folder} is ready to be read by whoever lets it out.")
