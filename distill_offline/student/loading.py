"""From a folder to a model and its tokenizer: what does not fit together is refused by the file's name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_offline.errors import DistillError, InputError, MissingModel
from distill_offline.label_kinds import LabelKind, all_kinds, kind_of
from distill_offline.label_kinds.transitions import from_lists
from distill_offline.models.folder import require_sound
from distill_offline.schema import Head
from distill_offline.student.memory import enough_memory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["StudentShape", "load_model", "read_shape"]

_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_LONGEST = 1 << 20  # subwords of a window that anybody could mean


@dataclass(frozen=True, slots=True)
class StudentShape:
    """What a student's config.json says: its labels in the order of the head's columns, its head, its window.

    `transitions` are None if it says nothing of them.
    """

    labels: tuple[str, ...]
    head: Head
    max_length: int
    transitions: NDArray[np.float64] | None


def read_shape(folder: Path) -> StudentShape:
    """Raises MissingModel if the folder holds no student, InputError for one that is not ours to use."""
    if not (folder / "config.json").is_file():
        raise MissingModel(f"{folder}: no student here (config.json is missing).")
    require_sound(folder, str(folder))
    config = _read_config(folder)
    kind = _kind_of_head(config)
    if kind is None:
        what = (getattr(config, "architectures", None) or ["its model"])[0]
        raise InputError(f"{folder}: {what} has no classification head; this is not a student.")
    labels, location = config.id2label, f"{folder}/config.json: id2label"
    if not isinstance(labels, dict) or sorted(labels, key=str) != sorted(range(len(labels)), key=str) or not labels:
        raise InputError(f"{location} must number the labels from 0 without a gap. Was the file changed?")
    named = tuple(labels[number] for number in range(len(labels)))
    _check_labels(named, kind, location)
    length = getattr(config, "distill_max_length", 512)
    if type(length) is not int or not 0 < length <= _LONGEST:
        raise InputError(f"{folder}/config.json: distill_max_length must be a whole number from 1 to {_LONGEST}.")
    return StudentShape(named, kind.head, length, _read_transitions(folder, config, named, kind))


def _read_transitions(folder: Path, config: Any, labels: Sequence[str], kind: LabelKind) -> NDArray[np.float64] | None:
    stated = getattr(config, "distill_transitions", None)
    if stated is None or not kind.per_token:
        return None
    try:
        return from_lists(stated, labels)
    except ValueError as error:
        raise InputError(f"{folder}/config.json: distill_transitions {error}. Was the file changed?") from error


def _read_config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, **_LOCAL)
    except Exception as error:  # nearly any type: what the file holds decides which
        raise MissingModel(f"{folder}/config.json: not the configuration of a known model: {_line(error)}") from error


def _kind_of_head(config: Any) -> LabelKind | None:
    """The kind of labels that a model of this configuration gives."""
    name = str((getattr(config, "architectures", None) or [""])[0])
    fit = [kind for kind in all_kinds() if name.endswith(kind.model.removeprefix("AutoModel"))]
    stated = getattr(config, "problem_type", None)
    # What says nothing, or what a single class a text is called, is the first one's.
    return next((kind for kind in fit if kind.problem_type == stated), fit[0] if fit and stated in _PLAIN else None)


_PLAIN = (None, "single_label_classification")


def _check_labels(labels: Sequence[Any], kind: LabelKind, location: str) -> None:
    if not all(isinstance(label, str) and label for label in labels) or len(set(labels)) < len(labels):
        raise InputError(f"{location} must hold a different name for each label.")
    if problem := kind.problem_of_head(labels):
        raise InputError(f"{location} {problem}.")


def load_model(folder: Path, labels: Sequence[str], head: Head, *, new_head: bool) -> tuple[Any, Any]:
    """(model, tokenizer). With `new_head` the folder is an encoder's, and what it has for a head is left out.

    Raises MissingModel if the folder's files are none, or do not make up a model of these labels; OutOfMemory.
    """
    import transformers

    # A new head is always "missing" from an encoder's weights: transformers' report of it would alarm for nothing.
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if not any(folder.glob("*.safetensors")):
        raise MissingModel(f"{folder}: no safetensors weights here; other formats are not loaded.")
    require_sound(folder, str(folder))
    _read_config(folder)
    numbers = {label: i for i, label in enumerate(labels)}
    names: dict[str, Any] = {"id2label": dict(enumerate(labels)), "label2id": numbers}
    if (stated := kind_of(head).problem_type) is not None:
        names["problem_type"] = stated
    try:
        with enough_memory(f"{folder}: loading it"):
            model, report = getattr(transformers, kind_of(head).model).from_pretrained(
                folder,
                dtype="float32",
                use_safetensors=True,
                num_labels=len(labels),
                ignore_mismatched_sizes=True,  # they are told below, by name
                output_loading_info=True,
                **names,
                **_LOCAL,
            )
    except DistillError:
        raise
    except Exception as error:  # nearly any type: what the files hold decides which
        raise MissingModel(f"{folder}: the {_kind(new_head)} does not load: {_line(error)}") from error
    _check_weights(folder, model, report, new_head=new_head)
    _check_numbers(folder, model)
    tokenizer = _load_tokenizer(folder, model)
    if new_head:  # a student's own was settled when it was new
        _begin_words_with_a_space(tokenizer)
    return model, tokenizer


def _begin_words_with_a_space(tokenizer: Any) -> None:
    """Byte-level subwords have the space before a word in them, which words of a split text lack.

    RoBERTa's own class puts it there when it is told to; a tokenizer without a class of its own (ModernBERT's) does
    not, and every word would be read as the middle of another.
    """
    core = tokenizer.backend_tokenizer
    splitter = core.pre_tokenizer
    if type(splitter).__name__ == "ByteLevel" and not splitter.add_prefix_space:
        splitter.add_prefix_space = True
        core.pre_tokenizer = splitter


def _kind(new_head: bool) -> str:
    return "encoder" if new_head else "student"


def _check_weights(folder: Path, model: Any, report: Any, *, new_head: bool) -> None:
    """transformers fills in what the files lack, or have in other sizes, with random numbers, in silence."""
    lacking = set(report.get("missing_keys", ()))
    other = {key[0] if isinstance(key, tuple) else key for key in report.get("mismatched_keys", ())}
    prefix = f"{model.base_model_prefix}."
    for names, have in ((other, "have another size of"), (lacking, "lack")):
        wanted = sorted(n for n in names if not new_head or (n.startswith(prefix) and ".pooler." not in n))
        if wanted:
            raise MissingModel(
                f"{folder}: its weights {have} {wanted[0]}{_more(wanted)}, which config.json asks for. "
                f"Do both belong to the same model, and is it {'an encoder' if new_head else 'a trained student'}?"
            )


def _check_numbers(folder: Path, model: Any) -> None:
    """Weights that are no numbers score nothing, and whatever has no score would be labelled as without entities."""
    strange = sorted(name for name, weights in model.named_parameters() if not weights.isfinite().all())
    if strange:
        raise MissingModel(
            f"{folder}: its weights are no numbers (NaN or infinite) in {strange[0]}{_more(strange)}. Is the file "
            "damaged, or did its training diverge? Train or copy it again."
        )


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _load_tokenizer(folder: Path, model: Any) -> Any:
    import transformers

    try:
        # RoBERTa's tokenizers need the space that stands before every word but in pre-split text is implied.
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, add_prefix_space=True, **_LOCAL)
    except Exception as error:  # nearly any type, and tokenizers raises Exception itself
        lacking = "" if (folder / "tokenizer.json").is_file() else " (tokenizer.json is missing)"
        raise MissingModel(f"{folder}: its tokenizer does not load{lacking}: {_line(error)}") from error
    if not tokenizer.is_fast:
        raise InputError(f"{folder}: it has no fast tokenizer (tokenizer.json); word positions need one.")
    rows = model.get_input_embeddings().weight.shape[0]
    core = tokenizer.backend_tokenizer
    highest = max([*core.get_vocab(with_added_tokens=False).values(), *_used(tokenizer)], default=-1)
    if highest < 0:
        raise MissingModel(f"{folder}: its tokenizer knows no subword. Is tokenizer.json its own?")
    if highest >= rows:
        raise MissingModel(
            f"{folder}: its tokenizer numbers subwords up to {highest}, and its weights have embeddings for {rows}. "
            "Is tokenizer.json its own?"
        )
    return tokenizer


def _used(tokenizer: Any) -> Iterable[int]:
    """The special subwords that are put around every sentence."""
    special_ids = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id)
    return (number for number in special_ids if number is not None)


def _line(error: Exception) -> str:
    """What a library said, shortened: advice to use its hub or another version follows further on."""
    return ". ".join(" ".join(str(error).split()).split(". ")[:2])[:240] or type(error).__name__
