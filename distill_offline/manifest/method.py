"""By which method results are made: a digest of the source that decides them, whatever its comments and its layout.

What is learnt and said of the same inputs and settings depends on code, too: training, blending, the student, spans,
decoding, scoring, and the defaults of settings. Whoever compares results, or keeps them, has to know whether they are
of one method; a number raised by hand would be forgotten.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.abc import InspectLoader
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any

from distill_offline.errors import EnvironmentFault
from distill_offline.manifest.local_names import Variable, local_variables

__all__ = ["EXAMINING", "PRETRAINING", "TRAINING", "labelling", "method", "source_digest"]

# What decides which labels are learnt from, which weights a student ends with, which tags it gives and their score. A
# test keeps this list whole: what these modules import is in it, or is named there as deciding nothing.
TRAINING = (
    "distill_offline.config.select",
    "distill_offline.config.train",
    "distill_offline.corpus.refine",
    "distill_offline.label_kinds.*",
    "distill_offline.learning.acceleration",
    "distill_offline.learning.embedding_rows",
    "distill_offline.learning.group",
    "distill_offline.learning.optimisation",
    "distill_offline.learning.repeatable",
    "distill_offline.models.casing",
    "distill_offline.scoring.metrics",
    "distill_offline.scoring.mistakes",
    "distill_offline.select.relabel",
    "distill_offline.select.rules",
    "distill_offline.spans.bio",
    "distill_offline.student.batching",
    "distill_offline.student.capitals",
    "distill_offline.student.loading",
    "distill_offline.student.model",
    "distill_offline.student.out_of_fold",
    "distill_offline.student.windows",
    "distill_offline.text.visible",
    "distill_offline.train.blending",
    "distill_offline.train.loop",
    "distill_offline.train.self_training",
)
# What decides the encoder that `pretrain` makes.
PRETRAINING = (
    "distill_offline.config.pretrain",
    "distill_offline.corpus.refine",
    "distill_offline.learning.acceleration",
    "distill_offline.learning.embedding_rows",
    "distill_offline.learning.optimisation",
    "distill_offline.learning.repeatable",
    "distill_offline.pretrain.loop",
    "distill_offline.pretrain.masking",
    "distill_offline.pretrain.model",
    "distill_offline.pretrain.text",
    "distill_offline.student.batching",
    "distill_offline.student.loading",
    "distill_offline.student.windows",
    "distill_offline.text.visible",
)
# Besides, what decides what is learnt from several students together, from soft labels, and from sure ones of these.
_TOGETHER = ("distill_offline.student.committee", "distill_offline.train.committee")
_SOFT_LABELS = (*_TOGETHER, "distill_offline.train.soft_labels")
_SURE_LABELS = (*_SOFT_LABELS, "distill_offline.train.sure_labels")
# Besides, what decides what is seen where a study looks into its cells.
EXAMINING = (
    "distill_offline.study.examine.looking",
    "distill_offline.confidence.reliability",
    "distill_offline.study.examine.teacher_errors",
)


def method(*further: str) -> str:
    """The digest of TRAINING, and of the modules that are named besides: 16 hex digits."""
    return source_digest((*TRAINING, *further))


def labelling(*, together: bool, soft: bool, least: float | None) -> tuple[str, ...]:
    """The modules that decide, besides TRAINING's, what an arm learns that students label: `together`, softly, or not
    what they are less sure of than `least`. None for the labels of one student, which TRAINING has."""
    if least and (together or soft):
        return _SURE_LABELS
    return _SOFT_LABELS if soft else _TOGETHER if together else ()


@lru_cache(maxsize=16)
def source_digest(modules: tuple[str, ...]) -> str:
    """The first 16 hex digits of the SHA-256 of what the modules define, by their dotted names; `.*`: all of a package.

    Comments, docstrings, layout, imports, annotations, `__all__`, the names of functions' variables (not those of
    parameters) and the words of errors are no part of it, nor is which of the modules holds a definition: if code is
    only moved, renamed inside or explained, results are those of before. The same for every version of Python. Raises
    EnvironmentFault if a module's source is not installed.
    """
    definitions = (definition for name in _named(modules) for definition in _definitions(name))
    parts = sorted(hashlib.sha256(definition.encode()).hexdigest() for definition in definitions)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _named(modules: Iterable[str]) -> set[str]:
    """The modules' names, with those of a package in the place of `.*`."""
    names = set[str]()
    for name in modules:
        package, is_all, _ = name.partition(".*")
        spec = find_spec(package) if is_all else None
        inner = spec.submodule_search_locations if spec is not None else None
        names |= {package, *(f"{package}.{module.name}" for module in iter_modules(inner or []))} if is_all else {name}
    return names


def _definitions(module: str) -> Iterator[str]:
    """One text for each statement at the module's top level that decides something."""
    spec = find_spec(module)
    loader = spec.loader if spec is not None else None
    source = loader.get_source(module) if isinstance(loader, InspectLoader) else None
    if source is None:
        raise EnvironmentFault(
            f"{module}: its source is not installed, and results carry its digest. Install the package with sources."
        )
    for statement in _told(ast.parse(source).body):
        yield _text(statement, _Numbers(local_variables(statement)))


def _told(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that decide something."""
    for statement in body:
        match statement:
            case ast.Import() | ast.ImportFrom() | ast.Pass():
                continue
            case ast.Expr(value=ast.Constant()):  # a docstring
                continue
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                continue
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
        yield statement


class _Numbers:
    """A function's variables by the order in which they come up, instead of by their names."""

    def __init__(self, variables: Mapping[ast.AST, Variable]) -> None:
        self._variables = variables
        self._numbers: dict[Variable, int] = {}

    def of(self, node: ast.AST) -> str | None:
        """The variable that a node names; None if the node's names are to be kept."""
        variable = self._variables.get(node)
        return None if variable is None else f"<{self._numbers.setdefault(variable, len(self._numbers))}>"


def _text(node: Any, numbers: _Numbers) -> str:
    """The tree as text: names of nodes, and those fields that are not empty, so that newer Pythons' are no change."""
    if isinstance(node, list):
        return "[" + ",".join(_text(item, numbers) for item in node) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Raise | ast.Global | ast.Nonlocal):  # whose variable a name is, its number says
        return type(node).__name__
    fields, number = [], numbers.of(node)
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_comment", "ctx", "kind") or value in (None, []):
            continue
        if name == "body" and isinstance(value, list):
            value = list(_told(value))
        is_variable = number is not None and isinstance(value, str)
        fields.append(f"{name}={number if is_variable else _text(value, numbers)}")
    return f"{type(node).__name__}({','.join(fields)})"
