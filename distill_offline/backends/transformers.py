"""Models through transformers' own generate: slow beside an engine, and it runs everywhere that torch does."""

from __future__ import annotations

import gc
import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from jinja2 import TemplateError
from pydantic import PositiveInt

from distill_offline.backends.adapter import adapted
from distill_offline.backends.chat import Chat, token_texts
from distill_offline.backends.counting import TokenizerCounter
from distill_offline.backends.gguf_file import find_gguf
from distill_offline.backends.options import read_options, read_template, require
from distill_offline.backends.server_errors import without_echo
from distill_offline.errors import BackendError, ConfigError, MissingModel
from distill_offline.schema import Completion, Prompt, Sampling, canonical_json

__all__ = ["Transformers", "TransformersOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformersOptions:
    """Options of the backend `transformers`."""

    device_map: str | dict[str, int | str] | None = None
    """Accelerate's map of the model onto GPUs and memory; empty: `auto` with CUDA, else none."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None
    """The precision; empty: `auto` with CUDA, else float32."""
    quantization: Literal["4bit", "8bit"] | None = None
    """By bitsandbytes; 4bit is NF4 with double quantization."""
    batch_size: PositiveInt = 16
    """[prompts] How many are decoded together."""
    window: PositiveInt | None = None
    """[prompts] How many are gathered and sorted by length before they are batched; empty: 8 batches."""
    max_context: PositiveInt | None = None
    """[tokens] The longest prompt and answer together; empty: what the model was built for."""
    thinking: bool = False
    """Let a reasoning model think before it answers."""
    chat_template: str | None = None
    """A Jinja file in place of the tokenizer's chat template."""
    adapter: str | None = None
    """The folder of a LoRA adapter (safetensors, as `adapt` writes it); a run with `adapt` names its own."""


@dataclass(frozen=True, slots=True)
class _Job:
    position: int
    prompt: Prompt
    ids: list[int]


class Transformers:
    """Completes prompts with a local folder in Hugging Face layout, or with a GGUF file, dequantized.

    Prompts are sorted by length within a window, batched with padding on the left, and yielded batch by batch. A JSON
    schema cannot be enforced here, with or without `sampling.structured`: rely on the parser. A batch that does not
    fit into the accelerator's memory is halved until it does. Log-probabilities are of the model's own distribution,
    before temperature and top_p; they hold batch_size × max_tokens × vocabulary floats in memory. With temperature, a
    draw depends on `sampling.seed` and on the batch that the prompt fell into. An adapter is merged into float32
    weights, and computed beside others.
    """

    needs_model: ClassVar[bool] = True
    lists_first_tokens: ClassVar[bool] = True
    speed_only: ClassVar[frozenset[str]] = frozenset({"batch_size", "device_map", "window"})

    def __init__(self, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
        self._options = read_options(TransformersOptions, options)
        template = read_template(self._options.chat_template)
        self._sampling = sampling
        self._engine = require("transformers", "pip install distill_offline")
        self._engine.utils.logging.disable_progress_bar()
        self.tokenizer, self.model = self._load(model)
        self.chat = Chat(self.tokenizer, thinking=self._options.thinking, template=template)
        self._dtype = str(self.model.dtype).removeprefix("torch.")
        config = self.model.config.get_text_config()
        self.max_context = self._options.max_context or int(getattr(config, "max_position_embeddings", 4096))
        self.end_ids, self.pad_id = _end_tokens(self.model, self.tokenizer)

    def identity(self) -> Mapping[str, Any]:
        """Engine version, precision, length limit, chat template, thinking."""
        return {
            "backend": "transformers",
            "engine": self._engine.__version__,
            "dtype": self._dtype,
            "quantization": self._options.quantization,
            "max_context": self.max_context,
            "chat_template_sha256": self.chat.template_sha256,
            "thinking": self._options.thinking,
        }

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        """Gather a window of prompts, and yield the answers of each length-sorted batch as it is done."""
        if self.model is None:
            raise BackendError("transformers: this backend was closed.")
        source = enumerate(prompts)
        window = self._options.window or 8 * self._options.batch_size
        while gathered := list(islice(source, window)):
            jobs: list[_Job] = []
            for position, prompt in gathered:
                accepted = self._accept(position, prompt)
                if isinstance(accepted, Completion):
                    yield position, accepted
                else:
                    jobs.append(accepted)
            for batch in self._batches(jobs):
                yield from self._answer(batch)

    @staticmethod
    def counter(model: Path, options: Mapping[str, Any]) -> TokenizerCounter | None:
        """What counts prompts' tokens: the tokenizer alone; None for a GGUF, which would have to be read whole."""
        if not (model / "config.json").exists():
            return None
        model_options = read_options(TransformersOptions, options)
        template = read_template(model_options.chat_template)
        return TokenizerCounter(
            model, thinking=model_options.thinking, template=template, limit=model_options.max_context
        )

    def close(self) -> None:
        """Free the model's memory."""
        if self.model is None:
            return
        import torch

        self.model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _load(self, model: Path) -> tuple[Any, Any]:
        """(tokenizer, model)."""
        import torch

        if not model.exists():
            raise MissingModel(f"backend.model: {model.name}: not there. Fetch the model first.")
        options, engine = self._options, self._engine
        cuda = torch.cuda.is_available()
        source: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        folder = model
        if model.is_file() or not (model / "config.json").exists():
            require("gguf", "pip install 'gguf>=0.19'")
            file = find_gguf(model)
            folder, source["gguf_file"] = file.parent, file.name
        settings: dict[str, Any] = {
            "dtype": options.dtype or ("auto" if cuda else "float32"),
            "device_map": options.device_map or ("auto" if cuda else None),
        }
        if options.quantization is not None:
            if "gguf_file" in source:
                raise ConfigError(
                    "backend.options.quantization: a GGUF file cannot be quantized again; use its folder."
                )
            require("bitsandbytes", "pip install 'distill_offline[bitsandbytes]'")
            # It would warn of its cast to float16 at every layer of every step.
            logging.getLogger("bitsandbytes.autograd").setLevel(logging.ERROR)
            settings["quantization_config"] = _bitsandbytes(engine, options.quantization)
        try:
            tokenizer = engine.AutoTokenizer.from_pretrained(str(folder), **source)
            loaded = engine.AutoModelForCausalLM.from_pretrained(str(folder), **source, **settings).eval()
        except Exception as error:  # nearly any type: what the files hold decides which
            first_line = str(error).partition("\n")[0]
            raise BackendError(f"backend.model: transformers cannot load {model.name}: {first_line}") from error
        return tokenizer, loaded if options.adapter is None else adapted(loaded, Path(options.adapter))

    def _accept(self, position: int, prompt: Prompt) -> _Job | Completion:
        try:
            ids = self.chat.token_ids(prompt.messages)
        except TemplateError as error:
            return Completion(
                text="", finish_reason=f"error: chat template: {without_echo(str(error), prompt)}", sample=prompt.sample
            )
        if len(ids) >= self.max_context:
            return Completion(text="", finish_reason="prompt_too_long", prompt_tokens=len(ids), sample=prompt.sample)
        return _Job(position, prompt, ids)

    def _batches(self, jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
        """Longest first, so that memory runs out at once or never; a prompt that is short of room stands alone."""
        roomy: list[_Job] = []
        for job in sorted(jobs, key=lambda job: len(job.ids), reverse=True):
            if len(job.ids) + self._wanted(job) > self.max_context:
                yield [job]
            else:
                roomy.append(job)
        size = self._options.batch_size
        for _, alike in groupby(sorted(roomy, key=self._wanted), key=self._wanted):
            same = list(alike)
            for start in range(0, len(same), size):
                yield same[start : start + size]

    def _wanted(self, job: _Job) -> int:
        """Tokens that the answer may have."""
        return job.prompt.max_tokens or self._sampling.max_tokens

    def _answer(self, batch: Sequence[_Job]) -> Iterator[tuple[int, Completion]]:
        import torch

        try:
            completions = self._generate(batch)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise BackendError(
                    f"transformers: out of memory with one prompt of {len(batch[0].ids)} tokens. "
                    "Use backend.options.quantization, a smaller model, or fewer demonstrations."
                ) from error
            completions = None
        except RuntimeError as error:
            raise BackendError(f"transformers: the model failed ({type(error).__name__}: {error}).") from error
        if completions is None:
            half = len(batch) // 2
            yield from self._answer(batch[:half])
            yield from self._answer(batch[half:])
            return
        for job, completion in zip(batch, completions, strict=True):
            yield job.position, completion

    def _generate(self, batch: Sequence[_Job]) -> list[Completion]:
        import torch

        longest = max(len(job.ids) for job in batch)
        ids = torch.full((len(batch), longest), self.pad_id)
        mask = torch.zeros_like(ids)
        for row, job in enumerate(batch):
            ids[row, longest - len(job.ids) :] = torch.tensor(job.ids)
            mask[row, longest - len(job.ids) :] = 1
        device = self.model.get_input_embeddings().weight.device
        with torch.inference_mode(), torch.random.fork_rng(enabled=self._sampling.temperature > 0):
            if self._sampling.temperature > 0:
                torch.manual_seed(self._seed(batch))
            output = self.model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                generation_config=self._generation_config(
                    min(self._wanted(batch[0]), self.max_context - longest),
                    max(job.prompt.first_tokens for job in batch),
                ),
            )
            chosen = output.sequences[:, longest:]
            logprobs = None
            if self._sampling.logprobs:
                logprobs = self.model.compute_transition_scores(
                    output.sequences, output.logits, normalize_logits=True
                ).cpu()
        answers = [
            self._read_row(job, chosen[row].tolist(), None if logprobs is None else logprobs[row].tolist())
            for row, job in enumerate(batch)
        ]
        return [
            replace(answer, first_tokens=self._first_tokens(output.logits[0][row], job.prompt.first_tokens))
            if job.prompt.first_tokens
            else answer
            for row, (job, answer) in enumerate(zip(batch, answers, strict=True))
        ]

    def _first_tokens(self, logits: Any, count: int) -> tuple[tuple[str, float], ...]:
        ranked = logits.float().log_softmax(-1).topk(count)
        texts = [self.tokenizer.decode([token]) for token in ranked.indices.tolist()]
        return tuple(zip(texts, ranked.values.tolist(), strict=True))

    def _generation_config(self, max_new_tokens: int, first_tokens: int) -> Any:
        sampling = self._sampling
        # Every setting that a model's own generation_config.json may bring along is overruled.
        chosen: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            chosen = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        return self._engine.GenerationConfig(
            **chosen,
            max_new_tokens=max_new_tokens,
            eos_token_id=self.end_ids,
            pad_token_id=self.pad_id,
            return_dict_in_generate=True,
            output_logits=sampling.logprobs or first_tokens > 0,
        )

    def _seed(self, batch: Sequence[_Job]) -> int:
        drawn = [self._sampling.seed, *([job.prompt.sentence_id, job.prompt.sample] for job in batch)]
        return int.from_bytes(hashlib.sha256(canonical_json(drawn)).digest()[:7])

    def _read_row(self, job: _Job, ids: list[int], logprobs: list[float] | None) -> Completion:
        end = next((position for position, token in enumerate(ids) if token in self.end_ids), None)
        answer = ids[:end]
        thinking, text = self.chat.split(self.tokenizer.decode(answer, skip_special_tokens=True), answer)
        return Completion(
            text=text,
            finish_reason="length" if end is None else "stop",
            thinking=thinking,
            token_texts=() if logprobs is None else token_texts(self.tokenizer, answer),
            token_logprobs=() if logprobs is None else tuple(logprobs[: len(answer)]),
            prompt_tokens=len(job.ids),
            completion_tokens=len(answer) + (end is not None),
            sample=job.prompt.sample,
        )


def _bitsandbytes(engine: Any, quantization: str) -> Any:
    import torch

    if quantization == "8bit":
        return engine.BitsAndBytesConfig(load_in_8bit=True)
    return engine.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
    )


def _end_tokens(model: Any, tokenizer: Any) -> tuple[list[int], int]:
    """(ids that end an answer, id for padding). Clears the model's own sampling habits."""
    habits = model.generation_config
    eos = habits.eos_token_id if habits.eos_token_id is not None else tokenizer.eos_token_id
    ids = [int(token) for token in (eos if isinstance(eos, list) else [eos]) if token is not None]
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ids:
        ids.append(int(tokenizer.eos_token_id))
    if not ids:
        raise BackendError("backend.model: neither the model nor its tokenizer names an end-of-answer token.")
    model.generation_config = type(habits)(eos_token_id=ids)
    pad = tokenizer.pad_token_id
    return ids, int(pad) if pad is not None else ids[0]
