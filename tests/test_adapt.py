"""adapt: what is learnt from, that it is learnt, and that nothing is lost or mixed up on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from adapting import adapted, settings, tiny_base

from distill_offline import manifest, pipeline
from distill_offline.adapt import stage
from distill_offline.adapt.lessons import Encoder, Pair, pairs
from distill_offline.adapt.model import Base, batch
from distill_offline.annotate.teacher import Teacher
from distill_offline.annotate.work import AnnotateInputs
from distill_offline.backends.adapter import WEIGHTS, rank_of
from distill_offline.backends.base import Backend
from distill_offline.backends.transformers import Transformers
from distill_offline.bundle.release_facts import UsedModel, _adapter
from distill_offline.completions import CompletionStore
from distill_offline.config.loading import as_plain, parse_settings
from distill_offline.config.settings import AdaptSettings, Source
from distill_offline.corpus import read_examples, write_examples
from distill_offline.errors import (
    ConfigError,
)
from distill_offline.provenance import Link, walk
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task, read_gold
from distill_offline.schema import Message, Prompt, Sampling
from distill_offline.storage.files import STORE


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory)


@pytest.fixture(scope="module")
def made(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapted(base, tmp_path_factory)


def pair(text: str, answer: str) -> Pair:
    return Pair(text, text, Prompt(text, (Message("system", "Rules."), Message("user", text))), answer)


@pytest.mark.slow
def test_only_answers_are_learnt(base: Path) -> None:
    import torch

    made = Base(base, AdaptSettings(rank=2), thinking=False, template=None)
    tokenizer = made.backend.tokenizer
    lessons = [made.encoder.lesson(pair("Ada slept.", '[["Ada","PER"]]')), made.encoder.lesson(pair("No one.", "[]"))]
    first = lessons[0]
    assert tokenizer.decode(first.ids[: first.start]).endswith("Ada slept.<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.decode(first.ids[first.start :]) == '[["Ada","PER"]]<|im_end|>'
    tensors, targets = batch(lessons, made.backend.pad_id)
    assert targets[1][targets[1] >= 0].tolist() == list(lessons[1].ids[lessons[1].start :])
    assert (targets >= 0).sum() == sum(each.answer_tokens for each in lessons)
    assert tensors["position_ids"][1][-1] == len(lessons[1].ids) - 1
    # The same by hand, one at a time, without padding.
    expected = 0.0
    for each in lessons:
        logits = made.model(input_ids=torch.tensor([each.ids])).logits[0].detach().float().log_softmax(-1)
        expected -= sum(float(logits[place - 1, each.ids[place]]) for place in range(each.start, len(each.ids)))
    assert made.loss(lessons, torch.device("cpu")).item() == pytest.approx(expected, rel=1e-4)


def test_of_gold_that_says_nothing_of_a_token_no_answer_is_learnt(base: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", settings(base, {}))
    work = stage._AdaptInputs.of(folder, write=False)
    examples = [replace(example, masked=(0,)) if n < 5 else example for n, example in enumerate(work.gold.train)]
    found = pairs(examples, [example.sentence for example in examples], work.picker, work.task)
    assert [each.id for each in found] == [example.sentence.id for example in examples[5:]]


def test_an_answer_ends_with_what_the_template_puts_behind_it(base: Path) -> None:
    backend = Transformers(base, Sampling(), {})
    pad = backend.tokenizer.convert_tokens_to_ids("<|im_start|>")
    odd = Transformers(base, Sampling(), {}).chat
    assert Encoder(backend.tokenizer, odd, [pad, *backend.end_ids])._end == backend.tokenizer.eos_token_id
    assert Encoder(backend.tokenizer, odd, [pad])._end == backend.tokenizer.eos_token_id  # it is the tokenizer's own


def test_the_loss_falls_and_the_best_epoch_is_kept(made: Path) -> None:
    found = json.loads((made / "adapt" / "adapter" / "made.json").read_text())["counts"]
    losses = [row["dev_loss"] for row in found["history"]]
    assert len(losses) == 3
    assert losses[-1] < losses[0] - 0.5
    assert losses[found["epoch"]] == min(losses[1:])
    assert found["sentences"] == 20
    assert found["packed"] is True
    assert rank_of(made / "adapt" / "adapter") == 4


def test_the_adapter_is_safetensors_and_json_and_names_no_place(made: Path, base: Path) -> None:
    folder = made / "adapt" / "adapter"
    assert {each.suffix for each in folder.iterdir()} <= {".safetensors", ".json", ".jsonl", ".gguf"}
    assert all(str(base.parent) not in each.read_bytes().decode("latin-1") for each in folder.iterdir())
    assert not list((made / "adapt").rglob("checkpoint*"))


def test_a_finished_adapter_is_not_made_again(made: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "learn", None)
    said: list[str] = []
    counts = pipeline.adapt(RunFolder(made, settings(base, {}), say=said.append))
    assert said == ["adapt: up to date"]
    assert counts["sentences"] == 20
    assert not pipeline.is_adapted(RunFolder(made, settings(base, {"rank": 5})))


def test_logits_are_those_of_the_merged_model_and_not_the_bases(made: Path, base: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.arange(10, 60)[None]
    adapter = made / "adapt" / "adapter"
    plain = Transformers(base, Sampling(), {})
    own = Transformers(base, Sampling(), {"adapter": str(adapter)})
    beside = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter)).eval()
    with torch.inference_mode():
        logits, expected, before = (each(input_ids=ids).logits for each in (own.model, beside, plain.model))
    assert torch.allclose(logits, expected, atol=1e-2)
    assert not torch.allclose(logits, before, atol=0.3)
    assert not any("lora" in name for name, _ in own.model.named_parameters())


def test_an_old_answer_never_meets_a_new_adapter(made: Path, base: Path, tmp_path: Path) -> None:
    chosen = settings(base, {})
    work = AnnotateInputs.of(RunFolder(made, chosen), write=False)
    recipe = work.teacher.recipe()
    bare = Teacher.of(settings(base, None), make_task(chosen)).recipe()
    assert recipe == bare | {"adapter": json.loads((made / "adapt/adapter/made.json").read_text())["digest"]}
    other = RunFolder(tmp_path / "run", settings(base, {"epochs": 1}))
    other.open()
    pipeline.adapt(other)
    third = AnnotateInputs.of(other, write=False).teacher.recipe()
    assert third["adapter"] != recipe["adapter"]
    named = {"adapter": str(made / "adapt/adapter")}
    by_hand = parse_settings(
        as_plain(settings(base, None)) | {"backend": {"name": "transformers", "model": str(base), "options": named}},
        "t",
    )
    assert Teacher.of(by_hand, make_task(by_hand)).recipe()["options"] == {"adapter": recipe["adapter"]}


def test_without_the_section_a_configuration_is_as_it_was(base: Path) -> None:
    assert "adapt" not in as_plain(settings(base, None))
    assert settings(base, None).demonstrations == settings(base, None).annotate.demonstrations
    assert as_plain(settings(base, {}))["adapt"]["rank"] == 4


def test_an_adapted_teacher_is_asked_as_it_was_taught(base: Path) -> None:
    shown: dict[str, Any] = {"demonstrations": {"strategy": "knn", "k": 4}}
    assert settings(base, {}, **shown).demonstrations.strategy == "none"
    found = settings(base, {"demonstrations": 2}, **shown).demonstrations
    assert (found.strategy, found.k) == ("knn", 2)
    with pytest.raises(ConfigError, match=r"an adapted teacher is shown 0 demonstrations"):
        settings(base, {}, samples=3, demonstrations={"strategy": "random", "k": 4, "vary": "set"})


def test_what_trained_the_adapter_does_not_calibrate_it(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"annotate.gold: train: .* Set adapt.folds"):
        settings(base, {}, gold=["train"])
    with pytest.raises(ConfigError, match="one fold leaves nothing to train on"):
        settings(base, {"folds": 1})


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Engines in this process; gives the adapters with which they were started."""
    started: list[str] = []

    def start(self: Teacher) -> Backend:
        assert self.adapter is not None
        started.append(self.adapter.digest)
        options = {"adapter": str(self.adapter.folder)}
        return Transformers(self.model, self.settings.annotate.sampling, options)

    monkeypatch.setattr(Teacher, "start", start)
    return iter([started])


