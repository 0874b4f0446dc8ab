"""The digest of what decides a result: blind to words and layout, not to code; its list of modules is whole."""

from __future__ import annotations

import ast
import re
import symtable
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from distill_offline.manifest.local_names import local_variables
from distill_offline.manifest.method import EXAMINING, TRAINING, _named, method, source_digest

# Imported by what decides, and deciding nothing themselves; or told elsewhere in fingerprints (how raw text is
# tokenised), or by settings of its own (how select drops sentences that are alike).
ELSEWHERE = {
    "distill_offline.annotations",
    "distill_offline.corpus.languages",
    "distill_offline.corpus.tokenise",
    "distill_offline.config.corpus",
    "distill_offline.select.diversity",
    "distill_offline.errors",
    "distill_offline.spans.matching",
    "distill_offline.models.folder",
    "distill_offline.select.near_duplicates",
    "distill_offline.registry",
    "distill_offline.schema",
    "distill_offline.student.labelling",
    "distill_offline.config.values",
    "distill_offline.config.settings",
    "distill_offline.learning.checkpoint",
    "distill_offline.run.folder",
    "distill_offline.student.memory",
}

SOURCE = '''"""What it is for."""

from __future__ import annotations
from collections import Counter

__all__ = ["total"]


def total(values: list[int], start: int = 1) -> int:
    """The sum."""
    if start < 0:
        raise ValueError("start is negative")
    return sum(values, start)


class Kept:
    """One."""

    rate: float = 0.5
'''


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.syspath_prepend(tmp_path)
    made = iter(range(100))

    def digest(*sources: str) -> str:
        names = [f"deciding_{next(made)}_{tmp_path.name}" for _ in sources]
        for name, source in zip(names, sources, strict=True):
            (tmp_path / f"{name}.py").write_text(source, "utf-8")
        return source_digest(tuple(names))

    return digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("What it is for", "What it is"),
        ("The sum", "All added up"),
        ("sum(values, start)", "sum(  # a comment\n        values,\n        start,\n    )"),
        ("from collections import Counter", "from collections import deque"),
        ("values: list[int]", "values: list[float]"),
        ("start is negative", "start must not be negative"),
        ('["total"]', '["Kept", "total"]'),
        ("        raise", "\n\n        raise"),
    ],
)
def test_words_and_layout_change_nothing(digest: Callable[..., str], old: str, new: str) -> None:
    assert SOURCE.replace(old, new) != SOURCE
    assert digest(SOURCE.replace(old, new)) == digest(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("start: int = 1", "start: int = 2"),
        ("0.5", "0.6"),
        ("start < 0", "start <= 0"),
        ("sum(", "max("),
        ("rate", "r"),
    ],
)
def test_code_and_defaults_change_it(digest: Callable[..., str], old: str, new: str) -> None:
    assert digest(SOURCE.replace(old, new)) != digest(SOURCE)


FUNCTION = """def spread(values, start=0, *, by=2):
    def one(value):
        nonlocal total
        total += value * factor
        return [value + extra for extra in range(start)]

    total, factor = start, by
    parts = [one(value) for value in values if (last := value) > total]
    try:
        for number, part in enumerate(parts):
            total += sum(factor * item for item in part) + number
    except ValueError as error:
        print(error, last)
    match parts:
        case [first, *rest]:
            return first, rest
        case {"a": inner, **others} if inner:
            return others
    return max(parts, key=lambda item: item[factor] - total)
"""


