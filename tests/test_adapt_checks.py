"""adapt: what is refused, told or left out, and that nothing damaged or made by other settings is used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from adapting import adapted, refused, settings, tiny_base
from model_fixtures import CHATML, tiny_llama
from test_method import _imported

from distill_offline import pipeline
from distill_offline.adapt import stage
from distill_offline.adapt.stage import _METHOD
from distill_offline.annotate.work import AnnotateInputs
from distill_offline.backends.adapter import WEIGHTS
from distill_offline.backends.transformers import Transformers
from distill_offline.config.loading import as_plain, parse_settings
from distill_offline.config.settings import AdaptSettings, Source
from distill_offline.doctor import needs
from distill_offline.errors import (
    BackendError,
    ConfigError,
    InputError,
    MissingModel,
)
from distill_offline.models.adapting import need
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Sampling


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory)


@pytest.fixture(scope="module")
def made(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapted(base, tmp_path_factory)


def test_too_few_sentences_are_refused_before_anything_is_written(tmp_path: Path, base: Path) -> None:
    folder = RunFolder(tmp_path / "run", settings(base, {}, count=5))
    refused(folder, ConfigError, "5 different gold training sentences are too few .* needs 20")
    assert not (folder.path / "adapt").exists()


def test_a_base_that_cannot_be_trained_is_refused(tmp_path: Path, base: Path) -> None:
    import gguf
    import numpy as np

    file = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(file, "gemma3")
    writer.add_tensor("output_norm.weight", np.ones(8, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    chosen = settings(base, {"base": str(file)})
    refused(RunFolder(tmp_path / "a", chosen), MissingModel, r"'gemma3', and .* llama, qwen2, qwen3 alone.*adapt\.base")
    other = tiny_llama(tmp_path / "other", CHATML + " ", context=128)
    refused(RunFolder(tmp_path / "b", settings(base, {"base": str(other)})), ConfigError, "is another model than")
    odd = RunFolder(tmp_path / "c", settings(base, {"targets": ["nothing"]}))
    odd.open()
    refused(odd, ConfigError, "adapt.targets: they fit no weight matrix of tiny")
    refused(RunFolder(tmp_path / "d", settings(base, {"quantization": "4bit"})), ConfigError, "4bit needs a GPU")


def test_labels_unknown_to_the_task_are_refused(tmp_path: Path, base: Path) -> None:
    plain = as_plain(settings(base, {}))
    plain["task"]["types"] = {"SHIP": "ships"}
    refused(RunFolder(tmp_path / "run", parse_settings(plain, "test")), InputError, "type 'PERSON' is unknown")


def test_an_adapter_for_another_base_is_refused(made: Path, base: Path, tmp_path: Path) -> None:
    other = tiny_llama(tmp_path / "other", CHATML + " ", context=128)
    folder = RunFolder(made, settings(other, {}))
    with pytest.raises(ConfigError, match=r"was made for another model than backend\.model"):
        AnnotateInputs.of(folder, write=False)
    wide = wide_llama(tmp_path / "wide", base)
    with pytest.raises(BackendError, match=r"another model than backend\.model .a llama of 32 dimensions"):
        Transformers(wide, Sampling(), {"adapter": str(made / "adapt/adapter")})
    with pytest.raises(MissingModel, match=r"adapter_config\.json is missing"):
        Transformers(base, Sampling(), {"adapter": str(tmp_path)})


def wide_llama(folder: Path, like: Path) -> Path:
    """The same with half the width."""
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    config = AutoConfig.from_pretrained(like)
    config.hidden_size = 32
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(like).save_pretrained(folder)
    return folder


def test_long_sentences_are_left_out_and_told(tmp_path: Path, base: Path) -> None:
    warned: list[str] = []
    folder = RunFolder(
        tmp_path / "run", settings(base, {"max_length": 300, "epochs": 1}, count=40), on_warning=warned.append
    )
    folder.open()
    counts = pipeline.adapt(folder)
    assert counts["sentences"] + counts["left_out"] == 40
    assert counts["left_out"] > 0
    assert f"adapt: {counts['left_out']} of 40 sentences are left out (rows " in "".join(warned)


def test_too_few_that_fit_are_refused_before_training(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "learn", None)
    folder = RunFolder(tmp_path / "run", settings(base, {"max_length": 300}))
    folder.open()
    refused(folder, ConfigError, r"different gold training sentences that fit into adapt.max_length are too few .* 20")


def test_dev_of_which_nothing_fits_chooses_no_epoch(tmp_path: Path, base: Path) -> None:
    given, warned = settings(base, {"max_length": 300, "epochs": 2}, count=40), list[str]()
    (tmp_path / "long.jsonl").write_text(json.dumps({"text": "Ada slept and " * 300 + "woke", "spans": []}) + "\n")
    original = replace(given.corpus.original, dev=str(tmp_path / "long.jsonl"))
    given = replace(given, corpus=replace(given.corpus, original=original))
    folder = RunFolder(tmp_path / "run", given, on_warning=warned.append)
    folder.open()
    assert pipeline.adapt(folder)["epoch"] == 2
    assert "adapt: no sentence of dev fits, so no epoch can be chosen; the last one is kept." in warned


def test_what_decides_nothing_about_an_adapter_does_not_make_it_anew(
    tmp_path: Path, made: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made, tmp_path / "run")
    monkeypatch.setattr(stage, "learn", None)
    given, said = settings(base, {}), list[str]()
    original = replace(given.corpus.original, test=Source(path="package:demo/test.jsonl", limit=5))
    pipeline.adapt(
        RunFolder(tmp_path / "run", replace(given, corpus=replace(given.corpus, original=original)), say=said.append)
    )
    assert said[-1] == "adapt: is here already"
    said.clear()
    with pytest.raises(TypeError):  # the folds have to be learnt
        pipeline.adapt(RunFolder(tmp_path / "run", settings(base, {"folds": 2}), say=said.append))
    assert "adapt: is here already" in said


def test_a_prompt_that_is_frozen_anew_is_learnt_first(tmp_path: Path, base: Path) -> None:
    given, guide = settings(base, {"epochs": 1}), tmp_path / "guide.md"
    guide.write_text("Names of people are persons.")
    task = replace(given.task, prompt="standard", guidelines=str(guide))
    said = list[str]()
    folder = RunFolder(tmp_path / "run", replace(given, task=task), say=said.append)
    folder.open()
    pipeline.adapt(folder)
    assert [step["fresh"] for step in pipeline.plan(folder, ("adapt",), refreeze=True)] == [True]
    guide.write_text("Other rules.")
    assert pipeline.is_adapted(folder)  # as the run has frozen it
    assert not pipeline.is_adapted(folder, refreeze=True)
    assert [step["fresh"] for step in pipeline.plan(folder, ("adapt",), refreeze=True)] == [False]
    pipeline.adapt(folder, refreeze=True)
    said.clear()
    pipeline.adapt(folder)
    assert said == ["adapt: up to date"]


def test_a_dry_run_says_what_it_takes_and_writes_nothing(tmp_path: Path, base: Path) -> None:
    folder = RunFolder(tmp_path / "run", settings(base, {"folds": 3}))
    [adapt, *rest] = pipeline.plan(folder, ("adapt", "annotate"))
    assert adapt["stage"] == "adapt"
    assert adapt["updates"] == 4 * 2 * 3
    assert "about 0." in adapt["detail"]
    assert rest[0]["asked"] == 3
    assert not folder.path.exists()


def test_memory_grows_with_rank_and_length_and_shrinks_with_what_saves_it(base: Path) -> None:
    def total(*, on_gpu: bool = False, **changes: Any) -> int:
        found = need(base, AdaptSettings(**changes), on_gpu=on_gpu)
        assert found is not None
        return found.total

    assert total(rank=64) > total(rank=8)
    assert total(batch_tokens=8192) > total()
    assert total(gradient_checkpointing=True) < total()
    assert total(on_gpu=True) < total()
    assert total(on_gpu=True, quantization="4bit") < total(on_gpu=True)
    assert need(base / "config.json", AdaptSettings(), on_gpu=False) is None


def test_the_method_of_an_adapter_is_whole() -> None:
    """What decides how it learns, wherever it stands: with another rate or other parts, it is another adapter."""
    imported = {name for module in _METHOD for name in _imported(module)}
    deciding = {name for name in imported if name.split(".")[1] in ("adapt", "learning", "student")}
    assert deciding - {*_METHOD} == {"distill_offline.learning.checkpoint", "distill_offline.student.memory"}
    assert {*_METHOD} - deciding <= {f"distill_offline.adapt.{name}" for name in ("answers", "gguf_adapter", "loop")}


def test_memory_holds_the_mask_of_a_packed_row(base: Path) -> None:
    def activations(tokens: int, *, on_gpu: bool = False) -> float:
        found = need(base, AdaptSettings(batch_tokens=tokens), on_gpu=on_gpu)
        assert found is not None
        return found.activations

    # All else grows with the tokens; no row has more than 2,048 on a CPU.
    assert activations(2048) - 2 * activations(1024) == 2 * 1024**2 * (4 + 3)
    assert activations(4096) - 2 * activations(2048) == -(2048**2) * (4 + 3)
    assert activations(8192, on_gpu=True) > 8192**2 * 2 * 2  # both layers may keep a copy


def test_doctor_says_how_much_memory_it_takes(base: Path) -> None:
    found = {check.name: check for check in needs.check_needs(settings(base, {}))}
    assert found["adapt"].status == "ok"
    assert "GB of memory (base 0.0, adapter 0.0" in found["adapt"].detail


def test_a_damaged_adapter_is_neither_used_nor_sealed_again(tmp_path: Path, base: Path, made: Path) -> None:
    run, chosen, said = tmp_path / "run", settings(base, {}), list[str]()
    shutil.copytree(made, run)
    adapter = run / "adapt" / "adapter"
    whole = {name: (adapter / name).read_bytes() for name in (WEIGHTS, "made.json", "adapter.gguf")}
    for name, damage in (
        (WEIGHTS, whole[WEIGHTS][:-4]),
        (WEIGHTS, whole[WEIGHTS][:-4] + b"\0\0\0\0"),  # of the same size
        ("adapter.gguf", whole["adapter.gguf"][:-4] + b"\0\0\0\0"),
        ("made.json", b'{"base": '),
    ):
        (adapter / name).write_bytes(damage)
        assert not pipeline.is_adapted(RunFolder(run, chosen))
        with pytest.raises(InputError, match=r"Run adapt again|Run it again"):
            AnnotateInputs.of(RunFolder(run, chosen))
        (adapter / name).write_bytes(whole[name])
    assert pipeline.is_adapted(RunFolder(run, chosen))
    (adapter / WEIGHTS).write_bytes(whole[WEIGHTS][:-4])
    pipeline.adapt(RunFolder(run, chosen, say=said.append))
    assert "adapt: is here already" not in said
    assert (adapter / WEIGHTS).read_bytes() == whole[WEIGHTS]


def test_an_adapter_of_other_settings_labels_nothing(tmp_path: Path, base: Path, made: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(made, run)
    changed = RunFolder(run, settings(base, {"rank": 5}))
    asks: list[Callable[[], Any]] = [
        lambda: pipeline.annotate_shard(changed, pipeline.Shard(1, 2)),
        lambda: pipeline.probe(changed, 1),
        lambda: pipeline.sample(changed, 1),
    ]
    for ask in asks:
        with pytest.raises(InputError, match="has not learnt from gold as the configuration asks now"):
            ask()
    assert not (run / "shards").exists()


def test_an_adapter_that_was_made_on_a_gpu_is_not_made_again_on_a_cpu(
    tmp_path: Path, base: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_on_gpu", lambda: True)
    said: list[str] = []
    pipeline.adapt(RunFolder(made, settings(base, {}), say=said.append))
    assert said == ["adapt: up to date"]


def test_what_annotate_would_refuse_afterwards_is_refused_before_anything_is_learnt(tmp_path: Path, base: Path) -> None:
    def told(backend: dict[str, Any], adapt: dict[str, Any], **more: Any) -> None:
        plain = as_plain(settings(base, adapt)) | {"backend": {"model": str(base), **backend}}
        plain["annotate"] |= more
        pipeline.plan(RunFolder(tmp_path / "run", parse_settings(plain, "test")), ("adapt",))

    with pytest.raises(ConfigError, match="rank is 600, and vLLM has room for 512"):
        told({"name": "vllm"}, {"rank": 600})
    with pytest.raises(ConfigError, match=r"backend.options.adapter: the section adapt makes an adapter of its own"):
        told({"name": "transformers", "options": {"adapter": str(tmp_path)}}, {})
    with pytest.raises(ConfigError, match="a model that thinks begins with a thought"):
        told({"name": "transformers", "options": {"thinking": True}}, {}, verify={})
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}')
    with pytest.raises(
        ConfigError, match="other is a gemma3_text, and an adapter for llama_cpp can be written for llama"
    ):
        told({"name": "llama_cpp", "model": str(tmp_path)}, {"base": str(other)})


def test_gold_without_an_entity_teaches_to_find_none_and_that_is_told(tmp_path: Path, base: Path) -> None:
    plain, warned = as_plain(settings(base, {})), list[str]()
    rows = [{"id": f"n{n}", "text": f"Nothing in line {n}.", "spans": []} for n in range(20)]
    (tmp_path / "none.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain["corpus"]["original"]["train"] = str(tmp_path / "none.jsonl")
    pipeline.plan(RunFolder(tmp_path / "run", parse_settings(plain, "t"), on_warning=warned.append), ("adapt",))
    assert warned == ["adapt: none of 20 sentences has an entity: the teacher learns to find none."]


@pytest.mark.parametrize(("epochs", "told"), [(2, True), (40, False)])
def test_few_updates_are_told_with_what_to_change(tmp_path: Path, base: Path, epochs: int, told: bool) -> None:
    said = list[str]()
    folder = RunFolder(tmp_path / "run", settings(base, {"epochs": epochs}), say=said.append)
    pipeline.plan(folder, ("adapt",))
    advice = (
        "adapt: 6 updates are few to learn from 20 sentences. Raise adapt.epochs (2) or lower adapt.batch_size (8) "
        "until there are 100 or more."
    )
    assert [line for line in said if "updates are few" in line] == [advice] * told


def test_what_the_model_cannot_read_is_left_out_whatever_max_length_says(tmp_path: Path) -> None:
    small = tiny_llama(tmp_path / "small", context=300)
    warned: list[str] = []
    folder = RunFolder(tmp_path / "run", settings(small, {"epochs": 1}, count=40), on_warning=warned.append)
    folder.open()
    counts = pipeline.adapt(folder)
    assert counts["sentences"] + counts["left_out"] == 40
    assert counts["left_out"] > 0
    assert "they are longer than what the model reads (300), or the chat template refuses them" in warned[0]
