"""completion: the verb that prints a shell's script for Tab."""

from __future__ import annotations

import click

__all__ = ["completion"]

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets bash, zsh or fish complete commands with Tab.

    It completes verbs, options, configurations, settings, runs and models. bash has to be 4.4 or newer.

    For bash, add this line to ~/.bashrc: eval "$(distill-offline completion bash)". For zsh the same with zsh, in
    ~/.zshrc. For fish: distill-offline completion fish > ~/.config/fish/completions/distill-offline.fish

    Example: distill-offline completion bash
    """
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(context.find_root().command, {}, "distill-offline", "_DISTILL_OFFLINE_COMPLETE")
    click.echo(ShellComplete.source(made))  # not its own: that one starts a bash to ask for its version
