"""The import direction of the house, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "distill_offline"

# From the bottom up: a module may import what stands in a lower row, or in its own.
ROWS = (
    {"errors", "__init__"},
    {"visible"},
    {"schema"},
    {
        "settings",
        "setting_values",
        "annotate_settings",
        "corpus_settings",
        "select_settings",
        "plain_yaml",
        "study_settings",
        "train_settings",
        "registry",
        "digests",
        "model_headers",
        "offline",
        "children",
        "filesystem",
        "installation",
        "network",
        "template_limits",
        "text_encoding",
    },
    {"bio", "model_folder", "artifacts", "json_values"},
    {"label_kinds"},
    {"annotations"},
    {
        "alignment",
        "diversity",
        "matching",
        "mistakes",
        "near_duplicates",
        "scoring",
        "comparison",
        "statistics",
        "thinking",
        "blending",
        "demonstrations",
        "confidence",
        "calibration",
        "quality",
    },
    {"training", "out_of_fold"},
    {"tasks", "backends", "completions", "corpus", "statement", "download", "report"},
    {"labelling", "model_entries", "model_files", "student", "student_loading", "manifest"},
    {"catalogue"},
    {"answers", "stages"},
    {"config"},
    {"inputs", "run_folder", "doctor", "bundle"},
    {"provenance"},
    {"pipeline"},
    {"study"},
    {"console"},
    {"cli", "__main__"},
)
LEVEL = {name: level for level, row in enumerate(ROWS) for name in row}
HEAVY = {"torch", "transformers", "vllm", "xllamacpp", "accelerate", "sklearn", "bitsandbytes", "ray"}


def module_level_imports(file: Path) -> set[str]:
    """Names of modules imported when `file` is, `if TYPE_CHECKING` left out."""
    found: set[str] = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            if node.module == "distill_offline":
                found.update(f"distill_offline.{alias.name}" for alias in node.names)
    return found


def part_of(file: Path) -> str:
    relative = file.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def inner_imports(file: Path) -> set[str]:
    own = {name.split(".")[1] for name in module_level_imports(file) if name.startswith("distill_offline.")}
    return {name for name in own if name in LEVEL}


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_module_has_its_row() -> None:
    assert {part_of(file) for file in FILES} - set(LEVEL) - {"data"} == set()


def test_imports_point_downwards() -> None:
    upwards = [
        f"{file.relative_to(PACKAGE)} imports {name}"
        for file in FILES
        for name in inner_imports(file)
        if LEVEL[name] > LEVEL[part_of(file)]
    ]
    assert upwards == []


def test_tasks_and_backends_never_meet() -> None:
    for file in FILES:
        other = {"tasks": "backends", "backends": "tasks"}.get(part_of(file))
        assert other is None or other not in inner_imports(file), file


def test_stages_do_not_import_each_other() -> None:
    stages = {file.stem for file in (PACKAGE / "stages").glob("*.py")} - {"__init__"}
    for file in (PACKAGE / "stages").glob("*.py"):
        meets = {name.removeprefix("distill_offline.stages.") for name in module_level_imports(file)} & stages
        assert meets == set(), file


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
    assert result.stdout.strip() == "['distill_offline.cli.verbs']"


def test_only_the_console_prints_and_knows_rich() -> None:
    for file in FILES:
        if part_of(file) != "console":
            assert not any(name.split(".")[0] == "rich" for name in module_level_imports(file)), file
        calls = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)]
        assert not any(isinstance(c.func, ast.Name) and c.func.id == "print" for c in calls), file
