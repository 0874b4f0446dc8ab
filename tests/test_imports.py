"""The import direction of the house, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "distill_offline"

# From the bottom up: a module may import what stands in a lower row, or in its own folder. A name is that of a folder,
# or of a module that lies in none.
ROWS = (
    {"__init__", "errors"},
    {"text"},
    {"schema", "registry", "children"},
    {"config", "offline", "spans", "storage"},
    {"label_kinds"},
    {"annotations", "completions", "confidence", "manifest", "models", "report"},
    {"corpus", "tasks", "backends", "bundle", "doctor"},
    {"learning", "scoring", "student"},
    {"run", "provenance"},
    {"annotate", "pretrain", "train"},
    {"adapt", "select"},
    {"evaluate", "review"},
    {"pipeline"},
    {"study"},
    {"cli"},
    {"__main__"},
)
LEVEL = {name: level for level, row in enumerate(ROWS) for name in row}
STAGES = (
    "annotate/asking.py",
    "pretrain/loop.py",
    "select/rules.py",
    "train/loop.py",
    "adapt/loop.py",
    "pipeline/uncertainty.py",
)  # the work itself
HEAVY = {"torch", "transformers", "vllm", "xllamacpp", "accelerate", "sklearn", "bitsandbytes", "ray", "peft", "gguf"}
MOST_LOOSE = 8  # modules that lie in no folder


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= named if named <= MODULES.keys() else named | {node.module}
    return found


def module_level_imports(file: Path) -> set[str]:
    """Names of modules imported when `file` is, `if TYPE_CHECKING` left out."""
    return imported(parsed(file).body)


def part_of(file: Path) -> str:
    relative = file.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@cache
def inner_imports(file: Path) -> frozenset[str]:
    """Modules of ours that `file` imports at any time; of the package's own `__init__`, only what it does at once."""
    nodes: Iterable[ast.AST] = parsed(file).body if file == PACKAGE / "__init__.py" else ast.walk(parsed(file))
    return frozenset(name.removeprefix("distill_offline.") for name in imported(nodes) if name in MODULES)


FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {
    ".".join(part for part in file.relative_to(PACKAGE.parent).with_suffix("").parts if part != "__init__"): file
    for file in FILES
} | {"distill_offline.__init__": PACKAGE / "__init__.py"}


def parts_imported(file: Path) -> set[str]:
    return {name.split(".")[0] for name in inner_imports(file)} & set(LEVEL)


def test_every_module_has_its_row() -> None:
    assert {part_of(file) for file in FILES} - set(LEVEL) - {"data"} == set()
    assert set(LEVEL) - {part_of(file) for file in FILES} == set()


def test_few_modules_lie_in_no_folder() -> None:
    loose = [file.stem for file in FILES if file.parent == PACKAGE]
    assert len(loose) <= MOST_LOOSE, loose


def test_imports_point_downwards() -> None:
    upwards = [
        f"{file.relative_to(PACKAGE)} imports {name}"
        for file in FILES
        for name in parts_imported(file) - {part_of(file)}
        if LEVEL[name] >= LEVEL[part_of(file)]
    ]
    assert upwards == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    below = {name: {f"distill_offline.{each}" for each in inner_imports(file)} for name, file in MODULES.items()}
    left = set(below)
    while ready := {name for name in left if not below[name] & left - {name}}:
        left -= ready
    assert left == set()


def test_tasks_and_backends_never_meet() -> None:
    for file in FILES:
        other = {"tasks": "backends", "backends": "tasks"}.get(part_of(file))
        assert other is None or other not in parts_imported(file), file


def test_stages_do_not_import_each_other() -> None:
    stages = {stage.removesuffix(".py").replace("/", ".") for stage in STAGES}
    for stage in STAGES:
        assert inner_imports(PACKAGE / stage) & stages == set(), stage


def test_nothing_heavy_is_imported_at_module_level() -> None:
    for file in FILES:
        heavy = {name.split(".")[0] for name in module_level_imports(file)} & HEAVY
        assert heavy == set(), file


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from distill_offline.cli import commands; "
        "[CliRunner().invoke(commands, [*name, '--help']) for name in ([], ['run'], ['train'], ['models', 'fetch'])]; "
        f"print(sorted(set(sys.modules) & {HEAVY!r}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_list_of_verbs_imports_none_of_them() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from distill_offline.cli import commands; "
        "CliRunner().invoke(commands, ['--help']); "
        "print([name for name in sys.modules if name.startswith(('rich', 'distill_offline.cli.', 'pydantic'))])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['distill_offline.cli.log', 'distill_offline.cli.verbs']"


def test_only_the_console_prints_and_knows_rich() -> None:
    for file in FILES:
        if file != PACKAGE / "cli" / "console.py":
            assert not any(name.split(".")[0] == "rich" for name in module_level_imports(file)), file
        calls = [node for node in ast.walk(parsed(file)) if isinstance(node, ast.Call)]
        assert not any(isinstance(c.func, ast.Name) and c.func.id == "print" for c in calls), file
