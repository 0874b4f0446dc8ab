"""Safetensors models through vLLM's offline engine, fed continuously."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from jinja2 import TemplateError
from pydantic import Field, PositiveInt

from distill_offline.backends.adapter import rank_of
from distill_offline.backends.chat import Chat, token_texts
from distill_offline.backends.counting import TokenizerCounter
from distill_offline.backends.options import read_options, read_template, require
from distill_offline.backends.server_errors import without_echo
from distill_offline.errors import BackendError, ConfigError, MissingModel
from distill_offline.schema import Completion, Prompt, Sampling

__all__ = ["Vllm", "VllmOptions"]

_REMEDY = "pip install 'distill_offline[vllm]'"
_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}
# What a site may have set otherwise stays. vLLM logs to stdout, which is for results; FlashInfer may want to compile.
_ENVIRONMENT_DEFAULTS = {
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmOptions:
    """Options of the backend `vllm`, handed to `vllm.LLM` under the same names."""

    tensor_parallel_size: PositiveInt = 1
    """[GPUs] How many share one copy of the model; it must divide the model's attention heads."""
    pipeline_parallel_size: PositiveInt = 1
    """[GPUs or nodes] Into how many parts the model's layers are divided."""
    data_parallel_size: PositiveInt = 1
    """[copies] Above 1 needs a launcher such as torchrun; vLLM refuses it in a single process."""
    distributed_executor_backend: Literal["mp", "ray", "uni", "external_launcher"] | None = None
    """How vLLM starts its own workers; empty: vLLM's choice."""
    max_model_len: PositiveInt | None = None
    """[tokens] The longest prompt and answer together; empty: what the model was built for."""
    max_num_seqs: PositiveInt | None = None
    """[prompts] How many run together; empty: vLLM's choice."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """[share of GPU memory] How much vLLM takes; empty: vLLM's choice."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The precision; `auto` is the model's own, and float32 on a CPU build."""
    quantization: str | None = None
    """A method that vLLM knows; empty: what the model's files say."""
    kv_cache_dtype: str | None = None
    """The precision of the key-value cache, such as `fp8`; empty: vLLM's choice."""
    enforce_eager: bool = False
    """Compute without CUDA graphs: slower, with less memory."""
    enable_prefix_caching: bool = True
    """Reuse prefixes that prompts share."""
    seed: int = 0
    """[seed] The engine's own."""
    thinking: bool = False
    """Let a reasoning model think; its answers are then not held to the prompt's JSON schema."""
    chat_template: str | None = None
    """A Jinja file in place of the tokenizer's chat template."""
    adapter: str | None = None
    """The folder of a LoRA adapter (safetensors, as `adapt` writes it); a run with `adapt` names its own."""


_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # for which vLLM has room


def room_for(rank: int) -> int:
    """The rank that vLLM is to make room for. Raises ConfigError for one that is too high."""
    room = next((each for each in _RANKS if each >= rank), None)
    if room is None:
        raise ConfigError(f"the adapter's rank is {rank}, and vLLM has room for {_RANKS[-1]}. Lower adapt.rank.")
    return room


