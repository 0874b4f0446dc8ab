"""Whether too many of a teacher's mentions were lost because they begin or end inside a token."""

from __future__ import annotations

__all__ = ["LEAST", "lost_inside_tokens"]

LEAST = 5


def lost_inside_tokens(lost: int, mentions: int, limit: float = 0.02) -> str:
    """A line of warning where more than `limit` (a share) of the mentions were rejected as `inside_token`; else empty.

    `mentions` are the spans that they became and those that were rejected. Fewer than five are a sign of something only
    if they are more than a tenth.
    """
    if lost <= limit * mentions or (lost < LEAST and lost * 10 <= mentions):
        return ""
    return (
        f"{lost} of {mentions} mentions ({lost / mentions:.1%}) are lost as inside_token: the text has them, but they "
        "begin or end inside a token, which no label can say. The tokens do not fit this text. Set corpus.language, or "
        "look at how the corpus cuts its words."
    )
