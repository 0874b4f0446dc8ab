"""What a student says of a text is what predict says of a file with it, with places in the text and how sure it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentences import sentence

from distill_offline.corpus import read_examples
from distill_offline.errors import InputError
from distill_offline.label_kinds.decoding import distributions
from distill_offline.pipeline.predict import predict
from distill_offline.spans.bio import decode_bio
from distill_offline.student.labelling import LabelledText
from distill_offline.student.model import Student

LABELS = ("O", "B-PERSON", "I-PERSON", "B-EQUIPMENT", "I-EQUIPMENT")
TEXTS = (
    "\ufeff Marta Kolb closed valve V-17.\r\n\r\nShe rang Osei at 06:00 !",
    "北京的水泵在星期二停了。然后又开了。",
    " ".join(f"Pump P-{number} ran and word{number} said so," for number in range(80)),  # windows, and a long sentence
    "one.\ttwo\u200b three e\u0301tude 👩‍👩‍👧 done.",
)


@pytest.fixture(scope="module")
def student(encoder: Path) -> Student:
    return Student.create(encoder, LABELS, "token-classification", max_length=32)


@pytest.fixture(scope="module")
def classifier(encoder: Path) -> Student:
    return Student.create(encoder, ("water", "sport", "other"), "sequence-classification", max_length=32)


def entities_of(folder: Path, student: Student, text: str) -> list[tuple[int, int, str]]:
    """Entities in the file that predict writes, found again in the text, and none but these."""
    student.save(folder / "student")
    (folder / "text.txt").write_bytes(text.encode())
    predict(folder / "student", folder / "text.txt", folder / "out.jsonl")
    found, end = [], 0
    for example in read_examples(folder / "out.jsonl", origin="distilled"):
        start = text.index(example.sentence.text, end)
        end = start + len(example.sentence.text)
        offsets = example.sentence.offsets
        for span in decode_bio(example.labels):
            found.append((start + offsets[span.start][0], start + offsets[span.end - 1][1], span.type))
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_entities_are_those_of_predict_at_their_places(tmp_path: Path, student: Student, text: str) -> None:
    said = student.label(text)
    assert [(e.start, e.end, e.type) for e in said.entities] == entities_of(tmp_path, student, text)
    assert said.entities, "a random head finds something: else this test compares nothing"
    assert all(text[e.start : e.end] == e.text for e in said.entities)
    assert all(0.0 < e.confidence <= 1.0 for e in said.entities)
    assert (said.text, said.label, said.probability) == (text, None, None)


def test_many_texts_are_labelled_as_each_alone(student: Student) -> None:
    many = student.label(["", *TEXTS[:2], " \n"])
    assert [said.text for said in many] == ["", *TEXTS[:2], " \n"]
    assert (many[0], many[3]) == (LabelledText(""), LabelledText(" \n"))
    for said, text in zip(many[1:], TEXTS[:2], strict=False):
        alone = student.label(text).entities
        assert [(e.start, e.end, e.type) for e in said.entities] == [(e.start, e.end, e.type) for e in alone]
        assert [e.confidence for e in said.entities] == pytest.approx([e.confidence for e in alone], abs=1e-5)
    assert student.label(iter(TEXTS[:1])) == [student.label(TEXTS[0])]
    assert student.label([]) == []


def test_confidence_is_the_probability_of_the_very_span(student: Student) -> None:
    text = "Marta closed it"
    (found,) = distributions(student.scored([sentence(text)]), LABELS)
    (labels,) = student.predict([sentence(text)])
    assert [e.confidence for e in student.label(text).entities] == [found.of(span) for span in decode_bio(labels)]


def test_a_head_without_borders_has_confidences_too(encoder: Path) -> None:
    student = Student.create(encoder, ("I-PERSON", "O"), "token-classification")
    student.model.classifier.bias.data[0] = 3.0
    (entity,) = student.label("Marta closed it").entities
    (rows,) = student.probabilities([sentence("Marta closed it")])
    assert entity.text == "Marta closed it"
    assert entity.confidence == pytest.approx(float(rows[:, 0].prod()))


def test_a_class_and_its_probability_are_those_of_predict(tmp_path: Path, classifier: Student) -> None:
    classifier.save(tmp_path / "student")
    (tmp_path / "text.txt").write_text(TEXTS[2])
    predict(tmp_path / "student", tmp_path / "text.txt", tmp_path / "out.jsonl")
    (example,) = read_examples(tmp_path / "out.jsonl", origin="distilled", head="sequence-classification")
    said = classifier.label(TEXTS[2])
    assert (said.entities, (said.label,)) == ((), example.labels)
    (rows,) = classifier.probabilities([example.sentence])
    assert said.probability == pytest.approx(float(np.max(rows)))
    assert [each.label for each in classifier.label(TEXTS)] == [classifier.label(text).label for text in TEXTS]


def test_several_classes_are_those_of_predict_each_with_its_probability(encoder: Path) -> None:
    names = ("other", "sport", "water")
    student = Student.create(encoder, names, "multi-label-classification")
    student.model.classifier.bias.data[:] = torch.tensor([-9.0, 2.0, 3.0])
    sure = dict(student.label("Marta closed it").classes)
    assert (tuple(sure),) == tuple(student.predict([sentence("Marta closed it")])) == (("sport", "water"),)
    (rows,) = student.probabilities([sentence("Marta closed it")])
    assert list(sure.values()) == pytest.approx([float(rows[1][1]), float(rows[2][1])])
    student.model.classifier.bias.data[:] = -9.0
    assert student.label("Marta closed it") == LabelledText("Marta closed it")


def test_a_text_without_a_class_and_what_is_no_text_are_refused(student: Student, classifier: Student) -> None:
    with pytest.raises(InputError, match=r"text 1 is empty: it has no class"):
        classifier.label(["water", " \n"])
    with pytest.raises(InputError, match=r"text 1 is no string but bytes"):
        student.label(["water", b"water"])  # type: ignore[list-item]
