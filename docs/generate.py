"""Write the pages that are made from the program itself: cli.md, configuration.md and ../configs/schema.json.

    python docs/generate.py

A test compares the files with what this makes, so that they cannot go stale.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import inspect
import itertools
import json
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click
from annotated_types import Ge, Gt, Le, Lt
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from distill_offline.backends import BACKENDS, OPTIONS
from distill_offline.bundle.settings import BundleSettings
from distill_offline.cli import commands
from distill_offline.config.settings import Settings, Source
from distill_offline.corpus import formats
from distill_offline.corpus.holding import HOLDS, ToolFormat

DOCS = Path(__file__).parent
WIDTH = 100  # of a command's help
TITLE = "A configuration of distill_offline"  # what editors call a file that the schema fits

_UNIT = re.compile(r"\[([^]]+)\] ")
_NAMES = {int: "whole number", float: "number", str: "text", bool: "`true` or `false`", Any: "anything"}

CONFIGURATION = """# Every setting

A configuration is a YAML file with these sections. Only `name`, `task.types` and `corpus` must be there; a teacher
needs `backend.name`, and a student `train.encoder`. An unknown key is an error that names the nearest known one. On
the command line, `--set section.key=value` changes a setting. Paths are relative to the folder in which the command
runs.

Editors that understand JSON Schema complete and check the keys: begin the file with
`# yaml-language-server: $schema=` and the path of [`configs/schema.json`](../configs/schema.json) (where the package is
installed: `distill_offline/data/configs/schema.json`). `distill-offline doctor CONFIG` shows all faults at once.

This page is made from the program by `python docs/generate.py`; "empty" means that the setting is left out.
"""

BUNDLES = """# The configuration of a bundle

A file of its own, for `air_gap_bundle.sh build` ([air-gap.md](air-gap.md)).
"""

CLI = """# Every command

Results go to stdout (`--json` for machines), progress goes to stderr. This page is made from the program by
`python docs/generate.py`. What the settings of a configuration mean is in [configuration.md](configuration.md).

| exit code | means |
|--:|---|
| 0 | done |
| 1 | failed |
| 2 | a mistake in the command, the configuration or the input |
| 3 | more rows quarantined than `annotate.max_quarantined` allows |
| 4 | something is missing on this machine: a model, a package, a driver, disk space |
| 5 | a quality gate was missed (`evaluate.min_f1`, `--min-f1`) |
| 130 | interrupted; the same command goes on |

Options of the program itself come before the verb: `distill-offline --quiet run CONFIG`. `--quiet` (or
`DISTILL_QUIET=1`) leaves nothing on stderr but warnings and errors. With `--log-format json` (or
`DISTILL_LOG_FORMAT=json`) stderr is one JSON object a line, in ASCII:

| field | of which level | what |
|---|---|---|
| `time` | all | UTC, RFC 3339, with milliseconds |
| `level` | all | `info`, `progress`, `warning` or `error` |
| `verb` | all | the verb (`models` for `models fetch`); not there if none was read |
| `message` | all | what stands there in text |
| `stage` `done` `total` `counts` | `progress` | how far; `total` where known; a line every ten seconds |
| `error`, `exit_code` | `error` | the kind, as in `distill_offline/errors.py` or of click, and the exit code |
| `by` | `warning`, `error` | the library that says it, or the kind of Python's warning |
| `traceback` | `error` | of a fault of ours |

What the process of an engine (llama.cpp, vLLM) or a traced command (`doctor --network -- COMMAND`) writes by itself
is not ours, and passes as it is.

