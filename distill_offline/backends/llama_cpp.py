"""GGUF models through llama.cpp, in this process, by the package xllamacpp."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, PositiveInt

from distill_offline.backends.adapter import gguf_adapter
from distill_offline.backends.chat_completion import failed, read_chat_completion, refused
from distill_offline.backends.counting import LlamaServerCounter
from distill_offline.backends.gguf_file import find_gguf, read_chat_template
from distill_offline.backends.options import read_options, read_template, require
from distill_offline.backends.server_errors import without_echo
from distill_offline.backends.thinking_tags import thinking_tags
from distill_offline.errors import BackendError, ConfigError, MissingPackage
from distill_offline.schema import Completion, Prompt, Sampling
from distill_offline.text.template_limits import LimitReached

__all__ = ["LlamaCpp", "LlamaCppOptions"]

_SOCKET = "llama.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaCppOptions:
    """Options of the backend `llama_cpp`."""

    slots: PositiveInt = 4
    """[sequences] How many are decoded together; each keeps the prefix that its last prompt shares with the next."""
    context: Annotated[int, Field(ge=256)] = 4096
    """[tokens] What a slot holds, prompt and answer together."""
    threads: PositiveInt | None = None
    """[threads] How many compute; empty: the physical cores that the process may use."""
    gpu_layers: Annotated[int, Field(ge=-1)] = -1
    """[layers] How many are put onto a GPU if the installed build has one; -1: as many as fit."""
    cache_prompt: bool = True
    """Reuse prefixes that prompts share."""
    thinking: bool = False
    """Let a reasoning model think; its answers are then not held to the prompt's JSON schema."""
    chat_template: str | None = None
    """A Jinja file in place of the model's chat template."""
    adapter: str | None = None
    """The folder of a LoRA adapter with adapter.gguf, as `adapt` writes it; a run with `adapt` names its own."""


