"""What a walk along the chain found: a tree of links, each with what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Link", "Problem", "State", "broken", "gap"]

State = Literal["holds", "gap", "broken"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One gap in the chain. `what` is one word for machines (docs/provenance.md lists them), `message` says it.

    `broken`: it was checked and does not hold. `gap`: it could not be checked here.
    """

    what: str
    state: State
    where: str
    message: str

    def as_dict(self) -> dict[str, str]:
        return {"problem": self.what, "state": self.state, "where": self.where, "message": self.message}


def broken(what: str, where: str, message: str) -> Problem:
    return Problem(what, "broken", where, message)


def gap(what: str, where: str, message: str) -> Problem:
    return Problem(what, "gap", where, message)


@dataclass(frozen=True, slots=True)
class Link:
    """A thing in the chain; `parts` are what it was made from, or what it consists of.

    `kind`: run, stage, release, student, annotations, completions, model, input, bundle or signer.
    """

    kind: str
    name: str
    detail: str = ""
    problems: tuple[Problem, ...] = ()
    parts: tuple[Link, ...] = ()

    @property
    def state(self) -> State:
        """Of this link alone, without its parts."""
        return _worst(self.problems)

    @property
    def verdict(self) -> State:
        """Of the whole tree."""
        return _worst(tuple(self.all_problems()))

    def all_problems(self) -> Iterator[Problem]:
        """Every problem of the tree, once, those nearest to the top first."""
        level, seen = [self], set[Problem]()
        while level:
            for problem in (problem for link in level for problem in link.problems):
                if problem not in seen:
                    seen.add(problem)
                    yield problem
            level = [part for link in level for part in link.parts]

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "state": self.state,
            "detail": self.detail,
            "problems": [problem.as_dict() for problem in self.problems],
            "parts": [part.as_dict() for part in self.parts],
        }


def _worst(problems: tuple[Problem, ...]) -> State:
    states = {problem.state for problem in problems}
    return "broken" if "broken" in states else "gap" if states else "holds"
