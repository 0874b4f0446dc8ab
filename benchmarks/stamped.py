"""Our backends with one thing more: they write down when they took their first prompt.

So that the time of `annotate` can be told without the engine's start, from outside and without a change to it: the
classes are named in the configuration as any plug-in is (`backend.name: stamped:LlamaCpp`), with the file to write as
the option `stamp`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from distill_offline.backends import llama_cpp, scripted, vllm
from distill_offline.schema import Completion, Prompt, Sampling

__all__ = ["NOTHING", "FreeVllm", "LlamaCpp", "Scripted", "ScriptedHere", "Vllm"]

NOTHING = Completion(text="", finish_reason="stop")


class _Stamped:
    """Goes before a backend in a class's bases."""

    def __init__(self, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
        own = dict(options)
        self._stamp: Path | None = Path(own.pop("stamp"))
        super().__init__(model, sampling, own)  # type: ignore[call-arg]

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        return super().complete(self._noted(prompts))  # type: ignore[misc,no-any-return]

    def _noted(self, prompts: Iterable[Prompt]) -> Iterator[Prompt]:
        for prompt in prompts:
            if self._stamp is not None:
                self._stamp.write_text(repr(time.time()), "ascii")
                self._stamp = None
            yield prompt


class LlamaCpp(_Stamped, llama_cpp.LlamaCpp):
    """llama.cpp, stamped."""


class Vllm(_Stamped, vllm.Vllm):
    """vLLM, stamped."""


class Scripted(_Stamped, scripted.Scripted):
    """Canned answers without delay, from a worker process as a real engine's are: an engine that costs nothing."""

    needs_model: ClassVar[bool] = True


class ScriptedHere(_Stamped, scripted.Scripted):
    """The same in our own process."""


class FreeVllm(_Stamped, vllm.Vllm):
    """Our vLLM backend around an engine that costs nothing: its tokenizer and parameters are real, its answers canned.

    `answers` is the path of a JSONL file as the scripted backend reads it.
    """

    def __init__(self, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
        own = dict(options)
        canned = scripted.Scripted(model, sampling, {"answers": own.pop("answers")})
        self._canned = canned
        self._texts: deque[str] = deque()
        super().__init__(model, sampling, own)

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        return super().complete(self._answered(prompts))

    def _answered(self, prompts: Iterable[Prompt]) -> Iterator[Prompt]:
        for prompt in prompts:
            ((_, completion),) = self._canned.complete([prompt])
            self._texts.append(completion.text)
            yield prompt

    def _start(self, model: Path) -> Any:
        from transformers import AutoTokenizer
        from vllm.sampling_params import SamplingParams

        SamplingParams()  # what a real engine has loaded by the time it has started
        tokenizer = AutoTokenizer.from_pretrained(str(model), local_files_only=True, trust_remote_code=False)
        return SimpleNamespace(get_tokenizer=lambda: tokenizer, llm_engine=_FreeEngine(self._texts))


class _FreeEngine:
    """As much of vLLM's LLMEngine as our backend calls; every request is done at the next step."""

    vllm_config = SimpleNamespace(
        model_config=SimpleNamespace(max_model_len=1 << 20, dtype="torch.float32"),
        scheduler_config=SimpleNamespace(max_num_seqs=256),
    )
    engine_core = SimpleNamespace(shutdown=lambda: None)

    def __init__(self, texts: deque[str]) -> None:
        self._texts = texts
        self._waiting: list[tuple[str, list[int]]] = []

    def add_request(self, request_id: str, prompt: Mapping[str, Any], params: Any) -> str:
        self._waiting.append((request_id, prompt["prompt_token_ids"]))
        return request_id

    def step(self) -> list[Any]:
        taken, self._waiting = self._waiting, []
        return [
            SimpleNamespace(
                finished=True,
                request_id=request_id,
                prompt_token_ids=ids,
                num_cached_tokens=0,
                outputs=[
                    SimpleNamespace(
                        text=self._texts.popleft(), finish_reason="stop", token_ids=range(16), logprobs=None
                    )
                ],
            )
            for request_id, ids in taken
        ]

    def abort_request(self, request_ids: list[str], *, internal: bool) -> None:
        """Nothing runs on."""
