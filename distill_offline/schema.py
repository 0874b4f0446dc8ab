"""The frozen dataclasses that travel between the stages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from distill_offline.text.visible import squeezed

__all__ = [
    "Annotation",
    "Completion",
    "Example",
    "Head",
    "Message",
    "Origin",
    "Progress",
    "Prompt",
    "Rejection",
    "Report",
    "Sampling",
    "Scores",
    "Sentence",
    "Span",
    "Watch",
    "canonical_json",
    "content_digest",
    "join_tokens",
    "text_digest",
    "tokens_digest",
]

Origin = Literal["original", "distilled"]
Head = str  # a name in the table of label_kinds


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: equal values give equal bytes, hence equal digests.

    Lone surrogates, which JSON escapes can smuggle in, are kept as escapes instead of failing.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence: raw text, its tokens, and where each token stands in the text.

    `text[start:end] == tokens[i]` for every `(start, end) = offsets[i]`; offsets count characters and never overlap.
    `id` is unique per occurrence: the corpus's own, else `document:index`. `before` and `after` are the text around
    it that a teacher is shown, where it is to see any.
    """

    id: str
    document: str
    index: int
    text: str
    tokens: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    before: str = ""
    after: str = ""


def join_tokens(tokens: tuple[str, ...], glued: Collection[int] = ()) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The tokens joined by single spaces, but for those after the positions in `glued`; and each one's range."""
    pieces, offsets, start = list[str](), list[tuple[int, int]](), 0
    for position, token in enumerate(tokens):
        pieces.append(token if position in glued or position == len(tokens) - 1 else f"{token} ")
        offsets.append((start, start + len(token)))
        start += len(pieces[-1])
    return "".join(pieces), tuple(offsets)


def content_digest(sentence: Sentence) -> str:
    """text_digest of the sentence's text: for leak checks and deduplication, never an identity."""
    return text_digest(sentence.text)


def text_digest(text: str) -> str:
    """Hex SHA-256 of what can be seen of a text: the same however it is spaced, composed (NFC) or cut into tokens."""
    return hashlib.sha256(squeezed(text).encode("utf-8", "surrogatepass")).hexdigest()


def tokens_digest(tokens: Sequence[str]) -> str:
    """Hex SHA-256 of the tokens: two sentences that share it can share their labels, too."""
    return hashlib.sha256("\x1f".join(tokens).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a completion is drawn. Part of a completion's identity."""

    temperature: Annotated[float, Ge(0), Le(100)] = 0.0
    """[temperature] 0 gives the likeliest answer each time; 0.7 and more gives varied ones."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    """[probability] Draw only from the likeliest tokens that together have this probability."""
    max_tokens: Annotated[int, Ge(1)] = 256
    """[tokens] The longest answer."""
    retry_tokens: Annotated[int, Ge(0)] | None = None
    """[tokens] The longest second answer if the first was cut off; empty: twice `max_tokens`; 0: no second one."""
    seed: int = 0
    """[seed] Decides what is drawn if the temperature is not 0."""
    structured: bool = True
    """Ask the engine to enforce the prompt's JSON schema."""
    logprobs: bool = False
    """Ask for the log-probability of every answer token; spans then carry a confidence."""

    @property
    def second_tokens(self) -> int:
        """How many tokens an answer may have when it is asked for again; 0 if it is not."""
        return 2 * self.max_tokens if self.retry_tokens is None else self.retry_tokens


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat for one sentence; `schema` is a JSON schema that a backend may enforce, and parsers never rely on.

    `sample` numbers repeated draws for the same sentence. `max_tokens` overrules the sampling's: more room for an
    answer that was cut off. `first_tokens`: how many of the likeliest first tokens of the answer the engine is to list.
    """

    sentence_id: str
    messages: tuple[Message, ...]
    schema: Mapping[str, Any] | None = None
    sample: int = 0
    max_tokens: int | None = None
    first_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine answered, raw.

    `finish_reason`: `stop`, `length` (cut off by max_tokens), `prompt_too_long` (never sent), `content_filter`
    (withheld), or `error: ...`.
    `thinking` is the part that a reasoning model says before its answer, split off and kept apart.
    `token_logprobs` are natural logarithms, one for each of `token_texts`. `first_tokens` are (text, logarithm) of the
    likeliest first tokens, the likeliest first, if the prompt asked for them.
    """

    text: str
    finish_reason: str
    thinking: str = ""
    token_texts: tuple[str, ...] = ()
    token_logprobs: tuple[float, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    sample: int = 0
    first_tokens: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """An entity over the half-open token range `[start, end)`.

    `alignment` says how the mention was found: `gold`, `exact`, `repeated` (another place of one that was found exactly
    and said once), `normalised`, `fuzzy`, `tags`, or `students` (they gave it in place of a doubtful one). `agreement`
    is the share of samples that gave this very span, if the teacher was asked more than once. `verify` is how sure the
    teacher was of its yes when it was asked about this span (annotate.verify), 0 to 1.
    """

    start: int
    end: int
    type: str
    confidence: float | None = None
    alignment: str = "gold"
    agreement: float | None = None
    verify: float | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A mention that the teacher gave and that could not become a span, with the reason."""

    mention: str
    reason: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """A teacher's labels for one sentence: one BIO tag a token for NER, exactly one label for classification.

    `confidence` and `agreement` are a class's, and what a span's are. `renamed` are types (or classes) that were given
    by another name, each as (what was written, the type that was read).
    """

    id: str
    labels: tuple[str, ...]
    spans: tuple[Span, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    confidence: float | None = None
    agreement: float | None = None
    renamed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled sentence to learn from, with a `weight` in the loss.

    `masked` are the positions of tokens whose labels are too doubtful to learn from: no loss is taken there.
    `unheld` are entities that begin or end inside a token, in characters: no label can say them. Their tokens are
    masked, and whoever scores counts each of them as missed.
    """

    sentence: Sentence
    labels: tuple[str, ...]
    origin: Origin
    weight: float = 1.0
    masked: tuple[int, ...] = ()
    unheld: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Scores:
    """Precision, recall and F1 as fractions; `support` counts the gold items."""

    precision: float
    recall: float
    f1: float
    support: int

    def as_dict(self) -> dict[str, float | int]:
        return {"precision": self.precision, "recall": self.recall, "f1": self.f1, "support": self.support}


@dataclass(frozen=True, slots=True)
class Report:
    """How good labels are, with their denominators; `on` is the digest of the gold set they were compared with."""

    on: str
    overall: Scores
    per_type: Mapping[str, Scores]
    errors: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    averages: Mapping[str, Scores] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON; `averages`, other ways of taking the overall scores together, only if there are some."""
        more = {name: scores.as_dict() for name, scores in self.averages.items()}
        return {
            "on": self.on,
            "overall": self.overall.as_dict(),
            "per_type": {name: scores.as_dict() for name, scores in self.per_type.items()},
            "errors": dict(self.errors),
            "counts": dict(self.counts),
            **({"averages": more} if more else {}),
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is: `done` of `total` (0 where unknown) since it began, and counts to show beside it."""

    stage: str
    done: int
    total: int
    counts: Mapping[str, float] = field(default_factory=dict)


Watch = Callable[[Progress], None]
