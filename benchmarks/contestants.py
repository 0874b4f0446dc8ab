"""The ways to get a workload answered: ours, the bare engine, and how it is done elsewhere. Each gives a Timing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measuring import Timing
from workload import Workload

from distill_offline import pipeline, registry
from distill_offline.backends import BACKENDS
from distill_offline.backends.base import Backend, split_thinking
from distill_offline.completions import CompletionStore
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Completion, Prompt
from distill_offline.storage.files import ANNOTATIONS

__all__ = ["annotate", "bare", "llm_chat", "one_at_a_time", "run_batch"]

_STAMPED = {"llama_cpp": "LlamaCpp", "vllm": "Vllm"}
# What run_batch and the bare engine are told as well, so that their answers are constrained as ours are.
_COMPACT = {"backend": "xgrammar", "disable_any_whitespace": True}


def annotate(work: Workload) -> Timing:
    """`pipeline.annotate` into an empty run folder, from the engine's first prompt to the finished annotations.jsonl.

    So parsing and writing count against us, beside the store, the worker process and all else; only the engine's start
    and the making of the first prompts lie before.
    """
    backend = work.backend
    kind = _STAMPED.get(backend.name)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        stamp, path = Path(place) / "stamp", Path(place) / "run"
        options = {**backend.options, "stamp": str(stamp)}
        stamped = work.served_by(f"stamped:{kind}" if kind else backend.name, backend.model, options)
        folder = RunFolder(path, stamped.settings)
        started = time.time()
        folder.open()
        pipeline.annotate(folder)
        whole_s = time.time() - started
        stage = folder.folder("annotate")
        ended = (stage / ANNOTATIONS).stat().st_mtime_ns / 1e9
        with CompletionStore(stage / "completions.sqlite", read_only=True) as store:
            answers = {sentence_id: completion for sentence_id, _, completion in store.rows("unlabelled")}
        began = float(stamp.read_text("ascii"))
    lost = Completion(text="", finish_reason="error: not stored")
    return Timing(began, ended, tuple(answers.get(s.id) or lost for s in work.sentences), whole_s)


def bare(work: Workload) -> Timing:
    """The engine in this process, fed with prepared prompts by a plain loop; nothing is stored."""
    engine = _engine(work)
    try:
        began = time.time()
        answers = dict(engine.complete(work.prompts))
        ended = time.time()
    finally:
        engine.close()
    return Timing(began, ended, tuple(answers[position] for position in range(len(work.prompts))))


def one_at_a_time(work: Workload) -> Timing:
    """The same engine, asked the next prompt when it has answered the last one."""
    engine = _engine(work)
    try:
        began = time.time()
        answers = [completion for prompt in work.prompts for _, completion in engine.complete([prompt])]
        ended = time.time()
    finally:
        engine.close()
    return Timing(began, ended, tuple(answers))


def llm_chat(work: Workload) -> Timing:
    """One call of vLLM's own `LLM.chat` with all conversations in a list."""
    from vllm import LLM
    from vllm.sampling_params import SamplingParams, StructuredOutputsParams

    options = {name: value for name, value in work.backend.options.items() if name != "thinking"}
    llm = LLM(model=work.backend.model, structured_outputs_config=_COMPACT, **options)
    sampling = work.settings.annotate.sampling
    params = [
        SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=sampling.seed,
            structured_outputs=StructuredOutputsParams(json=dict(schema))
            if (schema := _schema(work, prompt))
            else None,
        )
        for prompt in work.prompts
    ]
    conversations = [_messages(prompt) for prompt in work.prompts]
    began = time.time()
    outputs = llm.chat(conversations, params, use_tqdm=False, chat_template_kwargs=_template_arguments(work))
    ended = time.time()
    llm.llm_engine.engine_core.shutdown()
    return Timing(began, ended, tuple(_from_output(output) for output in outputs))


def run_batch(work: Workload) -> Timing:
    """`python -m vllm.entrypoints.openai.run_batch`, from its first sign of progress to its finished output file."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        source, target = Path(place) / "in.jsonl", Path(place) / "out.jsonl"
        requests = [_request(work, number, prompt) for number, prompt in enumerate(work.prompts)]
        source.write_text("".join(json.dumps(request) + "\n" for request in requests), "utf-8")
        command = [sys.executable, "-m", "vllm.entrypoints.openai.run_batch"]
        command += ["-i", str(source), "-o", str(target), *_arguments(work)]
        started = time.time()
        began = _watch(command)
        whole_s = time.time() - started
        ended = target.stat().st_mtime_ns / 1e9
        answers = {
            int(row["custom_id"]): _from_response(row)
            for row in map(json.loads, target.read_text("utf-8").splitlines())
        }
    return Timing(began, ended, tuple(answers[number] for number in range(len(work.prompts))), whole_s)


def _engine(work: Workload) -> Backend:
    kind = registry.load("backend.name", work.backend.name, BACKENDS)
    engine: Backend = kind(Path(work.backend.model), work.settings.annotate.sampling, work.backend.options)
    return engine


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in prompt.messages]


def _schema(work: Workload, prompt: Prompt) -> Mapping[str, Any] | None:
    return prompt.schema if work.settings.annotate.sampling.structured and not _thinks(work) else None


def _thinks(work: Workload) -> bool:
    return bool(work.backend.options.get("thinking", False))


def _template_arguments(work: Workload) -> dict[str, Any]:
    return {"enable_thinking": _thinks(work)}


def _request(work: Workload, number: int, prompt: Prompt) -> dict[str, Any]:
    sampling = work.settings.annotate.sampling
    body: dict[str, Any] = {
        "model": "teacher",
        "messages": _messages(prompt),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
        "chat_template_kwargs": _template_arguments(work),
    }
    if schema := _schema(work, prompt):
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    return {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": body}


def _arguments(work: Workload) -> list[str]:
    """Our engine options as vLLM's command line knows them."""
    words = ["--model", work.backend.model, "--served-model-name", "teacher", "--enable-prompt-tokens-details"]
    words += ["--structured-outputs-config", json.dumps(_COMPACT)]
    for name, value in work.backend.options.items():
        if name == "thinking" or value is None:
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", str(value)]
    return words


def _watch(command: list[str]) -> float:
    """Run to the end; gives the time at which run_batch, its engine started, showed its progress bar."""
    began: float | None = None
    last: deque[str] = deque(maxlen=20)
    # Without a pseudo-terminal its bar goes to stderr line by line.
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ, text=True) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if began is None and "Running batch" in line:
                began = time.time()
            last.append(line)
    if run.returncode or began is None:
        raise RuntimeError(f"run_batch ended with {run.returncode}:\n{''.join(last)}")
    return began


def _from_response(row: Mapping[str, Any]) -> Completion:
    response = row.get("response") or {}
    if row.get("error") or response.get("status_code") != 200:
        return Completion(text="", finish_reason=f"error: status {response.get('status_code')}")
    choice, usage = response["body"]["choices"][0], response["body"]["usage"]
    thinking, text = split_thinking(choice["message"].get("content") or "")
    return Completion(
        text=text,
        finish_reason=choice["finish_reason"],
        thinking=thinking,
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage["completion_tokens"],
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
    )


def _from_output(output: Any) -> Completion:
    answer = output.outputs[0]
    thinking, text = split_thinking(answer.text)
    return Completion(
        text=text,
        finish_reason=str(answer.finish_reason),
        thinking=thinking,
        prompt_tokens=len(output.prompt_token_ids),
        completion_tokens=len(answer.token_ids),
        cached_tokens=int(output.num_cached_tokens or 0),
    )
