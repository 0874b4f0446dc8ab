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

    `base_url`: where the API begins, such as http://10.0.0.7:8000/v1; its host is the only one that is opened.
    `server`: what answers there, if that is known; then schemas are enforced without whitespace, and sampling is as
    asked for and nothing else. `served`: what the site knows of the model behind the name (a digest, a version): part
    of every completion's key, since a server can change its model and keep its name. `concurrency`: requests under way
    at once. `timeout_s`: for one answer, and the longest wait that a Retry-After header can ask for. `retries`: further
    tries where the server is busy or gone, after 0, 2, 4, 8 ... and at most 120 times `backoff_s`: with the defaults,
    about four minutes in which it may start anew. `api_key_variable`: the environment variable that holds a key, if the
    server wants one. `extra`: further fields of the request, such as chat_template_kwargs.
    """

    base_url: str
    server: Literal["vllm", "llama.cpp"] | None = None
    served: str = ""
    concurrency: PositiveInt = 16
    timeout_s: PositiveFloat = 600.0
    retries: Annotated[int, Field(ge=0)] = 8
    backoff_s: Annotated[float, Field(ge=0)] = 1.0
    api_key_variable: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
