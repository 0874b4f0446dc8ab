"""Engines that complete prompts; each is one file, named in the table below, and knows no task."""

from __future__ import annotations

BACKENDS = {
    "llama_cpp": "distill_offline.backends.llama_cpp:LlamaCpp",
    "vllm": "distill_offline.backends.vllm:Vllm",
    "transformers": "distill_offline.backends.transformers:Transformers",
    "openai_server": "distill_offline.backends.openai_server:OpenAIServer",
    "scripted": "distill_offline.backends.scripted:Scripted",
}

EXTRAS = {"llama_cpp": "llama-cpp", "vllm": "vllm", "transformers": "bitsandbytes"}

# The dataclass of each one's `backend.options`.
OPTIONS = {
    "llama_cpp": "distill_offline.backends.llama_cpp:LlamaCppOptions",
    "vllm": "distill_offline.backends.vllm:VllmOptions",
    "transformers": "distill_offline.backends.transformers:TransformersOptions",
    "openai_server": "distill_offline.backends.openai_options:OpenAIServerOptions",
    "scripted": "distill_offline.backends.scripted:ScriptedOptions",
}
