"""init: a first configuration, out of a look at the user's files."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import yaml

from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import Source
from distill_offline.corpus import head_of, read_examples, read_sentences
from distill_offline.errors import InputError
from distill_offline.label_kinds import kind_of
from distill_offline.schema import Head
from distill_offline.spans.bio import decode_bio
from distill_offline.storage.files import replacing

__all__ = ["Look", "first_config", "look_at", "missing_definitions", "write_config"]

_TASKS: dict[Head, str] = {
    "token-classification": "ner",
    "sequence-classification": "text_classification",
    "multi-label-classification": "multi_label_classification",
}
_FEW = 150  # labelled sentences up to which training is short
_TOO_FEW_FOR_DEV = 300  # labelled sentences below which students are better if they learn from those of dev, too
_SHOWN = 3  # mentions of a type
_LONGEST_MENTION = 30
_FEWEST_DOCUMENTS = 4
_SMALLEST_PART = 8  # the share of the sentences, 1 / this, that test must have for documents to be kept together
_FEWEST_SENTENCES = 3  # one for each of train, dev and test


@dataclass(slots=True)
class Look:
    """What a labelled file holds: its kind of labels, sentences, documents, and each type's count and some mentions.

    `words` are how many words are where, in an entity or not, and begin with a capital or not. `halves` are the
    sentences of its even and of its odd documents, `tested` the types of the file to score on, if there is one.
    """

    head: Head
    sentences: int = 0
    documents: int = 0
    types: Counter[str] = field(default_factory=Counter)
    mentions: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    words: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    halves: tuple[int, int] = (0, 0)
    tested: Counter[str] = field(default_factory=Counter)

    @property
    def capitals_tell(self) -> bool:
        """Whether most words of entities begin with a capital, and most others do not."""
        inside, outside = ([self.words[place, capital] for capital in (False, True)] for place in (True, False))
        return inside[True] > inside[False] and outside[True] < outside[False]


def look_at(gold: Path, file_format: str | None = None, test: Path | None = None) -> Look:
    """Read a labelled file whole, and one to score on. Raises CorpusError for what is none, InputError where nothing in
    it is labelled, or if both are the same.
    """
    source = Source(path=str(gold), format=file_format)
    look = Look(head_of(source))
    documents, kind, seen = Counter[str](), kind_of(look.head), defaultdict[str, Counter[str]](Counter)
    for example in read_examples(source, origin="original", head=look.head):
        look.sentences += 1
        documents[example.sentence.document] += 1
        look.types.update(kind.places(example.labels).values())
        for span in decode_bio(example.labels) if kind.per_token else ():
            offsets = example.sentence.offsets
            seen[span.type][example.sentence.text[offsets[span.start][0] : offsets[span.end - 1][1]]] += 1
        for token, label in zip(example.sentence.tokens, example.labels, strict=True) if kind.per_token else ():
            if token[0].isalpha():
                look.words[label != "O", token[0].isupper()] += 1
    look.documents = len(documents)
    look.halves = (sum([*documents.values()][::2]), sum([*documents.values()][1::2]))
    if not look.types:
        raise InputError(
            f"{gold}: {look.sentences} sentences, and none of them has a label. Is this the labelled file?"
        )
    if look.sentences < _FEWEST_SENTENCES:
        raise InputError(
            f"{gold}: {look.sentences} labelled sentences cannot be divided into train, dev and test. Label more."
        )
    if test is not None:
        if test.resolve() == gold.resolve():
            raise InputError(f"{test}: --test is --gold itself: nothing would be left to learn from. Leave --test out.")
        for example in read_examples(Source(path=str(test)), origin="original", head=look.head):
            look.tested.update(kind.places(example.labels).values())
        if not look.tested:
            raise InputError(f"{test}: none of its sentences has a label. Is this the labelled file?")
    for name, mentions in seen.items():
        short = [
            mention
            for mention, _ in mentions.most_common()
            if len(mention) <= _LONGEST_MENTION and mention.isprintable()
        ]
        look.mentions[name] = short[:_SHOWN]
    return look


def first_config(
    look: Look,
    file: Path,
    gold: Path,
    *,
    text: Path | None = None,
    test: Path | None = None,
    file_format: str | None = None,
    definitions: Mapping[str, str] | None = None,
    backend: str = "llama_cpp",
    model: str = "SmolLM2-135M-Instruct-GGUF",
    encoder: str = "all-MiniLM-L6-v2",
    language: str | None = None,
) -> str:
    """The configuration as commented YAML, which is valid. Raises InputError for a text without a sentence."""
    if text is not None and next(iter(read_sentences(Source(path=str(text)), head=look.head)), None) is None:
        raise InputError(f"{text}: there is no sentence in it.")
    known = dict(definitions or {})
    types = [
        {
            "name": _quoted(name),
            "definition": _quoted(known.get(name) or name.lower().replace("_", " ")),
            "count": look.types[name],
            "mentions": ", ".join(" ".join(mention.split()) for mention in look.mentions.get(name, ())),
        }
        for name in sorted({*look.types, *look.tested, *known})
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("distill_offline", "pipeline"), undefined=jinja2.StrictUndefined, autoescape=False
    )
    result = environment.get_template("first_config.yaml.jinja").render(
        name=_quoted(re.sub(r"[^A-Za-z0-9._+-]+", "-", file.stem).strip("-")[:100] or "mine"),
        file=file,
        task=_TASKS[look.head],
        types=types,
        language=language,
        sentences=look.sentences,
        documents=look.documents,
        splits=_splits(look, gold, test, file_format),
        text=_quoted(str(text)) if text is not None else None,
        backend=_quoted(backend),
        model=_quoted(model),
        encoder=_quoted(encoder),
        updates=235 if look.sentences < _FEW else 470,
        capitals=look.capitals_tell,
    )
    parse_settings(yaml.safe_load(result), str(file))
    return result + "\n"


def write_config(file: Path, content: str) -> None:
    """Raises InputError if the file is there already."""
    if file.exists():
        raise InputError(f"{file}: it exists. Name another one, or remove it.")
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as out:
        out.write(content)


def _splits(look: Look, gold: Path, test: Path | None, file_format: str | None) -> dict[str, str]:
    """Train, dev and test as YAML; by document if there are some, so that test shares none with train.

    Of the even and the odd documents those with more sentences are for train, the others for test, and for dev unless
    few sentences are labelled: then all that is not for test is learnt from. If the others hold next to nothing, parts
    are drawn by sentence.
    """

    def source(path: Path, **parts: int | str) -> str:
        named: dict[str, int | str] = {
            "path": str(path),
            **({"format": file_format} if file_format and path == gold else {}),
        }
        named |= {key: value for key, value in parts.items() if value}  # no skip is none of 0
        return yaml.safe_dump(named, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False).strip()

    has_dev = look.sentences >= _TOO_FEW_FOR_DEV
    given = {"test": source(test)} if test is not None else {}
    if not has_dev and given:
        return {"train": source(gold)} | given
    larger, smaller = ("even", "odd") if look.halves[0] >= look.halves[1] else ("odd", "even")
    if look.documents >= _FEWEST_DOCUMENTS and min(look.halves) >= look.sentences / _SMALLEST_PART:
        if given:
            return {"train": source(gold, documents=larger), "dev": source(gold, documents=smaller)} | given
        dev = min(50, look.sentences // 6) if has_dev else 0
        others = {"dev": source(gold, documents=smaller, shuffle=1, limit=dev)} if dev else {}
        rest = source(gold, documents=smaller, shuffle=1, skip=dev)
        return {"train": source(gold, documents=larger), **others, "test": rest}
    part = max(1, look.sentences // 5)
    tested, dev = (0 if given else part), (part if has_dev else 0)
    splits = {"train": source(gold, shuffle=1, skip=tested + dev)}
    if dev:
        splits["dev"] = source(gold, shuffle=1, skip=tested, limit=dev)
    return splits | (given or {"test": source(gold, shuffle=1, limit=tested)})


def _quoted(value: str) -> str:
    """A string as a scalar of YAML on one line."""
    text = yaml.safe_dump(" ".join(value.split()), width=10_000, allow_unicode=True).strip()
    return text.removesuffix("...").strip()


def missing_definitions(look: Look, definitions: Mapping[str, str]) -> Sequence[str]:
    """Types that nobody has explained yet, the most frequent first."""
    return [name for name, _ in look.types.most_common() if name not in definitions]
