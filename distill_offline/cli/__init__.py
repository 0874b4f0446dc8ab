"""The command line: each verb parses, calls one library function and shows its result."""

from __future__ import annotations

import sys
from typing import Any

import click

from distill_offline import __version__, children, offline
from distill_offline.cli.acquire import acquire
from distill_offline.cli.annotation import annotate, merge, purge
from distill_offline.cli.artifacts import models, release
from distill_offline.cli.doctor import doctor
from distill_offline.cli.export_labels import export_labels
from distill_offline.cli.labels import evaluate, predict
from distill_offline.cli.manifest import manifest
from distill_offline.cli.stages import run, select, train
from distill_offline.cli.study import study
from distill_offline.console import Console
from distill_offline.errors import DistillError, EnvironmentFault, Interrupted
from distill_offline.network import isolation

__all__ = ["main"]


class _Verbs(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """As click does, but Ctrl-C ends every verb with the same exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("interrupted. The same command does it again, or goes on.") from None


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="distill-offline")
@click.option(
    "--isolate", is_flag=True, help="Run the command where the kernel has no network but loopback, or not at all."
)
def commands(isolate: bool) -> None:
    """Turn a local open LLM into a small, fast, auditable NLP model, inside a network that nothing leaves.

    Nothing connects to any host but this one: `models fetch` alone opens more. `--isolate`, before the command, lets
    the kernel see to that.

    Exit codes: 0 done, 1 failed, 2 usage, config or input, 3 too many rows quarantined, 4 environment, 5 a quality
    gate was missed, 130 interrupted (run the same command again).
    """
    if isolate:
        isolation.restart_isolated()


for command in (
    run, annotate, merge, select, train, evaluate, study, predict, acquire, export_labels, release, purge, models,
    manifest, doctor,
):  # fmt: skip
    commands.add_command(command)


def main() -> None:
    """The entry point: offline from the first moment; a user's mistake becomes one clean line and an exit code."""
    children.own_sigchld()
    try:
        if not offline.enforce_from_environment():
            offline.enforce()
        commands(prog_name="distill-offline")
    except DistillError as error:
        Console().error(error)
        sys.exit(error.exit_code)
    except OSError as error:
        # Not ours to mend: a disk that is full or read-only, a file that is gone or may not be read.
        place = f"{error.filename}: " if isinstance(error.filename, str) else ""
        Console().error(
            EnvironmentFault(
                f"{place}{error.strerror or error}. Check disk space and permissions; what was stored is kept, and the "
                "same command goes on."
            )
        )
        sys.exit(EnvironmentFault.exit_code)
