"""Name → object: by one table of `module:attribute` strings, by an entry point, or by a user's own `module:attribute`.

And what goes wrong in users' code.
"""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from traceback import extract_tb, walk_tb
from types import ModuleType
from typing import TYPE_CHECKING, Any

from distill_offline.errors import ConfigError, DistillError, MissingPackage

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["MOVED", "check_has", "described", "distributions_used", "is_offered", "load", "spelled", "theirs"]

# Modules of ours that code and configurations of users may name by where they were in version 0.1.
MOVED = {
    "alignment": "spans.locate",
    "annotate_settings": "config.annotate",
    "answers": "annotate.answers",
    "artifacts": "storage.files",
    "backends.dialects": "backends.chat_completion",
    "backends.http_exchange": "backends.http_post",
    "batching": "student.batching",
    "bio": "spans.bio",
    "blending": "train.blending",
    "calibration": "confidence.calibration",
    "catalogue": "models.catalogue",
    "checkpoint": "learning.checkpoint",
    "cli.annotation": "cli.annotate",
    "cli.artifacts": "cli.models",
    "cli.labels": "cli.evaluate",
    "cli.stages": "cli.select",
    "comparison": "scoring.comparison",
    "completions.lock": "storage.lock",
    "confidence": "confidence.token_probabilities",
    "console": "cli.console",
    "corpus_settings": "config.corpus",
    "decoding": "label_kinds.decoding",
    "demonstrations": "annotate.demonstrations",
    "digests": "storage.digests",
    "diversity": "select.diversity",
    "download": "models.download",
    "embedding_rows": "learning.embedding_rows",
    "filesystem": "storage.filesystem",
    "inputs": "annotate.teacher",
    "installation": "manifest.installation",
    "json_values": "text.json_values",
    "labelling": "student.labelling",
    "losses": "label_kinds.losses",
    "matching": "spans.matching",
    "mistakes": "scoring.mistakes",
    "model_entries": "models.entries",
    "model_files": "models.files",
    "model_folder": "models.folder",
    "model_headers": "models.headers",
    "near_duplicates": "select.near_duplicates",
    "network.decoys": "offline.decoys",
    "network.isolation": "offline.isolation",
    "network.layers": "offline.layers",
    "network.strace": "offline.strace",
    "network.trace": "offline.trace",
    "optimisation": "learning.optimisation",
    "out_of_fold": "student.out_of_fold",
    "pipeline.annotate": "annotate.stage",
    "pipeline.annotation_lines": "scoring.annotation_lines",
    "pipeline.calibrate": "select.calibrate",
    "pipeline.cross_fit": "select.cross_fit",
    "pipeline.distilled": "select.distilled",
    "pipeline.effect": "select.effect",
    "pipeline.evaluate": "evaluate.stage",
    "pipeline.forecast": "annotate.forecast",
    "pipeline.frozen": "annotate.frozen",
    "pipeline.held_against": "evaluate.compare",
    "pipeline.inside_token": "spans.inside_token",
    "pipeline.probe": "annotate.probe",
    "pipeline.sample": "annotate.sample",
    "pipeline.select": "select.stage",
    "pipeline.train": "train.stage",
    "pipeline.truth": "evaluate.truth",
    "pipeline.unheld": "run.unheld",
    "pipeline.unknown_types": "annotate.unknown_types",
    "pipeline.work": "annotate.work",
    "plain_yaml": "config.plain_yaml",
    "quality": "scoring.quality",
    "run_folder": "run.folder",
    "scoring": "scoring.metrics",
    "select_settings": "config.select",
    "setting_values": "config.values",
    "settings": "config.settings",
    "stages.acquire": "pipeline.uncertainty",
    "stages.annotate": "annotate.asking",
    "stages.select": "select.rules",
    "stages.train": "train.loop",
    "statement": "manifest.statement",
    "statistics": "scoring.statistics",
    "student": "student.model",
    "student_loading": "student.loading",
    "study.examined": "study.examine.rows",
    "study.examined_plots": "study.examine.plots",
    "study.examined_summary": "study.examine.summary",
    "study.examined_tables": "study.examine.tables",
    "study.reference": "study.examine.reference",
    "study.examine.reliability": "confidence.reliability",
    "study.reliability": "confidence.reliability",
    "study.statistics": "scoring.statistics",
    "study.svg": "report.svg",
    "study.teacher_errors": "study.examine.teacher_errors",
    "study_settings": "config.study",
    "tasks.template_limits": "text.template_limits",
    "template_limits": "text.template_limits",
    "text_encoding": "text.encoding",
    "thinking": "text.thinking",
    "train.acceleration": "learning.acceleration",
    "train.checkpoint": "learning.checkpoint",
    "train.embedding_rows": "learning.embedding_rows",
    "train.group": "learning.group",
    "train.optimisation": "learning.optimisation",
    "train_settings": "config.train",
    "training.acceleration": "learning.acceleration",
    "training.batching": "student.batching",
    "training.checkpoint": "learning.checkpoint",
    "training.embedding_rows": "learning.embedding_rows",
    "training.group": "learning.group",
    "training.losses": "label_kinds.losses",
    "training.memory": "student.memory",
    "training.optimisation": "learning.optimisation",
    "training.processes": "train.processes",
    "training.windows": "student.windows",
    "visible": "text.visible",
}

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_OUR_FOLDER = str(Path(__file__).parent)
_LONGEST = 200
_USED: dict[str, str] = {}
_NAMELESS = "a distribution without METADATA"


