"""The stage pretrain: it learns, it is resumed bit for bit, dev and test are never read in, and arms start from it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from encoder_families import FAMILIES, tiny_family
from safetensors.torch import load_file
from studying import runner, write_config
from tiny_models import tiny_encoder
from tiny_training import training_settings

from distill_offline import manifest, pipeline
from distill_offline.config.loading import as_plain, dump, parse_settings
from distill_offline.config.settings import Settings
from distill_offline.corpus import read_examples, write_examples
from distill_offline.doctor import examine
from distill_offline.errors import ConfigError, DistillError, InputError, Interrupted
from distill_offline.models import catalogue
from distill_offline.pipeline.faults import faults
from distill_offline.pretrain.model import Guesser, Loaded
from distill_offline.pretrain.text import encode
from distill_offline.provenance.links import Link
from distill_offline.provenance.walk import walk
from distill_offline.run.encoder import starting_encoder
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Progress
from distill_offline.storage.digests import file_digests
from distill_offline.storage.files import read_rows
from distill_offline.student.model import Student
from distill_offline.study import Results, Study

WEIGHTS = "pretrain/encoder/model.safetensors"
ARMS: list[dict[str, Any]] = [{"name": "simple_mix"}, {"name": "original_only"}]


def settings(encoder: Path, train: dict[str, Any] | None = None, **pretrain: Any) -> Settings:
    given = {"updates": 2, "batch_size": 4, "learning_rate": 1e-2, "arms": ARMS, **(train or {})}
    plain = as_plain(training_settings(encoder, **given))
    chosen = {"updates": 12, "update_tokens": 200, "learning_rate": 1e-3, "held_out": 0.1, "eval_every": 5, **pretrain}
    return parse_settings({**plain, "pretrain": chosen}, "test")


def made(path: Path, given: Settings, **more: Any) -> dict[str, Any]:
    folder = RunFolder(path, given, **more)
    folder.open()
    return pipeline.pretrain(folder)


def digest(path: Path) -> str:
    return file_digests([path / WEIGHTS])[path / WEIGHTS]


def stop_after(updates: int) -> tuple[Any, Any]:
    """`watch` and `stop` of a run that is stopped after so many updates."""
    seen = [0]

    def watch(progress: Progress) -> None:
        seen[0] = progress.done if progress.stage == "pretrain" else seen[0]

    return watch, lambda: seen[0] >= updates


def test_the_loss_falls_and_the_encoder_is_sealed_with_what_made_it(encoder: Path, tmp_path: Path) -> None:
    counts = made(tmp_path, settings(encoder, updates=60, learning_rate=3e-3))
    assert counts["loss_after"] < counts["loss_before"] - 0.2
    rows = [json.loads(line) for line in (tmp_path / "pretrain/history.jsonl").read_text().splitlines()]
    assert len(rows) == counts["updates"] == 60
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["held_out"] == counts["loss_after"]
    shown = manifest.show(tmp_path / "pretrain")
    assert shown["models"] == {"encoder": catalogue.model_digest(encoder)}
    assert shown["seeds"] == {"seed": 0}  # pretrain's own, not the run's
    assert {"package:demo" in each["name"] or "demo" in each["name"] for each in shown["inputs"]} == {True}
    assert manifest.verify(tmp_path / "pretrain") == []
    assert not (tmp_path / "pretrain/checkpoint").exists()


def test_a_stopped_one_ends_in_the_same_bytes(encoder: Path, tmp_path: Path) -> None:
    made(tmp_path / "whole", settings(encoder))
    for updates in (4, 9):
        watch, stop = stop_after(updates)
        with pytest.raises(Interrupted, match=f"pretrain: stopped at update {updates}"):
            made(tmp_path / "cut", settings(encoder), watch=watch, stop=stop)
    assert not (tmp_path / "cut" / WEIGHTS).exists()
    made(tmp_path / "cut", settings(encoder))
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")
    histories = [(tmp_path / name / "pretrain/history.jsonl").read_bytes() for name in ("cut", "whole")]
    assert histories[0] == histories[1]


@pytest.mark.slow
def test_a_head_of_its_own_is_resumed_too(encoder: Path, tmp_path: Path) -> None:
    made(tmp_path / "whole", settings(encoder, head="fresh"))
    watch, stop = stop_after(5)
    with pytest.raises(Interrupted):
        made(tmp_path / "cut", settings(encoder, head="fresh"), watch=watch, stop=stop)
    made(tmp_path / "cut", settings(encoder, head="fresh"))
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


def test_rows_that_the_text_lacks_stay_as_the_encoder_has_them(encoder: Path, tmp_path: Path) -> None:
    counts = made(tmp_path, settings(encoder))
    files = encoder / "model.safetensors", tmp_path / WEIGHTS
    before, after = (load_file(file)["embeddings.word_embeddings.weight"] for file in files)
    changed = int((before != after).any(1).sum())
    assert 0 < changed <= counts["rows_learnt"] < len(before)


def test_it_is_up_to_date_until_text_settings_or_encoder_change(encoder: Path, tmp_path: Path) -> None:
    said = list[str]()
    made(tmp_path, settings(encoder))
    made(tmp_path, settings(encoder, checkpoint_every=0.0), say=said.append)
    assert said[-1] == "pretrain: up to date"
    for change in ({"passes": 2, "updates": None}, {"seed": 3}, {"text": "package:demo/unlabelled"}, {"masked": 0.2}):
        said.clear()
        folder = RunFolder(tmp_path, settings(encoder, **change))
        assert [step["fresh"] for step in pipeline.plan(folder, ("pretrain",))] == [False], change


def test_dev_and_test_are_never_learnt_from(encoder: Path, tmp_path: Path) -> None:
    given = settings(encoder, text="package:demo/test.jsonl")
    dev = {"path": "package:demo/test.jsonl", "limit": 5}
    original = replace(given.corpus.original, dev=None, test=None)
    alone = made(tmp_path / "alone", replace(given, corpus=replace(given.corpus, original=original)))
    assert alone["dropped_as_in_dev_or_test"] == 0
    plain = as_plain(given)
    plain["corpus"]["original"]["dev"] = dev
    counts = made(tmp_path / "dev", parse_settings(plain, "test"))
    assert counts["dropped_as_in_dev_or_test"] == 5
    assert counts["sentences_learnt"] + counts["sentences_held_out"] == counts["sentences_read"] - 5
    plain["pretrain"]["never"] = ["package:demo/test.jsonl"]
    with pytest.raises(InputError, match="no text is left to learn"):
        made(tmp_path / "none", parse_settings(plain, "test"))


def test_the_same_text_is_learnt_once_and_no_text_stays(encoder: Path, tmp_path: Path) -> None:
    given = settings(encoder)
    counts = made(tmp_path, given)
    sentences = [e.sentence for e in read_examples("package:demo/train.jsonl", origin="original")][:70]
    assert counts["sentences_read"] == 70
    assert counts["sentences_learnt"] + counts["sentences_held_out"] + counts["dropped_as_repeated"] == 70
    written = b"".join(path.read_bytes() for path in (tmp_path / "pretrain").glob("*.json*"))
    assert not any(sentence.text.encode() in written for sentence in sentences if len(sentence.tokens) > 3)


@pytest.fixture
def counted_run(encoder: Path, tmp_path: Path) -> tuple[Path, Settings]:
    given = settings(encoder)
    original = replace(given.corpus.original, test=given.corpus.original.dev)
    return tmp_path / "run", replace(given, corpus=replace(given.corpus, original=original))


def test_a_run_has_all_arms_start_from_it_and_does_nothing_twice(counted_run: tuple[Path, Settings]) -> None:
    path, given = counted_run
    pipeline.run(RunFolder(path, given))
    made_of = catalogue.model_digest(path / "pretrain/encoder")
    for arm in ("simple_mix", "original_only"):
        shown = manifest.show(path / "train" / arm)
        assert "pretrain/manifest.json" in {each["name"] for each in shown["inputs"]}
        assert shown["models"] == {}
    assert starting_encoder(RunFolder(path, given), "simple_mix").digest == made_of
    assert manifest.verify(path) == []
    page = (path / "report/index.html").read_text()
    assert "Pre-training" in page
    said = list[str]()
    pipeline.run(RunFolder(path, given, say=said.append))
    assert all(line.endswith("up to date") for line in said), said
    without = replace(given, pretrain=None)
    pipeline.train(RunFolder(path, without), ("simple_mix",))
    shown = manifest.show(path / "train/simple_mix")
    assert "pretrain/manifest.json" not in {each["name"] for each in shown["inputs"]}


def test_arms_may_start_from_the_base_beside_those_that_do_not(encoder: Path, tmp_path: Path) -> None:
    given = settings(encoder, arms=["simple_mix"])
    folder = RunFolder(tmp_path, given)
    folder.open()
    with pytest.raises(InputError, match="pretrain has not been run to its end"):
        starting_encoder(folder, "simple_mix")
    assert starting_encoder(folder, "original_only").digest == catalogue.model_digest(encoder)
    pipeline.pretrain(folder)
    assert starting_encoder(folder, "simple_mix").digest != catalogue.model_digest(encoder)
    assert starting_encoder(folder).made_in == (tmp_path / "pretrain",)  # cross-fitting
    average = {"name": "mean", "average": ["simple_mix", "original_only"]}
    for wrong, message in (
        (settings(encoder, {"arms": [*ARMS, average]}, arms=["simple_mix"]), "averages arms that start from different"),
        (settings(encoder, arms=["cosine"]), "there is no arm 'cosine'"),
    ):
        with pytest.raises(ConfigError, match=message):
            pipeline.train(RunFolder(tmp_path, wrong))


def test_a_run_without_the_section_is_as_it_was(encoder: Path) -> None:
    given = training_settings(encoder)
    assert "pretrain" not in as_plain(given)
    assert "pretrain" not in dump(given)
    assert pipeline.pretrain(RunFolder(Path("nowhere"), given)) == {}


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # transformers' DeBERTa
@pytest.mark.parametrize("kind", [*FAMILIES, "distilbert", "electra", "mpnet"])
@pytest.mark.slow
def test_all_of_an_encoder_of_each_family_learns_and_students_start_from_it(kind: str, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    make = tiny_family if kind in FAMILIES else lambda folder, name: tiny_encoder(folder, kind=name)
    base = make(tmp_path / "base", kind)
    made(tmp_path, settings(base, updates=4))
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / WEIGHTS)
    assert before.keys() == after.keys()
    same = {name for name, tensor in before.items() if bool((tensor == after[name]).all())}
    assert all("pooler" in name for name in same), same
    labels = ("O", "B-X", "I-X")
    old, new = (
        Student.create(folder, labels, "token-classification") for folder in (base, tmp_path / "pretrain/encoder")
    )
    assert new.tokenizer.mask_token == old.tokenizer.mask_token
    examples = list(read_examples("package:demo/test.jsonl", origin="original"))[:5]
    plain = [replace(example, labels=("O",) * len(example.labels)) for example in examples]
    ids = [[[window.ids for window in windows] for windows in student.encode(plain)] for student in (old, new)]
    assert ids[0] == ids[1]  # subwords are cut as before


def test_a_tokenizer_without_a_mask_is_refused(encoder: Path, tmp_path: Path) -> None:
    import shutil

    base = tmp_path / "base"
    shutil.copytree(encoder, base)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (base / name).exists():
            value = json.loads((base / name).read_text())
            value.pop("mask_token", None)
            (base / name).write_text(json.dumps(value))
    told = {check.name: check for check in examine(settings(base))}
    assert (told["pretrain"].status, "no mask token" in told["pretrain"].detail) == ("fail", True)
    assert {check.name: check for check in examine(settings(encoder))}["pretrain"].status == "ok"
    with pytest.raises(InputError, match="has no mask token"):
        made(tmp_path / "run", settings(base))


@pytest.mark.slow
def test_all_seeds_of_a_study_share_an_encoder_that_knows_none_of_their_dev(encoder: Path, tmp_path: Path) -> None:
    text = str(tmp_path / "train.conll")
    variants = {"base": {}, "pretrained": {"pretrain": {"text": text, "updates": 3, "update_tokens": 200}}}
    config = write_config(tmp_path / "study.yaml", encoder, variants=variants)
    said = list[str]()
    assert runner(config, say=said.append).run() == 8
    places = list((tmp_path / "study/pretrained").glob("*/pretrain/encoder"))
    assert len(places) == 1
    assert len([line for line in said if line.startswith("pretrain:")]) == 1
    counts = manifest.show(places[0].parent)["counts"]
    assert counts["dropped_as_in_dev_or_test"] >= 8 - 1  # of 120, four are dev of a seed; two may be the same
    rows = list(Results(tmp_path / "rows.jsonl").read())
    known = {row.training.get("pretrained") for row in rows if row.variant == "pretrained"}
    assert known == {catalogue.model_digest(places[0])[:16]}
    assert {row.training.get("pretrained") for row in rows if row.variant == "base"} == {None}
    study = Study.load(config)
    keys = {cell.name: study.key(cell) for cell in study.cells}
    assert keys["base", 20, 0, "union"] != keys["pretrained", 20, 0, "union"]
    assert runner(config, say=said.append).run() == 0
    without = Study.load(config, ("study.variants={base: {}}",))
    assert {without.key(cell) for cell in without.cells} == {key for name, key in keys.items() if name[0] == "base"}


def test_a_study_must_name_the_text_that_its_seeds_share(encoder: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "study.yaml", encoder, variants={"pretrained": {"pretrain": {"passes": 1}}})
    with pytest.raises(ConfigError, match=r"pretrain\.text is missing; the seeds of a study share one encoder"):
        Study.load(config)


@pytest.mark.slow
def test_a_purge_says_that_the_encoder_and_all_that_start_from_it_know_the_document(
    encoder: Path, tmp_path: Path
) -> None:
    write_examples(tmp_path / "text.jsonl", list(read_examples("package:demo/train.jsonl", origin="original"))[100:130])
    document = next(iter(read_rows(tmp_path / "text.jsonl")))["document"]
    given = settings(encoder, text=str(tmp_path / "text.jsonl"), arms=["original_only"])
    folder = RunFolder(tmp_path / "run", given)
    folder.open()
    pipeline.pretrain(folder)
    pipeline.select(folder)
    pipeline.train(folder)
    (found,) = pipeline.purge(document, [folder.path])
    assert found["encoder"]
    assert found["students"] == ["original_only"]
    (found,) = pipeline.purge("no such document", [folder.path])
    assert (found["encoder"], found["students"], found["unchecked"]) == (False, [], [])
    write_examples(tmp_path / "text.jsonl", list(read_examples("package:demo/train.jsonl", origin="original"))[130:])
    (found,) = pipeline.purge(document, [folder.path])
    assert any("it may know the document" in line for line in found["unchecked"])


def test_a_stopped_one_is_told_by_a_purge(encoder: Path, tmp_path: Path) -> None:
    watch, stop = stop_after(3)
    with pytest.raises(Interrupted):
        made(tmp_path, settings(encoder), watch=watch, stop=stop)
    (found,) = pipeline.purge("anything", [tmp_path])
    assert any("its checkpoint may know it" in line for line in found["unchecked"])


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over(encoder: Path, tmp_path: Path) -> None:
    given = settings(encoder, checkpoint_every=0.0)
    made(tmp_path / "whole", given)
    watch, stop = stop_after(6)
    with pytest.raises(Interrupted):
        made(tmp_path / "cut", given, watch=watch, stop=stop)
    newest = max((tmp_path / "cut/pretrain/checkpoint").iterdir(), key=lambda path: int(path.name))
    file = newest / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-9] + b"damaged!!")
    said = list[str]()
    made(tmp_path / "cut", given, say=said.append)
    assert any(f"the checkpoint of update {newest.name} is damaged" in line for line in said)
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_one_ends_in_the_same_bytes(encoder: Path, tmp_path: Path) -> None:
    given = settings(encoder, checkpoint_every=0.0, updates=20)
    made(tmp_path / "whole", given)
    (tmp_path / "tiny.yaml").write_text(dump(given))
    command = [
        sys.executable,
        "-m",
        "distill_offline",
        "pretrain",
        str(tmp_path / "tiny.yaml"),
        "-o",
        str(tmp_path / "cut"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=tmp_path)
    place = tmp_path / "cut/pretrain/checkpoint"
    while not any(int(path.name) >= 2 for path in place.glob("*") if path.name.isdecimal()):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not manifest.is_whole(tmp_path / "cut/pretrain")
    assert subprocess.run(command, capture_output=True, cwd=tmp_path).returncode == 0
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


@pytest.mark.slow
def test_provenance_leads_from_a_student_to_the_base(counted_run: tuple[Path, Settings]) -> None:
    path, given = counted_run
    pipeline.run(RunFolder(path, given))
    link = walk(path / "train/simple_mix")
    names = [(each.kind, each.name) for each in _below(link)]
    assert ("stage", "pretrain") in names
    assert ("model", "encoder") in names
    assert not [problem for each in _below(link) for problem in each.problems if problem.state == "broken"]
    file = path / WEIGHTS
    file.write_bytes(file.read_bytes()[:-4] + b"XXXX")
    problems = [problem.message for each in _below(walk(path / "train/simple_mix")) for problem in each.problems]
    assert any("pretrain/encoder/model.safetensors was changed" in problem for problem in problems)


def _below(link: Link) -> list[Link]:
    return [link, *(inner for part in link.parts for inner in _below(part))]


@pytest.mark.parametrize(
    ("pretrain", "message"),
    [
        ({"never": [{"pathh": "x"}]}, "pretrain.never.0.pathh is unknown. Did you mean pretrain.never.0.path?"),
        ({"never": [3]}, "pretrain.never.0: a path is expected, or a section with path (it is 3)."),
        ({"maskd": 0.1}, "pretrain.maskd is unknown. Did you mean pretrain.masked?"),
        ({"masked": 1.0}, "pretrain.masked: input should be less than 1 (it is 1.0)."),
    ],
)
def test_a_wrong_setting_is_told_by_its_key(encoder: Path, pretrain: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings(encoder, **pretrain)
    assert f"test: {message}" in str(raised.value).splitlines()
    assert ".str" not in str(raised.value)


def test_doctor_tells_text_that_is_not_there_and_arms_that_are_none(encoder: Path) -> None:
    told = faults(settings(encoder, text="nowhere.txt", never=["neither.txt"], arms=["cosine"]))
    assert [line.partition(":")[0] for line in told] == ["pretrain.arms", "nowhere.txt"]
    assert [line.partition(":")[0] for line in faults(settings(encoder, never=["neither.txt"]))] == ["neither.txt"]


@pytest.mark.slow
def test_a_dry_run_says_what_would_be_done_and_what_follows_from_it(encoder: Path, tmp_path: Path) -> None:
    given = settings(encoder, arms=["simple_mix"])
    folder = RunFolder(tmp_path, given)
    folder.open()
    stages = ("annotate", "pretrain", "select", "train")
    pipeline.pretrain(folder)
    pipeline.select(folder)
    pipeline.train(folder)
    assert {step["stage"]: step["fresh"] for step in pipeline.plan(folder, stages)} == {
        "pretrain": True, "select": True, "train simple_mix": True, "train original_only": True,
    }  # fmt: skip
    changed = RunFolder(tmp_path, settings(encoder, arms=["simple_mix"], seed=5))
    plan = {step["stage"]: step["fresh"] for step in pipeline.plan(changed, stages)}
    assert plan == {"pretrain": False, "select": True, "train simple_mix": False, "train original_only": True}


def test_long_sentences_are_cut_into_windows_that_lose_nothing_and_do_not_overlap(encoder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    sentences = [example.sentence for example in read_examples("package:demo/train.jsonl", origin="original")][:9]
    whole, cut = (encode(sentences, tokenizer, window, "token-classification", None).windows for window in (128, 12))
    assert int(cut.lengths.max()) == 12
    assert len(cut) > len(whole) == 9
    assert cut.ids[cut.words >= 0].tolist() == whole.ids[whole.words >= 0].tolist()


@pytest.mark.parametrize("change", [{"mixed_precision": "bf16"}, {"head": "fresh"}, {"held_out": 0.0}])
@pytest.mark.slow
def test_it_learns_in_bf16_with_a_table_of_its_own_and_with_nothing_held_out(
    encoder: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    counts = made(tmp_path, settings(encoder, updates=40, learning_rate=3e-3, **change))
    rows = [json.loads(line) for line in (tmp_path / "pretrain/history.jsonl").read_text().splitlines()]
    assert sum(row["loss"] for row in rows[-5:]) < sum(row["loss"] for row in rows[:5])
    assert (counts["loss_after"] is None) == (change == {"held_out": 0.0})
    weights = load_file(tmp_path / WEIGHTS)
    assert {str(tensor.dtype) for tensor in weights.values() if tensor.is_floating_point()} == {"torch.float32"}


def test_a_rate_that_is_too_high_is_told(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(DistillError, match=r"training has diverged. Lower pretrain\.learning_rate \(1e\+30\)"):
        made(tmp_path, settings(encoder, learning_rate=1e30, warmup=0.0, clip=1e30))


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.slow
def test_a_head_that_came_with_the_encoder_is_gone_on_with(kind: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForMaskedLM

    base = tiny_encoder(tmp_path / "base", kind=kind)
    assert not Loaded.read(base, 128).has_head
    model = AutoModelForMaskedLM.from_pretrained(base)
    with torch.no_grad():
        model.get_output_embeddings().bias.copy_(torch.arange(len(model.get_output_embeddings().bias)) / 100)
    model.save_pretrained(base)
    loaded = Loaded.read(base, 128)
    assert loaded.has_head
    sentences = [example.sentence for example in read_examples("package:demo/train.jsonl", origin="original")][:9]
    windows = encode(sentences, loaded.tokenizer, loaded.window, "token-classification", None).windows
    guesser = Guesser(loaded, windows, "tied")
    assert guesser.bias.tolist() == pytest.approx((guesser.known / 100).tolist())
    warned: list[str] = []
    counts = made(tmp_path / "run", settings(base, updates=3), on_warning=warned.append)
    assert counts["loss_before"] > 0
    assert (counts["new_head"], warned) == (0, [])
    assert "pooler.dense.weight" not in load_file(tmp_path / "run" / WEIGHTS)  # it had none, and a random one is no use


def test_what_cannot_be_made_is_told_by_the_dry_run_too(encoder: Path, tmp_path: Path) -> None:
    text = RunFolder(tmp_path / "run", settings(encoder, text=str(tmp_path / "none.txt")))
    with pytest.raises(InputError, match=r"none\.txt: no such file"):
        pipeline.plan(text, ("pretrain",))
    arms = RunFolder(tmp_path / "run", settings(encoder, arms=["nobody"]))
    for how in (lambda: pipeline.plan(arms, ("pretrain",)), lambda: pipeline.pretrain(arms)):
        with pytest.raises(ConfigError, match="there is no arm 'nobody'"):
            how()
    with pytest.raises(
        InputError, match=r"0 are in dev or test, too, and \d+ are held out \(pretrain.held_out: 0.999\)"
    ):
        made(tmp_path / "out", settings(encoder, held_out=0.999))


def test_an_encoder_that_lost_its_head_is_told_before_hours_go_by(encoder: Path, tmp_path: Path) -> None:
    events: list[str] = []
    given = settings(encoder, updates=1)
    counts = made(tmp_path, given, on_warning=events.append, watch=lambda progress: events.append(progress.stage))
    assert "comes without a head that guesses words" in events[0]
    assert "pretrain" in events
    assert counts["new_head"] == 1


def test_text_that_the_tokenizer_does_not_know_is_told(encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("東京で会議が開かれた。\n\nThe pump stopped.\n", "utf-8")
    warned: list[str] = []
    text = settings(encoder, text=str(tmp_path / "text.txt"), updates=1)
    counts = made(tmp_path / "run", text, on_warning=warned.append)
    assert counts["share_unknown"] > 0.2
    assert any("has no subwords for" in line for line in warned)
    assert "share_unknown" not in made(tmp_path / "known", settings(encoder, updates=1))


def test_labels_that_pretrained_students_chose_are_part_of_a_rows_key(encoder: Path, tmp_path: Path) -> None:
    text = str(tmp_path / "train.conll")
    variants = {
        f"{name}{updates}": {"pretrain": {"text": text, "updates": updates, "arms": ["union"]}, **select}
        for updates in (3, 4)
        for name, select in (("plain", {}), ("crossed", {"select.cross_fit": {"folds": 2}}))
    }
    study = Study.load(write_config(tmp_path / "study.yaml", encoder, variants=variants))
    keys = {(cell.variant, cell.arm.name): study.key(cell) for cell in study.cells}
    [other] = {arm for _, arm in keys} - {"union"}
    assert keys["plain3", "union"] != keys["plain4", "union"]
    assert keys["plain3", other] == keys["plain4", other]
    assert keys["crossed3", other] != keys["crossed4", other]
