"""Types and classes as people mean them: in any case, with blanks for hyphens, with a tag's prefix, in the plural, or
by a synonym that the task names."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from distill_offline.errors import ConfigError

__all__ = ["TypeNames"]

_FILLING = re.compile(r"[\s_\-\u2010-\u2015.:/'\"`<>()\[\]{}*]+")
_TAG_PREFIX = re.compile(r"\s*[BIESLU][-_](?=\w)", re.IGNORECASE)
_SHORTEST_PLURAL = 4  # characters; NEWS is not the plural of a type NEW


class TypeNames:
    """What each of a task's types may be called. `ambiguous` are names that fold like another's: only exact they count.

    `tagged`: an answer may have the prefixes of tags (`B-PER`). Raises ConfigError for synonyms of what is no type, or
    that could mean more than one.
    """

    def __init__(self, types: Sequence[str], synonyms: Mapping[str, Sequence[str]], *, tagged: bool) -> None:
        _check(types, synonyms)
        self._tagged = tagged
        names = [(name, name) for name in types]
        names += [(synonym, name) for name, others in synonyms.items() for synonym in others]
        self._exact = dict(names)
        folded, self.ambiguous = _unique((_folded(written), name) for written, name in names)
        plurals, _ = _unique((form, name) for fold, name in folded.items() for form in _other_numbers(fold))
        self._folded = {**plurals, **folded}
        for name in self.ambiguous:  # nor is it the plural of another
            self._folded.pop(_folded(name), None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of the names."""
        if not self.ambiguous:
            return ()
        return (
            f"task.types: {', '.join(self.ambiguous)} differ in case, blanks or hyphens alone: an answer must give "
            "them exactly as they are written.",
        )

    def read(self, written: str) -> str | None:
        """The type that is meant, or None."""
        if (name := self._exact.get(written) or self._folded.get(_folded(written))) is not None:
            return name
        if self._tagged and (prefix := _TAG_PREFIX.match(written)):
            rest = written[prefix.end() :]
            return self._exact.get(rest) or self._folded.get(_folded(rest))
        return None


def _check(types: Sequence[str], synonyms: Mapping[str, Sequence[str]]) -> None:
    meant = {_folded(name): name for name in types}
    for name, others in synonyms.items():
        if name not in types:
            near = difflib.get_close_matches(name, types, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"task.synonyms.{name}: task.types names no such type.{hint}")
        for other in others:
            fold = _folded(other)
            if not fold:
                raise ConfigError(f"task.synonyms.{name}: {other!r} holds no letter and no digit.")
            if meant.setdefault(fold, name) != name:
                raise ConfigError(f"task.synonyms.{name}: {other!r} could mean {meant[fold]}, too.")


def _folded(name: str) -> str:
    return _FILLING.sub("", unicodedata.normalize("NFKC", name).casefold())


def _other_numbers(fold: str) -> list[str]:
    """The plural of a singular and the singular of a plural, as English forms them."""
    forms = [f"{fold}s", f"{fold}es"]
    if fold.endswith("y"):
        forms.append(f"{fold[:-1]}ies")
    if fold.endswith("ies"):
        forms.append(f"{fold[:-3]}y")
    if fold.endswith("s") and not fold.endswith("ss"):
        forms.append(fold[:-1])
    if fold.endswith("es"):
        forms.append(fold[:-2])
    return [form for form in forms if len(form) >= _SHORTEST_PLURAL and len(fold) > 1]


def _unique(pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Folded names that mean one type, and the types that share one."""
    meant: dict[str, dict[str, None]] = {}
    for fold, name in pairs:
        if fold:
            meant.setdefault(fold, {})[name] = None
    unique = {fold: next(iter(names)) for fold, names in meant.items() if len(names) == 1}
    return unique, tuple(dict.fromkeys(name for names in meant.values() if len(names) > 1 for name in names))