@pytest.mark.parametrize(
    "names",
    [
        {"total": "reached"},
        {"factor": "total", "total": "factor"},  # both are variables: each takes the other's name everywhere
        {"extra": "value_", "last": "newest", "error": "fault"},
        {"first": "head", "rest": "tail", "inner": "x", "others": "y"},
        {"number": "item", "part": "values_", "parts": "all_parts"},
    ],
)
def test_names_of_a_functions_variables_change_nothing(digest: Callable[..., str], names: dict[str, str]) -> None:
    renamed = re.sub(r"\w+", lambda match: names.get(match[0], match[0]), FUNCTION)
    assert renamed != FUNCTION
    assert digest(renamed) == digest(FUNCTION)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("value * factor", "value * total"),  # another variable is used
        ("total, factor = start, by", "factor, total = start, by"),
        ("+ number", "+ total"),
        ("return first, rest", "return rest, first"),
        ("value + extra for", "value + value for"),
        ("nonlocal total", "total = 0"),  # a variable of the inner function, no longer the outer one's
        ("item[factor] - total", "item[total] - factor"),
        ("start", "begin"),  # a parameter's name is one that callers use
        ("by", "step"),
        ("sum(", "max("),  # and what is not bound in the function is not its variable
        ("print(error, last)", "print(last, error)"),
    ],
)
def test_use_of_another_variable_changes_it(digest: Callable[..., str], old: str, new: str) -> None:
    changed = re.sub(rf"(?<!\w){re.escape(old)}", new, FUNCTION)
    assert changed != FUNCTION
    assert digest(changed) != digest(FUNCTION)


def test_a_variable_that_hides_a_function_changes_it(digest: Callable[..., str]) -> None:
    source = "def a(rows):\n    for row in rows:\n        print(len(row))\n"
    hidden = "def a(rows):\n    for len in rows:\n        print(len(len))\n"
    assert digest(hidden) != digest(source)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("def a(b):\n    from math import cos as turn\n    return turn(b)\n", "turn"),  # what is imported is not told
        ("class A:\n    rate = 1\n    twice = 2 * rate\n", "rate"),
        ("def a():\n    global count\n    count = 1\n    return count\n", "count"),
        ("def a():\n    size = 1\n    return locals()\n", "size"),
        ("def a(b):\n    return [c for c in b if eval('c > 1')]\n", "c"),
    ],
)
def test_other_names_change_it(digest: Callable[..., str], source: str, name: str) -> None:
    assert digest(re.sub(rf"\b{name}\b", "renamed", source)) != digest(source)


def test_variables_of_this_package_can_be_renamed(digest: Callable[..., str]) -> None:
    """Each by the compiler's word on whose variable a name is, in every module that decides."""
    for module in sorted(_named(TRAINING)):
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).read_text("utf-8")
        tree = ast.parse(source)
        variables = local_variables(tree)
        for node, (scope, name) in variables.items():
            for field, value in ast.iter_fields(node):
                if value == name:
                    setattr(node, field, f"{name}_{scope}")
        renamed = ast.unparse(tree)
        assert digest(renamed) == digest(ast.unparse(ast.parse(source))), module
        assert _shape(symtable.symtable(renamed, "a", "exec")) == _shape(symtable.symtable(source, "a", "exec")), module


def _shape(table: symtable.SymbolTable) -> object:
    """What each scope has, but for the names: how many symbols of every kind."""
    kinds = [(s.is_parameter(), s.is_local(), s.is_free(), s.is_global(), s.is_imported()) for s in table.get_symbols()]
    return table.get_type(), sorted(kinds), [_shape(inner) for inner in table.get_children()]


def test_code_may_move_to_another_module(digest: Callable[..., str]) -> None:
    begin, kept = SOURCE.split("class Kept")
    assert digest(begin, f"class Kept{kept}") == digest(SOURCE)


def test_digest_is_the_same_for_every_version_of_python(digest: Callable[..., str]) -> None:
    assert digest(SOURCE) == "275ccd7f8552c62c", sys.version


def test_list_is_whole() -> None:
    deciding = _named(TRAINING)
    assert "distill_offline.label_kinds.decoding" in deciding
    missing = {name for module in deciding for name in _imported(module)} - {*deciding, *ELSEWHERE}
    assert missing == set()
    assert len(method()) == 16
    assert method() != method(*EXAMINING)


def _imported(module: str) -> set[str]:
    """The package's modules that one imports, wherever it does; not for its types alone."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree, found = ast.parse(Path(spec.origin).read_text("utf-8")), set[str]()
    typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    skipped = {inner for each in typing for inner in ast.walk(each)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and node not in skipped
            and (node.module or "").startswith("distill_offline")
        ):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if _is_module(name) else str(node.module) for name in names)
    return found


def _is_module(name: str) -> bool:
    try:
        return name.startswith("distill_offline") and find_spec(name) is not None
    except ModuleNotFoundError:
        return False