`distill-offline completion bash` (or `zsh`, `fish`) prints what lets the shell complete verbs, options,
configurations, settings, runs and models with Tab ([below](#completion)).
"""


FORMATS_PAGE = """# Other tools' files

Files of annotation tools and libraries are read as corpora, and written by `predict` and `convert`. The suffix names
the format where it is one tool's alone; otherwise name it: `format` of a source in a configuration, `--input-format`
and `--format` of a command. What our own formats are is in [corpus-files.md](corpus-files.md).

```bash
distill-offline convert gold.json gold.jsonl --from label_studio   # what people labelled, to train on
distill-offline predict STUDENT notes/ -o suggested.json           # tasks with predictions and scores
distill-offline convert package:demo/test.jsonl test.spacy
```

- **Offsets** count characters (Unicode code points) of the text. Where a tool counts UTF-16 units, they are converted
  both ways.
- **Tokens** are made of the text by the same rules as ever, whatever a tool's spans are; only formats that have
  tokens of their own keep these. An entity that begins or ends inside a token is kept in its characters and masked in
  training ([text.md](text.md)).
- **What is lost is counted.** `convert` says what the first file holds and no row does (cancelled answers, relations,
  entities in several pieces), and what the second format cannot hold, with the ids of the rows; so does `predict`.
  What a format cannot say at all (classes in one for entities, unlabelled texts among labelled ones where both would
  look alike) is refused.
- Entities that overlap are carried from format to format where both hold them. A corpus to train or score on is
  refused with its line.
- `text_field` (`--text-field` of `convert`) names the field or column of the text, where the format leaves that open.
- `convert` overwrites nothing without `--force`.

"""

NOTES = """
## Notes

- **Confidences** are those of `predict` ([corpus-files.md](corpus-files.md#what-predict-writes)). In Label Studio
  they are the scores of regions, and their mean that of the prediction; in Prodigy `score` of a span.
- **Label Studio** wants the labelling configuration to have `Labels` named `label` (or `Choices` named `class`) and a
  `Text` named `text`.
- **Prodigy** tasks without confidences have the answer `accept`; with confidences none, so that somebody gives it.
- **brat** has no ids of sentences: those of a document are joined by empty lines, and cut anew when they are read.
- **WebAnno TSV** is one document a file. A sentence begins with its first token: blanks before it are left out, and
  counted.
- **spaCy** keeps what it has no place for (ids, confidences, our tokens) in `user_data`. It needs the extra
  `languages`, xlsx the extra `xlsx`.
- **CSV**: a cell that begins with `=` is text here, and a formula to a spreadsheet. In `.xlsx` it is text there, too.
- **GLiNER, CoNLL-2012** and other files of tokens are never cut anew.
"""


class Setting(NamedTuple):
    """One key of a section as a person reads about it."""

    name: str
    kind: str
    default: str
    unit: str
    meaning: str


def settings_of(section: type) -> list[Setting]:
    """The keys of a settings dataclass, in the order of its source."""
    hints, said = typing.get_type_hints(section, include_extras=True), meanings(section)
    return [
        Setting(each.name, kind(hints[each.name]), _default(each), *said.get(each.name, ("", "")))
        for each in dataclasses.fields(section)
    ]


def meanings(section: type) -> dict[str, tuple[str, str]]:
    """Unit and meaning of each key, inherited ones too: the string below it in the source, `[unit] meaning`."""
    found: dict[str, tuple[str, str]] = {}
    for base in section.__bases__:
        if dataclasses.is_dataclass(base):
            found |= meanings(base)
    body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(section))).body[-1]).body
    for line, below in itertools.pairwise(body):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(below, ast.Expr):
            text = " ".join(inspect.cleandoc(ast.literal_eval(below.value)).split())
            unit = _UNIT.match(text)
            found[line.target.id] = (unit[1] if unit else "", text[unit.end() :] if unit else text)
    return found


def kind(hint: Any) -> str:
    """A type in plain words."""
    if typing.get_origin(hint) is typing.Annotated:
        inner, *limits = typing.get_args(hint)
        return kind(inner) + _limited(inner, limits)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        return " or ".join("path" if member is str and Source in members else kind(member) for member in members)
    if typing.get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"list of {kind(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is not None:
        inner = _held(hint)
        return f"mapping of names to {kind(inner[0])}" if inner else "mapping"
    return f"[{_title(hint)}](#{_anchor(hint)})" if hint in _PATHS else _NAMES[hint]


def _limited(inner: Any, limits: list[Any]) -> str:
    """`, 1 or more`: what Annotated says of a number's range."""
    flat = [each for limit in limits for each in (limit.metadata if isinstance(limit, FieldInfo) else [limit])]
    low = next((each.ge for each in flat if isinstance(each, Ge)), None)
    above = next((each.gt for each in flat if isinstance(each, Gt)), None)
    high = next((each.le for each in flat if isinstance(each, Le)), None)
    below = next((each.lt for each in flat if isinstance(each, Lt)), None)
    if above is not None and inner is int:
        low, above = typing.cast(int, above) + 1, None
    if low is not None and high is not None:
        return f", {low} to {high}"
    words = {"{} or more": low, "above {}": above, "at most {}": high, "below {}": below}
    return "".join(f", {word.format(limit)}" for word, limit in words.items() if limit is not None)


def _default(field: dataclasses.Field[Any]) -> str:
    if "default" in field.metadata:
        return str(field.metadata["default"])
    if field.default_factory is not dataclasses.MISSING:
        made = field.default_factory()
        return "" if dataclasses.is_dataclass(made) else f"`{json.dumps(made)}`" if made else "empty"
    if field.default is dataclasses.MISSING:
        return "**must be set**"
    value = field.default
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        return ", ".join(f"`{each.name}`" for each in value)
    if value is None or value in ("", ()):
        return "empty"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def sections(root: type = Settings, path: str = "") -> Iterator[tuple[str, type]]:
    """Every section with the path of its first use, outer ones first."""
    seen: set[type] = set()

    def below(section: type, path: str) -> Iterator[tuple[str, type]]:
        if section not in seen:
            seen.add(section)
            yield path, section
            hints = typing.get_type_hints(section)
            for each in dataclasses.fields(section):
                for inner in _held(hints[each.name]):
                    yield from below(inner, f"{path}.{each.name}".lstrip("."))

    yield from below(root, path)


def _held(hint: Any) -> list[type]:
    """The dataclasses that a type is made of."""
    if dataclasses.is_dataclass(hint):
        return [typing.cast(type, hint)]
    return [inner for member in typing.get_args(hint) for inner in _held(member)]


BUNDLE = "bundle"  # the title of its top level
_PATHS = {section: path for root in ((Settings, ""), (BundleSettings, BUNDLE)) for path, section in sections(*root)}


def _title(section: type) -> str:
    path = _PATHS[section]
    if section is Source:
        return "source"
    return path or "Top level"


def _anchor(section: type) -> str:
    return re.sub(r"[^a-z0-9 _-]", "", _title(section).lower()).replace(" ", "-")


def _table(section: type) -> str:
    rows = ["| key | type | default | unit | meaning |", "|---|---|---|---|---|"]
    for each in settings_of(section):
        cells = (f"`{each.name}`", each.kind, each.default, each.unit, each.meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _about(section: type) -> str:
    return inspect.cleandoc(section.__doc__ or "")


def configuration_page() -> str:
    """docs/configuration.md."""
    parts = [CONFIGURATION]
    for path, section in sections():
        level = "##" if "." not in path or section is Source else "###"
        parts.append(f"{level} {_title(section)}\n\n{_about(section)}\n\n{_table(section)}\n")
        if path == "backend":
            parts += [_options(name) for name in BACKENDS]
    parts.append(BUNDLES)
    for path, section in sections(BundleSettings, BUNDLE):
        level = "###" if "." in path else "##"
        parts.append(f"{level} {path}\n\n{_about(section)}\n\n{_table(section)}\n")
    return "\n".join(parts)


def _options(name: str) -> str:
    section = options_of(name)
    return f"### backend.options of {name}\n\n{_about(section)}\n\n{_table(section)}\n"


def options_of(name: str) -> type:
    """The dataclass of a backend's options."""
    module, _, attribute = OPTIONS[name].partition(":")
    return typing.cast(type, getattr(import_module(module), attribute))


def verbs(group: click.Group = commands, path: str = "distill-offline") -> Iterator[tuple[str, click.Command]]:
    """Every command with the words that call it, groups before what they hold."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from verbs(command, f"{path} {name}")


def cli_page() -> str:
    """docs/cli.md."""
    parts = [CLI, _help("distill-offline", commands)]
    for words, command in verbs():
        title = words.removeprefix("distill-offline ")
        parts.append(f"## {title}\n\n{_help(words, command)}")
    return "\n".join(parts)


def _help(words: str, command: click.Command) -> str:
    settings = {**commands.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    fresh = copy.copy(command)
    fresh._help_option = None  # click keeps the first one made, which may lack -h
    context = click.Context(fresh, info_name=words, **settings)
    return f"```text\n{fresh.get_help(context).rstrip()}\n```\n"


def formats_page() -> str:
    """docs/formats.md: a row for each format of another tool."""
    lines = ["| format | suffix | what is read and written | what it cannot hold |", "|---|---|---|---|"]
    suffixes = {name: suffix for suffix, name in formats.TOOL_SUFFIXES.items()}
    for name in sorted(formats.FORMATS):
        kind = formats.format_named(name)
        if not isinstance(kind, ToolFormat):
            continue
        about = " ".join(inspect.cleandoc(type(kind).__doc__ or "").split()).replace("|", "\\|")
        about = about.removeprefix(f"The format `{name}`").lstrip(":. ")
        missing = "; ".join(what for key, what in HOLDS.items() if key not in kind.holds) or "nothing"
        suffix = f"`{suffixes[name]}`" if name in suffixes else ""
        lines.append(f"| `{name}` | {suffix} | {about[:1].upper()}{about[1:]} | {missing} |")
    return FORMATS_PAGE + "\n".join(lines) + "\n" + NOTES


def schema() -> str:
    """configs/schema.json: what an editor needs to complete and check a configuration."""
    made = TypeAdapter(Settings).json_schema()
    by_name = {section.__name__: section for _, section in sections()}
    for name, part in {**made["$defs"], "Settings": made}.items():
        part.pop("title", None)
        part["description"] = _about(by_name[name]).partition("\n")[0]
        for key, (unit, meaning) in meanings(by_name[name]).items():
            shown = part["properties"][key]
            shown.pop("title", None)
            if "$ref" in shown:
                shown = part["properties"][key] = {"allOf": [shown]}
            shown["description"] = f"{meaning} Unit: {unit}." if unit else meaning
    return (
        json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": TITLE, **made}, indent=1) + "\n"
    )


def pages() -> dict[Path, str]:
    """Every generated file with its content."""
    return {
        DOCS / "cli.md": cli_page(),
        DOCS / "formats.md": formats_page(),
        DOCS / "configuration.md": configuration_page(),
        DOCS.parent / "configs" / "schema.json": schema(),
    }


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content, "utf-8")
