"""The command line: each verb parses, calls one library function and shows its result."""

from __future__ import annotations

import itertools
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click

from distill_offline import __version__, offline
from distill_offline.cli.log import FORMAT_VARIABLE, QUIET_VARIABLE, log
from distill_offline.cli.verbs import VERBS
from distill_offline.errors import DistillError, Interrupted, os_fault
from distill_offline.offline.signals import own_sigchld

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["main"]


class _Verbs(click.Group):
    """Verbs that are imported when they are asked for: the list of them costs little more than click itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*VERBS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = VERBS.get(cmd_name)
        if verb is None:
            return super().get_command(ctx, cmd_name)
        command = getattr(import_module(f"distill_offline.cli.{verb.module}"), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in sorted(VERBS.items())])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        log.verb = args[0] if args else None
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs without importing them; options as click does."""
        from click.shell_completion import CompletionItem

        options = click.Command.shell_complete(self, ctx, incomplete)
        return options + [CompletionItem(n, help=v.help) for n, v in sorted(VERBS.items()) if n.startswith(incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """As click does, but Ctrl-C ends every verb with the same exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("interrupted. The same command does it again, or goes on.") from None


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="distill-offline")
@click.option(
    "--isolate",
    is_flag=True,
    help="Have the kernel give the command no network but loopback; if it cannot, do not run it.",
)
@click.option(
    "--quiet",
    is_flag=True,
    envvar=QUIET_VARIABLE,
    help="Nothing on stderr but warnings and errors; results stay. Or set DISTILL_QUIET=1.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    envvar=FORMAT_VARIABLE,
    default="text",
    help="How to write to stderr: text, or a line of JSON for each message. Or set DISTILL_LOG_FORMAT.",
)
def commands(isolate: bool, quiet: bool, log_format: str) -> None:
    """Turn a local open LLM into a small, fast, auditable NLP model, inside a network that nothing leaves.

    Nothing connects to any other host; only `models fetch` does. With `--isolate` before the command, the kernel
    enforces that.

    Exit codes: 0 done, 1 failed, 2 a mistake in the command, configuration or input, 3 too many rows quarantined,
    4 something is missing on this machine, 5 a quality gate was missed, 130 interrupted (run it again).
    """
    log.quiet, log.as_json = quiet, log_format == "json"
    if log.as_json:
        log.take_over()
    if isolate:
        from distill_offline.offline import isolation

        isolation.restart_isolated()


def main() -> None:
    """The entry point: offline from the first moment; a user's mistake becomes one clean line and an exit code."""
    own_sigchld()
    # The bars of other libraries would stand between our own lines, also with --quiet and as JSON. Children inherit it.
    os.environ.setdefault("TQDM_DISABLE", "1")
    log.as_json = _asks_for_json(sys.argv[1:])  # mistakes in the options are told before click has read them
    try:
        if not offline.enforce_from_environment():
            offline.enforce()
        sys.exit(commands.main(prog_name="distill-offline", standalone_mode=False))
    except DistillError as error:
        _fail(error)
    except click.ClickException as error:
        if log.as_json:
            log.write("error", error.format_message(), error=type(error).__name__, exit_code=error.exit_code)
        else:
            error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        _fail(Interrupted("interrupted."))
    except OSError as error:
        _fail(os_fault(error))  # not ours to mend: a disk that is full or read-only, a file that may not be read


def _asks_for_json(arguments: list[str]) -> bool:
    """Whether `--log-format` before the verb, or else the variable, says json."""
    asked = os.environ.get(FORMAT_VARIABLE, "")
    for option, value in itertools.pairwise([*arguments, ""]):
        if not option.startswith("-") and option not in ("text", "json"):
            break
        if option == "--log-format":
            asked = value
        elif option.startswith("--log-format="):
            asked = option.partition("=")[2]
    return asked == "json"


def _fail(error: DistillError) -> NoReturn:
    from distill_offline.cli.console import Console

    Console().error(error)
    sys.exit(error.exit_code)