def load(
    kind: str, name: str, table: Mapping[str, str], extras: Mapping[str, str] | None = None, *, group: str = ""
) -> Any:
    """The object that `name` stands for: in `table`; else among the entry points of `distill_offline.<group>`; or
    directly, where it is written `package.module:attribute`.

    `kind` is the configuration key, for messages. `extras` says which extra installs a name's dependencies. Entry
    points are looked up only for a name that is not in the table, so none can stand in for one of ours.
    Raises ConfigError for an unknown name, for one that two distributions offer, and for a user's module that cannot be
    imported, whatever the reason, with its file and line; MissingPackage where a dependency of ours is not installed.
    """
    if name not in table:
        return _theirs(kind, name, table, group)
    module, _, attribute = table[name].partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        extra = (extras or {}).get(name)
        remedy = f" Install it: pip install 'distill_offline[{extra}]'." if extra else ""
        raise MissingPackage(
            f"{kind}: {name!r} needs {error.name or module}, which does not import ({error}).{remedy}"
        ) from error


def is_offered(group: str, name: str) -> bool:
    """Whether an installed distribution has an entry point of that name in `distill_offline.<group>`."""
    return name in _offers(group, tuple(sys.path))


def spelled(name: str, group: str) -> str:
    """A name that is not ours, for messages: an entry point's with the `package.module:attribute` behind it."""
    offers = [] if ":" in name else _offers(group, tuple(sys.path)).get(name, [])
    return f"{name} ({offers[0].target})" if offers else name


def distributions_used() -> dict[str, str]:
    """The installed distributions whose entry points this process has loaded, with their versions."""
    return dict(sorted(_USED.items()))


def check_has(kind: str, name: str, value: Any, attributes: Iterable[str]) -> None:
    """Raises ConfigError if what `name` stands for lacks any of the attributes; says which."""
    if missing := [attribute for attribute in attributes if not hasattr(value, attribute)]:
        raise ConfigError(f"{kind}: {name} has no {', no '.join(missing)}; it must be there.")


