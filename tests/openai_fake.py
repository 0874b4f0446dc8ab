"""A small OpenAI-compatible server on loopback, and a backend that asks it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from distill_offline.backends.openai_server import OpenAIServer
from distill_offline.schema import Completion, Message, Prompt, Sampling

Reply = Callable[[dict[str, Any]], tuple[int, dict[str, str], Any]]


def said(text: str, **more: Any) -> dict[str, Any]:
    return {
        "choices": [{"message": {"role": "assistant", "content": text, **more}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}},
    }


class Server:
    """A real HTTP server on loopback; `reply` decides what it answers. Status 0: it hangs up in the middle of it.

    `script`, where there is one, writes whatever it likes to the connection instead, which is closed then.
    """

    def __init__(self, port: int = 0) -> None:
        self.reply: Reply = lambda body: (200, {}, said(body["messages"][-1]["content"].upper()))
        self.script: Callable[[socket.socket], None] | None = None
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.busy = self.busiest = 0
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.bodies.append(body)
                    outer.headers.append(dict(self.headers))
                    outer.busy += 1
                    outer.busiest = max(outer.busiest, outer.busy)
                if outer.script is not None:
                    with contextlib.suppress(OSError):  # a client that has had enough
                        outer.script(self.connection)
                    self.close_connection = True
                    return
                status, headers, content = outer.reply(body)
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                with lock:
                    outer.busy -= 1
                self.close_connection = status == 0
                self.send_response(status or 200)
                for name, value in {**headers, "Content-Length": str(len(data) + (status == 0))}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):  # a client that has given up waiting
                    self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def backend(server: Server, sampling: Sampling | None = None, /, **options: Any) -> OpenAIServer:
    return OpenAIServer(
        Path("my/model"), sampling or Sampling(), {"base_url": server.url, "backoff_s": 0.01, "retries": 3, **options}
    )


def prompt(text: str, schema: dict[str, Any] | None = None) -> Prompt:
    return Prompt(text, (Message("system", "Rules."), Message("user", text)), schema)


def answers(engine: OpenAIServer, *texts: str) -> list[Completion]:
    found = dict(engine.complete(prompt(text) for text in texts))
    engine.close()
    return [found[number] for number in range(len(texts))]
