from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_encoder

from distill_offline.corpus import read_examples
from distill_offline.errors import InputError, MissingModel
from distill_offline.schema import Example, Sentence
from distill_offline.student.batching import micro_batches
from distill_offline.student.model import Student

LABELS = ("O", "B-PERSON", "I-PERSON", "B-DATE", "I-DATE")


def sentence(tokens: list[str], id_: str = "s") -> Sentence:
    offsets, position = [], 0
    for token in tokens:
        offsets.append((position, position + len(token)))
        position += len(token) + 1
    return Sentence(id_, "d", 0, " ".join(tokens), tuple(tokens), tuple(offsets))


@pytest.fixture
def student(encoder: Path) -> Student:
    torch.manual_seed(1)
    return Student.create(encoder, LABELS, "token-classification")


def test_a_saved_student_loads_with_plain_transformers_and_says_the_same(student: Student, tmp_path: Path) -> None:
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    student.save(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    model = AutoModelForTokenClassification.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert [model.config.id2label[i] for i in range(5)] == list(LABELS)
    words = ["Marta", "closed", "V-17", "at", "06:00"]
    ids = tokenizer([words], is_split_into_words=True, return_tensors="pt")
    student.model.eval()
    assert torch.equal(model(**ids).logits, student.model(**ids).logits)
    assert Student.load(tmp_path).predict([sentence(words)]) == student.predict([sentence(words)])


def test_every_token_of_a_long_sentence_gets_the_label_of_the_window_with_most_context(encoder: Path) -> None:
    student = Student.create(encoder, LABELS, "token-classification", max_length=32)
    tokens = [f"w{number}" for number in range(300)]
    windows = student.encode([Example(sentence(tokens), ("O",) * 300, "original")])[0]
    assert len(windows) > 10
    assert all(len(window.ids) <= 32 for window in windows)
    owned = [word for window in windows for word in window.words if word is not None]
    assert sorted(owned) == list(range(300))
    assert sum(label >= 0 for window in windows for label in window.labels) == 300
    assert len(student.predict([sentence(tokens)])[0]) == 300


def test_words_near_a_cut_belong_to_the_window_in_which_they_lie_deeper(encoder: Path) -> None:
    student = Student.create(encoder, LABELS, "token-classification", max_length=32)
    windows = student.encode([Example(sentence(["a"] * 60), ("O",) * 60, "original")])[0]
    first, second = ([w for w in window.words if w is not None] for window in windows[:2])
    # 30 subwords a window, 8 of them shared: the cut between the two owners lies in the middle of the shared ones.
    assert first == list(range(27))
    assert second[0] == 27


def test_loss_counts_only_first_subwords_and_weights_scale_it(student: Student) -> None:
    example = Example(sentence(["xqzv", "at", "noon"]), ("B-PERSON", "O", "B-DATE"), "original")
    [[window]] = student.encode([example])
    assert [label for label in window.labels if label >= 0] == [1, 0, 3]
    student.model.eval()
    whole = student.loss(student.batch([window])).total
    half = student.loss(student.batch([replace(window, weight=0.5)])).total
    assert torch.isclose(half, whole / 2)


def test_padding_and_batch_composition_do_not_change_predictions(student: Student) -> None:
    examples = list(read_examples("package:demo/dev.jsonl", origin="original"))[:20]
    sentences = [example.sentence for example in examples]
    alone = [student.predict([each])[0] for each in sentences]
    assert student.predict(sentences) == alone
    assert student.predict(sentences, batch_tokens=64) == alone


def test_batches_are_as_large_as_a_cpus_cache_holds(student: Student) -> None:
    sizes: list[int] = []
    examples = list(read_examples("package:demo/train.jsonl", origin="original"))
    hook = student.model.get_input_embeddings().register_forward_hook(
        lambda module, given, out: sizes.append(given[0].numel())
    )
    student.predict([example.sentence for example in examples])
    hook.remove()
    assert len(sizes) > 1
    assert 512 < max(sizes) <= 1024


def test_predictions_are_valid_iob2(student: Student) -> None:
    from distill_offline.spans.bio import to_iob2

    sentences = [example.sentence for example in read_examples("package:demo/test.jsonl", origin="original")]
    predicted = student.predict(sentences)
    assert any(label != "O" for labels in predicted for label in labels)
    for labels in predicted:
        assert to_iob2(labels, "iob2") == labels


def test_micro_batches_hold_every_window_once_within_the_budget(student: Student) -> None:
    examples = list(read_examples("package:demo/train.jsonl", origin="original", types=None))
    examples = [replace(e, labels=("O",) * len(e.labels)) for e in examples]
    windows = [window for parts in student.encode(examples) for window in parts]
    parts = list(micro_batches(windows, 256))
    assert sorted(w.sentence for part in parts for w in part) == sorted(w.sentence for w in windows)
    assert all(len(part) * max(len(w.ids) for w in part) <= 256 or len(part) == 1 for part in parts)


def test_an_unknown_label_is_named_with_its_sentence(student: Student) -> None:
    with pytest.raises(InputError, match=r"^s9: label 'B-CITY' is not among"):
        student.encode([Example(sentence(["x"], "s9"), ("B-CITY",), "original")])


def test_a_token_without_subwords_is_labelled_o(student: Student) -> None:
    assert len(student.predict([sentence(["\x07", "at", "\u200b"])])[0]) == 3
    assert student.predict([sentence(["\x07"])]) == [("O",)]
    assert student.predict([]) == []


def test_a_folder_that_holds_no_student_says_so(tmp_path: Path, encoder: Path) -> None:
    with pytest.raises(MissingModel, match=r"config\.json is missing"):
        Student.load(tmp_path)
    with pytest.raises(InputError, match="no classification head"):
        Student.load(encoder)


def test_weights_that_are_not_safetensors_are_refused(tmp_path: Path, encoder: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((encoder / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(MissingModel, match="no safetensors"):
        Student.create(tmp_path, LABELS, "token-classification")


@pytest.mark.parametrize("kind", ["roberta", "electra"])
def test_other_encoders_make_students_too(tmp_path: Path, kind: str) -> None:
    student = Student.create(tiny_encoder(tmp_path, kind=kind), LABELS, "token-classification")
    assert len(student.predict([sentence(["Marta", "left", "on", "Tuesday"])])[0]) == 4


def test_a_classifier_gives_one_label_a_sentence(encoder: Path, tmp_path: Path) -> None:
    student = Student.create(encoder, ("sport", "tech"), "sequence-classification")
    examples = [
        Example(sentence(["goal"] * 200), ("sport",), "original"),
        Example(sentence(["chip"]), ("tech",), "original"),
    ]
    windows = student.encode(examples)
    assert [len(parts) for parts in windows] == [1, 1]
    assert float(student.loss(student.batch([w for parts in windows for w in parts])).total.detach()) > 0
    student.save(tmp_path)
    predicted = Student.load(tmp_path).predict([e.sentence for e in examples])
    assert all(labels[0] in ("sport", "tech") and len(labels) == 1 for labels in predicted)


def test_half_characters_are_read_as_a_question_mark(student: Student) -> None:
    (half,), (mark,) = (list(student.probabilities([sentence(["at", text])])) for text in ("\ud800x", "?x"))
    assert (half == mark).all()
    assert len(student.predict([sentence(["\ud800", "noon"])])[0]) == 2
