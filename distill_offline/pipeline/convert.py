"""convert: a corpus from one format into another, with what was kept and what was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_offline.config.settings import Source
from distill_offline.corpus import Labelled, check_writable, head_of, read_with_entities, write_labelled
from distill_offline.corpus.lost import Losses
from distill_offline.corpus.source import is_plain_text
from distill_offline.errors import InputError
from distill_offline.schema import Head

__all__ = ["Converted", "convert"]


@dataclass(slots=True)
class Converted:
    """What was read and written: `sentences`, those of them that are `labelled`, `entities` and `classes` by type.

    `unread` is what the first format said and no row holds, `unwritten` what the second one cannot hold.
    """

    head: Head
    sentences: int = 0
    labelled: int = 0
    types: Counter[str] = field(default_factory=Counter)
    unread: Losses = field(default_factory=Losses)
    unwritten: Losses = field(default_factory=Losses)

    def as_dict(self) -> dict[str, Any]:
        """JSON; losses with the first ids of their rows."""
        lost = {"unread": self.unread, "unwritten": self.unwritten}
        return {
            "head": self.head,
            "sentences": self.sentences,
            "labelled": self.labelled,
            "types": dict(sorted(self.types.items())),
            **{
                name: {reason: {"count": count, "ids": losses.ids.get(reason, [])} for reason, count in losses.items()}
                for name, losses in lost.items()
            },
        }


def convert(source: Source, output: Path, *, output_format: str | None = None, force: bool = False) -> Converted:
    """Read a corpus and write it in another format, streamed where the formats are.

    Raises InputError if the output is there already and not `force`, CorpusError with file and line for what cannot
    be read, and with the row's id for what cannot be written at all.
    """
    if output.exists() and not force:
        raise InputError(f"{output}: is there already. Choose another name, or overwrite it with --force.")
    if output.exists() and output.resolve() == Path(source.path).resolve():
        raise InputError(f"{output}: is the input itself. Choose another name.")
    check_writable(output, (), file_format=output_format)
    done = Converted("token-classification" if is_plain_text(source) else head_of(source))

    def items() -> Iterator[Labelled]:
        for item in read_with_entities(source, head=done.head, counts=done.unread):
            done.sentences += 1
            done.labelled += item.labels is not None
            if item.entities is not None:
                done.types.update(entity.type for entity in item.entities)
            elif item.labels is not None:
                done.types.update(item.labels)
            yield item

    write_labelled(output, items(), file_format=output_format, lost=done.unwritten)
    return done
