"""Random and mutated answers through the NER parser: `python tests/fuzz_parse.py --runs 100000 [--seed 1]`.

With atheris installed, `--atheris` is guided by coverage instead (its own options follow `--`).
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

from sentences import sentence

from distill_offline.config.settings import TaskSettings
from distill_offline.errors import UnusableAnswer
from distill_offline.schema import Annotation, Completion, Sentence, Span
from distill_offline.spans.bio import decode_bio
from distill_offline.spans.matching import squeezed
from distill_offline.tasks.ner import NER

__all__ = ["REASONS", "check", "fuzz"]

REASONS = {
    "truncated",
    "prompt_too_long",
    "engine_error",
    "empty",
    "not_json",
    "wrong_shape",
    "only_thinking",
    "contradicting_answers",
}
REJECTIONS = {"empty", "not_in_text", "inside_token", "overlapping", "over_budget", "unknown_type"}
TYPES = {"PER": "a named human", "LOC": "a place"}
TASKS = tuple(
    (NER(TaskSettings(types=TYPES, prompt=prompt, repeats="first")), NER(TaskSettings(types=TYPES, prompt=prompt)))
    for prompt in ("standard", "cot")
)
SENTENCES: tuple[Sentence, ...] = (
    sentence("Siemens sent Ada Lovelace from Fort Worth to Fort Worth"),
    sentence("a a a a a a a a"),
    sentence("Zoë ﬁnds Ｚｏｅ in Zoe\u0308 \u200b « 日本 語 » \x00 👩\u200d🚀 \ud800 שָׁלוֹם"),
    Sentence("none", "doc", 0, "", (), ()),
)
SEEDS = (
    '[["Ada Lovelace","PER"],["Fort Worth","LOC"],["Fort Worth","LOC"]]',
    '[["Ada Lovelace","PER"],["Fort Worth","LOC"],["a","LOC"],["Fort","PER"]]',
    '{"context":"x","candidates":["Ada"],"decisions":[["Ada Lovelace","PER","a human"],["sent","NONE","a verb"]]}',
    '```json\n[{"text":"Ada","type":"PER"},{"entity":"Lovelac","label":"PER"}]\n```',
    'I found [] nothing [so far], so: [["Siemens","PER"]] {really}',
    '[["Zoë","PER"],["ZOE","PER"],["日本語","LOC"],["a a","LOC"],["שלום","PER"],["👩\\u200d🚀","PER"]]',
    "[]",
    '<think>Perhaps [["Ada","PER"]]?</think>[["Ada Lovelace","PER"]]',
    'analysisPerhaps [["Ada","PER"]]assistantfinal[["Siemens","PER"]]',
    '<|channel|>analysis<|message|>[]<|end|><|start|>assistant<|channel|>final<|message|>[["Siemens","PER"]]<|return|>',
    '[["Ada","PER"]]\n\nWait. <answer>[["Siemens","PER"]]</answer>\n\nText: so\n[["so","PER"]]',
    '{"text":"Ada","type":"PER"}\n{"text":"Siemens","type":"LOC"}',
)
PIECES = (
    *'[]{}",:\\` \n\t0-aA',
    *("[[", "]]", "[]", "{}", '["', '"]', '","', '"PER"', '"LOC"', '"NONE"', "null", "true", "NaN", "-Infinity"),
    *(
        "1e999",
        '"b-per"',
        '"locs"',
        '"none"',
        "9" * 40,
        "-0",
        "0.1e-400",
        "\\u0000",
        "\\ud800",
        "\\udc00\\ud800",
        "\x00",
        "\ud800",
        "\ufeff",
        "\u2028",
    ),
    *(
        '"decisions":',
        '"entities":[]',
        '"text":"Ada"',
        "```json\n",
        "```",
        "<think>",
        "</think>",
        "<|channel|>",
        "<|message|>",
        "assistantfinal",
        "<answer>",
        "</answer>",
        "\\boxed{",
        "Final answer: ",
        "\nText: ",
        "[THINK]",
        "//",
        "'",
        "Ada Lovelace",
        "日本",
    ),
    *("[see above]", "e\u0301", "é", "ß", "İ", "\u202e", "👩\u200d🚀", "[" * 40, '{"a":' * 40, "a" * 60, " " * 30),
)
FINISHES = ("stop",) * 20 + ("length", "prompt_too_long", "error: x", "")


def check(text: str, finish_reason: str = "stop") -> Counter[str]:
    """Parse the text for every task and sentence; gives what became of it. AssertionError where a promise is broken."""
    counts = Counter[str]()
    completion = Completion(text, finish_reason)
    for task, every in TASKS:
        for target in SENTENCES:
            try:
                annotation = task.parse(target, completion)
            except UnusableAnswer as error:
                counts[error.reason] += 1
                continue
            assert finish_reason == "stop"
            placed = _placed(target, annotation)
            assert len(placed) + len(annotation.rejected) == _decisions(task, target, completion)
            # Every place: no mention is lost, and what comes in addition reads like what was there.
            more = every.parse(target, completion)
            assert len(_placed(target, more)) + len(more.rejected) >= len(placed) + len(annotation.rejected)
            firm = {_read(target, span) for span in more.spans if span.alignment == "exact"}
            assert {_read(target, span) for span in more.spans if span.alignment == "repeated"} <= firm
            counts["parsed"] += 1
            counts.update(span.alignment for span in more.spans)
            counts.update(rejection.reason for rejection in annotation.rejected)
    assert set(counts) <= REASONS | REJECTIONS | {"parsed", "exact", "repeated", "normalised", "fuzzy"}
    return counts


def fuzz(runs: int, seed: int, watch: Callable[[int], None] = lambda _: None) -> Counter[str]:
    """`check` on so many inputs; the same seed gives the same inputs."""
    chance, counts = random.Random(seed), Counter[str]()
    for number in range(runs):
        text = _mutated(chance)
        try:
            counts += check(text, chance.choice(FINISHES))
        except Exception as error:
            raise AssertionError(f"seed {seed}, input {number}: {text!r}") from error
        watch(number + 1)
    return counts


def _placed(target: Sentence, annotation: Annotation) -> list[tuple[int, int, str]]:
    """The spans, none of which overlap, as the labels have them."""
    placed = [(span.start, span.end, span.type) for span in annotation.spans]
    assert len(annotation.labels) == len(target.tokens)
    assert [(s.start, s.end, s.type) for s in decode_bio(annotation.labels)] == placed
    return placed


def _read(target: Sentence, span: Span) -> tuple[str, str]:
    return squeezed("".join(target.tokens[span.start : span.end])), span.type


def _decisions(task: NER, target: Sentence, completion: Completion) -> int:
    """How many decisions an answer holds that each must become a span or a rejection."""
    return sum(task._meant(type_) != "NONE" for _, type_ in task.read(target, completion).answer)


def _mutated(chance: random.Random) -> str:
    text = chance.choice(SEEDS) if chance.random() < 0.9 else ""
    for _ in range(chance.choice((0, 1, 1, 2, 3, 5, 9))):
        start = chance.randint(0, len(text))
        end = min(len(text), start + chance.choice((0, 0, 1, 2, 8, 40)))
        kind = chance.random()
        if kind < 0.5:
            new = chance.choice(PIECES)
        elif kind < 0.65:
            new = text[start:end] * 2
        elif kind < 0.75:
            new = chance.choice(SEEDS)
        elif kind < 0.8:
            new = text[start:end].swapcase()
        elif kind < 0.85:
            new = chr(chance.choice((chance.randrange(0x250), chance.randrange(0x110000))))
        elif kind < 0.9:
            new = json.dumps(chance.choice(SENTENCES).text[: chance.randrange(20)])
        else:
            new = ""
        text = text[:start] + new + text[end:]
    return text


def _with_atheris(arguments: Sequence[str]) -> None:
    atheris = importlib.import_module("atheris")
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *arguments], lambda data: check(data.decode("utf-8", "replace")))
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--atheris", action="store_true")
    arguments, rest = parser.parse_known_args()
    if arguments.atheris:
        _with_atheris(rest)
        return
    start = time.perf_counter()
    counts = fuzz(arguments.runs, arguments.seed)
    seconds = time.perf_counter() - start
    lines = [f"{arguments.runs} inputs, {len(TASKS) * len(SENTENCES)} parses each, no traceback, {seconds:.0f} s"]
    lines += [f"{count:10} {name}" for name, count in counts.most_common()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