class Vllm:
    """Completes prompts with a model folder in Hugging Face layout.

    With `sampling.structured`, answers follow the prompt's JSON schema by xgrammar and hold no whitespace outside
    strings. A prompt of `max_model_len` tokens or more is refused before it reaches the engine (`prompt_too_long`);
    one that leaves less room than `sampling.max_tokens` may be cut off (`length`). Log-probabilities are before
    temperature and top_p, and after the schema's mask. Telemetry and the hub are switched off in the environment, for
    this process and its children. Greedy answers may differ in near-ties with the batch they were computed in.
    """

    needs_model: ClassVar[bool] = True
    lists_first_tokens: ClassVar[bool] = True
    speed_only: ClassVar[frozenset[str]] = frozenset(
        {
            "data_parallel_size",
            "distributed_executor_backend",
            "enable_prefix_caching",
            "enforce_eager",
            "gpu_memory_utilization",
            "max_num_seqs",
            "pipeline_parallel_size",
            "tensor_parallel_size",
        }
    )

    def __init__(self, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
        self._options = read_options(VllmOptions, options)
        template = read_template(self._options.chat_template)
        self._rank = None if self._options.adapter is None else room_for(rank_of(Path(self._options.adapter)))
        if not model.is_dir():
            raise MissingModel(f"backend.model: {model.name}: no such folder. Fetch the model first.")
        os.environ.update(_ENVIRONMENT)
        for name, value in _ENVIRONMENT_DEFAULTS.items():
            os.environ.setdefault(name, value)
        self._engine = require("vllm", _REMEDY)
        self._request_error = require("vllm.exceptions", _REMEDY).VLLMClientError
        self._sampling = sampling
        self._serial = 0
        self._llm: Any = self._start(model)
        self._adapter = self._lora_request()
        self._tokenizer = self._llm.get_tokenizer()
        self._chat = Chat(self._tokenizer, thinking=self._options.thinking, template=template)
        config = self._llm.llm_engine.vllm_config
        self._max_model_len = int(config.model_config.max_model_len)
        # As many waiting as running, so that a finished sequence is replaced in the very next step.
        self._room = 2 * int(config.scheduler_config.max_num_seqs)
        self._dtype = str(config.model_config.dtype).removeprefix("torch.")

    def identity(self) -> Mapping[str, Any]:
        """Engine version, precision, length limit, chat template, thinking."""
        return {
            "backend": "vllm",
            "engine": self._engine.__version__,
            "dtype": self._dtype,
            "quantization": self._options.quantization,
            "kv_cache_dtype": self._options.kv_cache_dtype,
            "max_model_len": self._max_model_len,
            "chat_template_sha256": self._chat.template_sha256,
            "thinking": self._options.thinking,
        }

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        """Step the engine, handing it a new prompt wherever one has finished; yield answers as they finish."""
        if self._llm is None:
            raise BackendError("vllm: this backend was closed.")
        engine = self._llm.llm_engine
        source = enumerate(prompts)
        exhausted = False
        # By our request id: position, prompt, and the id under which the engine would abort it.
        running: dict[str, tuple[int, Prompt, str]] = {}
        try:
            while running or not exhausted:
                while not exhausted and len(running) < self._room:
                    position, prompt = next(source, (-1, None))
                    if prompt is None:
                        exhausted = True
                        continue
                    self._serial += 1
                    added = self._add(engine, str(self._serial), prompt)
                    if isinstance(added, Completion):
                        yield position, added
                    else:
                        running[str(self._serial)] = position, prompt, added
                for output in self._step(engine) if running else ():
                    if output.finished and output.request_id in running:
                        position, prompt, _ = running.pop(output.request_id)
                        yield position, self._read_output(output, prompt)
        finally:
            if running and self._llm is not None:
                engine.abort_request([internal for _, _, internal in running.values()], internal=True)

    @staticmethod
    def counter(model: Path, options: Mapping[str, Any]) -> TokenizerCounter:
        """What counts prompts' tokens: the tokenizer alone."""
        vllm_options = read_options(VllmOptions, options)
        template = read_template(vllm_options.chat_template)
        return TokenizerCounter(
            model, thinking=vllm_options.thinking, template=template, limit=vllm_options.max_model_len
        )

    def close(self) -> None:
        """Stop the engine and free its memory."""
        if self._llm is None:
            return
        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        gc.collect()

    def _start(self, model: Path) -> Any:
        options = self._options
        passed = {
            name: value
            for name in VllmOptions.__dataclass_fields__
            if name not in ("thinking", "chat_template", "adapter") and (value := getattr(options, name)) is not None
        }
        if self._rank is not None:
            passed |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": self._rank}
        if options.dtype == "auto" and self._on_cpu():
            passed["dtype"] = "float32"
        if options.distributed_executor_backend not in ("ray", "external_launcher"):
            # Else its workers connect to a public resolver to learn this machine's address, which one machine alone
            # has no use for.
            os.environ.setdefault("VLLM_HOST_IP", "127.0.0.1")
        try:
            return self._engine.LLM(
                model=str(model),
                trust_remote_code=False,
                # vLLM reads the whitespace setting only here: its per-request twin is ignored.
                structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
                **passed,
            )
        except Exception as error:
            # vLLM raises nearly every type here, CUDA and pydantic ones among them.
            first_line = str(error).partition("\n")[0]
            raise BackendError(f"backend.model: vLLM cannot start with {model.name}: {first_line}") from error

    def _lora_request(self) -> dict[str, Any]:
        """What each request says of the adapter; nothing without one."""
        if self._options.adapter is None:
            return {}
        request = require("vllm.lora.request", _REMEDY).LoRARequest
        return {"lora_request": request("adapter", 1, str(Path(self._options.adapter).resolve()))}

    def _on_cpu(self) -> bool:
        platform = require("vllm.platforms", _REMEDY).current_platform
        return bool(platform.is_cpu())

    def _add(self, engine: Any, request_id: str, prompt: Prompt) -> str | Completion:
        """The engine's id of the added request, or the completion that says why it was not added."""
        try:
            ids = self._chat.token_ids(prompt.messages)
        except TemplateError as error:
            return Completion(
                text="", finish_reason=f"error: chat template: {without_echo(str(error), prompt)}", sample=prompt.sample
            )
        if len(ids) >= self._max_model_len:
            return Completion(text="", finish_reason="prompt_too_long", prompt_tokens=len(ids), sample=prompt.sample)
        try:
            given = {"type": "token", "prompt_token_ids": ids}
            added: str = engine.add_request(request_id, given, self._sampling_params(prompt), **self._adapter)
        except (ValueError, TypeError, self._request_error) as error:
            first_line = str(error).partition("\n")[0][:200]
            return Completion(text="", finish_reason=f"error: {without_echo(first_line, prompt)}", sample=prompt.sample)
        except Exception as error:
            raise BackendError(f"vllm: the engine died ({type(error).__name__}).") from error
        return added

    def _step(self, engine: Any) -> list[Any]:
        try:
            outputs: list[Any] = engine.step()
        except Exception as error:
            raise BackendError(f"vllm: the engine died ({type(error).__name__}).") from error
        return outputs

    def _sampling_params(self, prompt: Prompt) -> Any:
        from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

        sampling = self._sampling
        enforced = sampling.structured and prompt.schema is not None and not self._options.thinking
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=prompt.max_tokens or sampling.max_tokens,
            seed=sampling.seed + prompt.sample,
            # 0: the log-probability of the chosen token, and of no other.
            logprobs=prompt.first_tokens or (0 if sampling.logprobs else None),
            structured_outputs=StructuredOutputsParams(json=dict(prompt.schema or {})) if enforced else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _read_output(self, output: Any, prompt: Prompt) -> Completion:
        answer = output.outputs[0]
        thinking, text = self._chat.split(answer.text, list(answer.token_ids))
        texts: tuple[str, ...] = ()
        logprobs: tuple[float, ...] = ()
        if self._sampling.logprobs and answer.logprobs:
            ids = list(answer.token_ids)
            chosen = [float(ranked[token].logprob) for token, ranked in zip(ids, answer.logprobs, strict=True)]
            pieces = token_texts(self._tokenizer, ids)
            # A stop token is no part of the answer.
            length = len(ids) - (1 if answer.finish_reason == "stop" and pieces[-1] == "" else 0)
            texts, logprobs = pieces[:length], tuple(chosen[:length])
        known = answer.finish_reason in ("stop", "length")
        return Completion(
            text=text,
            finish_reason=answer.finish_reason if known else f"error: {answer.finish_reason}",
            thinking=thinking,
            token_texts=texts,
            token_logprobs=logprobs,
            prompt_tokens=len(output.prompt_token_ids or ()),
            completion_tokens=len(answer.token_ids),
            cached_tokens=int(output.num_cached_tokens or 0),
            sample=prompt.sample,
            first_tokens=self._first_tokens(answer.logprobs) if prompt.first_tokens else (),
        )

    def _first_tokens(self, logprobs: Any) -> tuple[tuple[str, float], ...]:
        ranked = sorted(logprobs[0].items(), key=lambda each: -float(each[1].logprob)) if logprobs else ()
        return tuple((str(self._tokenizer.decode([token])), float(each.logprob)) for token, each in ranked)
