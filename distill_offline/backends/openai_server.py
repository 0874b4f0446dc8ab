"""Any OpenAI-compatible server inside the network: vLLM's, llama.cpp's, or another's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from distill_offline.backends.chat_completion import cause_of, failed, read_chat_completion, refused
from distill_offline.backends.dialects import count, error_of, is_too_long
from distill_offline.backends.http_exchange import BUSY, Exchange, TooLarge, TooSlow, Unreachable
from distill_offline.backends.json_grammar import compact_grammar
from distill_offline.backends.options import read_options
from distill_offline.errors import BackendError, ConfigError
from distill_offline.schema import Completion, Prompt, Sampling

__all__ = ["OpenAIServer", "OpenAIServerOptions"]

_NOT_OURS = (401, 403, 404, 405)  # every prompt would get the same

# What servers take from the model's own defaults, or from theirs, unless a request says otherwise. Unknown fields are
# an error with some servers, so that these go only to the one that is known to have them.
_PLAIN_SAMPLING: Mapping[str, Mapping[str, Any]] = {
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


class OpenAIServer:
    """Completes prompts at `POST base_url/chat/completions`, `concurrency` at a time.

    `model` is the name that the server knows it by. With `sampling.structured`, the prompt's JSON schema goes along as
    `response_format`, which every server has, and which leaves whitespace to the model: a small one may fill
    `max_tokens` with it. Known servers get a grammar of compact JSON instead. (vLLM ignores `disable_any_whitespace` in
    a request; for all of them it is set by `--structured-outputs-config '{"backend": "xgrammar",
    "disable_any_whitespace": true}'`.) Without `server`, `top_k` and the like are the server's own defaults, vLLM's
    from the model's generation_config.json.

    A prompt that the server finds too long is `prompt_too_long`; one that it refuses otherwise, fails at every time or
    does not answer within `timeout_s` is an `error:`. A server that cannot be reached, or refuses us as such, raises
    BackendError after the retries, when the answers that were under way have been yielded. Redirects are not followed.
    Log-probabilities are the server's: llama.cpp's before grammar and temperature, vLLM's after the grammar's mask.
    vLLM tells how many tokens it had cached only with `--enable-prompt-tokens-details`.
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
        self._grammars: dict[str, str] = {}
        if self._model in ("", "."):
            raise ConfigError("backend.model is missing: give the name that the server knows its model by.")
        self._exchange = Exchange(
            self._headers(),
            connections=settings.concurrency,
            timeout_s=settings.timeout_s,
            retries=settings.retries,
            backoff_s=settings.backoff_s,
        )

    def identity(self) -> Mapping[str, Any]:
        return {
            "backend": "openai_server",
            "model": self._model,
            "server": self._options.server,
            "served": self._options.served,
        }

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        """Keep `concurrency` requests under way; yield answers as they come."""
        source, exhausted = enumerate(prompts), False
        failure: BackendError | None = None
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
                    position = pending.pop(future)
                    try:
                        completion = future.result()
                    except BackendError as error:
                        # What the server has answered meanwhile is paid for: it is yielded first.
                        failure, exhausted = failure or error, True
                    else:
                        yield position, completion
            if failure is not None:
                raise failure
        finally:
            workers.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """Close the connections."""
        self._exchange.close()

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
            body = json.dumps(self._request(prompt)).encode()
        except ValueError as error:
            return failed(prompt, str(error))
        try:
            reply = self._exchange.post(url, body)
        except (TooSlow, TooLarge) as error:
            return failed(prompt, str(error))
        except Unreachable as error:
            raise BackendError(
                f"backend.options.base_url: no answer from the server after {self._options.retries + 1} tries "
                f"({error}). Is it running? All answers until now are stored; run the same command again."
            ) from error
        if reply.status != 200:
            return self._refusal(reply.status, reply.body, prompt)
        most = prompt.max_tokens or self._sampling.max_tokens
        try:
            return read_chat_completion(json.loads(reply.body), prompt, most=most)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            return failed(prompt, f"the server's answer has another shape ({type(error).__name__})")

    def _refusal(self, status: int, data: bytes, prompt: Prompt) -> Completion:
        """The completion of a prompt that was refused; BackendError where it would be the same for every other."""
        if status in _NOT_OURS or 300 <= status < 400 or status in BUSY:
            raise BackendError(
                f"backend.options.base_url: the server answers with status {status}. Check the address, the "
                "model's name and the key; all answers until now are stored."
            )
        error = error_of(data)
        if is_too_long(status, error):
            tokens = error.get("n_prompt_tokens")  # llama.cpp's; vLLM stops counting at the limit
            return refused(prompt, count(tokens))
        hint = ""
        if 400 <= status < 500 and self._sampling.structured and prompt.schema is not None:
            hint = "; if it cannot enforce the prompt's JSON schema, set annotate.sampling.structured: false"
        return failed(prompt, f"the server refused it with status {status}{cause_of(error, prompt)}{hint}")

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        sampling, server = self._sampling, self._options.server
        request: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
            "max_tokens": prompt.max_tokens or sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": (sampling.seed + prompt.sample) % 2**31,
            **_PLAIN_SAMPLING.get(server or "", {}),
        }
        if sampling.structured and prompt.schema is not None:
            request |= self._constraint(prompt.schema)
        if sampling.logprobs:
            request["logprobs"] = True
            if server == "llama.cpp":
                request["top_logprobs"] = 1  # else it lists the 20 best at every token
        return request | self._options.extra

    def _constraint(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        if self._options.server is None:
            named = {"name": "answer", "schema": dict(schema), "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        key = json.dumps(schema)
        if key not in self._grammars:
            self._grammars[key] = compact_grammar(schema)
        grammar = self._grammars[key]
        return {"structured_outputs": {"grammar": grammar}} if self._options.server == "vllm" else {"grammar": grammar}