@contextmanager
def theirs(kind: str, name: str, doing: str = "", *, may_quote: bool = False) -> Iterator[None]:
    """Within it, an error of a user's code becomes ConfigError: the key, what it did, its file and line, the error.

    What the error says is left out where it `may_quote` the corpus. Our own errors, and a lack of memory, pass.
    """
    try:
        yield
    except (DistillError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        what = f"{name}{f', {doing}' if doing else ''}"
        raise ConfigError(f"{kind}: {what}: {described(error, name, may_quote=may_quote)}") from error


def described(error: BaseException, name: str, *, may_quote: bool = False) -> str:
    """`file:line: ErrorType: message` of an error in a user's code; `name` is, or ends in (as `spelled`), its
    `package.module:attribute`."""
    target = _TARGET.search(name)
    module = sys.modules.get(target[0].partition(":")[0]) if target else None
    return _place(error, module) + (type(error).__name__ if may_quote else _said(error))


@dataclass(frozen=True, slots=True)
class _Offer:
    """An entry point: the distribution that has it, and what it stands for."""

    distribution: str
    target: str


@lru_cache(maxsize=32)
def _offers(group: str, path: tuple[str, ...]) -> dict[str, list[_Offer]]:
    """The entry points of `distill_offline.<group>` by their names; looked up once for each `path` (sys.path)."""
    from importlib.metadata import entry_points

    offers: dict[str, list[_Offer]] = {}
    for entry in entry_points(group=f"distill_offline.{group}") if group else ():
        offer = _Offer(_distribution(entry), entry.value.replace(" ", ""))
        if offer not in offers.setdefault(entry.name, []):
            offers[entry.name].append(offer)
    return offers


def _distribution(entry: EntryPoint) -> str:
    try:
        name, version = (entry.dist.name, entry.dist.version) if entry.dist else ("", "")
    except TypeError:  # a .dist-info folder without METADATA
        return _NAMELESS
    return f"{name} {version}" if name else _NAMELESS


def _theirs(kind: str, name: str, table: Mapping[str, str], group: str) -> Any:
    if ":" in name:
        return _named(kind, name, name)
    offers = _offers(group, tuple(sys.path))
    candidates = offers.get(name, [])
    if len(candidates) > 1:
        which = " and ".join(f"{offer.distribution} ({offer.target})" for offer in candidates)
        raise ConfigError(
            f"{kind}: {name!r} is offered {len(candidates)} times: by {which}. Uninstall all but one, or write "
            "package.module:Name."
        )
    if candidates:
        if candidates[0].distribution != _NAMELESS:
            used, _, version = candidates[0].distribution.rpartition(" ")
            _USED[used] = version
        return _named(kind, f"{name} (of {candidates[0].distribution})", candidates[0].target)
    known = sorted({*table, *offers})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ConfigError(f"{kind}: {name!r} is unknown.{hint} Known: {', '.join(known)}, or package.module:Name.")


def _named(kind: str, name: str, target: str) -> Any:
    """What `package.module:Name` stands for; `name` is what the user wrote."""
    if not _TARGET.fullmatch(target):
        what = f"{target!r} is not written" if name == target else f"{name}: its entry point {target!r} is not written"
        raise ConfigError(f"{kind}: {what} as package.module:Name.")
    module, _, attribute = target.partition(":")
    module = _now(module)
    loaded = _imported(kind, name, module)
    try:
        return getattr(loaded, attribute)
    except AttributeError as error:
        near = difflib.get_close_matches(attribute, vars(loaded), n=1)
        hint = f" Did you mean {module}:{near[0]}?" if near else ""
        whose = "" if name == target else f"{name}: "
        raise ConfigError(f"{kind}: {whose}module {module} has no {attribute!r}.{hint}") from error


def _imported(kind: str, name: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:
        is_absent = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        if is_absent:
            problem = f"there is no module {error.name}. Is its folder on PYTHONPATH?"  # type: ignore[union-attr]
        else:
            problem = f"module {module} does not import: {_place(error, None)}{_said(error)}{_moved(error)}"
        raise ConfigError(f"{kind}: {name}: {problem}") from error


def _now(module: str) -> str:
    """Where a module is, if it is one of ours that is named by where it was; else as it is."""
    package, _, inner = module.partition(".")
    return f"{package}.{MOVED[inner]}" if package == __package__ and inner in MOVED else module


def _moved(error: BaseException) -> str:
    """Where what could not be imported is now, if it is a module of ours that moved, or the folder of one."""
    package, _, inner = ((error.name or "") if isinstance(error, ImportError) else "").partition(".")
    olds = [old for old in MOVED if f"{old}.".startswith(f"{inner}.")] if package == __package__ else []
    # Of a folder that is gone, the error names the folder alone: which of its modules was meant, the line says.
    lines = " ".join(frame.line or "" for frame in extract_tb(error.__traceback__))
    meant = [old for old in olds if re.search(rf"\b{package}\.{re.escape(old)}(?![\w.])", lines)] or olds
    return f". {package}.{meant[0]} is {package}.{MOVED[meant[0]]} now." if meant else ""


def _said(error: BaseException) -> str:
    first = str(error.msg if isinstance(error, SyntaxError) else error).strip().partition("\n")[0]
    shown = first if len(first) <= _LONGEST else f"{first[:_LONGEST]}..."
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


def _place(error: BaseException, module: ModuleType | None) -> str:
    """`file:line: ` of the user's code: in its own module if it is on the way, or in whatever it called last."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}:{error.lineno}: "
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    module_file = getattr(module, "__file__", None)
    foreign = [frame for frame in frames if not frame[0].startswith((_OUR_FOLDER, "<")) and "importlib" not in frame[0]]
    shown_frames = [frame for frame in frames if frame[0] == module_file] or foreign
    return f"{shown_frames[-1][0]}:{shown_frames[-1][1]}: " if shown_frames else ""
