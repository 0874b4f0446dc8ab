"""A student that is carried out: what the folder holds, what is refused, and that it tells nothing it should not."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import TOOLS, Keys, safetensors

from distill_offline import manifest
from distill_offline.bundle.release import Released, release
from distill_offline.bundle.signing import Keys as SigningKeys
from distill_offline.errors import DistillError, InputError, IntegrityError
from distill_offline.manifest.statement import STATEMENT

SECRET = "zebra sentence of the corpus"
TEACHER, ENCODER, GOLD = "7" * 64, "e" * 64, "9" * 64
CONFIG = {
    "name": "x", "backend": {"name": "llama_cpp", "model": "SmolLM2-135M-Instruct-GGUF"},
    "task": {"types": {"LOC": SECRET}, "guidelines": SECRET},
    "corpus": {"unlabelled": f"/secret/place/{SECRET}"},
    "train": {"encoder": "all-MiniLM-L6-v2", "updates": 5, "batch_size": 4},
}  # fmt: skip


def student_config(**changes: Any) -> dict[str, Any]:
    labels = {"0": "O", "1": "B-LOC", "2": "I-LOC"}
    return {"architectures": ["BertForTokenClassification"], "model_type": "bert", "id2label": labels, **changes}


def seal(folder: Path, stage: str, **settings: Any) -> None:
    given: dict[str, Any] = {"config": CONFIG, "seeds": {"seed": 13}, "inputs": [], "models": {}, **settings}
    manifest.seal(folder, stage=stage, **given)


def make_run(run: Path, change: Callable[[Path], Any] = lambda student: None, arm: str = "simple_mix") -> Path:
    """A run with a student that was trained and scored; `change` acts on the student before it is sealed."""
    annotate, select, folder, evaluate = (run / name for name in ("annotate", "select", f"train/{arm}", "evaluate"))
    student = folder / "student"
    for each in (annotate, select, student, evaluate):
        each.mkdir(parents=True)
    (annotate / "annotations.jsonl").write_text(json.dumps({"text": SECRET}))
    seal(annotate, "annotate", models={"teacher": TEACHER}, inputs=[])
    (select / "annotations.jsonl").write_text(json.dumps({"text": SECRET}))
    seal(select, "select", parents=[annotate / "manifest.json"])
    (student / "config.json").write_text(json.dumps(student_config()))
    (student / "model.safetensors").write_bytes(safetensors())
    (student / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"/usr": 1, "zebra": 2}}}))
    (student / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    (folder / "history.jsonl").write_text("{}\n")
    change(student)
    parents = [select / "manifest.json"]
    seal(
        folder, f"train/{arm}", models={"encoder": ENCODER}, parents=parents, counts={"original_drawn": 8, "threads": 2}
    )
    seal_scores(evaluate, folder)
    return student


def seal_scores(evaluate: Path, arm: Path) -> None:
    overall = {"precision": 0.5, "recall": 0.625, "f1": 0.5556, "support": 16}
    row = {"name": arm.name, "kind": "student", "on": GOLD, "overall": overall, "per_type": {"LOC": overall}}
    row |= {"counts": {"sentences": 12, "tokens": 99}, "token_by_token": {**overall, "f1": 0.5456}}
    report = {"on": GOLD, "split": "test", "sentences": 12, "rows": [row]}
    (evaluate / "report.json").write_text(json.dumps(report))
    seal(evaluate, "evaluate", parents=[arm / "manifest.json"])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def released(run: Path, tmp_path: Path, **settings: Any) -> Released:
    return release(make_run(run), tmp_path / "out", **settings)


def test_release_holds_weights_tokenizer_labels_card_and_manifest(run: Path, tmp_path: Path) -> None:
    done = released(run, tmp_path)
    assert sorted(path.name for path in done.folder.iterdir()) == sorted(done.files) == [
        "MODEL_CARD.md", "SHA256SUMS", "config.json", "label.py", "labels.json", "manifest.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert json.loads((done.folder / "labels.json").read_bytes())["labels"] == ["O", "B-LOC", "I-LOC"]
    student = run / "train/simple_mix/student"
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (done.folder / name).read_bytes() == (student / name).read_bytes()
    for line in (done.folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((done.folder / name).read_bytes()).hexdigest() == digest
    assert not (tmp_path / "out.partial").exists()


def test_card_has_scores_denominators_licences_and_digests(run: Path, tmp_path: Path) -> None:
    card = (released(run, tmp_path).folder / "MODEL_CARD.md").read_text()
    assert "On 12 human-labelled sentences (99 tokens) of the split `test`" in card
    assert "| all | 0.500 | 0.625 | 0.556 | 16 |" in card
    assert (
        f"| teacher | SmolLM2-135M-Instruct-GGUF | {TEACHER} | Apache-2.0 | Silent on outputs; training on them" in card
    )
    assert f"| encoder | all-MiniLM-L6-v2 | {ENCODER} | Apache-2.0 |" in card
    assert GOLD in card
    assert "its F1 is 0.546: that of `label.py` is 1.0 points higher." in card
    assert "threads" not in card
    assert "`B-LOC`" in card


def test_manifest_names_every_file_and_leads_back_to_the_run(run: Path, tmp_path: Path) -> None:
    folder = released(run, tmp_path).folder
    statement = json.loads((folder / "manifest.json").read_bytes())
    assert statement["_type"] == STATEMENT
    assert [each["name"] for each in statement["subject"]] == [
        "MODEL_CARD.md", "config.json", "label.py", "labels.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip
    assert manifest.verify(folder) == []
    (folder / "SHA256SUMS").rename(tmp_path / "sums")
    assert manifest.verify(folder) == []
    dependencies = {
        each["name"]: each["digest"]["sha256"]
        for each in statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    }
    arm = hashlib.sha256((run / "train/simple_mix/manifest.json").read_bytes()).hexdigest()
    assert dependencies == {"train/manifest.json": arm, "encoder": ENCODER, "teacher": TEACHER, "gold": GOLD}


def test_nothing_of_the_corpus_no_path_and_no_host_is_told(run: Path, tmp_path: Path) -> None:
    folder = released(run, tmp_path).folder
    for path in folder.iterdir():
        if path.name != "tokenizer.json":
            content = path.read_bytes().decode("latin-1")
            assert SECRET not in content
            assert "/secret" not in content
            assert str(tmp_path) not in content
            assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", content) or len(socket.gethostname()) < 4


def test_where_a_model_was_loaded_from_is_left_out(run: Path, tmp_path: Path) -> None:
    config = json.dumps(student_config(_name_or_path="/home/someone/model"))
    student = make_run(run, lambda s: (s / "config.json").write_text(config))
    found = json.loads((release(student, tmp_path / "out").folder / "config.json").read_bytes())
    assert found == student_config()


@pytest.mark.skipif(bool(TOOLS), reason=f"{' and '.join(TOOLS)} not on this machine")
def test_release_is_signed_for_a_run_and_never_passes_for_a_bundle(run: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    keys = Keys.make(tmp_path / "keys")
    done = released(run, tmp_path, keys=SigningKeys(Path(keys("own")), Path(keys("own.pem"))))
    assert len(done.signers) == 2
    for namespace, code in (("distill-offline-run", 0), ("distill-offline-bundle", 255)):
        line = ["ssh-keygen", "-Y", "verify", "-f", keys("own.allowed"), "-I", "own@site", "-n", namespace]
        with (done.folder / "manifest.json").open("rb") as file:
            checked = subprocess.run([*line, "-s", done.folder / "manifest.json.sig"], stdin=file, capture_output=True)
        assert checked.returncode == code


# --------------------------------------------------------------------------------------------------- what is refused


def put(name: str, content: bytes | str) -> Callable[[Path], Any]:
    data = content.encode() if isinstance(content, str) else content
    return lambda student: (student / name).write_bytes(data)


def configured(**changes: Any) -> Callable[[Path], Any]:
    return put("config.json", json.dumps(student_config(**changes)))


def metadata(**extra: str) -> bytes:
    header = {"__metadata__": extra, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    return safetensors(json.dumps(header).encode())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("pytorch_model.bin", b"x"), r"student/pytorch_model\.bin: is neither weights"),
        (put("train.jsonl", SECRET), r"student/train\.jsonl: is neither weights"),
        (put(".hidden", SECRET), r"student/\.hidden: is neither weights"),
        (put("modeling.py", "x"), r"student/modeling\.py: is neither weights"),
        (put("README.md", SECRET), r"student/README\.md: is neither weights"),
        (lambda s: (s / "sub").mkdir(), "student/sub: is a link, a folder"),
        (lambda s: os.mkfifo(s / "vocab.txt"), r"student/vocab\.txt: is a link, a folder or a special file"),
        (put("model.safetensors", safetensors() + SECRET.encode()), "28 bytes follow them"),
        (put("model.safetensors", b"GGUF"), "is a GGUF file under another name"),
        (put("model.safetensors", metadata(note=SECRET)), "its header says 'note' besides its tensors"),
        (lambda s: (s / "model.safetensors").unlink(), "this is not a student"),
        (configured(auto_map={"AutoModel": "x.Y"}), "has auto_map, which asks for code"),
        (configured(inner={"auto_map": {"AutoModel": "x.Y"}}), "has auto_map, which asks for code"),
        (configured(base="/home/someone/model"), r"config\.json: holds a path of a machine"),
        (configured(base="C:\\Users\\someone"), r"config\.json: holds a path of a machine"),
        (configured(note=SECRET * 20), r"config\.json: holds a text of 560 characters"),
        (put("config.json", "{"), r"config\.json"),
    ],
)  # fmt: skip
@pytest.mark.attack("bad releases")
def test_anything_but_a_plain_student_is_refused(
    run: Path, tmp_path: Path, change: Callable[[Path], Any], message: str
) -> None:
    try:
        student = make_run(run, change)
    except IntegrityError:  # what cannot be sealed is put there afterwards
        shutil.rmtree(run)
        change(student := make_run(run))
    with pytest.raises(InputError, match=message) as caught:
        release(student, tmp_path / "out")
    assert SECRET not in str(caught.value)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.attack("bad releases")
def test_link_to_weights_is_refused(run: Path, tmp_path: Path) -> None:
    student = make_run(run)
    (student / "model.safetensors").rename(tmp_path / "elsewhere")
    (student / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"student/model\.safetensors: is a link"):
        release(student, tmp_path / "out")


@pytest.mark.attack("bad releases")
def test_name_of_this_machine_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "build-host7.site")
    student = make_run(run, configured(note="made on BUILD-HOST7"))
    with pytest.raises(InputError, match="name of this machine"):
        release(student, tmp_path / "out")


@pytest.mark.attack("bad releases")
def test_changed_student_is_refused(run: Path, tmp_path: Path) -> None:
    student = make_run(run)
    (student / "tokenizer.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"student/tokenizer\.json: was changed"):
        release(student, tmp_path / "out")


def test_student_that_was_not_scored_since_it_was_trained_is_refused(run: Path, tmp_path: Path) -> None:
    student = make_run(run)
    arm = student.parent
    seal(arm, "train/simple_mix", models={"encoder": ENCODER}, parents=[run / "select/manifest.json"])
    with pytest.raises(InputError, match="evaluate has not scored this student"):
        release(student, tmp_path / "out")
    seal_scores(run / "evaluate", arm)
    release(student, tmp_path / "out")
    shutil.rmtree(run / "evaluate")
    with pytest.raises(InputError, match="evaluate has not scored this student"):
        release(student, tmp_path / "other")


def test_broken_chain_to_the_teacher_is_refused_and_a_student_without_one_says_so(run: Path, tmp_path: Path) -> None:
    student = make_run(run)
    (run / "annotate/annotations.jsonl").write_text("{}")
    seal(run / "annotate", "annotate", models={"teacher": "0" * 64})
    with pytest.raises(IntegrityError, match="annotate: its manifest is not the one"):
        release(student, tmp_path / "out")
    seal(student.parent, "train/simple_mix", models={"encoder": ENCODER})
    seal_scores(run / "evaluate", student.parent)
    card = (release(student, tmp_path / "out").folder / "MODEL_CARD.md").read_text()
    assert "No teacher of its run had a part in it." in card
    assert "SmolLM2" not in card


def test_teacher_behind_the_arms_that_a_student_was_made_with_is_named(run: Path, tmp_path: Path) -> None:
    make_run(run)
    mean = run / "train/mean"
    shutil.copytree(run / "train/simple_mix/student", mean / "student")
    seal(mean, "train/mean", parents=[run / "train/simple_mix/manifest.json"])
    seal_scores(run / "evaluate", mean)
    assert TEACHER in (release(mean / "student", tmp_path / "out").folder / "MODEL_CARD.md").read_text()
    seal(run / "select", "select", parents=[run / "annotate/manifest.json"], counts={"kept": 2})
    with pytest.raises(IntegrityError, match="select: its manifest is not the one that the student was made from"):
        release(mean / "student", tmp_path / "out2")


def test_card_says_that_the_encoder_was_pre_trained_and_of_which_it_was_made(run: Path, tmp_path: Path) -> None:
    student = make_run(run)
    (run / "pretrain").mkdir()
    counts = {"sentences_learnt": 900, "updates": 40, "sentences_held_out": 20, "loss_before": 7.5, "loss_after": 4.25}
    seal(run / "pretrain", "pretrain", models={"encoder": ENCODER}, counts=counts)
    parents = [run / "select/manifest.json", run / "pretrain/manifest.json"]
    seal(student.parent, "train/simple_mix", parents=parents)
    seal_scores(run / "evaluate", student.parent)
    card = (release(student, tmp_path / "out").folder / "MODEL_CARD.md").read_text()
    assert "hidden words of 900 sentences in 40 updates" in card
    assert "from 7.500 to 4.250 nats" in card
    assert ENCODER in card
    assert TEACHER in card
    seal(run / "pretrain", "pretrain", models={"encoder": ENCODER}, counts={**counts, "updates": 41})
    with pytest.raises(IntegrityError, match="pretrain: its manifest is not the one that the student was made from"):
        release(student, tmp_path / "out2")


@pytest.mark.parametrize(
    ("own", "said", "updates"),
    [
        ({}, "", "5"),
        ({"updates": 7, "batch_size": None}, "", "7"),
        ({"average": ["a", "b"]}, "its weights are the mean of 2 students' of its run", "3 / 5"),
        ({"average": ["b", "c"]}, "its weights are the mean of 2 students' of its run", "5"),
        ({"labelled_by": "a"}, "labels that it learned are another student's of its run", "5"),
        ({"labelled_by": "a", "labellers": 3}, "it learned are those of 3 students' of its run together", "5"),
        ({"labelled_by": "a", "min_label_confidence": 0.7}, "what that one was less sure of than 0.7", "5"),
        ({"labelled_by": "a", "labellers": 3, "min_label_confidence": 0.7}, "they were less sure of than 0.7", "5"),
        ({"labelled_by": "a", "soft_labels": True}, "another student's of its run, and it learned how probable", "5"),
    ],
)
def test_card_has_the_arms_own_settings_and_says_what_of_other_students_is_in_it(
    run: Path, tmp_path: Path, own: dict[str, Any], said: str, updates: str
) -> None:
    student = make_run(run)
    arms = [{"name": "a", "updates": 3}, {"name": "b"}, {"name": "c"}, {"name": "simple_mix", **own}]
    config = {**CONFIG, "train": {"updates": 5, "batch_size": 4, "arms": arms}}
    seal(student.parent, "train/simple_mix", config=config, parents=[run / "select/manifest.json"])
    seal_scores(run / "evaluate", student.parent)
    card = (release(student, tmp_path / "out").folder / "MODEL_CARD.md").read_text()
    assert said in card
    assert (" students' of its run" in card or "another student's" in card) == bool(said)
    assert re.findall(r"\| updates \| ([^|]+) \|", card) == [updates]
    assert "| batch_size | 4 |" in card


@pytest.mark.parametrize("more", [{"seeds": 3}, {"seeds": 1, "labellers": 3}])
def test_card_of_a_later_seeds_student_has_the_settings_of_its_arm_and_its_own_seed(
    run: Path, tmp_path: Path, more: dict[str, int]
) -> None:
    student = make_run(run, arm="simple_mix-3")
    arms = [
        {"name": "simple_mix", "updates": 7},
        {"name": "taught", "labelled_by": "simple_mix", "labellers": more.get("labellers")},
    ]
    config = {**CONFIG, "train": {"updates": 5, "seeds": more["seeds"], "arms": arms}}
    parents = [run / "select/manifest.json"]
    seal(student.parent, "train/simple_mix-3", config=config, parents=parents, seeds={"seed": 15})
    seal_scores(run / "evaluate", student.parent)
    card = (release(student, tmp_path / "out").folder / "MODEL_CARD.md").read_text()
    assert card.startswith("# Student `simple_mix-3`")
    assert "| updates | 7 |" in card
    assert "| seed `seed` | 15 |" in card


@pytest.mark.parametrize("capitals", [True, False])
def test_card_says_that_an_uncased_encoder_was_given_capitals(run: Path, tmp_path: Path, capitals: bool) -> None:
    student = make_run(run)
    config = {**CONFIG, "train": {"updates": 5, "capitals": capitals, "arms": [{"name": "simple_mix"}]}}
    seal(student.parent, "train/simple_mix", config=config, parents=[run / "select/manifest.json"])
    seal_scores(run / "evaluate", student.parent)
    card = (release(student, tmp_path / "out").folder / "MODEL_CARD.md").read_text()
    assert ("| capitals | True |" in card, "capitals" in card) == (capitals, capitals)


def test_arm_in_place_of_its_student_is_told_apart_and_nothing_is_to_be_moved(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"name its student's folder, [a-z_]+/student\."):
        release(make_run(run).parent, tmp_path / "out")


def test_folder_that_is_there_or_no_students_is_refused(run: Path, tmp_path: Path) -> None:
    student = make_run(run)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="is there already"):
        release(student, tmp_path / "out")
    with pytest.raises(InputError, match="there is no such folder"):
        release(run / "nowhere", tmp_path / "new")
    shutil.copytree(student, tmp_path / "lone")
    with pytest.raises(DistillError, match="name a student as RUN/train/ARM/student"):
        release(tmp_path / "lone", tmp_path / "new")
