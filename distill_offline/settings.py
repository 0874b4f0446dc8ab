"""One plain dataclass per configuration section; config.py fills them from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, get_args

from annotated_types import Ge, Le

from distill_offline.schema import Sampling
from distill_offline.setting_values import STRICT, Count, Fraction, Number, Positive, TagScheme, folder_name
from distill_offline.study_settings import StudySettings
from distill_offline.train_settings import ArmSettings, TrainSettings

# What the start and end of a span count; corpus/offset_units.py reads them.
OffsetUnit = Literal[
    "characters", "utf16", "bytes", "crlf_as_one", "lf_as_two", "from_1", "inclusive", "from_1_inclusive"
]

OFFSETS: tuple[OffsetUnit, ...] = get_args(OffsetUnit)

__all__ = [
    "OFFSETS", "AnnotateSettings", "ArmSettings", "BackendSettings", "ClusterSettings", "CorpusSettings",
    "DemonstrationSettings", "EvaluateSettings", "OffsetUnit", "OriginalSettings", "Sampling", "SelectSettings",
    "Settings", "Source", "TaskSettings", "TrainSettings",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A corpus file or folder, and which part of it is meant. In YAML a plain string is `path`.

    The parts apply in this order: `documents` (by position, from 0), `max_documents`, `shuffle` (a seed), `skip`,
    `limit`.
    Two sources over one file with the same `shuffle` and disjoint skip/limit ranges are therefore disjoint.
    `labels` is a stand-off file (export-labels): it says what a teacher found in the sentences at `path`, which has the
    text alone. Of the part, the sentences that it does not name are left out. `language` and `offsets` are as in
    CorpusSettings, for this source alone.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    path: str
    labels: str | None = None
    token_column: int | None = None
    tag_column: int | None = None
    scheme: TagScheme | None = None
    documents: Literal["all", "even", "odd"] = "all"
    max_documents: Count | None = None
    shuffle: int | None = None
    skip: Number = 0
    limit: Number | None = None
    language: str | None = None
    offsets: OffsetUnit | None = None
    on_bad_file: Literal["error", "skip"] = "error"  # a folder's file that is no UTF-8 text; skipped ones are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """What is to be labelled. `types` maps each type (or class) to its definition, in the order of the prompt.

    `context`: how many sentences of the document the teacher sees on either side of the one that it labels. `repeats`:
    a mention that an answer gives once stands for `every` place of it in the sentence, or for the `first` alone; one
    that is given k times, for k places. `synonyms`: what else a type may be called in an answer (PER: [PERSON]); case,
    blanks, hyphens, a tag's prefix and the plural do not matter anyway.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    name: str = "ner"
    types: dict[str, str]
    prompt: str = "standard"
    guidelines: str = ""
    context: Number = 0
    repeats: Literal["every", "first"] = "every"
    synonyms: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalSettings:
    """Human-labelled data, split."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    train: str | Source | None = None
    dev: str | Source | None = None
    test: str | Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusSettings:
    """All the text. `unlabelled` is for the teacher; `distilled` are labels that a teacher made elsewhere.

    `language`: whose words raw text is cut into (de, ja, xx for all), by spaCy's tokeniser; by itself rules that hold
    for every script and never miss a name's border. `offsets`: what the spans of rows with a `text` count.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    original: OriginalSettings = field(default_factory=OriginalSettings)
    unlabelled: str | Source | None = None
    distilled: str | Source | None = None
    token_column: int | None = None
    tag_column: int | None = None
    scheme: TagScheme = "auto"
    language: str | None = None
    offsets: OffsetUnit = "characters"
    on_overlap: Literal["error", "drop"] = "error"

    def read_as(self, source: str | Source) -> Source:
        """The source with the token column, the language and the offsets of this section, unless it has its own."""
        given = source if isinstance(source, Source) else Source(path=source)
        return replace(
            given,
            token_column=self.token_column if given.token_column is None else given.token_column,
            language=given.language or self.language,
            offsets=given.offsets or self.offsets,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """The teacher's engine. `model` is a catalogue id or a path; `options` are the backend's own."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    name: str
    model: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemonstrationSettings:
    """Which original sentences go into a prompt. `pool` defaults to corpus.original.train.

    `order`: the nearest one last, or those first that many prompts have (`shared`), so that neighbouring prompts share
    a longer prefix, which an engine computes once. `documents`: with `own`, only sentences of the sentence's own
    document are shown, so that no text enters a prompt about another document. `vary`: what differs between the samples
    of a sentence (annotate.samples): their order, or which of the 2k best are shown.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    strategy: Literal["none", "static", "random", "knn"] = "knn"
    k: Number = 4
    pool: str | Source | None = None
    order: Literal["nearest_last", "shared"] = "nearest_last"
    documents: Literal["any", "own"] = "any"
    vary: Literal["no", "order", "set"] = "no"

    @property
    def can_vary(self) -> bool:
        """Whether the samples of a sentence may show different ones, or the same in another order."""
        fewest = {"no": None, "order": 2, "set": 1}[self.vary]
        return self.strategy != "none" and fewest is not None and self.k >= fewest


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """A Ray cluster that runs `workers` teachers. `cpus` and `gpus` are what each worker reserves.

    `address`: empty for a Ray of our own on this machine, `auto` or host:port to join one. `batch` prompts are handed
    to a worker at a time. `folder` is where a Ray of our own keeps its sockets, logs and spilled objects (default: the
    system's temporary folder). `log` shows what the workers say.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    workers: Count = 1
    cpus: Annotated[float, Ge(0)] = 1.0
    gpus: Annotated[float, Ge(0)] = 0.0
    batch: Count = 32
    address: str = ""
    folder: str = ""
    log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotateSettings:
    """How the teacher annotates. `gold` names the human-labelled splits that it labels too: dev or test to be
    scored itself, train to learn how far its confidences can be trusted (select.calibration).

    Each sentence is asked about `samples` times, and the answers vote. The run stops where more than
    `max_failure_rate` of the last `failure_window` answers cannot be used. A warning is
    given where more than `max_inside_token` of the mentions begin or end inside a token, so that no label can say them,
    or more than `max_unknown_type` are of a type that the task has not. With `cluster`, the teacher runs on Ray.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    demonstrations: DemonstrationSettings = field(default_factory=DemonstrationSettings)
    sampling: Sampling = field(default_factory=Sampling)
    limit: Count | None = None
    gold: tuple[Literal["train", "dev", "test"], ...] = ()
    chunk: Count = 256
    samples: Count = 1
    max_quarantined: Fraction = 0.05
    max_inside_token: Fraction = 0.02
    max_unknown_type: Fraction = 0.1
    max_failure_rate: Fraction = 0.5
    failure_window: Count = 200
    cluster: ClusterSettings | None = None

    def __post_init__(self) -> None:
        if self.samples > 1 and not self.sampling.temperature and not self.demonstrations.can_vary:
            raise ValueError(
                f"samples: {self.samples} samples of one prompt at temperature 0 would be the same. "
                "Set sampling.temperature (0.7, say), or let the demonstrations differ: demonstrations.vary: order "
                "with k of 2 or more, or set with k of 1 or more, and a strategy other than none."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossFitSettings:
    """Confidences for labels that come without: from students that were trained on the other folds.

    `updates`, `batch_size` and `learning_rate` are those of each fold's student; the last two default to train's.
    `with_original`: corpus.original.train is trained on, too. `overrule`: labels that have a confidence lose it.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    folds: Annotated[int, Ge(2)] = 5
    updates: Count = 150
    batch_size: Count | None = None
    learning_rate: Positive | None = None
    with_original: bool = True
    overrule: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectSettings:
    """Which annotations go into training.

    A span is doubtful where its confidence is below `min_confidence`, or the share of samples that agree on it below
    `min_agreement` (if it has one at all), or its mention was found in a way that `alignments` does not name.
    `doubtful` says what that costs: the whole `sentence`; the `span`, so that its tokens become O; or only the loss on
    its tokens (`mask`). A class on which too few samples agree costs the sentence. A sentence's confidence is that of
    its least confident span (or of its class): below `min_sentence_confidence` it goes, and with `weigh` it is the
    sentence's weight in the loss.

    `cross_fit` gives confidences to labels that came without, and says how probably a sentence lacks an entity
    (`max_missed`). `calibration` turns the teacher's into probabilities. `near_duplicates` is the similarity from which
    a sentence counts as a copy of another, or of one in dev or test. `budget`: at most so many sentences, those that
    `prefer` names. `truth`: gold for the same sentences, to measure the selection; nothing is chosen by it.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    calibration: Literal["none", "isotonic", "platt"] = "isotonic"
    deduplicate: bool = True
    drop_rejected: bool = False
    min_confidence: Fraction = 0.0
    min_agreement: Fraction = 0.0
    min_sentence_confidence: Fraction = 0.0
    max_missed: Fraction = 1.0
    alignments: tuple[Literal["exact", "normalised", "fuzzy", "tags"], ...] = ("exact", "normalised", "fuzzy", "tags")
    doubtful: Literal["sentence", "span", "mask"] = "sentence"
    near_duplicates: Annotated[float, Ge(0.5), Le(1)] | None = None
    budget: Count | None = None
    prefer: Literal["first", "random", "confident", "diverse"] = "first"
    weigh: bool = False
    cross_fit: CrossFitSettings | None = None
    truth: str | Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSettings:
    """What is scored: every student, and the teacher where it labelled the split."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    split: Literal["dev", "test"] = "test"
    min_f1: Fraction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A whole configuration file."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    name: str
    seed: Number = 0
    task: TaskSettings
    corpus: CorpusSettings
    backend: BackendSettings | None = None
    annotate: AnnotateSettings = field(default_factory=AnnotateSettings)
    select: SelectSettings = field(default_factory=SelectSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    study: StudySettings | None = None

    def __post_init__(self) -> None:
        folder_name(self.name)

    @property
    def asks_a_teacher(self) -> bool:
        """Whether there is text to annotate and a teacher to do it; else labels come from corpus.distilled alone."""
        return self.backend is not None and self.corpus.unlabelled is not None
