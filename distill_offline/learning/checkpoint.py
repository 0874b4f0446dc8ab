"""Checkpoints of weights in training: tensors as safetensors, the rest as JSON, two generations, one always whole."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distill_offline.errors import EnvironmentFault, native_os_error, os_fault
from distill_offline.learning.group import ALONE, Group
from distill_offline.storage.digests import digest_of, file_digests
from distill_offline.storage.files import check_plain, fresh_folder, make_folder, remove_folder, write_text

if TYPE_CHECKING:
    import torch

__all__ = [
    "Checkpoint",
    "Checkpoints",
    "optimizer_state",
    "random_state",
    "random_states_of_others",
    "restore_optimizer",
    "restore_random_state",
    "restore_random_states",
]  # fmt: skip

_TENSORS, _STATE, _PARTIAL = "tensors.safetensors", "state.json", ".partial"
_KEPT = 2
_FORMAT = 2  # which tensors there are; 1 had the optimizer's moments of whole embedding tables


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that training needs to go on after `updates` updates: named tensors, and JSON values."""

    updates: int
    tensors: Mapping[str, torch.Tensor]
    values: Mapping[str, Any]

    def part(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors whose names begin with `name.`, by the rest of their names."""
        return {key.removeprefix(f"{name}."): t for key, t in self.tensors.items() if key.startswith(f"{name}.")}


class Checkpoints:
    """The checkpoints of one model, below `folder`, a folder for each number of updates; the last two are kept.

    `fingerprint` says what they belong to: those of anything else are taken away with a word to `say`. A checkpoint
    takes its name only when it is whole and on disk; its JSON holds the digest of its tensors and of itself, so that
    one which is damaged all the same is noticed, and the one before it used. `stage` is named where one cannot be
    written.
    """

    def __init__(
        self, folder: Path, fingerprint: str, say: Callable[[str], None] = lambda line: None, *, stage: str = "train"
    ) -> None:
        self._folder, self._fingerprint, self._say, self._stage = folder, fingerprint, say, stage

    def latest(self, group: Group = ALONE) -> Checkpoint | None:
        """The last whole checkpoint of this fingerprint, None without one. Takes away those that cannot be used.

        In a group process 0 has done so before the others look.
        """
        state = None if group.rank else self._latest()
        group.wait()
        return self._latest() if group.rank else state

    def _latest(self) -> Checkpoint | None:
        check_plain(self._folder, is_folder=True)
        for partial in self._folder.glob(f"*{_PARTIAL}"):
            remove_folder(partial)
        for generation in self._generations():
            state = self._read(generation)
            if isinstance(state, Checkpoint):
                return state
            self._say(
                f"{self._folder.parent.name}: the checkpoint of update {generation.name} {state}; it is not used."
            )
            remove_folder(generation)
        return None

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint beside the one before it. Raises EnvironmentFault if the disk does not take it."""
        final = self._folder / str(checkpoint.updates)
        partial = final.with_name(final.name + _PARTIAL)
        try:
            make_folder(self._folder)
            fresh_folder(partial)
            self._write(partial, checkpoint)
            remove_folder(final)
            partial.rename(final)
            _sync(self._folder)
        except OSError as error:
            raise EnvironmentFault(
                f"{self._stage}: the checkpoint of update {checkpoint.updates} cannot be written: {os_fault(error)}"
            ) from error
        for old in list(self._generations())[_KEPT:]:
            remove_folder(old)

    def clear(self) -> None:
        """Take all of them away."""
        remove_folder(self._folder)

    def _generations(self) -> Iterator[Path]:
        """The newest first."""
        named = {int(path.name): path for path in self._folder.glob("*") if path.name.isdecimal()}
        return (named[update] for update in sorted(named, reverse=True))

    def _write(self, folder: Path, checkpoint: Checkpoint) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        file = folder / _TENSORS
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))
        try:
            # cloned where they are views or share memory, which the format refuses
            save_file({name: t.detach().cpu().contiguous().clone() for name, t in checkpoint.tensors.items()}, file)
        except SafetensorError as error:
            raise native_os_error(error) or OSError(str(error)) from error
        file.chmod(0o600)
        _sync(file)
        body = {
            "format": _FORMAT,
            "fingerprint": self._fingerprint,
            "updates": checkpoint.updates,
            "tensors": file_digests([file])[file],
            "values": checkpoint.values,
        }
        write_text(folder / _STATE, json.dumps({"digest": digest_of(body), "body": body}))
        _sync(folder)

    def _read(self, folder: Path) -> Checkpoint | str:
        """The checkpoint, or what is wrong with it."""
        from safetensors.torch import load_file

        try:
            state = json.loads((folder / _STATE).read_bytes())
            body, file = state["body"], folder / _TENSORS
            if digest_of(body) != state["digest"] or file_digests([file])[file] != body["tensors"]:
                return "is damaged"
            if body.get("format") != _FORMAT:
                return "is of another version of distill_offline"
            if body["fingerprint"] != self._fingerprint:
                return "is of another configuration"
            return Checkpoint(body["updates"], load_file(file), body["values"])
        except (OSError, ValueError, KeyError, TypeError):
            return "is damaged"


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """An optimizer's moments as tensors for a checkpoint, by `optimizer.PARAMETER.MOMENT`."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{i}.{key}": tensor for i, moments in state.items() for key, tensor in moments.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, checkpoint: Checkpoint) -> None:
    """Give an optimizer the moments that `optimizer_state` took; its settings stay."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in checkpoint.part("optimizer").items():
        index, _, moment = key.partition(".")
        state.setdefault(int(index), {})[moment] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def random_state() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Where the random number generators of Python, numpy, torch and each GPU stand: (tensors, JSON values)."""
    import torch

    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda{device}": state for device, state in enumerate(torch.cuda.get_rng_state_all())}
    version, numbers, gauss = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)
    values = {"python": [version, list(numbers), gauss], "numpy": [name, np.asarray(keys).tolist(), *rest]}
    return tensors, values


def restore_random_state(tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
    """Put the generators back to where `random_state` found them."""
    import torch

    torch.set_rng_state(tensors["torch"])
    devices = [name for name in tensors if name.startswith("cuda")]
    if torch.cuda.is_available() and len(devices) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([tensors[f"cuda{device}"] for device in range(len(devices))])
    version, numbers, gauss = values["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = values["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))


def random_states_of_others(group: Group) -> list[Any]:
    """JSON of where the generators of the group's processes stand, but for process 0, from 1 on."""
    if group.size == 1:
        return []
    tensors, values = random_state()
    return group.gather([{name: tensor.tolist() for name, tensor in tensors.items()}, values])[1:]


def restore_random_states(checkpoint: Checkpoint, rank: int) -> None:
    """Put the generators of process `rank` back to where they stood at the checkpoint."""
    import torch

    if not rank:
        restore_random_state(checkpoint.part("generators"), checkpoint.values["generators"])
        return
    tensors, values = checkpoint.values["others"][rank - 1]
    restore_random_state({name: torch.tensor(tensor, dtype=torch.uint8) for name, tensor in tensors.items()}, values)


def _sync(path: Path) -> None:
    """Wait until the disk has it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
