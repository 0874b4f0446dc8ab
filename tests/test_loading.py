"""student.loading: a folder that does not make up a student, or an encoder, is refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from crafted_models import BAD
from sentences import sentence

from distill_offline.cli import commands
from distill_offline.errors import DistillError, InputError, MissingModel
from distill_offline.student.model import Student

LABELS = ("O", "B-PERSON", "I-PERSON")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


@pytest.fixture(scope="module")
def whole(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    Student.create(encoder, LABELS, "token-classification").save(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "student")
    return tmp_path / "student"


def changed(name: str, **values: Any) -> Callable[[Path], Any]:
    """Values of a JSON file changed, those of None taken out."""

    def change(folder: Path) -> None:
        content = {**json.loads((folder / name).read_bytes()), **values}
        kept = {key: value for key, value in content.items() if value is not None}
        (folder / name).write_text(json.dumps(kept), "utf-8")

    return change


def put(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


def cut(name: str, by: int) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-by])


def other_labels(*labels: str) -> Callable[[Path], Any]:
    numbered = {str(i): label for i, label in enumerate(labels)}
    return changed("config.json", id2label=numbered, label2id={label: i for i, label in enumerate(labels)})


def without_head(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    kept = {name: each for name, each in tensors.items() if not name.startswith("classifier")}
    assert len(kept) < len(tensors)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def under_other_names(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = {f"student.{name}": each for name, each in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def with_nan(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.bias"][1] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def without_tokenizer(folder: Path) -> None:
    for file in folder.glob("*token*"):
        file.unlink()


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty configuration": (put("config.json", b"{}"), r"config\.json: not the configuration of a known model"),
    "unknown kind": (changed("config.json", model_type="foo"), r"config\.json: not the configuration.*foo"),
    "kind of no kind": (changed("config.json", model_type=3), r"config\.json: not the configuration of a known model"),
    "no JSON": (put("config.json", b"not json"), r"config\.json is not JSON"),
    "a list": (put("config.json", b"[]"), r"config\.json is JSON, but not an object"),
    "UTF-16": (put("config.json", "{}".encode("utf-16")), r"config\.json is not JSON in UTF-8"),
    "pointer": (put("config.json", POINTER), r"config\.json is a Git LFS pointer"),
    "code": (changed("config.json", auto_map={"AutoModel": "x.Y"}), r"config\.json has auto_map"),
    "sizes that cannot be": (changed("config.json", hidden_size="wide"), r"config\.json: not the configuration"),
    "other sizes": (changed("config.json", hidden_size=64), "its weights have another size of bert.embeddings"),
    "more layers": (changed("config.json", num_hidden_layers=4), "its weights lack bert.encoder.layer.2"),
    "another architecture": (changed("config.json", architectures=["BertModel"]), "has no classification head"),
    "no architecture": (changed("config.json", architectures=None), "has no classification head"),
    "window of text": (changed("config.json", distill_max_length="512"), r"distill_max_length must be a whole number"),
    "no labels": (changed("config.json", id2label=None, label2id=None), "the label 'LABEL_0'"),
    "labels with a gap": (changed("config.json", id2label={"0": "O", "2": "B-X", "3": "I-X"}), "without a gap"),
    "more labels than columns": (other_labels(*LABELS, "B-DATE", "I-DATE"), "another size of classifier.bias and 1"),
    "fewer labels than columns": (other_labels("O", "B-PERSON"), "another size of classifier.bias and 1"),
    "classes": (other_labels("sport", "tech", "arts"), r"id2label has the label 'sport'"),
    "no O": (other_labels("B-X", "I-X", "B-Y"), "id2label has no O"),
    "BILOU": (other_labels("O", "B-X", "L-X"), r"id2label has the label 'L-X'"),
    "a label twice": (other_labels("O", "B-X", "B-X"), "a different name for each label"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no safetensors weights here"),
    "weights that are none": (put("model.safetensors", POINTER), r"model\.safetensors is a Git LFS pointer"),
    "weights that are cut": (cut("model.safetensors", 1), r"model\.safetensors is not a whole safetensors file"),
    "no head": (without_head, "its weights lack classifier.bias and 1 more"),
    "weights of something else": (under_other_names, "its weights lack "),
    "weights that are no numbers": (with_nan, "its weights are no numbers .* in classifier.bias"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
    "nothing of a tokenizer": (without_tokenizer, r"tokenizer\.json is missing, and so is any other vocabulary"),
    "tokenizer pointer": (put("tokenizer.json", POINTER), r"tokenizer\.json is a Git LFS pointer"),
    "tokenizer cut": (cut("tokenizer.json", 90), r"tokenizer\.json is not JSON"),
    "tokenizer without a model": (put("tokenizer.json", b"{}"), "its tokenizer does not load"),
    "tokenizer settings": (put("tokenizer_config.json", b'"x"'), r"tokenizer_config\.json is JSON, but not an object"),
}  # fmt: skip


@pytest.mark.parametrize("title", DAMAGES)
@pytest.mark.attack("bad model files")
def test_damaged_student_is_refused_in_one_line(title: str, folder: Path) -> None:
    change, said = DAMAGES[title]
    change(folder)
    with pytest.raises((MissingModel, InputError), match=said) as caught:
        Student.load(folder)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)


def test_whole_student_loads_and_its_labels_come_from_its_configuration(folder: Path) -> None:
    other_labels("O", "I-X", "B-X")(folder)
    assert Student.load(folder).labels == ("O", "I-X", "B-X")


def test_tokenizer_of_a_larger_model_is_refused(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_bytes())
    content["model"]["vocab"]["otherwise"] = 90_000
    (folder / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(MissingModel, match="its tokenizer numbers subwords up to 90000"):
        Student.load(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("config.json", b'{"model_type": "foo"}'), r"config\.json: not the configuration"),
        (put("model.safetensors", BAD["cut in the tensors"][1]), r"model\.safetensors is not a whole"),
        (changed("config.json", num_hidden_layers=4), "its weights lack bert.encoder.layer.2"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
    ],
)
@pytest.mark.attack("bad model files")
def test_damaged_encoder_is_refused_in_one_line(
    encoder: Path, tmp_path: Path, change: Callable[[Path], Any], said: str
) -> None:
    shutil.copytree(encoder, tmp_path / "encoder")
    change(tmp_path / "encoder")
    with pytest.raises(MissingModel, match=said):
        Student.create(tmp_path / "encoder", LABELS, "token-classification")


def test_encoder_that_brings_a_head_of_its_own_gets_a_new_one(whole: Path) -> None:
    labels = ("O", "B-A", "I-A", "B-B", "I-B")
    made = Student.create(whole, labels, "token-classification")
    assert made.labels == labels
    assert len(made.predict([sentence("Marta left")])[0]) == 2


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_commands_end_with_the_line_and_no_traceback(verb: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in.conll").write_text("Hello\tO\n\n", "utf-8")
    put("model.safetensors", POINTER)(folder)
    given = ["-o", str(tmp_path / "out.jsonl")] if verb == "predict" else ["--gold", str(tmp_path / "in.conll")]
    given = [str(tmp_path / "in.conll"), *given] if verb == "predict" else given
    result = CliRunner().invoke(commands, [verb, str(folder), *given])
    assert isinstance(result.exception, DistillError), result.output
    assert result.exception.exit_code == 4
    assert "model.safetensors is a Git LFS pointer" in str(result.exception)
    assert not (tmp_path / "out.jsonl").exists()
