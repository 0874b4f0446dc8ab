"""Which names in a piece of source are variables of its functions alone: what they are called decides nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["Variable", "local_variables"]

# What reads variables by their names: with one of these in sight, every name keeps its own.
_BY_NAME = {"locals", "vars", "dir", "eval", "exec"}
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

Variable = tuple[int, str]  # the number of the scope that it belongs to, and its name


@dataclass(slots=True)
class _Scope:
    """One function, comprehension or class, or the whole tree (`parent` is None).

    `fixed` are names that must stay: parameters, which callers may name, and what `import`, `def` and `class` bind.
    """

    number: int
    parent: _Scope | None = None
    is_class: bool = False
    is_comprehension: bool = False
    bound: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)  # those under `nonlocal`
    top: set[str] = field(default_factory=set)  # those under `global`

    def owner(self, name: str) -> _Scope | None:
        """The scope whose variable the name is here; None for the names of the module, and Python's own."""
        scope: _Scope | None = self
        while scope is not None and name not in scope.top:
            is_visible = not scope.is_class or scope is self
            if is_visible and name in scope.bound | scope.fixed and name not in scope.outer:
                return scope
            scope = scope.parent
        return None


def local_variables(tree: ast.AST) -> Mapping[ast.AST, Variable]:
    """For each node that names a variable of a function or comprehension, the variable. Nodes of others are left out.

    The nodes are Name, and what binds a name without one: ExceptHandler, MatchAs, MatchStar and MatchMapping. Names of
    modules and classes are none of these variables, nor are parameters, imported names, and inner functions and
    classes. Empty if something in the tree reads variables by their names.
    """
    if any(isinstance(node, ast.Name) and node.id in _BY_NAME for node in ast.walk(tree)):
        return {}
    reader = _Reader()
    reader.read(tree, reader.scopes[0])
    variables = {}
    for node, name, scope in reader.names:
        owner = scope.owner(name)
        if owner is not None and owner.parent is not None and not owner.is_class and name not in owner.fixed:
            variables[node] = (owner.number, name)
    return variables


class _Reader:
    """Goes over a tree once, and notes the scopes and what each binds."""

    def __init__(self) -> None:
        self.scopes = [_Scope(0)]
        self.names: list[tuple[ast.AST, str, _Scope]] = []

    def read(self, node: ast.AST, scope: _Scope) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                self._function(node, scope)
            case ast.ClassDef(name=name):
                scope.fixed.add(name)
                inner = self._scope(scope, is_class=True)
                for child in ast.iter_child_nodes(node):
                    self.read(child, inner if child in node.body else scope)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self._comprehension(node, scope)
            case ast.NamedExpr(target=target, value=value):
                self._bind(target, target.id, _around(scope))
                self.read(value, scope)
            case ast.Name(id=name, ctx=ast.Load()):
                self.names.append((node, name, scope))
            case ast.Name(id=name):
                self._bind(node, name, scope)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                scope.fixed |= {alias.asname or alias.name.partition(".")[0] for alias in aliases}
            case _:
                if (bound := _bound_without_name(node)) is not None:
                    self._bind(node, bound, scope)
                for child in ast.iter_child_nodes(node):
                    self.read(child, scope)

    def _scope(self, parent: _Scope, *, is_class: bool = False, is_comprehension: bool = False) -> _Scope:
        self.scopes.append(_Scope(len(self.scopes), parent, is_class, is_comprehension))
        return self.scopes[-1]

    def _bind(self, node: ast.AST, name: str, scope: _Scope) -> None:
        if name not in scope.top | scope.outer:
            scope.bound.add(name)
        self.names.append((node, name, scope))

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: _Scope) -> None:
        inner = self._scope(scope)
        inner.fixed |= {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
        body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else [*node.body]
        if not isinstance(node, ast.Lambda):
            scope.fixed.add(node.name)
            for decorator in node.decorator_list:
                self.read(decorator, scope)
        for default in filter(None, (*node.args.defaults, *node.args.kw_defaults)):
            self.read(default, scope)
        for declaration in _declarations(body):  # which may come behind an inner function that they concern
            names = inner.top if isinstance(declaration, ast.Global) else inner.outer
            names |= {*declaration.names}
        for statement in body:
            self.read(statement, inner)

    def _comprehension(self, node: ast.AST, scope: _Scope) -> None:
        assert isinstance(node, _COMPREHENSIONS)
        inner, first = self._scope(scope, is_comprehension=True), node.generators[0]
        self.read(first.iter, scope)  # Python evaluates the first one outside
        for generator in node.generators:
            children = [generator.target, *([] if generator is first else [generator.iter]), *generator.ifs]
            for child in children:
                self.read(child, inner)
        for child in [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]:
            self.read(child, inner)


def _around(scope: _Scope) -> _Scope:
    """Where `:=` binds: outside of the comprehensions around it."""
    while scope.is_comprehension and scope.parent is not None:
        scope = scope.parent
    return scope


def _bound_without_name(node: ast.AST) -> str | None:
    match node:
        case ast.ExceptHandler(name=name) | ast.MatchAs(name=name) | ast.MatchStar(name=name):
            return name
        case ast.MatchMapping(rest=name):
            return name
    return None


def _declarations(body: Iterable[ast.AST]) -> Iterator[ast.Global | ast.Nonlocal]:
    """A function's own `global` and `nonlocal`, wherever they stand in it."""
    for node in body:
        if isinstance(node, ast.Global | ast.Nonlocal):
            yield node
        elif not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            yield from _declarations(ast.iter_child_nodes(node))
