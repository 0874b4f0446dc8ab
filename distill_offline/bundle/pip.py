"""pip as the builder uses it: as a child with its own configuration (mirror, CA, proxy), errors without addresses."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from distill_offline import children
from distill_offline.bundle.target import Target
from distill_offline.errors import EnvironmentFault

__all__ = ["EPOCH", "PipFailed", "configuration", "for_target", "run", "version"]

EPOCH = "315532800"  # 1980-01-01, the first day that a zip archive knows
_PYTHON_TAGS = ("--implementation", "cp")


class PipFailed(EnvironmentFault):
    """pip ended with an error; the message is its own, without addresses."""


def run(arguments: Sequence[str], what: str, python: Path | None = None) -> str:
    """pip's standard output. `python` is the environment that it shall act upon. Raises PipFailed."""
    inside = ["--python", str(python)] if python else []
    quiet = ["--no-input", "--disable-pip-version-check"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "PIP_PROGRESS_BAR": "off", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-P", "-m", "pip", *inside, *quiet, *arguments]
    done = children.run(command, stdin=subprocess.DEVNULL, env=environment)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode("utf-8", "replace")
        raise PipFailed(f"{what}: pip could not do it: {_reason(said)}")
    return str(done.stdout.decode("utf-8", "replace"))


def for_target(target: Target, tags: Sequence[str] = ()) -> list[str]:
    """The options that make pip choose wheels for the target, and nothing but wheels."""
    digits = target.python.replace(".", "")
    platforms = [argument for tag in tags or target.platform_tags for argument in ("--platform", tag)]
    abis = ["--abi", f"cp{digits}", "--abi", "abi3", "--abi", "none"]
    return ["--only-binary=:all:", "--python-version", target.python, *_PYTHON_TAGS, *abis, *platforms]


@functools.cache
def version() -> str:
    """pip's version. Raises EnvironmentFault if there is none."""
    match = re.match(r"pip (\S+)", run(["--version"], "pip --version"))
    return match.group(1) if match else "unknown"


def configuration() -> Mapping[str, str]:
    """pip's settings that decide how an index is reached: `cert` and `proxy`, as pip weighs files and variables."""
    options: dict[str, str] = {}
    for line in run(["config", "list"], "pip config").splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in ("cert", "proxy"):
            options[name] = value.strip("'\"")  # the environment's come last and win
    return options


def _reason(said: str) -> str:
    """pip's last errors without addresses (an index may be internal, its URL may hold a password) or long lists."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("WARNING")]
    marked = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")] or lines[-3:]
    text = "; ".join(marked) or "no reason given"
    text = re.sub(r"host='[^']*'", "host=...", re.sub(r"\S+://\S+", "...", text))
    return re.sub(r"\(from versions: [^)]{80,}\)", "(from many versions)", text).rstrip(".")[:1200]
