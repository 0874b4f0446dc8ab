"""Any OpenAI-compatible server inside the network: vLLM's, llama.cpp's, or another's."""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

from distill_offline.backends.chat_completion import (
    failed,
    fault_among,
    join_events,
    read_chat_completion,
    refused,
    withheld,
)
from distill_offline.backends.http_post import BadReply, Gone, Poster, Reply, Slow
from distill_offline.backends.json_grammar import compact_grammar
from distill_offline.backends.openai_options import PLAIN_SAMPLING, OpenAIServerOptions
from distill_offline.backends.options import read_options
from distill_offline.backends.server_errors import Fault, fault_in, seconds_to_wait, without_echo
from distill_offline.errors import BackendError, ConfigError, DistillError
from distill_offline.schema import Completion, Prompt, Sampling

__all__ = ["OpenAIServer"]

_BUSY = (408, 409, 425, 429, 502, 503, 504, 520, 521, 522, 523, 524, 529)  # worth another try, and no prompt's fault
_PASSING = (*_BUSY, 500)  # a 500 that stays may be one prompt's fault
_MAYBE_SCHEMA = (400, 415, 422, 500, 501)  # with which servers refuse a request that they cannot hold to a schema
_LONGEST_BACKOFF = 120

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A prompt that the server did not answer, and why: words fit to be shown."""

    status: int
    why: str


class OpenAIServer:
    """Completes prompts at `POST base_url/chat/completions`, `concurrency` at a time.

    `model` is the name that the server knows it by, `adapter` that of an adapter that it serves. With
    `sampling.structured`, the prompt's JSON schema goes along as `response_format`, which every server has, and which
    leaves whitespace to the model: a small one may fill `max_tokens` with it. Known servers get a grammar of compact
    JSON instead. (vLLM ignores `disable_any_whitespace` in a request; for all of them it is set by
    `--structured-outputs-config '{"backend": "xgrammar", "disable_any_whitespace": true}'`.) Without `server`,
    `top_k` and the like are the server's own defaults, vLLM's from the model's generation_config.json.

    A server that refuses the schema is asked without one from then on, which is said once. A prompt that the server
    finds too long is `prompt_too_long`; what it withholds is a `content_filter`; a prompt that it refuses otherwise,
    fails at every time or does not answer within `timeout_s` is an `error:` that says why. A server that cannot be
    reached, or is busy at every try, raises BackendError, and one that refuses us as such ConfigError, when the answers
    that were under way have been yielded. Redirects are not followed. Log-probabilities are the server's: llama.cpp's
    before grammar and temperature, vLLM's after the grammar's mask. vLLM tells how many tokens it had cached only with
    `--enable-prompt-tokens-details`.
    """

    needs_model: ClassVar[bool] = False
    lists_first_tokens: ClassVar[bool] = True
    speed_only: ClassVar[frozenset[str]] = frozenset(
        {"api_key_variable", "backoff_s", "base_url", "concurrency", "retries", "timeout_s"}
    )

    def __init__(self, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
        self._options = settings = read_options(OpenAIServerOptions, options)
        self._model, self._sampling = settings.adapter or str(model), sampling
        self._grammars: dict[str, str] = {}
        if str(model) in ("", "."):
            raise ConfigError("backend.model is missing: give the name that the server knows its model by.")
        self._poster = Poster(
            settings.base_url, self._headers(), connections=settings.concurrency, timeout_s=settings.timeout_s
        )
        self._news = Lock()
        self._told: set[str] = set()
        self._schema_works = self._schema_is_refused = False

    def identity(self) -> Mapping[str, Any]:
        return {
            "backend": "openai_server",
            "model": self._model,
            "server": self._options.server,
            "served": self._options.served,
            **({"adapter": self._options.adapter} if self._options.adapter else {}),
        }

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        """Keep `concurrency` requests under way; yield answers as they come."""
        source, exhausted = enumerate(prompts), False
        failure: DistillError | None = None
        pending: dict[Future[Completion], int] = {}
        workers = ThreadPoolExecutor(self._options.concurrency, thread_name_prefix="openai_server")
        self._poster.begin()
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
                    except DistillError as error:
                        # What the server has answered meanwhile is paid for: it is yielded first.
                        failure, exhausted = failure or error, True
                    else:
                        yield position, completion
            if failure is not None:
                raise failure
        finally:
            self._poster.stop()  # nobody waits for what is under way
            workers.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """Close the connections."""
        self._poster.close()

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if variable := self._options.api_key_variable:
            if not os.environ.get(variable):
                raise ConfigError(f"backend.options.api_key_variable: the environment variable {variable} is not set.")
            headers["Authorization"] = f"Bearer {os.environ[variable]}"
        return headers

    def _answer(self, prompt: Prompt) -> Completion:
        constrained = self._sampling.structured and prompt.schema is not None and not self._schema_is_refused
        answer = self._ask(prompt, constrained=constrained)
        if isinstance(answer, Completion):
            self._schema_works |= constrained and answer.finish_reason in ("stop", "length")
            return answer
        # Servers say in many ways that they know no schemas: that the prompt is answered without one is proof.
        if constrained and not self._schema_works and answer.status in _MAYBE_SCHEMA:
            second = self._ask(prompt, constrained=False)
            if isinstance(second, Completion) and not second.finish_reason.startswith("error"):
                self._schema_is_refused = True
                self._say_once(
                    "schema",
                    f"openai_server: {answer.why} when it is to hold answers to the task's JSON schema. It is asked "
                    "without from now on: more answers may be unreadable. annotate.sampling.structured: false says so "
                    "from the start; backend.options.server names a server that takes a grammar.",
                )
                return second
        return failed(prompt, answer.why)

    def _ask(self, prompt: Prompt, *, constrained: bool) -> Completion | _Refusal:
        """One prompt's answer, or the refusal of it; raises where it would be the same for every other."""
        try:
            body = json.dumps(self._request(prompt, constrained=constrained)).encode()
            reply = self._reply(body, prompt)
        except (ValueError, Slow, BadReply) as error:  # ValueError: the schema has no grammar
            return failed(prompt, str(error))
        is_refusal = not 200 <= reply.status < 300
        fault = fault_in(fault_among(reply.body), is_refusal=is_refusal)
        if fault is None:
            return self._read(reply, prompt)
        status = reply.status if is_refusal else fault.code
        if status not in (401, 403, *_BUSY) and fault.is_too_long(status):
            return refused(prompt, fault.prompt_tokens)
        if status not in (401, 403, *_BUSY) and fault.is_withheld(status):
            return withheld(prompt)
        self._stop_if_all_would_fail(status, fault, prompt)
        said = f"the server refused it with status {status}" if status else "the server answers with an error"
        return _Refusal(status or 400, said + fault.in_words(prompt))

    def _reply(self, body: bytes, prompt: Prompt) -> Reply:
        """The server's reply, after as many tries as it may take. Raises BackendError, Slow or BadReply."""
        tries = self._options.retries + 1
        for number in range(tries):
            problem: Exception | None = None
            try:
                reply = self._post(body)
            except (Gone, BadReply) as error:
                problem, seconds = error, None
                if isinstance(error, BadReply) and not error.may_pass:
                    raise
            else:
                if not self._may_pass(reply):
                    return reply
                seconds = seconds_to_wait(reply.headers.get("retry-after", ""), self._options.timeout_s)
            pause = self._options.backoff_s * min(_LONGEST_BACKOFF, 2**number if number else 0)
            pause += random.uniform(0, self._options.backoff_s / 2)
            if number + 1 < tries and self._poster.wait(pause if seconds is None else seconds):
                break
        if isinstance(problem, BadReply):
            raise problem
        if problem is None:
            return reply
        raise BackendError(
            f"backend.options.base_url: no answer from the server after {tries} tries ({problem}). Is it running? All "
            "answers until now are stored; run the same command again."
        ) from problem

    def _post(self, body: bytes) -> Reply:
        try:
            return self._poster.post("/chat/completions", body)
        except Gone as error:
            if not error.was_idle:
                raise
        return self._poster.post("/chat/completions", body)  # it had closed the connection since the last answer

    def _may_pass(self, reply: Reply) -> bool:
        """Whether the same request may be answered later."""
        if 200 <= reply.status < 300:
            fault = fault_in(fault_among(reply.body), is_refusal=False)
            return fault is not None and fault.code in _PASSING
        if reply.status == 500:
            fault = fault_in(reply.body, is_refusal=True)
            return fault is not None and not fault.is_too_long(500)
        return reply.status in _BUSY

    def _read(self, reply: Reply, prompt: Prompt) -> Completion:
        """The completion in a reply that is no refusal."""
        room = prompt.max_tokens or self._sampling.max_tokens
        try:
            response = join_events(reply.body) or json.loads(reply.body)
            completion = read_chat_completion(response, prompt, max_tokens=room)
        except UnicodeDecodeError:
            return failed(prompt, "the server's answer is not UTF-8")
        except ValueError:
            return failed(prompt, "the server's answer is not JSON, or breaks off")
        except RecursionError:
            return failed(prompt, "the server's answer is nested too deeply")
        except (LookupError, TypeError, AttributeError) as error:
            what = str(error) if type(error) is LookupError else type(error).__name__
            return failed(prompt, f"the server's answer has another shape ({what})")
        if self._sampling.logprobs and completion.text and not completion.token_logprobs:
            self._say_once(
                "logprobs", "openai_server: the server gives no log-probabilities: labels will have no confidence."
            )
        named = response.get("model")
        if isinstance(named, str) and not _is_same_model(named, self._model):
            shown = without_echo(named, prompt)
            self._say_once(
                "model", f"openai_server: the server answers as {shown!r}, and was asked for {self._model!r}."
            )
        return completion

    def _stop_if_all_would_fail(self, status: int, fault: Fault, prompt: Prompt) -> None:
        said = f"status {status}{fault.in_words(prompt)}"
        stored = "All answers until now are stored."
        if fault.is_unknown_model(status):
            key = "backend.options.adapter" if self._options.adapter else "backend.model"
            raise ConfigError(f"{key}: the server does not know the model {self._model!r} ({said}). {stored}")
        if status in (401, 403):
            key = self._options.api_key_variable
            named = f"the key in {key}" if key else "requests without a key: name the variable that holds one"
            raise ConfigError(f"backend.options.api_key_variable: the server refuses {named} ({said}). {stored}")
        if status in (404, 405) or 300 <= status < 400:
            followed = " Redirects are not followed: give the address that it sends to." if status < 400 else ""
            raise ConfigError(
                f"backend.options.base_url: no such API is there ({said}). It is the part before /chat/completions, "
                f"mostly with /v1 at its end.{followed} {stored}"
            )
        if status in _BUSY:
            raise BackendError(
                f"backend.options.base_url: the server answers with {said}, {self._options.retries + 1} times. {stored}"
            )

    def _say_once(self, subject: str, line: str) -> None:
        with self._news:
            is_new = subject not in self._told
            self._told.add(subject)
        if is_new:
            _log.warning("%s", line)

    def _request(self, prompt: Prompt, *, constrained: bool) -> dict[str, Any]:
        sampling, server = self._sampling, self._options.server
        request: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
            "max_tokens": prompt.max_tokens or sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": (sampling.seed + prompt.sample) % 2**31,
            **PLAIN_SAMPLING.get(server or "", {}),
        }
        if constrained and prompt.schema is not None:
            request |= self._constraint(prompt.schema)
        if prompt.first_tokens:
            request |= {"logprobs": True, "top_logprobs": prompt.first_tokens}
        elif sampling.logprobs:
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


def _is_same_model(named: str, asked: str) -> bool:
    """Whether two names may mean one model: a path's last part, a date or a file's suffix behind it do not count."""
    a, b = (name.replace("\\", "/").rstrip("/").rpartition("/")[2].casefold() for name in (named, asked))
    return a.startswith(b) or b.startswith(a)
