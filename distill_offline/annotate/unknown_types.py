"""Whether an annotation loses its entities by the names of their types alone."""

from __future__ import annotations

__all__ = ["lost_by_type"]


def lost_by_type(unknown: int, mentions: int, rows: int, annotated: int, limit: float) -> str:
    """A line of warning if more than `limit` (a share) of the mentions were rejected as `unknown_type`; else empty.

    So, too, if `rows`, those of the `annotated` that have no entity since every mention of theirs was, are as many.
    """
    if unknown <= limit * mentions and rows <= limit * annotated:
        return ""
    return (
        f"{unknown} of {mentions} mentions ({unknown / mentions:.1%}) have a type that task.types does not name, and "
        f"{rows} of {annotated} rows have no entity for that alone. If the teacher means one of the task's types by "
        "another name, say so in task.synonyms; --reparse reads the answers again."
    )
