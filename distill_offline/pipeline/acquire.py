"""acquire: the sentences of a text that are worth annotating next, in a file that corpus.unlabelled reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from distill_offline.config.settings import Source
from distill_offline.corpus import AnySource, check_writable, read_sentences, write_sentences
from distill_offline.corpus.source import as_source
from distill_offline.errors import InputError
from distill_offline.pipeline.uncertainty import By, diverse, most_uncertain, uncertainty, uniform
from distill_offline.schema import Progress, Sentence, Watch, content_digest
from distill_offline.student.checks import check_students
from distill_offline.student.model import Student

__all__ = ["acquire"]

_CHUNK = 2048  # sentences held at once: enough to sort by length, little enough for flat memory


def acquire(
    student: Path,
    text: AnySource,
    output: Path,
    n: int,
    *,
    by: By = "uncertainty",
    measure: str = "mnlp",
    seed: int = 0,
    known: Iterable[Path] = (),
    counts: Counter[str] | None = None,
    watch: Watch = lambda progress: None,
) -> int:
    """Write the `n` sentences of `text` to annotate next to `output` (.jsonl), the best first; gives their number.

    Ids and tokens stay, so that the file can be corpus.unlabelled as it is. `by` uncertainty: those of which the
    student is least sure, by one of uncertainty.MEASURES; the student is not asked otherwise, but says whether texts
    are labelled as a whole. Of sentences with the same tokens only the first can be chosen, and none that stands in
    one of the `known` files. `counts` gains `sentences`, `duplicate`, `known`, and what was passed over. The text is
    read twice. Raises InputError if nothing is left to choose from.
    """
    if output.suffix.lower() != ".jsonl":
        raise InputError(f"{output}: acquire writes .jsonl, which keeps ids and tokens.")
    check_writable(output, ())
    counter = Counter[str]() if counts is None else counts
    check_students([student])
    model = Student.load(student)
    source = as_source(text, None, "auto")
    pool = _Pool(source, model, frozenset())
    others = (Source(path=str(file), on_bad_file=source.on_bad_file) for file in known)
    known_ones = (content_digest(row) for file in others for row in pool.read(file))
    pool = replace(pool, known=frozenset(known_ones))
    match by:
        case "uncertainty":
            chosen = most_uncertain(list(_scores(model, measure, pool.sentences(counter), watch)), n)
        case "diverse":
            chosen = diverse((" ".join(sentence.tokens) for sentence in pool.sentences(counter)), n, seed)
        case "random":
            chosen = uniform(sum(1 for _ in pool.sentences(counter)), n, seed)
    if not chosen:
        raise InputError(f"{source.path}: no sentence is left to choose from; {counter['known']} are known.")
    wanted = set(chosen)
    picked = {number: sentence for number, sentence in enumerate(pool.sentences(Counter())) if number in wanted}
    write_sentences(output, (picked[number] for number in chosen))
    return len(chosen)


@dataclass(frozen=True, slots=True)
class _Pool:
    """The sentences that can be chosen."""

    source: Source
    model: Student
    known: frozenset[str]

    def read(self, source: Source, counts: Counter[str] | None = None) -> Iterator[Sentence]:
        """All sentences of a file, tokenised as the student's were."""
        spoken = replace(source, language=self.model.language)
        return read_sentences(spoken, head=self.model.head, counts=counts)

    def sentences(self, counts: Counter[str]) -> Iterator[Sentence]:
        seen = set[str]()
        for sentence in self.read(self.source, counts):
            content = content_digest(sentence)
            counts["sentences"] += 1
            if content in self.known:
                counts["known"] += 1
            elif content in seen:
                counts["duplicate"] += 1
            else:
                seen.add(content)
                yield sentence


def _scores(model: Student, measure: str, sentences: Iterator[Sentence], watch: Watch) -> Iterator[float]:
    done = 0
    while chunk := list(islice(sentences, _CHUNK)):
        for probabilities in model.probabilities(chunk):
            yield uncertainty(measure, probabilities)
        done += len(chunk)
        watch(Progress("acquire", done, 0))