class LlamaCpp:
    """Completes prompts with a GGUF model: a file, or a folder with exactly one.

    With `sampling.structured`, answers follow the prompt's JSON schema and hold no whitespace outside strings. A
    prompt that fills a whole slot is refused before it is evaluated (`prompt_too_long`). Where a prompt leaves less
    room than `sampling.max_tokens`, the answer may be cut off at the slot's end (`length`). Log-probabilities are of
    the model's own distribution, before temperature, top_p or grammar. Greedy answers may differ in near-ties with
    the number of slots, since batched sums round differently.
    """

    needs_model: ClassVar[bool] = True
    lists_first_tokens: ClassVar[bool] = True
    speed_only: ClassVar[frozenset[str]] = frozenset({"cache_prompt", "gpu_layers", "slots", "threads"})

    def __init__(self, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
        self._options = read_options(LlamaCppOptions, options)
        override = read_template(self._options.chat_template)
        self._engine = _import_engine()
        self._sampling = sampling
        self._grammars: dict[str, str] = {}
        file = find_gguf(model)
        file_template = read_chat_template(file)  # which also looks whether the file is whole
        template = override or file_template
        if template is None:
            # llama.cpp would silently take ChatML, which the model may never have seen.
            raise ConfigError(
                f"backend.model: {file.name} has no chat template. "
                "Name a Jinja file as backend.options.chat_template, or use an instruction-tuned model."
            )
        try:  # also finds a template that never ends, before the engine hangs in it
            self._tags = thinking_tags(template, thinking=self._options.thinking)
        except LimitReached as error:
            raise BackendError(f"backend.model: {file.name}: the chat template does not render ({error}).") from error
        adapter = None if self._options.adapter is None else gguf_adapter(Path(self._options.adapter), file)
        self._template_sha256 = hashlib.sha256(template.encode()).hexdigest()
        # A socket's path has 107 bytes at most, which a deep TMPDIR alone can use up.
        short = None if len(os.fsencode(tempfile.gettempdir())) < 80 else "/tmp"
        self._socket_folder = tempfile.TemporaryDirectory(prefix="distill-", dir=short, ignore_cleanup_errors=True)
        self._server: Any = self._start(file, override, adapter)

    def identity(self) -> Mapping[str, Any]:
        """Engine version, tokens a slot, chat template, thinking."""
        return {
            "backend": "llama_cpp",
            "engine": self._engine.__version__,
            "context": self._options.context,
            "chat_template_sha256": self._template_sha256,
            "thinking": self._options.thinking,
        }

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        """Keep every slot busy and one prompt a slot waiting; yield answers as they finish."""
        if self._server is None:
            raise BackendError("llama_cpp: this backend was closed.")
        source = enumerate(prompts)
        exhausted = False
        pending: dict[Future[Completion], int] = {}
        pool = ThreadPoolExecutor(self._options.slots, thread_name_prefix="llama_cpp")
        try:
            while pending or not exhausted:
                for future in [future for future in pending if future.done()]:
                    yield pending.pop(future), future.result()
                if not exhausted and len(pending) < 2 * self._options.slots:
                    position, prompt = next(source, (-1, None))
                    if prompt is None:
                        exhausted = True
                    else:
                        pending[pool.submit(self._answer, prompt)] = position
                elif pending:
                    wait(pending, return_when=FIRST_COMPLETED)
        finally:
            # An answer on its way cannot be interrupted: it ends within max_tokens, and only then may the server go.
            pool.shutdown(wait=True, cancel_futures=True)

    @classmethod
    def counter(cls, model: Path, options: Mapping[str, Any]) -> LlamaServerCounter:
        """What counts prompts' tokens: the model file is mapped, its weights are hardly read."""
        llama_options = read_options(LlamaCppOptions, options)
        small = cls(model, Sampling(), {**options, "slots": 1, "context": 256, "gpu_layers": 0})
        socket_file = Path(small._socket_folder.name) / _SOCKET
        return LlamaServerCounter(
            socket_file, thinking=llama_options.thinking, limit=llama_options.context, owner=small
        )

    def close(self) -> None:
        """Free the model's memory."""
        self._server = None
        self._socket_folder.cleanup()

    def _start(self, file: Path, template: str | None, adapter: Path | None) -> Any:
        options, params = self._options, self._engine.CommonParams()
        params.model.path = str(file)
        if adapter is not None:
            params.lora_adapters = [self._engine.CommonAdapterLoraInfo(str(adapter), 1.0)]
        params.n_parallel = options.slots
        params.n_ctx = options.slots * options.context
        params.n_gpu_layers = options.gpu_layers
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads or _usable_cores()
        params.use_jinja = True
        if template is not None:
            params.chat_template = template
        # Slots keep their prefixes; a copy of idle slots in main memory (up to 8 GiB by default) would gain nothing.
        params.cache_ram_mib = 0
        params.cache_idle_slots = False
        # Thoughts stay in the text, so that every backend splits them off in the same way.
        params.reasoning_format = self._engine.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
        params.verbosity = -1
        # This server always listens as well. Let that be a socket file in a folder that is ours alone, not a port.
        params.hostnames = [str(Path(self._socket_folder.name) / _SOCKET)]
        params.ui = params.endpoint_slots = params.endpoint_props = False
        try:
            server = self._engine.Server(params)
            # A server that is freed before its loop runs never ends: an answer shows that it runs.
            server.handle_chat_completions({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1})
            return server
        except (RuntimeError, ValueError, OSError) as error:
            self._socket_folder.cleanup()
            if adapter is not None:
                raise BackendError(
                    f"backend.options.adapter: llama.cpp cannot start with {file.name} and this adapter. Was it made "
                    "for the same model? Run adapt again, with adapt.base naming that model as safetensors."
                ) from error
            raise BackendError(
                f"backend.model: llama.cpp cannot start with {file.name}. Is the file whole, its architecture known to "
                f"xllamacpp {self._engine.__version__}, and is there memory for {options.slots} slots of "
                f"{options.context} tokens?"
            ) from error

    def _answer(self, prompt: Prompt) -> Completion:
        try:
            response = self._server.handle_chat_completions(self._request(prompt))
        except ValueError as error:
            return failed(prompt, str(error))
        except RuntimeError as error:
            raise BackendError(f"llama_cpp: the engine failed ({error}).") from error
        problem = response.get("error")
        if problem is None:
            return read_chat_completion(response, prompt, self._tags)
        if problem.get("type") == "exceed_context_size_error":
            return refused(prompt, int(problem.get("n_prompt_tokens", 0)))
        return failed(prompt, without_echo(str(problem.get("message", problem)), prompt))

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        sampling = self._sampling
        request: dict[str, Any] = {
            "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
            "max_tokens": prompt.max_tokens or sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            # llama.cpp's own defaults would cut the distribution to 40 tokens and 5 % of the best one's probability.
            "top_k": 0,
            "min_p": 0.0,
            "seed": (sampling.seed + prompt.sample) % 2**32,
            "cache_prompt": self._options.cache_prompt,
            "chat_template_kwargs": {"enable_thinking": self._options.thinking},
        }
        if sampling.structured and prompt.schema is not None and not self._options.thinking:
            request["grammar"] = self._grammar(prompt.schema)
        if sampling.logprobs or prompt.first_tokens:
            request |= {"logprobs": True, "top_logprobs": prompt.first_tokens or 1}
        return request

    def _grammar(self, schema: Mapping[str, Any]) -> str:
        """The schema as a grammar without free whitespace, in which small models lose themselves until max_tokens.

        Raises ValueError if llama.cpp cannot enforce the schema, which it would not say itself.
        """
        key = json.dumps(schema)
        if key not in self._grammars:
            # A word that must come first, with the schema after it, shows whether the grammar is in force.
            probe = {"type": "array", "prefixItems": [{"const": "ok"}, schema], "minItems": 2, "items": False}
            definitions = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
            request = {
                "messages": [{"role": "user", "content": "Hello"}],
                "max_tokens": 8,
                "temperature": 0.0,
                "grammar": self._convert(probe | definitions),
            }
            response = self._server.handle_chat_completions(request)
            if "error" in response or not response["choices"][0]["message"]["content"].startswith('["ok"'):
                raise ValueError("llama.cpp cannot enforce the prompt's JSON schema; try sampling.structured: false")
            self._grammars[key] = self._convert(schema)
        return self._grammars[key]

    def _convert(self, schema: Mapping[str, Any]) -> str:
        compact = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
        try:
            grammar = self._engine.json_schema_to_grammar(json.dumps({**schema, "x-guidance": compact}))
        except RuntimeError as error:
            raise ValueError(f"the prompt's JSON schema has no grammar: {error}") from error
        # Builds without llguidance write GBNF, where one rule stands for all the whitespace.
        return re.sub(r"(?m)^space ::= .*$", 'space ::= ""', grammar)


def _import_engine() -> Any:
    # By default, threads spin while they wait for one another: on cores that other processes use as well, a spinning
    # thread burns the time slice of the very thread that it waits for. Read when the OpenMP library is first loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    remedy = "pip install 'distill_offline[llama-cpp]'"
    try:
        return require("xllamacpp", remedy)
    except MissingPackage as error:
        torch = importlib.util.find_spec("torch")
        if "libgomp" not in str(error) or torch is None or torch.origin is None:
            raise
        # A bare system lacks the OpenMP library that xllamacpp expects there; torch brings one.
        library = Path(torch.origin).parent / "lib" / "libgomp.so.1"
        if not library.exists():
            raise
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        return require("xllamacpp", remedy)


def _usable_cores() -> int:
    """Physical cores that this process may run on, within the control group's quota."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    try:
        topology = Path("/sys/devices/system/cpu")
        cores = len({(topology / f"cpu{cpu}/topology/thread_siblings_list").read_text() for cpu in allowed})
    except OSError:
        cores = len(allowed)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        return max(1, cores)
