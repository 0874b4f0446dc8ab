"""A gold file, and the scores of whatever is compared with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from distill_offline.confidence.calibration import Calibration
from distill_offline.config.settings import Source
from distill_offline.corpus import digest, read_examples
from distill_offline.corpus.lost import LOST_IN_READING, Losses
from distill_offline.errors import InputError
from distill_offline.label_kinds import kind_of
from distill_offline.run.unheld import in_words
from distill_offline.schema import Example, Head, Report
from distill_offline.scoring.comparison import Compared, LabelledSentence, compare
from distill_offline.scoring.metrics import score
from distill_offline.scoring.quality import Quality, quality

__all__ = ["GoldComparison", "Truth"]


@dataclass(frozen=True, slots=True)
class GoldComparison:
    """Scores on a gold file; of a teacher's entities also what kinds of error they are, by what is known of them.

    `by` says what an entity's place is counted in: `tokens`, or `characters` where the two sides have other tokens for
    some of their sentences; of classes it is `texts`. `warnings` are lines for whoever reads the scores.
    """

    report: Report
    by: str
    quality: Quality | None = None
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The report's JSON, `by`, and `quality` if there is one."""
        values = {"by": self.by} | ({"quality": self.quality.as_dict()} if self.quality else {})
        return self.report.as_dict() | values


@dataclass(frozen=True, slots=True)
class Truth:
    """What labels are compared with, what was passed over in reading it, and what its file says beyond, in words."""

    head: Head
    examples: Sequence[Example]
    passed_over: Mapping[str, int] = field(default_factory=dict)
    lost: tuple[str, ...] = ()

    @classmethod
    def read(cls, source: Source, head: Head) -> Truth:
        counts = Losses()
        examples = tuple(read_examples(source, origin="original", head=head, counts=counts))
        lost = tuple(f"{source.path}: not read: {line}" for line in counts.lines(LOST_IN_READING))
        return cls(head, examples, {"bad_file": counts["bad_file"]} if counts["bad_file"] else {}, lost)

    def of_classes(self, predicted: Sequence[tuple[str, ...]], counts: Mapping[str, int]) -> GoldComparison:
        """The scores of what is said of whole texts."""
        report = score(
            kind_of(self.head).metric, [e.labels for e in self.examples], predicted, on=digest(self.examples)
        )
        return GoldComparison(self._counted(report, counts), "texts", warnings=self.lost)

    def of_entities(
        self,
        answers: Sequence[LabelledSentence],
        counts: Mapping[str, int],
        *,
        strays: int | None,
        with_quality: bool = False,
        calibration: Calibration | None = None,
    ) -> GoldComparison:
        """The scores of what is given for each sentence, in order; `strays`: how many tags were none.

        Raises InputError if a sentence has another text on either side: callers look before, and can say where.
        """
        compared = [self._compare(*pair) for pair in zip(self.examples, answers, strict=True)]
        labels = [sentence.labels for sentence in compared]
        gold, predicted = [wanted for wanted, _ in labels], [answers for _, answers in labels]
        report = score(kind_of(self.head).metric, gold, predicted, on=digest(self.examples))
        counts_of_places = {
            "by_characters": sum(sentence.by_characters for sentence in compared),
            "masked": sum(sentence.masked for sentence in compared),
            "unheld": sum(len(example.unheld) for example in self.examples),
        }
        kept = {"tokens": sum(len(example.sentence.tokens) for example in self.examples)}
        stray = {} if strays is None else {"stray_tags": strays}
        kept |= {name: count for name, count in counts_of_places.items() if count}
        kinds = None
        if with_quality:
            kinds = quality(
                [sentence.true for sentence in compared], [sentence.predicted for sentence in compared], calibration
            )
        unheld = in_words("gold", self.examples)
        return GoldComparison(
            self._counted(replace(report, errors={**report.errors, **stray}), {**kept, **counts}),
            "characters" if counts_of_places["by_characters"] else "tokens",
            kinds,
            ((unheld,) if unheld else ()) + self.lost,
        )

    def _compare(self, example: Example, answer: LabelledSentence) -> Compared:
        compared = compare(example.sentence, example.labels, answer, example.unheld)
        if compared is None:
            raise InputError(f"sentence {example.sentence.id} has another text on either side.")
        return compared

    def _counted(self, report: Report, counts: Mapping[str, int]) -> Report:
        return replace(report, counts={**report.counts, **counts, **self.passed_over})
