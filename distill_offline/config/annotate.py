"""The settings of the teacher: its engine (`backend`), and how it is asked (`annotate`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from distill_offline.config.corpus import Source
from distill_offline.config.values import STRICT, Count, Fraction, Number
from distill_offline.schema import Sampling
from distill_offline.text.yes_or_no import alike

__all__ = ["AnnotateSettings", "BackendSettings", "ClusterSettings", "DemonstrationSettings", "VerifySettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """The teacher's engine."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    name: str
    """Which engine: `vllm`, `llama_cpp`, `transformers`, `openai_server`, `scripted`, the name of an installed one, or
    `package.module:Class`."""
    model: str = ""
    """A model of the catalogue (`distill-offline models list`), a path, or the name that a server knows it by."""
    options: dict[str, Any] = field(default_factory=dict)
    """The engine's own settings, below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemonstrationSettings:
    """Which human-labelled sentences a prompt shows."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    strategy: Literal["none", "static", "random", "knn"] = "knn"
    """`none`; the same few for all (`static`); `random` ones; or those nearest to the sentence (`knn`)."""
    k: Number = 4
    """[demonstrations] How many a prompt shows."""
    pool: str | Source | None = None
    """What they are chosen from; empty: `corpus.original.train`."""
    order: Literal["nearest_last", "shared"] = "nearest_last"
    """The nearest last; or first those that many prompts have (`shared`), which an engine then computes once."""
    documents: Literal["any", "own"] = "any"
    """`own`: only sentences of the same document, so that no text enters a prompt about another document."""
    vary: Literal["no", "order", "set"] = "no"
    """What differs between the samples of a sentence: nothing, their order, or which of the 2k best are shown."""

    @property
    def can_vary(self) -> bool:
        """Whether the samples of a sentence may show different ones, or the same in another order."""
        fewest = {"no": None, "order": 2, "set": 1}[self.vary]
        return self.strategy != "none" and fewest is not None and self.k >= fewest


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """A Ray cluster on which the teacher runs."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    workers: Count = 1
    """[workers] How many engines run, each with the model loaded."""
    cpus: Annotated[float, Ge(0)] = 1.0
    """[CPUs] What each worker reserves."""
    gpus: Annotated[float, Ge(0)] = 0.0
    """[GPUs] What each worker reserves."""
    batch: Count = 32
    """[prompts] How many are handed to a worker at a time."""
    address: str = ""
    """Empty: a Ray of our own on this machine. `auto` or `host:port`: join that cluster."""
    folder: str = ""
    """The folder of a Ray of our own: sockets, logs, spilled objects; empty: the system's temporary folder."""
    log: bool = False
    """Show what the workers say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """A second question about each entity that the teacher found: is it one, yes or no?"""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    instructions: str = (
        "You check the labels of entities in sentences. An entity is labelled right only if the words are the whole "
        "entity, and the type is the one that they have in this sentence. Answer with one word: {yes} or {no}."
    )
    """What the teacher is told first; the types with their definitions follow. `{yes}` and `{no}` are the words."""
    question: str = 'Is "{mention}" in this sentence an entity of the type {type} ({definition})? {yes} or {no}?'
    """What is asked about an entity, behind its sentence; `{mention}` and `{type}` must be in it."""
    words: tuple[str, str] = ("Yes", "No")
    """The words for yes and for no, in the language of the question; they must begin with other letters."""

    def __post_init__(self) -> None:
        if alike(self.words):
            raise ValueError(
                f"words: {self.words[0]!r} and {self.words[1]!r}: the first letters must tell them apart, since only "
                "the first token of an answer is looked at."
            )
        if lacking := [name for name in ("{mention}", "{type}") if name not in self.question]:
            raise ValueError(f"question: {lacking[0]} is not in it, so that all entities would be asked about alike.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotateSettings:
    """How the teacher annotates, and when it is stopped."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    demonstrations: DemonstrationSettings = field(default_factory=DemonstrationSettings)
    """Which human-labelled sentences a prompt shows."""
    sampling: Sampling = field(default_factory=Sampling)
    """How an answer is drawn."""
    limit: Count | None = None
    """[sentences] Annotate at most so many sentences of `corpus.unlabelled`; empty: all."""
    gold: tuple[Literal["train", "dev", "test"], ...] = ()
    """Human-labelled splits to label too: dev or test to score the teacher, train to calibrate its confidences."""
    chunk: Count = 256
    """[answers] How many answers are committed to disk together."""
    samples: Count = 1
    """[answers] How often each sentence is asked about; the answers vote."""
    max_quarantined: Fraction = 0.05
    """[share of rows] If more rows than this have no usable answer at the end, the exit code is 3."""
    max_inside_token: Fraction = 0.02
    """[share of mentions] Warn if more mentions than this begin or end inside a token, so that no label fits them."""
    max_unknown_type: Fraction = 0.1
    """[share of mentions] Warn if more mentions than this have a type that the task does not have."""
    max_failure_rate: Fraction = 0.5
    """[share of answers] Stop with exit code 3 if more of the latest answers than this cannot be used."""
    failure_window: Count = 200
    """[answers] How many of the latest answers `max_failure_rate` looks at."""
    cluster: ClusterSettings | None = None
    """Run the teacher on a Ray cluster."""
    verify: VerifySettings | None = None
    """Ask the teacher once more about each entity that it found, yes or no; `{}` does so as it comes, empty: off."""

    def __post_init__(self) -> None:
        if self.samples > 1 and not self.sampling.temperature and not self.demonstrations.can_vary:
            raise ValueError(
                f"samples: {self.samples} samples of one prompt at temperature 0 would be the same. "
                "Set sampling.temperature (0.7, say), or let the demonstrations differ: demonstrations.vary: order "
                "with k of 2 or more, or set with k of 1 or more, and a strategy other than none."
            )
