"""What every reader yields: a sentence, its labels as the file has them, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from distill_offline.corpus.lines import fault
from distill_offline.corpus.standoff import StandoffLabels
from distill_offline.errors import CorpusError
from distill_offline.schema import Head, Sentence, Span, join_tokens
from distill_offline.spans.bio import Scheme

__all__ = ["Head", "Record", "join_tokens"]


@dataclass(frozen=True, slots=True)
class Record:
    """One sentence of a file.

    `labels` are raw, in the file's own scheme unless `scheme` names theirs. `line` is the sentence's first line or
    its row, from 1; `step` is 1 where each token has a line of its own. `document_position` counts the file's
    documents from 0 if the format has borders between them. `standoff` is where the labels came from, if out of a
    stand-off file. `weight` and `masked` are those of an Example. `spans` are those that a row lists, in tokens, and
    `carried` the numbers beside its labels (annotations.LineValues), both as they stand there: unchecked.
    `unheld` are spans, in characters, that begin or end inside a token: no label says them; their tokens are masked.
    `unread` are the fields of a labelled row that no row has: they are kept nowhere.
    `entities` are all that a row lists, in characters, as exactly as it does; None if it lists none.
    `has_text`: the file has the text itself, and not only its tokens.
    """

    sentence: Sentence
    labels: tuple[str, ...] | None
    shown: str
    line: int
    step: int = 0
    scheme: Scheme | None = None
    document_position: int | None = None
    standoff: StandoffLabels | None = None
    weight: float = 1.0
    masked: tuple[int, ...] = ()
    spans: tuple[Span, ...] = ()
    carried: Mapping[str, Any] = field(default_factory=dict)
    unheld: tuple[Span, ...] = ()
    has_text: bool = True
    entities: tuple[Span, ...] | None = None
    unread: tuple[str, ...] = ()

    @property
    def document(self) -> str:
        return self.sentence.document

    def fault(self, problem: str, token: int = 0) -> CorpusError:
        """The error `file:line: problem`, at one of the tokens where tokens have lines; in the stand-off file, where
        the labels came out of one."""
        if self.standoff is not None:
            return fault(self.standoff.shown, self.standoff.line, problem)
        return fault(self.shown, self.line + self.step * token, problem)
