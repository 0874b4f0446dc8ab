"""What can be set about an OpenAI-compatible server, and what it is asked for so that its own defaults do not count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

__all__ = ["PLAIN_SAMPLING", "OpenAIServerOptions"]

# What servers take from the model's own defaults, or from theirs, unless a request says otherwise. Unknown fields are
# an error with some servers, so that these go only to the one that is known to have them.
PLAIN_SAMPLING: Mapping[str, Mapping[str, Any]] = {
    "vllm": {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
    "llama.cpp": {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIServerOptions:
    """Options of the backend `openai_server`.

    With the defaults, a server that is gone has about four minutes to start again.
    """

    base_url: str
    """Where the API begins, such as `http://10.0.0.7:8000/v1`. Its host is the only one that is opened."""
    server: Literal["vllm", "llama.cpp"] | None = None
    """What answers there, if that is known: schemas are then enforced, and sampling is as asked for."""
    served: str = ""
    """What you know of the model behind the name (a digest, a version). It is part of each stored answer's key."""
    adapter: str = ""
    """The name under which the server serves an adapter of the model; asked for in the place of `backend.model`.
    Those of `adapt.folds` are to have this name with -1, -2, ... behind it."""
    concurrency: PositiveInt = 16
    """[requests] How many are under way at once."""
    timeout_s: PositiveFloat = 600.0
    """[seconds] The longest wait for one answer, and the longest that a Retry-After header can ask for."""
    retries: Annotated[int, Field(ge=0)] = 8
    """[tries] How often a request is sent again while the server is busy or gone."""
    backoff_s: Annotated[float, Field(ge=0)] = 1.0
    """[seconds] Tries are 0, 2, 4, 8 ... times this apart, and at most 120 times."""
    api_key_variable: str = ""
    """The environment variable that holds the server's key; the key itself is stored nowhere."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of each request, such as chat_template_kwargs."""
