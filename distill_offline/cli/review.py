"""review: the verbs by which people look at labels, and by which their decisions come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click
from click.shell_completion import CompletionItem

from distill_offline.cli import completing
from distill_offline.cli.console import Console
from distill_offline.cli.options import NumberRange, command_line, json_option
from distill_offline.errors import InputError

__all__ = ["review"]

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _OpenOrImport(click.Group):
    """`review RUN` opens the page; `review import RUN` takes what was decided."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["open", *args]
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(ctx, incomplete)
        return found if incomplete.startswith("-") else [*found, *completing.runs(ctx, open_.params[0], incomplete)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in ("-h", "--help"):
            args = ["open", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_OpenOrImport)
def review() -> None:
    """Let people confirm or correct labels, on a page.

    `review RUN` opens the page (the same as `review open RUN`); `review import RUN` makes human-labelled data of what
    was decided.

    Example: distill-offline review runs/quickstart --count 50
    """


@review.command("open")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path), shell_complete=completing.runs)
@click.option("--reviewer", "reviewers", multiple=True, help="A person's name; several for several people [reviewer].")
@click.option("--count", type=click.IntRange(min=1), default=100, help="How many sentences are looked at.")
@click.option("--order", type=click.Choice(["value", "random"]), default="value", help="The most valuable ones first.")
@click.option("--student", type=click.Path(path_type=Path), help="A student: what it labels otherwise comes first.")
@click.option("--double", type=NumberRange(0, 1), default=0.0, help="The share that two people look at.")
@click.option("--seed", type=int, default=0, help="Decides the random order.")
@click.option("--host", default="127.0.0.1", help="The address to serve on; another machine's needs --certificate.")
@click.option("--port", type=click.IntRange(1, 65535), default=8765, help="The port to serve on.")
@click.option("--certificate", type=click.Path(path_type=Path), help="The TLS certificate (PEM).")
@click.option("--key", type=click.Path(path_type=Path), help="The key of the certificate (PEM).")
@click.option("--file", "file", type=click.Path(path_type=Path), help="Write one HTML file instead, for one reviewer.")
def open_(
    run: Path,
    reviewers: tuple[str, ...],
    count: int,
    order: Literal["value", "random"],
    student: Path | None,
    double: float,
    seed: int,
    host: str,
    port: int,
    certificate: Path | None,
    key: Path | None,
    file: Path | None,
) -> None:
    """Open the page on which labels are confirmed or corrected.

    Every decision is stored at once in RUN/review/decisions.jsonl. The same command goes on where it was stopped.

    Example: distill-offline review runs/quickstart --reviewer ana --reviewer ben --double 0.2
    """
    from distill_offline.review import server
    from distill_offline.review.session import open_review, opened_run, write_page

    console, names = Console(False), reviewers or ("reviewer",)
    if host not in _LOOPBACK and not (certificate and key):
        raise InputError(f"review: {host} can be reached by other machines, so it needs --certificate and --key (TLS).")
    if file is not None and len(names) > 1:
        raise InputError("review: --file is for one reviewer. Write one file for each, with other seeds.")
    if file is None:
        server.check_address(host, port, certificate, key)
    made = open_review(opened_run(run), names, count=count, order=order, seed=seed, student=student, double=double)
    for name, part in made.items.items():
        if not part:
            console.warn(f"there is nothing for {name}: all sentences were given to others, or are decided.")
    if file is not None:
        write_page(file, server.page(made.data(names[0])))
        console.result(
            f"{file}: {len(made.items[names[0]])} sentences for {names[0]}. It holds text of the corpus. Bring back "
            f"what its button saves: distill-offline review import {run} --decisions FILE -o FOLDER"
        )
        return
    scheme = "https" if certificate else "http"
    for token, name in made.tokens.items():
        console.result(f"{name}: {scheme}://{_in_address(host)}:{port}/#{token}")
    console.result(f"{sum(map(len, made.items.values()))} sentences. Ctrl-C ends it; nothing that was decided is lost.")
    server.serve(made, host, port, certificate=certificate, key=key)


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@review.command("import")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path), shell_complete=completing.runs)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The new folder.")
@click.option(
    "--decisions", multiple=True, type=click.Path(path_type=Path), help="A file that a page without a server saved."
)
@click.option(
    "--labelled", multiple=True, metavar="NAME=FILE", help="A labelled file of another tool, and whose it is."
)
@click.option("--prefer", metavar="NAME", help="Whose decision counts if people differ.")
@json_option
def import_(
    run: Path,
    output: Path,
    decisions: tuple[Path, ...],
    labelled: tuple[str, ...],
    prefer: str | None,
    as_json: bool,
) -> None:
    """Make human-labelled data of what people decided.

    The folder holds reviewed.jsonl, which a configuration takes as corpus.original.reviewed, a manifest, and, if people
    differ, adjudicate.jsonl: those sentences are left out until --prefer names somebody whose decision counts.

    Example: distill-offline review import runs/quickstart -o reviewed
    """
    from distill_offline.review.session import ADJUDICATE, REVIEWED, import_reviews, opened_run

    files = dict(_named(value) for value in labelled)
    if len(files) < len(labelled):
        raise InputError("--labelled: each file needs a name of its own.")
    joined = import_reviews(
        opened_run(run), output, files=decisions, labelled=files, prefer=prefer, command=command_line()
    )
    console, counts = Console(as_json), joined.counts()
    if as_json:
        console.json({"folder": str(output), **counts})
        return
    for row in joined.agreement:
        kappa = "–" if row["kappa"] is None else f"{row['kappa']:.2f}"
        console.result(
            f"{' and '.join(row['between'])}: {row['sentences']} sentences in common, {row['identical']} identical, F1 "
            f"{100 * row['f1']:.1f}, Cohen's kappa {kappa}"
        )
    for reason, ids in joined.lost.items():
        console.result(f"NOT used, {reason}: {len(ids)} decisions ({', '.join(ids[:5])}{' …' if len(ids) > 5 else ''})")
    if joined.other_guideline:
        console.warn(
            f"{joined.other_guideline} decisions were made under other types, or another guideline, than the run has "
            "now. They are used: look whether they still hold."
        )
    if joined.differing:
        console.result(f"{len(joined.differing)} sentences on which people differ: {output / ADJUDICATE}")
    console.result(f"{len(joined.examples)} sentences: {output / REVIEWED}. Set corpus.original.reviewed to it.")


def _named(value: str) -> tuple[str, Any]:
    name, _, path = value.partition("=")
    if not name or not path:
        raise InputError(f"--labelled {value}: write NAME=FILE.")
    return name, Path(path)
