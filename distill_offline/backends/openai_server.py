"""Any OpenAI-compatible server inside the network: vLLM's, llama.cpp's, or another's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import urllib3
from pydantic import Field, PositiveFloat, PositiveInt

from distill_offline.backends.chat_completion import failed, read_chat_completion, refused
from distill_offline.backends.options import read_options
from distill_offline.errors import BackendError, ConfigError
from distill_offline.schema import Completion, Prompt, Sampling

__all__ = ["OpenAIServer", "OpenAIServerOptions"]

_PASSING = (408, 409, 425, 429, 500, 502, 503, 504)  # worth another try
_NOT_OURS = (401, 403, 404, 405)  # every prompt would get the same


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIServerOptions:
    """Options of the backend `openai_server`.

    `base_url`: where the API begins, such as http://10.0.0.7:8000/v1; its host is the only one that is opened.
    `served`: what the site knows of the model behind the name (a digest, a version): part of every completion's key,
    since a server can change its model and keep its name. `concurrency`: requests under way at once. `timeout_s`: for
    one answer. `retries`: further tries where the server is busy or does not answer, with exponential backoff from
    `backoff_s`, and as a Retry-After header says. `api_key_variable`: the environment variable that holds a key, if the
    server wants one. `extra`: further fields of the request, such as chat_template_kwargs.
    """

    base_url: str
    served: str = ""
    concurrency: PositiveInt = 16
    timeout_s: PositiveFloat = 600.0
    retries: Annotated[int, Field(ge=0)] = 6
    backoff_s: Annotated[float, Field(ge=0)] = 1.0
    api_key_variable: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


class OpenAIServer:
    """Completes prompts at `POST base_url/chat/completions`, `concurrency` at a time.

    `model` is the name that the server knows it by. With `sampling.structured`, the prompt's JSON schema goes along as
    `response_format`. A prompt that the server finds too long is `prompt_too_long`; one that it refuses otherwise is an
    `error:`. A server that cannot be reached, or refuses us as such, raises BackendError after the retries. Redirects
    are not followed.
    """

    needs_model: ClassVar[bool] = False
    speed_only: ClassVar[frozenset[str]] = frozenset(
        {"api_key_variable", "backoff_s", "base_url", "concurrency", "retries", "timeout_s"}
    )

    def __init__(self, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
        self._options = settings = read_options(OpenAIServerOptions, options)
        if not settings.base_url.startswith(("http://", "https://")):
            raise ConfigError("backend.options.base_url must start with http:// or https://.")
        self._model, self._sampling = str(model), sampling
        if self._model in ("", "."):
            raise ConfigError("backend.model is missing: give the name that the server knows its model by.")
        retry = urllib3.Retry(
            settings.retries,
            redirect=0,
            status_forcelist=_PASSING,
            allowed_methods={"POST"},
            backoff_factor=settings.backoff_s,
            backoff_jitter=settings.backoff_s / 2,
            raise_on_status=False,
            raise_on_redirect=False,
        )
        self._pool = urllib3.PoolManager(
            maxsize=settings.concurrency, retries=retry, timeout=settings.timeout_s, headers=self._headers()
        )

    def identity(self) -> Mapping[str, Any]:
        return {"backend": "openai_server", "model": self._model, "served": self._options.served}

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        """Keep `concurrency` requests under way; yield answers as they come."""
        source, exhausted = enumerate(prompts), False
        pending: dict[Future[Completion], int] = {}
        workers = ThreadPoolExecutor(self._options.concurrency, thread_name_prefix="openai_server")
        try:
            while pending or not exhausted:
                while not exhausted and len(pending) < self._options.concurrency:
                    position, prompt = next(source, (-1, None))
                    exhausted = prompt is None
                    if prompt is not None:
                        pending[workers.submit(self._answer, prompt)] = position
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    yield pending.pop(future), future.result()
        finally:
            workers.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if variable := self._options.api_key_variable:
            if not os.environ.get(variable):
                raise ConfigError(f"backend.options.api_key_variable: the environment variable {variable} is not set.")
            headers["Authorization"] = f"Bearer {os.environ[variable]}"
        return headers

    def _answer(self, prompt: Prompt) -> Completion:
        url = self._options.base_url.rstrip("/") + "/chat/completions"
        try:
            response = self._pool.request("POST", url, body=json.dumps(self._request(prompt)).encode())
        except urllib3.exceptions.HTTPError as error:
            raise BackendError(
                f"backend.options.base_url: no answer from the server after {self._options.retries + 1} tries "
                f"({_plain(error)}). Is it running? All answers until now are stored; run the same command again."
            ) from error
        if response.status == 200:
            try:
                return read_chat_completion(json.loads(response.data), prompt)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                return failed(prompt, f"the server's answer has another shape ({type(error).__name__})")
        said = response.data[:2000].decode("utf-8", "replace")
        if response.status in _NOT_OURS or 300 <= response.status < 400 or response.status in _PASSING:
            raise BackendError(
                f"backend.options.base_url: the server answers with status {response.status}. Check the address, the "
                "model's name and the key; all answers until now are stored."
            )
        is_too_long = "context" in said.lower() and ("length" in said.lower() or "exceed" in said.lower())
        # What the server said may quote the prompt: it goes no further.
        return (
            refused(prompt) if is_too_long else failed(prompt, f"the server refused it with status {response.status}")
        )

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        sampling = self._sampling
        request: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
            "max_tokens": prompt.max_tokens or sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": (sampling.seed + prompt.sample) % 2**31,
        }
        if sampling.structured and prompt.schema is not None:
            schema = {"name": "answer", "schema": dict(prompt.schema), "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        if sampling.logprobs:
            request["logprobs"] = True
        return request | self._options.extra


def _plain(error: Exception) -> str:
    """The kind of failure, without the address, which a log need not hold."""
    reason = getattr(error, "reason", None) or error
    return type(reason).__name__
