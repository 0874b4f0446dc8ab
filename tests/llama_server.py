"""llama.cpp's own HTTP server as a process: `llama_server.py MODEL.gguf SLOTS CONTEXT PORT` (port 0: a free one).

It prints its address when the model is loaded, and ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from distill_offline.backends.llama_cpp import _import_engine


@contextlib.contextmanager
def running(model: Path, *, slots: int, context: int, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The base URL of a server that runs inside, and its process."""
    command = [sys.executable, __file__, str(model), str(slots), str(context), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, "llama.cpp's server did not start"
            yield f"{address}/v1", process
        finally:
            process.kill()


def main(model: str, slots: str, context: str, port: str) -> None:
    engine = _import_engine()
    params = engine.CommonParams()
    params.model.path = model
    params.n_parallel, params.n_ctx = int(slots), int(slots) * int(context)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    params.hostnames, params.port = ["127.0.0.1"], int(port)
    params.use_jinja, params.verbosity = True, -1
    params.cache_ram_mib, params.cache_idle_slots = 0, False
    params.ui = params.endpoint_slots = params.endpoint_props = False
    server = engine.Server(params)
    print(server.listening_address, flush=True)  # noqa: T201
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
