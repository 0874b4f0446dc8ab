"""predict: a student's labels for new text, and how sure it is of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from distill_offline.confidence.calibration import UNCHANGED, Calibration, fit
from distill_offline.corpus import (
    AnySource,
    Labelled,
    check_writable,
    read_examples,
    read_sentences,
    write_labelled,
)
from distill_offline.corpus.formats import COLUMNS
from distill_offline.corpus.labelled import in_characters
from distill_offline.corpus.lost import Losses
from distill_offline.corpus.source import as_source
from distill_offline.corpus.write import written_format
from distill_offline.errors import CorpusError, InputError
from distill_offline.schema import Progress, Sentence, Span, Watch
from distill_offline.spans.bio import encode_bio
from distill_offline.student.checks import check_students
from distill_offline.student.committee import Committee
from distill_offline.student.labelling import sure_spans
from distill_offline.student.model import Student

__all__ = ["predict"]

_CHUNK = 2048  # sentences held at once: enough to sort by length, little enough for flat memory


def predict(
    student: Path,
    text: AnySource,
    output: Path,
    *,
    together_with: Sequence[Path] = (),
    output_format: str | None = None,
    min_confidence: float = 0.0,
    calibrate: AnySource | None = None,
    counts: Counter[str] | None = None,
    lost: Losses | None = None,
    watch: Watch = lambda progress: None,
) -> int:
    """Label the sentences of `text` and write them to `output`, formats by suffix or by name; gives their number.

    Streams. Raw text is tokenised as that was from which the student learnt. A student of classes labels each text as
    a whole. What `output` cannot hold is refused before anything is predicted. With others (`together_with`) the
    student labels as a Committee.

    Confidences are the student's own probabilities (`plain`), or `calibrated` on the labels of `calibrate`. Entities
    and classes less sure than `min_confidence` (0 to 1) are left out, as is a text whose only class is. `counts` gains
    `below_confidence`, how many these were, and what was passed over, as in read_sentences;
    `lost` what the output's format cannot hold.
    """
    source = as_source(text, None, "auto")
    gold = None if calibrate is None else as_source(calibrate, None, "auto")
    for given in (source, *([gold] if gold is not None else [])):
        if output.exists() and output.resolve() == Path(given.path).resolve():
            raise InputError(f"{output}: is an input itself, and would be lost. Choose another name.")
    check_writable(output, read_sentences(source), file_format=output_format)
    check_students([student, *together_with])
    model = Committee.load([student, *together_with]) if together_with else Student.load(student)
    if not model.kind.per_token and written_format(output, output_format) == COLUMNS:
        raise CorpusError(
            f"{output}: this student labels whole texts and gives no tag a token, which columns need. Write .jsonl."
        )
    check_writable(output, (), model.labels, file_format=output_format)
    counter = Counter[str]() if counts is None else counts
    labeller = _Labeller(model, UNCHANGED if gold is None else _fitted(model, gold), min_confidence, counter)
    sentences = read_sentences(replace(source, language=model.language), head=model.head, counts=counter)
    done = 0

    def labelled() -> Iterator[Labelled]:
        nonlocal done
        while chunk := list(islice(sentences, _CHUNK)):
            for item in labeller.label(chunk):
                done += 1
                yield item
            watch(Progress("predict", done, 0))

    write_labelled(output, labelled(), file_format=output_format, lost=lost)
    return done


@dataclass(frozen=True, slots=True)
class _Labeller:
    """A student, or several, with the map from its probabilities to confidences, and the least of them that is kept."""

    student: Student | Committee
    calibration: Calibration
    least: float
    counts: Counter[str]

    def label(self, sentences: Sequence[Sentence]) -> Iterator[Labelled]:
        """What the student says of each; a text whose only class is too doubtful is left out."""
        student = self.student
        scored = student.scored(sentences)
        said = student.kind.decide(scored, student.labels)
        if student.kind.per_token:
            for sentence, spans in zip(sentences, sure_spans(scored, student.labels, said), strict=True):
                yield self._entities(sentence, spans)
            return
        sure = (self.calibration(score) for score, _ in student.kind.confidences(scored, student.labels, said, said))
        for sentence, labels in zip(sentences, said, strict=True):
            pairs = [(label, next(sure)) for label in labels]
            kept = [(label, confidence) for label, confidence in pairs if confidence >= self.least]
            self.counts["below_confidence"] += len(pairs) - len(kept)
            if kept or not pairs or student.head == "multi-label-classification":
                yield Labelled(
                    sentence,
                    tuple(label for label, _ in kept),
                    confidence=min((confidence for _, confidence in kept), default=None),
                    confidence_kind=self._kind(),
                )

    def _entities(self, sentence: Sentence, spans: Sequence[Span]) -> Labelled:
        sure = [replace(span, confidence=self.calibration(span.confidence or 0.0)) for span in spans]
        kept = [span for span in sure if (span.confidence or 0.0) >= self.least]
        self.counts["below_confidence"] += len(sure) - len(kept)
        places = [in_characters(span, sentence) for span in kept]
        entities = tuple(replace(s, start=start, end=end) for s, (start, end) in zip(kept, places, strict=True))
        labels = encode_bio(kept, len(sentence.tokens))
        return Labelled(sentence, labels, entities, confidence_kind=self._kind())

    def _kind(self) -> str:
        return "plain" if self.calibration is UNCHANGED else "calibrated"


def _fitted(student: Student | Committee, gold: AnySource) -> Calibration:
    """The share that is right among what the student says with each probability, measured on gold labels."""
    source = replace(as_source(gold, None, "auto"), language=student.language)
    kind, scores, is_right = student.kind, list[float](), list[bool]()
    examples = read_examples(source, origin="original", head=student.head)
    while chunk := list(islice(examples, _CHUNK)):
        scored = student.scored([example.sentence for example in chunk])
        said = kind.decide(scored, student.labels)
        for score, right in kind.confidences(scored, student.labels, said, [example.labels for example in chunk]):
            scores.append(score)
            is_right.append(right)
    try:
        return fit(scores, is_right)
    except InputError as error:
        raise InputError(
            f"{source.path}: cannot calibrate on it: the student says {len(scores)} entities or classes there, "
            f"{sum(is_right)} of them right; at least 20 are needed, right ones and wrong ones. Give more gold."
        ) from error
