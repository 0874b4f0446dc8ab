from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import crafted_models
import pytest
from model_fixtures import plain_prompt

from distill_offline.backends import BACKENDS
from distill_offline.backends.base import Backend
from distill_offline.backends.chat import fold_system
from distill_offline.backends.gguf_file import find_gguf, read_chat_template
from distill_offline.backends.options import read_options, require
from distill_offline.backends.scripted import Scripted
from distill_offline.backends.vllm import VllmOptions
from distill_offline.errors import ConfigError, MissingModel, MissingPackage
from distill_offline.registry import load
from distill_offline.schema import Completion, Message, Sampling

ANSWER = '[["EU","ORG"],["German","MISC"]]'


def scripted(answers: Any, seed: int = 0, **options: Any) -> Scripted:
    return Scripted(Path(), Sampling(seed=seed), {"answers": answers, **options})


def answers_of(backend: Scripted, ids: list[str]) -> list[Completion]:
    return [completion for _, completion in backend.complete(plain_prompt("", sentence_id=id_) for id_ in ids)]


@pytest.mark.parametrize("name", ["scripted", "llama_cpp", "vllm", "transformers"])
def test_every_backend_of_the_table_has_the_protocols_methods(name: str) -> None:
    backend = load("backend.name", name, BACKENDS)
    assert all(callable(getattr(backend, method)) for method in ("identity", "complete", "close"))


@pytest.mark.parametrize("name", ["scripted", "llama_cpp", "vllm", "transformers"])
def test_mistyped_option_names_the_nearest_known_one_before_anything_is_loaded(name: str) -> None:
    known = {"scripted": "noise", "llama_cpp": "slots", "vllm": "dtype", "transformers": "batch_size"}[name]
    backend = load("backend.name", name, BACKENDS)
    with pytest.raises(ConfigError, match=rf"^backend\.options\.{known}x is unknown\. Did you mean .*\.{known}\?"):
        backend(Path("nowhere"), Sampling(), {f"{known}x": 1})


