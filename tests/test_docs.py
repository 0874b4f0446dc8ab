"""The pages that people read: whole, linked, and true to the program where they quote it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from test_imports import ROWS

from distill_offline.cli import commands

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def anchors(page: Path) -> set[str]:
    """The names that a page's headings have as link targets."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text("utf-8")):
        found = (page.parent / target) if target else page
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{target}#{anchor}"


def test_index_has_every_page() -> None:
    listed = {target for target, _ in LINK.findall((ROOT / "docs/index.md").read_text("utf-8"))}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - listed == {"index.md"}


def test_readme_comes_to_the_point() -> None:
    before, _, after = README.partition("```bash\n")
    assert len(before.splitlines()) <= 10, "the first command is on the first screen"
    assert after.splitlines()[0].startswith("python3 -m venv")
    assert README.index("\n## Your own data") < README.index("\n## Results")
    results = README.partition("\n## Results")[2].partition("\n## ")[0]
    assert 0 < len(re.findall(r"^\|", results, re.M)) - 2 <= 10


def test_figures_of_the_readme_are_in_results() -> None:
    results = (ROOT / "docs/results.md").read_text("utf-8").replace("**", "")
    table = README.partition("\n## Results")[2].partition("\n## ")[0].replace("**", "")
    figures = [cell.strip() for row in re.findall(r"^\|(.+)\|$", table, re.M) for cell in row.split("|")[2:]]
    checked = [figure for figure in figures if re.match(r"[+\d]", figure)]
    assert len(checked) > 10
    for figure in checked:
        assert figure in results, figure


def test_messages_of_the_troubleshooting_page_are_in_the_source() -> None:
    """Each in its fixed parts, `…` between them; literals that the source divides over lines count as one."""
    files = (ROOT / "distill_offline").rglob("*.py")
    code = re.sub(r'""".*?"""', "", "\n".join(path.read_text("utf-8") for path in files), flags=re.S)
    source = re.sub(r'"\s*\n\s*[fr]?"', "", code)
    page = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    messages = re.findall(r"^\| `([^`]+)` \|", page, re.M)
    assert len(messages) > 40
    for message in messages:
        parts = [part.strip(" .…;:()") for part in message.split("…")]
        assert [part for part in parts if part not in source] == [], message
        assert max(map(len, parts)) > 8, f"{message}: too little of it is fixed to be found by"


def commands_of(page: Path) -> list[str]:
    """What follows `distill-offline` at the beginning of a page's lines, without comments, redirections and options."""
    lines = page.read_text("utf-8").replace("\\\n", " ").splitlines()
    found = [re.match(r"\s*(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?distill-offline (?!--help)(.+)$", line) for line in lines]
    plain = [re.sub(r"\s+#.*$|\s[>&].*$|;.*$", "", match[1]) for match in found if match]
    return [re.sub(r"(?<!=)\[[^]]*\]", "", words).replace("--isolate ", "") for words in plain]


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=lambda page: page.name)
def test_commands_are_ones_that_exist(page: Path) -> None:
    for line in commands_of(page):
        words = shlex.split(line)
        command: click.Command = commands
        while isinstance(command, click.Group):
            inner = command.get_command(click.Context(command), words[0]) if words else None
            assert inner is not None, line
            command, words = inner, words[1:]
        command.make_context(command.name, words)


def test_architecture_names_every_room_and_has_the_order_of_imports() -> None:
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    package = ROOT / "distill_offline"
    rooms = {f"{path.name}/" for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"}
    rooms |= {path.name for path in package.glob("*.py")}
    table = page.partition("\n## The rooms")[2].partition("\n## ")[0]
    named = {name for cells in re.findall(r"^\| (`.+?) \|", table, re.M) for name in re.findall(r"`([^`]+)`", cells)}
    assert named == rooms
    rows = re.findall(r"^\| \d+ \| (.+) \|$", page, re.M)
    assert [set(re.findall(r"`([^`]+)`", row)) for row in reversed(rows)] == list(ROWS)


def test_the_tests_that_the_security_page_names_are_there() -> None:
    named = set(re.findall(r"`(test_\w+\*?\.py)`", (ROOT / "docs/security.md").read_text("utf-8")))
    assert len(named) > 20
    assert [name for name in named if not list((ROOT / "tests").glob(name))] == []