@pytest.mark.slow
def test_each_gold_sentence_is_answered_by_an_adapter_that_has_not_seen_it(
    tmp_path: Path, base: Path, in_process: Iterator[list[str]]
) -> None:
    folder = RunFolder(tmp_path / "run", settings(base, {"folds": 2, "epochs": 1}, gold=["train"]))
    folder.open()
    trained: dict[str, set[str]] = {}
    counts = pipeline.adapt(folder)
    assert counts["folds"]["1"]["sentences"] + counts["folds"]["2"]["sentences"] == 20
    fold_of = json.loads((folder.path / "adapt/folds/fold_of.json").read_text())
    work = stage._AdaptInputs.of(folder, write=False)
    for number in ("1", "2"):
        digest = json.loads((folder.path / f"adapt/folds/{number}/adapter/made.json").read_text())["digest"]
        trained[digest] = {each.content for each in work.train if fold_of[each.content] != int(number)}
    found = pipeline.annotate(folder)
    assert (found["train"]["rows"], found["train"]["asked"]) == (20, 20)
    contents = {each.id: each.content for each in work.train}
    with CompletionStore(folder.path / "annotate" / STORE, read_only=True) as store:
        assert set(store.progress()) == {"unlabelled", "train"}
        for id_, digest, completion in store.rows("train"):
            assert completion is not None
            assert store._connection is not None
            [(recipe,)] = store._connection.execute("SELECT recipe FROM completions WHERE digest = ?", (digest,))
            assert contents[id_] not in trained[store.recipes()[recipe]["adapter"]]
    [started] = list(in_process)
    assert len(set(started)) == 3
    again = pipeline.annotate(RunFolder(folder.path, folder.settings))
    assert [step["cached"] for step in pipeline.plan(folder, ("annotate",))] == [3, 20]
    pipeline.reparse(folder)
    assert again["train"]["asked"] == 20  # the sealed counts: nothing was asked again
    assert len(started) == 3


