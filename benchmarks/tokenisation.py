"""How many gold entities begin and end at token borders of raw text, by corpus and language, and how fast it goes.

    python benchmarks/tokenisation.py [--data ../shared/data] [--japanese iob_sents.txt] [--speed FILE ...]

Corpora that come as tokens are joined to running text again: as English is written, hyphens and slashes without blanks,
which is harder; Japanese without blanks. `tests/multilingual.tsv` is text written for this project. An entity `fits`
where its characters, put on tokens, come back as the very same characters. Beside our rules: syntok's tokens, as they
were used before them, and those of spaCy's blank pipelines where it is installed. The last table:
results/tokenisation.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from syntok.tokenizer import Tokenizer

from distill_offline.config.settings import Source
from distill_offline.corpus import read_examples
from distill_offline.corpus.languages import tokeniser
from distill_offline.corpus.sentences import sentence_offsets
from distill_offline.corpus.spans import on_tokens
from distill_offline.corpus.tokenise import Offsets, Range, token_offsets
from distill_offline.errors import ConfigError
from distill_offline.spans.bio import decode_bio, repair_iob2

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from multilingual import marked_sentences

Text = tuple[str, list[Range]]
ENGLISH = {
    "CoNLL-2003 train": Source(path="conll2003/train.txt"),
    "CoNLL-2003 valid": Source(path="conll2003/valid.txt"),
    "WikiGold": Source(path="wikigold/wikigold.conll.txt"),
    "WNUT-17 train": Source(path="wnut17/wnut17train.conll"),
    "WNUT-17 dev": Source(path="wnut17/emerging.dev.conll"),
    "WNUT-17 test": Source(path="wnut17/emerging.test.annotated"),
    "BC5CDR train": Source(path="bc5cdr/train.txt"),
    "BC5CDR dev": Source(path="bc5cdr/dev.txt"),
    "BC5CDR test": Source(path="bc5cdr/test.txt"),
}
_BEFORE = ". , ; : ! ? ) ] } % ' '' n't 's 'S 'll 're 've 'd 'm ’s ’ ” ... - / ® ™"
_BEHIND = "( [ { $ # `` “ ‘ - / £ €"
_NO_BLANK_BEFORE, _NO_BLANK_BEHIND = frozenset(_BEFORE.split()), frozenset(_BEHIND.split())


def running(tokens: Sequence[str], spans: Iterable[Range]) -> Text:
    """The tokens as English would write them, and the spans in characters. Straight quotes open and close in turn."""
    text, places, is_open = "", list[Range](), False
    glued = True
    for token in tokens:
        closes = token == '"' and is_open
        is_open ^= token == '"'
        if not glued and token not in _NO_BLANK_BEFORE and not closes:
            text += " "
        places.append((len(text), len(text) + len(token)))
        text += token
        glued = token in _NO_BLANK_BEHIND or (token == '"' and is_open)
    return text, [(places[start][0], places[end - 1][1]) for start, end in spans]


def english(source: Source, data: Path) -> Iterator[Text]:
    path = data / source.path
    for example in read_examples(Source(path=str(path)), origin="distilled"):
        yield running(example.sentence.tokens, ((span.start, span.end) for span in decode_bio(example.labels)))


def japanese(path: Path) -> Iterator[Text]:
    for block in path.read_text("utf-8").split("\n\n"):
        rows = [line.split("\t") for line in block.splitlines() if line]
        borders = [0]
        for row in rows:
            borders.append(borders[-1] + len(row[0]))
        spans = decode_bio(repair_iob2([row[-1] for row in rows])[0])
        yield "".join(row[0] for row in rows), [(borders[span.start], borders[span.end]) for span in spans]


def syntok(text: str) -> Offsets:
    """As corpus/tokenise.py took them before: syntok's tokens that stand in the text, and eBay whole."""
    tokens = Tokenizer(emit_hyphen_or_underscore_sep=True, replace_not_contraction=False).tokenize(text)
    found: list[Range] = []
    for token in tokens:
        start, end = token.offset, token.offset + len(token.value)
        if text[start:end] != token.value or not token.value:
            continue
        if found and found[-1][1] == start and text[start - 1].islower() and text[start].isupper():
            start = found.pop()[0]
        found.append((start, end))
    return tuple(found)


def spacy_words(language: str) -> Callable[[str], Offsets] | None:
    try:
        return tokeniser(language)
    except ConfigError:
        return None


def fits(texts: Sequence[Text], tokenise: Callable[[str], Offsets]) -> tuple[int, int]:
    """(entities that fit, tokens in all)."""
    right = tokens = 0
    for text, spans in texts:
        offsets = tokenise(text)
        tokens += len(offsets)
        for span in spans:
            place = on_tokens(span, offsets)
            right += place is not None and (offsets[place[0]][0], offsets[place[1] - 1][1]) == span
    return right, tokens


def rows(arguments: argparse.Namespace) -> Iterator[tuple[str, str, list[Text]]]:
    """(name, language, texts) of all that is there."""
    for name, source in ENGLISH.items():
        if (arguments.data / source.path).exists():
            yield name, "en", list(english(source, arguments.data))
    if arguments.japanese:
        yield "hironsancorpus", "ja", list(japanese(arguments.japanese))
    own: dict[str, list[Text]] = defaultdict(list)
    for marked in marked_sentences():
        own[marked.language].append((marked.text, [(start, end) for start, end, _ in marked.spans]))
    for language, texts in own.items():
        yield "written by us", language, texts


def speed(files: Sequence[Path]) -> None:
    text = "\n\n".join(file.read_text("utf-8", "ignore") for file in files)
    print(f"\n{len(text):,} characters of running text, in millions of characters a second of one core:\n")
    for name, way in (
        ("syntok", lambda: syntok(text[:300_000])),
        ("our rules", lambda: token_offsets(text)),
        ("our rules, and sentences by syntok", lambda: list(sentence_offsets(text))),
    ):
        start = time.process_time()
        way()
        size = min(len(text), 300_000) if name == "syntok" else len(text)
        print(f"- {name}: {size / (time.process_time() - start) / 1e6:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--japanese", type=Path, help="iob_sents.txt of the source package hironsancorpus 0.1.2")
    parser.add_argument("--speed", type=Path, nargs="*", default=[], help="text files to measure the speed on")
    arguments = parser.parse_args()
    print("| text | language | entities | our rules fit | % | tokens | syntok fits, % | spaCy fits, % |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for name, language, texts in rows(arguments):
        entities = sum(len(spans) for _, spans in texts)
        right, tokens = fits(texts, token_offsets)
        others = [fits(texts, way)[0] if way else None for way in (syntok, spacy_words(language))]
        cells = ["-" if each is None else f"{100 * each / entities:.2f}" for each in others]
        print(
            f"| {name} | {language} | {entities:,} | {right:,} | {100 * right / entities:.2f} | {tokens:,} | "
            f"{' | '.join(cells)} |",
            flush=True,
        )
    if arguments.speed:
        speed(arguments.speed)


if __name__ == "__main__":
    main()
