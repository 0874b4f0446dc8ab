"""predict: a student's labels for new text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from distill_offline.corpus import AnySource, check_writable, read_sentences, write_examples
from distill_offline.corpus.formats import COLUMNS
from distill_offline.corpus.source import as_source
from distill_offline.corpus.write import written_format
from distill_offline.errors import CorpusError
from distill_offline.schema import Example, Progress, Watch
from distill_offline.student.model import Student

__all__ = ["predict"]

_CHUNK = 2048  # sentences held at once: enough to sort by length, little enough for flat memory


def predict(
    student: Path,
    text: AnySource,
    output: Path,
    *,
    output_format: str | None = None,
    counts: Counter[str] | None = None,
    watch: Watch = lambda progress: None,
) -> int:
    """Label the sentences of `text` and write them to `output`, formats by suffix or by name; gives their number.

    Streams. Raw text is tokenised as that was from which the student learnt. A student of classes labels each text as
    a whole. `counts` gains what was passed over, as in read_sentences. What `output` cannot hold is refused before
    anything is predicted.
    """
    source = as_source(text, None, "auto")
    check_writable(output, read_sentences(source), file_format=output_format)
    model = Student.load(student)
    if not model.kind.per_token and written_format(output, output_format) == COLUMNS:
        raise CorpusError(
            f"{output}: this student labels whole texts and gives no tag a token, which columns need. Write .jsonl."
        )
    check_writable(output, (), model.labels, file_format=output_format)
    sentences = read_sentences(replace(source, language=model.language), head=model.head, counts=counts)
    done = 0

    def labelled() -> Iterator[Example]:
        nonlocal done
        while chunk := list(islice(sentences, _CHUNK)):
            for sentence, labels in zip(chunk, model.predict(chunk), strict=True):
                yield Example(sentence, labels, "distilled")
            done += len(chunk)
            watch(Progress("predict", done, 0))

    write_examples(output, labelled(), file_format=output_format)
    return done