def test_dev_f1_is_that_of_generated_answers(tmp_path: Path, base: Path) -> None:
    folder = RunFolder(tmp_path / "run", settings(base, {"pick": "dev_f1", "epochs": 1}))
    folder.open()
    assert pipeline.adapt(folder)["history"][1]["dev_f1"] == 0.0  # after three updates it writes no JSON


@pytest.mark.slow
def test_gradient_checkpointing_learns_the_same(tmp_path: Path, base: Path, made: Path) -> None:
    folder = RunFolder(tmp_path / "run", settings(base, {"gradient_checkpointing": True}))
    folder.open()
    history = pipeline.adapt(folder)["history"]
    expected = json.loads((made / "adapt/adapter/made.json").read_text())["counts"]["history"]
    assert [row["dev_loss"] for row in history] == pytest.approx([row["dev_loss"] for row in expected], rel=1e-3)


def test_what_an_adapter_has_learnt_is_told_when_it_is_to_be_forgotten(tmp_path: Path, base: Path, made: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(made, run)
    chosen = settings(base, {})
    document = read_gold(chosen).train[0].sentence.document
    assert pipeline.purge(document, [run])[0]["adapter"]
    assert not pipeline.purge("no such document", [run])[0]["adapter"]


def test_the_walk_goes_from_answers_to_the_adapter_and_its_base(
    tmp_path: Path, base: Path, made: Path, in_process: Iterator[list[str]]
) -> None:
    run = RunFolder(tmp_path / "run", settings(base, {}))
    shutil.copytree(made, run.path)
    pipeline.annotate(run)
    run.seal()
    link = walk(run.path)
    assert not [problem for problem in link.all_problems() if problem.state == "broken"]
    assert {"annotate", "adapt", "base", "teacher"} <= set(_names(link))
    annotated = manifest.read(run.path / "annotate")
    teacher = UsedModel("teacher", "a model of the site", "", "MIT", "may be trained on")
    [told] = _adapter(run.path, {"annotate": annotated}, (teacher,))
    assert (told.role, told.digest, told.licence) == (
        "adapter",
        AnnotateInputs.of(run, write=False).teacher.recipe()["adapter"],
        "MIT",
    )
    made_file = run.path / "adapt/adapter/made.json"
    kept = made_file.read_text()
    made_file.write_text(kept.replace(json.loads(kept)["digest"], "0" * 64))
    assert "other-adapter" in {problem.what for problem in walk(run.path).all_problems()}
    made_file.write_text(kept)
    file = run.path / "adapt/adapter" / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert "changed-file" in {problem.what for problem in walk(run.path).all_problems()}


def _names(link: Link) -> list[str]:
    return [link.name, *(name for part in link.parts for name in _names(part))]


def test_reviewed_sentences_are_learnt_from_and_named_whatever_neighbours_are_shown(tmp_path: Path, base: Path) -> None:
    plain = as_plain(settings(base, {}))
    examples = [*read_examples(Source(path="package:demo/train.jsonl", skip=30, limit=4), origin="original")]
    write_examples(tmp_path / "reviewed.jsonl", examples)
    plain["corpus"]["original"]["reviewed"] = str(tmp_path / "reviewed.jsonl")
    for context in (0, 1):
        plain["task"]["context"] = context
        found = stage._AdaptInputs.of(RunFolder(tmp_path / "run", parse_settings(plain, "test")), write=False)
        assert {each.sentence.id for each in examples} <= {each.id for each in found.train}
        assert len(found.train) == 24
        assert tmp_path / "reviewed.jsonl" in found.stage().inputs


def test_a_dry_run_refuses_what_the_run_would_and_counts_no_answer_of_an_old_adapter(
    tmp_path: Path, base: Path, made: Path, in_process: Iterator[list[str]]
) -> None:
    with pytest.raises(ConfigError, match="5 different gold training sentences are too few"):
        pipeline.plan(RunFolder(tmp_path / "few", settings(base, {}, count=5)), ("adapt",))
    run = RunFolder(tmp_path / "run", settings(base, {}))
    shutil.copytree(made, run.path)
    pipeline.annotate(run)
    adapt, annotate = pipeline.plan(run, ("adapt", "annotate"))
    assert (adapt["fresh"], annotate["fresh"], annotate["cached"]) == (True, True, 3)
    (run.path / "adapt/adapter" / WEIGHTS).rename(tmp_path / "elsewhere")
    assert pipeline.reparse(run)["unlabelled"]["rows"] == 3  # which needs no model and no adapter
    (tmp_path / "elsewhere").rename(run.path / "adapt/adapter" / WEIGHTS)
    adapt, annotate = pipeline.plan(RunFolder(run.path, settings(base, {"rank": 5})), ("adapt", "annotate"))
    assert (adapt["fresh"], annotate["fresh"], annotate["cached"], annotate["again"]) == (False, False, 0, 3)
