"""Another encoder is one line: each family's own tokenizer lies right on the words, and its student is kept whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from encoder_families import FAMILIES, tiny_family
from sentences import sentence

from distill_offline import pipeline
from distill_offline.bundle import label as script
from distill_offline.config.loading import parse_settings
from distill_offline.corpus import read_examples
from distill_offline.corpus.languages import tokeniser
from distill_offline.corpus.refine import refined
from distill_offline.models.catalogue import Catalogue
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Example
from distill_offline.student.model import Student

# DeBERTa's code in transformers asks for a deprecated compiler.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

LABELS = ("O", "B-PERSON", "I-PERSON")
TEXTS = ("Marta Kowalska closed V-17 at 06:00 .", "( Ärger in Łódź ) don't '' x", "a Gate GATE gate , 3.5 %")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return cache(lambda family: tiny_family(tmp_path_factory.mktemp(family), family))


@pytest.mark.parametrize("family", FAMILIES)
def test_each_word_is_answered_for_by_its_own_first_subword(made: Callable[[str], Path], family: str) -> None:
    student = Student.create(made(family), LABELS, "token-classification")
    for text in TEXTS:
        split = Example(sentence(text), ("O",) * len(text.split()), "original")
        tokens = refined(split, tokeniser(None)).sentence.tokens  # as raw text has them: V-17 in three
        tags = tuple("B-PERSON" if n % 2 else "O" for n in range(len(tokens)))
        ((window,),) = student.encode([Example(sentence(" ".join(tokens)), tags, "original")])
        assert [word for word in window.words if word is not None] == list(range(len(tokens)))
        places = [*(place for place, word in enumerate(window.words) if word is not None), len(window.ids) - 1]
        for word, place in enumerate(places[:-1]):
            subwords = list(window.ids[place : places[word + 1]])
            if student.tokenizer.unk_token_id not in subwords:
                assert student.tokenizer.decode(subwords).strip().replace(" ", "") == tokens[word]
            assert window.labels[place] == word % 2
        assert sum(label >= 0 for label in window.labels) == len(tokens)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_word_has_the_same_subwords_wherever_it_stands(made: Callable[[str], Path], family: str) -> None:
    student = Student.create(made(family), LABELS, "token-classification")
    ((window,),) = student.encode([Example(sentence("gate x gate"), ("O",) * 3, "original")])
    first, other, last = (place for place, word in enumerate(window.words) if word is not None)
    # As within a text: a leading space is part of each word's subword, the first one's too.
    assert window.ids[first:other] == window.ids[last:-1]
    if FAMILIES[family].subwords != "wordpiece":
        assert student.tokenizer.convert_ids_to_tokens(window.ids[first])[0] in "Ġ▁"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.slow
def test_a_student_learns_is_kept_and_labels_the_same(made: Callable[[str], Path], family: str, tmp_path: Path) -> None:
    row = {
        "name": "tiny",
        "task": {"types": {name: name for name in ("PERSON", "ORGANISATION", "LOCATION", "EQUIPMENT", "DATE")}},
        "corpus": {
            "original": {
                "train": {"path": "package:demo/train.jsonl", "limit": 30},
                "dev": {"path": "package:demo/dev.jsonl", "limit": 5},
            }
        },
        "train": {
            "encoder": str(made(family)),
            "updates": 2,
            "batch_size": 4,
            "learning_rate": 1e-2,
            "transitions": 1.0,
            "arms": [{"name": "original_only"}],
        },
    }
    folder = RunFolder(tmp_path, parse_settings(row, "test"))
    folder.open()
    pipeline.select(folder)
    counts = pipeline.train(folder, ())["original_only"]
    assert counts["original_drawn"] == 8
    place = tmp_path / "train/original_only/student"
    student = Student.load(place)
    untrained = Student.create(made(family), student.labels, "token-classification").model.state_dict()
    moved = [name for name, tensor in student.model.state_dict().items() if not torch.equal(tensor, untrained[name])]
    assert len(moved) > len(untrained) / 2
    sentences = [example.sentence for example in read_examples("package:demo/dev.jsonl", origin="original")][:5]
    sentences += map(sentence, TEXTS)
    sentences.append(sentence(" ".join(f"word{n}" for n in range(90))))  # several windows
    found = student.predict(sentences)
    assert [len(tags) for tags in found] == [len(each.tokens) for each in sentences]
    student.save(tmp_path / "again")
    assert Student.load(tmp_path / "again").predict(sentences) == found
    given = script.load(place)
    assert [tuple(script.label(each.tokens, *given)) for each in sentences] == found


def test_the_catalogue_has_an_encoder_of_each_family_for_students() -> None:
    entries = {entry.id: entry for entry in Catalogue.load(Path(__file__).parents[1] / "models/catalogue.yaml").entries}
    wanted = ("bert-base-cased", "roberta-base", "deberta-v3-base", "NuNER-v2.0", "xlm-roberta-base", "ModernBERT-base")
    assert {entries[name].role for name in wanted} == {"student"}
    assert all(entries[name].status == "unpinned" for name in wanted)
