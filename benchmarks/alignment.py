"""How the time of `locate` grows with a text, against difflib as people align mentions with it; and what repeated
mentions cost.

    python benchmarks/alignment.py [--sizes 1000 2000 ...] [--limit 2]
    python benchmarks/alignment.py --gold FILE[:TAG_COLUMN] ... [--labels TAG_COLUMN]

The text is made up: words by Zipf's law, one mention for ten tokens, of which 5% are misspelt and 5% stand nowhere.
`difflib, once` matches all mentions, one behind the other, with one SequenceMatcher over the tokens; `difflib, windows`
slides one over the text for each mention that it does not find exactly, as it must to forgive a slip. Both are written
here from the idea alone. A way that took longer than the limit (seconds) at one size is left out at the next.

With `--gold`: precision, recall and F1, in percent, of the spans that a teacher's mentions give, if it lists each place
of an entity, or each entity once, and if a mention that is given once stands for its first place or for every place.
The teacher is perfect, or, with `--labels`, the one whose tags are in that column. `lost` counts the sentences whose
labels do not come back from all their mentions in order.

The table of 2026-11-22 (2 shared cores): docs/alignment.md.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from distill_offline.config.settings import Source
from distill_offline.corpus import read_examples
from distill_offline.spans.bio import decode_bio
from distill_offline.spans.locate import locate

Ranges = list[tuple[int, int] | None]


def made_up(size: int, seed: int = 1) -> tuple[list[str], list[str], Ranges]:
    """(tokens, mentions in order, where each was taken from; None: it stands nowhere)."""
    chance = random.Random(seed)
    letters = "abcdefghijklmnoprstuvwz"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 10))).title() for _ in range(5_000)]
    tokens = chance.choices(words, weights=[1 / (n + 2) for n in range(len(words))], k=size)
    mentions: list[str] = []
    gold: Ranges = []
    for start in range(0, size - 10, 10):
        end = start + chance.randint(1, 3)
        mention, draw = " ".join(tokens[start:end]), chance.random()
        if draw < 0.05:
            position = len(mention) // 2
            mention = f"{mention[:position]}x{mention[position + 1 :]}"
        elif draw < 0.1:
            mention = "".join(chance.choices(letters, k=12))
        mentions.append(mention)
        gold.append((start, end) if draw >= 0.1 or draw < 0.05 else None)
    return tokens, mentions, gold


def ours(tokens: Sequence[str], mentions: Sequence[str]) -> Ranges:
    # A mention's number as its type says which span is whose.
    spans = locate([(mention, str(n)) for n, mention in enumerate(mentions)], tokens).spans
    placed = {int(span.type): (span.start, span.end) for span in spans}
    return [placed.get(n) for n in range(len(mentions))]


def difflib_once(tokens: Sequence[str], mentions: Sequence[str]) -> Ranges:
    """All mentions as one sequence, parted by a mark that no text holds; a mention must lie in one matching block."""
    wanted: list[str] = []
    starts = []
    for mention in mentions:
        starts.append(len(wanted))
        wanted += [*mention.split(" "), "\x1f"]
    block_of = {}
    for here, there, size in SequenceMatcher(None, tokens, wanted, autojunk=False).get_matching_blocks():
        block_of.update({there + n: here + n for n in range(size)})
    found: Ranges = []
    for start, mention in zip(starts, mentions, strict=True):
        at = [block_of.get(start + n) for n in range(len(mention.split(" ")))]
        first = at[0]
        whole = first is not None and at == list(range(first, first + len(at)))
        found.append((first, first + len(at)) if whole and first is not None else None)
    return found


def difflib_windows(tokens: Sequence[str], mentions: Sequence[str]) -> Ranges:
    """Each mention by itself: exactly behind the one before, else the most similar window, if similar enough."""
    found: Ranges = []
    cursor = 0
    for mention in mentions:
        words = mention.split(" ")
        size = len(words)
        starts = [n for n in range(len(tokens) - size + 1) if tokens[n] == words[0] and tokens[n : n + size] == words]
        place = next((n for n in starts if n >= cursor), None)
        if place is None:
            matcher = SequenceMatcher(None, "", mention, autojunk=False)
            best = 0.85
            for n in range(len(tokens) - size + 1):
                matcher.set_seq1(" ".join(tokens[n : n + size]))
                if matcher.real_quick_ratio() > best and matcher.quick_ratio() > best and matcher.ratio() > best:
                    best, place = matcher.ratio(), n
        found.append(None if place is None else (place, place + size))
        cursor = cursor if place is None else place + size
    return found


WAYS: dict[str, Callable[[Sequence[str], Sequence[str]], Ranges]] = {
    "locate": ours,
    "difflib, once": difflib_once,
    "difflib, windows": difflib_windows,
}


def repeated(file: str, labels: int | None) -> list[str]:
    """A row of the table for one corpus: its name, entities, sentences that do not come back, and four pairs."""
    path, _, column = file.partition(":")
    gold = _labels(path, int(column) if column else None)
    taught = gold if labels is None else _labels(path, labels)
    lost, cells = 0, list[str]()
    for once in (False, True):
        for every in (False, True):
            right = found = 0
            for sentence, wanted in gold.items():
                mentions = [(" ".join(sentence[start:end]), type_) for start, end, type_ in taught[sentence]]
                given = list(dict.fromkeys(mentions)) if once else mentions
                spans = {(s.start, s.end, s.type) for s in locate(given, sentence, every=every).spans}
                right, found = right + len(spans & {*wanted}), found + len(spans)
                lost += not once and every and spans != {*taught[sentence]}
            total = sum(len(wanted) for wanted in gold.values())
            precision, recall = right / max(1, found), right / max(1, total)
            cells.append(f"{100 * precision:.2f} / {100 * recall:.2f} / {200 * right / max(1, found + total):.2f}")
    return [path, f"{sum(map(len, gold.values())):,}", str(lost), *cells]


def _labels(path: str, column: int | None) -> dict[tuple[str, ...], list[tuple[int, int, str]]]:
    """Each distinct sentence's entities."""
    examples = read_examples(Source(path=path, tag_column=column), origin="distilled")
    return {
        example.sentence.tokens: [(span.start, span.end, span.type) for span in decode_bio(example.labels)]
        for example in examples
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 2_000, 4_000, 8_000, 16_000, 32_000])
    parser.add_argument("--limit", type=float, default=2.0)
    parser.add_argument("--gold", nargs="+", default=[], metavar="FILE[:TAG_COLUMN]")
    parser.add_argument("--labels", type=int, metavar="TAG_COLUMN")
    arguments = parser.parse_args()
    if arguments.gold:
        ways = [f"{listed}, {place}" for listed in ("each place", "once") for place in ("first", "every")]
        print(f"| corpus | entities | lost | {' | '.join(ways)} |\n|---|{'---:|' * 6}")
        for file in arguments.gold:
            print(f"| {' | '.join(repeated(file, arguments.labels))} |", flush=True)
        return
    columns = " | ".join(f"{name} | right" for name in WAYS)
    print(f"| tokens | mentions | {columns} |\n|{'---:|' * (2 + 2 * len(WAYS))}")
    seconds: dict[str, float] = dict.fromkeys(WAYS, 0.0)
    first = 0.0
    for size in arguments.sizes:
        tokens, mentions, gold = made_up(size)
        cells = [f"{size:,}", f"{len(mentions):,}"]
        for name, way in WAYS.items():
            if seconds[name] > arguments.limit:
                cells += ["", ""]
                continue
            start = time.perf_counter()
            found = way(tokens, mentions)
            seconds[name] = time.perf_counter() - start
            right = sum(one == other for one, other in zip(found, gold, strict=True)) / len(gold)
            first = first or seconds[name]
            ratio = seconds[name] / (first if name == "locate" else seconds["locate"])
            what = f"{1000 * seconds[name]:.0f} ms, {ratio:.1f} x the first" if name == "locate" else f"{ratio:.0f} x"
            cells += [what, f"{right:.1%}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