def test_options_that_another_engine_left_are_told_how_to_be_taken_away() -> None:
    backend = load("backend.name", "scripted", BACKENDS)
    with pytest.raises(ConfigError) as told:
        backend(Path("nowhere"), Sampling(), {"answers": "a.jsonl", "slots": 8, "context": 2048})
    assert re.sub(r"Known: .*", "Known.", str(told.value)).splitlines() == [
        "backend.options.slots is unknown. Known.",
        "backend.options.context is unknown. Known.",
        "Options belong to one engine. If they are another's, take them away: --set backend.options={}",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tensor_parallel_size": "2"}, r"backend\.options\.tensor_parallel_size: .*integer"),
        ({"tensor_parallel_size": 0}, r"backend\.options\.tensor_parallel_size: .*greater than 0"),
        ({"enforce_eager": 1}, r"backend\.options\.enforce_eager: .*boolean"),
        ({"dtype": "int3"}, r"backend\.options\.dtype: "),
    ],
)
def test_option_of_a_wrong_type_or_range_is_refused(options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_options(VllmOptions, options)


def test_all_faults_of_the_options_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read_options(
            VllmOptions, {"dtyp": "auto", "max_num_seqs": 0, "gpu_memory_utilization": float("nan"), "seed": 1}
        )
    said = str(caught.value).splitlines()
    assert [line.partition(" ")[0].rstrip(":") for line in said] == [
        "backend.options.dtyp", "backend.options.max_num_seqs", "backend.options.gpu_memory_utilization",
    ]  # fmt: skip


def test_option_without_a_default_must_be_given() -> None:
    with pytest.raises(ConfigError, match=r"backend\.options\.answers is missing"):
        Scripted(Path(), Sampling(), {})


def test_package_that_is_not_installed_is_named_with_the_extra_that_brings_it() -> None:
    with pytest.raises(MissingPackage, match=r"no_such_engine.*distill_offline\[vllm\]"):
        require("no_such_engine", "pip install 'distill_offline[vllm]'")


def test_scripted_answers_in_order_and_says_where_it_has_no_answer() -> None:
    backend = scripted({"a": ANSWER, "c": "[]"})
    assert isinstance(backend, Backend)
    prompts = [plain_prompt("", sentence_id=id_) for id_ in "abc"]
    prompts[0] = replace(prompts[0], sample=3)
    assert list(backend.complete(prompts)) == [
        (0, Completion(ANSWER, "stop", sample=3)),
        (1, Completion("", "error: no scripted answer")),
        (2, Completion("[]", "stop")),
    ]
    backend.close()


def test_scripted_takes_a_prompt_only_when_asked_for_the_next_answer() -> None:
    taken = []

    def prompts() -> Any:
        for id_ in "ab":
            taken.append(id_)
            yield plain_prompt("", sentence_id=id_)

    stream = scripted({"a": "x", "b": "y"}).complete(prompts())
    next(stream)
    assert taken == ["a"]


def test_scripted_reads_answers_from_a_file_and_identifies_them_by_content(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text(json.dumps({"id": "ä", "text": ANSWER}) + "\n\n", encoding="utf-8")
    from_file, from_map = scripted(str(file)), scripted({"ä": ANSWER})
    assert answers_of(from_file, ["ä"]) == answers_of(from_map, ["ä"]) == [Completion(ANSWER, "stop")]
    assert from_file.identity() == from_map.identity()
    assert from_map.identity() != scripted({"ä": "[]"}).identity()
    assert str(tmp_path) not in json.dumps(dict(from_file.identity()))


@pytest.mark.parametrize("line", ['{"id": "b"}', "[1]", "nonsense"])
def test_scripted_names_the_line_of_a_bad_answers_file(tmp_path: Path, line: str) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"id": "a", "text": "x"}\n' + line + "\n")
    with pytest.raises(ConfigError, match=r"answers\.jsonl:2: "):
        scripted(str(file))


def test_scripted_without_its_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"backend\.options\.answers: cannot read"):
        scripted(str(tmp_path / "none.jsonl"))


def test_noise_damages_about_its_share_in_every_way_and_the_same_ids_each_time() -> None:
    ids = [f"doc:{number}" for number in range(2000)]
    answers = dict.fromkeys(ids, ANSWER)
    first = answers_of(scripted(answers, noise=0.3), ids)
    damaged = [completion for completion in first if completion != Completion(ANSWER, "stop")]
    assert 0.25 < len(damaged) / len(ids) < 0.35

    def way(completion: Completion) -> str:
        if completion.finish_reason == "length":
            assert ANSWER.startswith(completion.text)
            return "cut"
        try:
            items = json.loads(completion.text)
        except ValueError:
            return "prose"
        if len(items) == 1:
            return "dropped"
        assert any(item[0].startswith("Nowhereville") and item[1] in ("ORG", "MISC") for item in items)
        return "invented"

    ways = [way(completion) for completion in damaged]
    assert {name: ways.count(name) > len(ways) / 8 for name in set(ways)} == dict.fromkeys(
        ("cut", "prose", "dropped", "invented"), True
    )
    backwards = answers_of(scripted(answers, noise=0.3), ids[::-1])
    assert backwards[::-1] == first
    assert answers_of(scripted(answers, noise=0.3, seed=1), ids) != first


@pytest.mark.parametrize(
    "answer", ["[]", "", "O", '{"label":"sport"}', '["a"]', '{"entities":[{"text":"a","type":"b"}]}']
)
def test_noise_damages_every_shape_of_answer(answer: str) -> None:
    ids = [str(number) for number in range(50)]
    for completion in answers_of(scripted(dict.fromkeys(ids, answer), noise=1.0), ids):
        assert completion.finish_reason == "length" or completion.text != answer


def test_noise_outside_the_unit_interval_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"backend\.options\.noise"):
        scripted({}, noise=1.5)


def test_delay_is_waited_before_each_answer() -> None:
    start = time.monotonic()
    answers_of(scripted({"a": "x"}, delay_s=0.02), ["a"] * 3)
    assert time.monotonic() - start >= 0.06


