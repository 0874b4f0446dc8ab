"""How many tokens a prompt has, by a model's own tokenizer and chat template, without loading its weights."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill_offline.backends.chat import Chat
from distill_offline.backends.options import require
from distill_offline.errors import BackendError
from distill_offline.schema import Message

__all__ = ["LlamaServerCounter", "TokenizerCounter"]


class TokenizerCounter:
    """Counts by the tokenizer in a model folder of Hugging Face layout."""

    def __init__(self, model: Path, *, thinking: bool, template: str | None, limit: int | None) -> None:
        engine = require("transformers", "pip install distill_offline")
        try:
            tokenizer = engine.AutoTokenizer.from_pretrained(str(model), local_files_only=True, trust_remote_code=False)
            config = engine.AutoConfig.from_pretrained(str(model), local_files_only=True, trust_remote_code=False)
        except Exception as error:  # nearly any type: what the files hold decides which
            raise BackendError(f"backend.model: {model.name} has no tokenizer that can be loaded.") from error
        self._chat = Chat(tokenizer, thinking=thinking, template=template)
        self.limit = limit or int(getattr(config.get_text_config(), "max_position_embeddings", 4096))

    def count(self, messages: Sequence[Message]) -> int:
        return len(self._chat.token_ids(messages))


class LlamaServerCounter:
    """Counts by asking a llama.cpp server that listens on a socket file; `owner` is kept alive with it."""

    def __init__(self, socket_file: Path, *, thinking: bool, limit: int, owner: Any) -> None:
        self.limit = limit
        self._thinking, self._connection, self._owner = thinking, _Connection(socket_file), owner

    def count(self, messages: Sequence[Message]) -> int:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        kwargs = {"enable_thinking": self._thinking}
        rendered = self._ask("/apply-template", {"messages": turns, "chat_template_kwargs": kwargs})["prompt"]
        asked = {"content": rendered, "add_special": True, "parse_special": True}
        return len(self._ask("/tokenize", asked)["tokens"])

    def _ask(self, path: str, value: dict[str, Any]) -> dict[str, Any]:
        self._connection.request("POST", path, json.dumps(value), {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise BackendError(f"llama_cpp: the prompt's tokens cannot be counted (status {response.status}).")
        answer: dict[str, Any] = json.loads(content)
        return answer


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))
