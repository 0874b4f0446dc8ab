"""An encoder of whose weights a part is left out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from tiny_training import TINY, selected_and_trained, training_settings

from distill_offline.doctor import examine
from distill_offline.models.layers import ignored_layers


@pytest.fixture
def cut(encoder: Path, tmp_path: Path) -> Path:
    """The encoder of two layers, of which config.json has one."""
    folder = tmp_path / "cut"
    shutil.copytree(encoder, folder)
    configure(folder, num_hidden_layers=1)
    return folder


def configure(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_layers_beyond_the_configuration_are_found(encoder: Path, cut: Path) -> None:
    assert ignored_layers(encoder) is None
    assert ignored_layers(cut) == (1, 2)
    configure(cut, num_hidden_layers=3)  # too few weights do not load at all
    assert ignored_layers(cut) is None
    configure(cut, num_hidden_layers="two")
    assert ignored_layers(cut) is None
    (cut / "config.json").write_text("{")
    assert ignored_layers(cut) is None
    (cut / "config.json").unlink()
    assert ignored_layers(cut) is None


def test_files_that_nobody_loads_or_that_are_damaged_tell_nothing(encoder: Path, cut: Path, tmp_path: Path) -> None:
    shutil.copytree(encoder, tmp_path / "good")
    (tmp_path / "good/old-backup.safetensors").write_bytes(
        save({f"encoder.layer.{number}.output.dense.bias": np.zeros(2, np.float32) for number in range(9)})
    )
    assert ignored_layers(tmp_path / "good") is None
    for damage in (b"half", b""):
        (cut / "model.safetensors").write_bytes(damage)
        assert ignored_layers(cut) is None
    (cut / "model.safetensors").unlink()
    assert ignored_layers(cut) is None
    (cut / "model.safetensors").symlink_to(tmp_path / "nowhere")
    assert ignored_layers(cut) is None
    index = {"weight_map": {"encoder.layer.0.output.dense.bias": "a", "encoder.layer.4.output.dense.bias": "b"}}
    (cut / "model.safetensors").unlink()
    (cut / "model.safetensors.index.json").write_text(json.dumps(index))
    assert ignored_layers(cut) == (1, 5)
    for damage in (b"[]", b"{}", b'{"weight_map": 3}', b"\xff"):
        (cut / "model.safetensors.index.json").write_bytes(damage)
        assert ignored_layers(cut) is None


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # DeBERTa's own code in transformers
@pytest.mark.parametrize("kind", ["roberta", "electra", "deberta-v2", "distilbert", "modernbert"])
def test_models_of_all_kinds_have_the_layers_that_they_say(kind: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModel

    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 40}
    numbers = {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 16, "vocab_size": 40}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    more = numbers if kind == "distilbert" else {**sizes, "num_hidden_layers": 3, **special}
    config = AutoConfig.for_model(kind, **more)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    assert ignored_layers(tmp_path) is None
    configure(tmp_path, **{"n_layers" if kind == "distilbert" else "num_hidden_layers": 2})
    assert ignored_layers(tmp_path) == (2, 3)


def test_training_and_doctor_warn_of_them(encoder: Path, cut: Path, tmp_path: Path) -> None:
    for folder, warned in ((encoder, False), (cut, True)):
        given = training_settings(folder, **{**TINY, "arms": [{"name": "original_only"}], "updates": 1})
        said = list[str]()
        selected_and_trained(tmp_path / "run" / folder.name, given, say=said.append)
        told = [line for line in said if "its weights have 2 layers, and config.json has 1" in line]
        assert bool(told) == warned
        checks = {check.name: check for check in examine(given)}
        assert ("layers of the encoder" in checks) == warned