def test_scripted_is_fast_enough_for_rehearsals_of_a_large_corpus() -> None:
    prompts = [plain_prompt("", sentence_id=str(number)) for number in range(20_000)]
    backend = scripted({prompt.sentence_id: ANSWER for prompt in prompts})

    def seconds() -> float:
        start = time.process_time()  # of the processor: what else the machine does is no part of it
        assert sum(1 for _ in backend.complete(prompts)) == 20_000
        return time.process_time() - start

    assert min(seconds() for _ in range(3)) < 20_000 / 50_000


def test_system_text_is_folded_into_the_first_user_turn_only() -> None:
    system, first, answer, second = (
        Message("system", "Rules."),
        Message("user", "One."),
        Message("assistant", "1"),
        Message("user", "Two."),
    )
    folded = fold_system((system, first, answer, second))
    assert folded == (Message("user", "Rules.\n\nOne."), answer, second)
    assert fold_system((first, answer)) == (first, answer)
    assert fold_system((system,)) == (Message("user", "Rules."),)


def gguf(path: Path, template: str | None, version: int = 3) -> Path:
    keys = [*crafted_models.KEYS]
    if template is not None:
        keys.append(crafted_models.key("tokenizer.chat_template", 8, crafted_models.text(template)))
    path.write_bytes(crafted_models.gguf(keys, version=version))
    return path


def test_chat_template_is_read_from_a_gguf_file(tmp_path: Path) -> None:
    assert read_chat_template(gguf(tmp_path / "a.gguf", "{{ messages }} ü")) == "{{ messages }} ü"
    assert read_chat_template(gguf(tmp_path / "b.gguf", None)) is None


def test_damaged_gguf_file_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf(tmp_path / "a.gguf", "{{ messages }}").read_bytes()[:-5])
    (tmp_path / "zip.gguf").write_bytes(b"PK\3\4" * 100)
    (tmp_path / "pointer.gguf").write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 9\n")
    old = gguf(tmp_path / "old.gguf", "x", version=1)
    for file, reason in ((cut, "cut short"), ("zip", "archive"), ("pointer", "Git LFS pointer"), (old, "version")):
        damaged = file if isinstance(file, Path) else tmp_path / f"{file}.gguf"
        with pytest.raises(MissingModel, match=rf"{damaged.name} .*{reason}"):
            read_chat_template(damaged)


def test_damaged_part_of_a_split_model_is_named(tmp_path: Path) -> None:
    first = gguf(tmp_path / "big-00001-of-00002.gguf", "{{ messages }}")
    second = gguf(tmp_path / "big-00002-of-00002.gguf", None)
    assert read_chat_template(first) == "{{ messages }}"
    second.write_bytes(second.read_bytes()[:-1])
    with pytest.raises(MissingModel, match=r"big-00002-of-00002\.gguf is not a whole GGUF file"):
        read_chat_template(first)
    second.unlink()
    with pytest.raises(MissingModel, match=r"big-00002-of-00002\.gguf is missing"):
        find_gguf(tmp_path)


def test_the_one_gguf_file_of_a_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    with pytest.raises(MissingModel, match="no GGUF file"):
        find_gguf(tmp_path)
    with pytest.raises(MissingModel, match="no GGUF file"):
        find_gguf(tmp_path / "nowhere")
    one = tmp_path / "one.gguf"
    one.touch()
    assert find_gguf(tmp_path) == find_gguf(one) == one
    (tmp_path / "two.GGUF").touch()
    with pytest.raises(MissingModel, match=r"several GGUF files \(one\.gguf, two\.GGUF\)"):
        find_gguf(tmp_path)


def test_a_split_gguf_model_is_found_by_its_first_part(tmp_path: Path) -> None:
    for part in (1, 2, 3):
        (tmp_path / f"big-{part:05}-of-00003.gguf").touch()
    assert find_gguf(tmp_path).name == "big-00001-of-00003.gguf"
