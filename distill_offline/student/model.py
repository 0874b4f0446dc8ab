"""The student: a local encoder with a head, its tokenizer and its labels; load, encode, loss, predict, save."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, overload

from distill_offline.corpus.languages import tokeniser
from distill_offline.corpus.refine import refined
from distill_offline.errors import InputError, OutOfMemory, native_os_error
from distill_offline.label_kinds import kind_of
from distill_offline.label_kinds.decoding import Scored
from distill_offline.label_kinds.losses import CROSS_ENTROPY, Loss, LossRule
from distill_offline.label_kinds.subwords import IGNORED, labels_of_seen
from distill_offline.label_kinds.transitions import as_lists
from distill_offline.schema import Example, Head, Sentence
from distill_offline.student.batching import micro_batches
from distill_offline.student.capitals import with_capitals
from distill_offline.student.labelling import LabelledText, label_texts
from distill_offline.student.loading import load_model, read_shape
from distill_offline.student.memory import is_out_of_memory
from distill_offline.student.windows import owned_words, window_length

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["Encoded", "Student"]

# On a CPU what goes from layer to layer stays in its cache: with MiniLM nearly twice as fast as batches of 8,192.
_BATCH_TOKENS = {True: 1024, False: 8192}


class _ForwardPass(Protocol):
    def __call__(self, **batch: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """One window of one sentence: subword ids, the word of each subword that this window answers for, and labels.

    `words[i]` is None for special subwords, for all but a word's first subword, and for words that another window
    answers for. `labels` align with `ids`, -100 where no loss is taken; of whole texts they are the kind's targets.
    `weight` and `distilled` are the example's.
    """

    sentence: int
    ids: tuple[int, ...]
    words: tuple[int | None, ...]
    labels: tuple[int, ...]
    weight: float = 1.0
    distilled: bool = False


class Student:
    """An encoder with a classification head. Loads from, and saves to, a folder that plain transformers reads.

    Sentences longer than the window are cut into overlapping windows; each word is answered for by the window in
    which it has the most context, so every token gets exactly one label.
    """

    def __init__(self, model: Any, tokenizer: Any, labels: Sequence[str], head: Head, max_length: int = 512) -> None:
        self.model, self.tokenizer, self.labels, self.head = model, tokenizer, tuple(labels), head
        self.kind = kind_of(head)
        self._index = {label: i for i, label in enumerate(labels)}
        self._window = window_length(model, tokenizer, max_length)
        model.config.distill_max_length = max_length
        self._transitions: NDArray[np.float64] | None = None

    @property
    def padding(self) -> int:
        """The subword that fills up a batch's shorter windows."""
        return self.tokenizer.pad_token_id or 0

    @property
    def language(self) -> str | None:
        """The corpus.language by which the text was tokenised that it learnt from, and is to label."""
        return getattr(self.model.config, "distill_language", None)

    @language.setter
    def language(self, language: str | None) -> None:
        self.model.config.distill_language = language

    @property
    def transitions(self) -> NDArray[np.float64] | None:
        """What each tag adds after another one when tags are decoded (label_kinds.transitions); None: nothing."""
        return self._transitions

    @transitions.setter
    def transitions(self, table: NDArray[np.float64] | None) -> None:
        self._transitions = table
        if table is not None:
            self.model.config.distill_transitions = as_lists(table)
        elif hasattr(self.model.config, "distill_transitions"):
            del self.model.config.distill_transitions

    @classmethod
    def create(
        cls, encoder: Path, labels: Sequence[str], head: Head, *, max_length: int = 512, capitals: bool = False
    ) -> Self:
        """A new student: a pretrained encoder, and a head whose weights come from torch's current seed.

        With `capitals` an uncased encoder is given rows for subwords with capitals.
        """
        model, tokenizer = load_model(encoder, labels, head, new_head=True)
        if capitals:
            tokenizer = with_capitals(model, tokenizer, encoder.name)
        student = cls(model, tokenizer, labels, head, max_length)
        student.transitions = None  # an encoder that was a student once has some of other labels
        return student

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """A trained student. Raises MissingModel if the folder holds none, InputError for another kind of model."""
        folder = Path(folder)
        shape = read_shape(folder)
        model, tokenizer = load_model(folder, shape.labels, shape.head, new_head=False)
        student = cls(model, tokenizer, shape.labels, shape.head, shape.max_length)
        student.transitions = shape.transitions
        return student

    @overload
    def label(self, texts: str) -> LabelledText: ...  # type: ignore[overload-overlap]  # a text is no list of letters
    @overload
    def label(self, texts: Iterable[str]) -> list[LabelledText]: ...
    def label(self, texts: str | Iterable[str]) -> LabelledText | list[LabelledText]:
        """What it says of a text, or of each of many: entities with their places in the text, or a class.

        The same as `predict` says of a file with that text, whatever its length. Raises InputError for what is no text.
        """
        return label_texts(self, [texts])[0] if isinstance(texts, str) else label_texts(self, texts)

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors), tokenizer and labels. Raises OSError if the disk does not take them."""
        try:
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        except Exception as error:  # of types of their own, or none: Rust writes both
            if (refused := native_os_error(error)) is None or refused is error:
                raise
            raise OSError(refused.errno, refused.strerror, str(folder)) from error

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded]]:
        """The windows of each example, with labels and weights, tokenised once.

        What is learnt from a corpus's own tokens serves for raw text, too: tokens that raw text has in several pieces
        have a label for each of these. Raises InputError for a label that the student does not have.
        """
        if self.kind.per_token:
            tokenise = tokeniser(self.language)
            examples = [refined(example, tokenise) for example in examples]
        encoded = self._encode([example.sentence for example in examples])
        encoded_windows = []
        for windows, example in zip(encoded, examples, strict=True):
            labels = example.labels
            if self.kind.per_token:
                labels = labels_of_seen(labels, {word for w in windows for word in w.words if word is not None})
            distilled = example.origin == "distilled"
            encoded_windows.append(
                [replace(self._with_labels(w, example, labels), distilled=distilled) for w in windows]
            )
        return encoded_windows

    def _with_labels(self, window: Encoded, example: Example, tags: Sequence[str]) -> Encoded:
        try:
            labels = self.kind.targets(tags, self._index, window.words, example.masked)
        except KeyError as error:
            raise InputError(
                f"{example.sentence.id}: label {error.args[0]!r} is not among task.types ({', '.join(self.labels)})."
            ) from error
        return Encoded(window.sentence, window.ids, window.words, labels, example.weight)

    def _encode(self, sentences: Sequence[Sentence]) -> list[list[Encoded]]:
        if not sentences:
            return []
        whole = not self.kind.per_token
        batch = self.tokenizer(
            [[_whole(token) for token in sentence.tokens] for sentence in sentences],
            is_split_into_words=True,
            truncation=True,
            max_length=self._window,
            stride=0 if whole else self._window // 4,
            return_overflowing_tokens=not whole,
        )
        windows: list[list[tuple[list[int], list[int | None]]]] = [[] for _ in sentences]
        for row, ids in enumerate(batch["input_ids"]):
            sentence = row if whole else batch["overflow_to_sample_mapping"][row]
            windows[sentence].append((ids, batch.word_ids(row)))
        return [
            [
                Encoded(number, tuple(ids), words, ())
                for (ids, _), words in zip(parts, owned_words([w for _, w in parts]), strict=True)
            ]
            for number, parts in enumerate(windows)
        ]

    def batch(self, windows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """Padded tensors `input_ids`, `attention_mask` (windows × length) and, if labelled, `labels`, `weights`,
        `distilled`."""
        import torch

        longest = max(len(window.ids) for window in windows)
        pad = self.padding
        tensors = {
            "input_ids": torch.tensor([[*w.ids, *[pad] * (longest - len(w.ids))] for w in windows]),
            "attention_mask": torch.tensor([[1] * len(w.ids) + [0] * (longest - len(w.ids)) for w in windows]),
        }
        if windows[0].labels:
            width = max(len(window.labels) for window in windows)
            rows = [[*w.labels, *[IGNORED] * (width - len(w.labels))] for w in windows]
            tensors["labels"] = torch.tensor(rows)
            tensors["weights"] = torch.tensor([window.weight for window in windows])
            tensors["distilled"] = torch.tensor([window.distilled for window in windows])
        return tensors

    def loss(
        self, batch: Mapping[str, torch.Tensor], model: _ForwardPass | None = None, rule: LossRule = CROSS_ENTROPY
    ) -> Loss:
        """The weighted losses of a batch's labelled positions, summed."""
        forward = model or self.model
        logits = forward(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        losses, masked = self.kind.losses(logits, batch["labels"], batch["distilled"], rule)
        return Loss((losses * batch["weights"][:, None]).sum(), masked.sum())

    def predict(self, sentences: Sequence[Sentence], *, batch_tokens: int | None = None) -> list[tuple[str, ...]]:
        """The labels of each sentence: of all valid IOB2 the likeliest, one a token; or the likeliest class.

        See decoding.decode; a token in which the tokenizer sees nothing (control characters, zero-width ones) does not
        break an entity. Batches are sorted by length and bounded by `batch_tokens` subwords, padding included; by
        itself 1,024 on a CPU, 8,192 on a GPU.
        """
        return self.kind.decide(self.scored(sentences, batch_tokens), self.labels)

    def probabilities(
        self, sentences: Sequence[Sentence], *, batch_tokens: int | None = None
    ) -> list[NDArray[np.float32]]:
        """How sure the student is: for each sentence an array with a row for each of its decisions, float32.

        Rows sum to 1. Of tokens there is one for each, whose columns stand for `self.labels`; a tag has the probability
        of all valid IOB2 with it. Of one class a text there is a single one. See label_kinds. Batches as in `predict`.
        """
        return self.kind.shares(self.scored(sentences, batch_tokens), self.labels)

    def scored(self, sentences: Sequence[Sentence], batch_tokens: int | None = None) -> list[Scored]:
        """What the head says of each sentence's tokens, each in the window that answers for it; or of a whole text."""
        import numpy as np

        lengths = [len(sentence.tokens) if self.kind.per_token else 1 for sentence in sentences]
        scores = [np.zeros((length, len(self.labels)), np.float32) for length in lengths]
        is_seen = [np.zeros(length, np.bool_) for length in lengths]
        for batch, logits in self._forward(sentences, batch_tokens):
            for window, rows in zip(batch, self.kind.scores(logits), strict=True):
                if not self.kind.per_token:
                    scores[window.sentence][0], is_seen[window.sentence][0] = rows, True
                    continue
                places = [position for position, word in enumerate(window.words) if word is not None]
                words = [word for word in window.words if word is not None]
                scores[window.sentence][words] = rows[places]
                is_seen[window.sentence][words] = True
        seen = [np.flatnonzero(row) for row in is_seen]
        return [Scored(rows[at], at, len(rows), self._transitions) for rows, at in zip(scores, seen, strict=True)]

    def _forward(
        self, sentences: Sequence[Sentence], batch_tokens: int | None
    ) -> Iterator[tuple[list[Encoded], torch.Tensor]]:
        """Micro-batches of windows and their logits on the model's device: windows × subwords × labels, or × labels."""

        batch_tokens = batch_tokens or _BATCH_TOKENS[self.model.device.type == "cpu"]
        windows = [window for parts in self._encode(sentences) for window in parts]
        was_training = self.model.training
        self.model.eval()
        try:
            for batch in micro_batches(windows, batch_tokens):
                yield from self._passed(batch)
        finally:
            self.model.train(was_training)

    def _passed(self, batch: list[Encoded]) -> Iterator[tuple[list[Encoded], torch.Tensor]]:
        """The logits of a micro-batch; of its halves, if memory does not suffice for the whole. Raises OutOfMemory."""
        import torch

        try:
            # Not around the loop: what the consumer does between two batches is not ours to switch.
            with torch.inference_mode():
                tensors = {key: value.to(self.model.device) for key, value in self.batch(batch).items()}
                logits = self.model(**tensors).logits
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise OutOfMemory(
                    f"a window of {len(batch[0].ids)} subwords alone is too much for memory. Free some; or keep off "
                    "the GPU (CUDA_VISIBLE_DEVICES=''), use a smaller encoder, or train with a lower train.max_length."
                ) from error
            logits = None
        if logits is not None:
            yield batch, logits
            return
        torch.cuda.empty_cache()
        for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
            yield from self._passed(half)


def _whole(token: str) -> str:
    """The token, with `?` for half a character (a lone surrogate), which JSON escapes can smuggle in."""
    return token.encode("utf-8", "replace").decode()
