"""Types are read as people mean them, and never as what they might mean."""

from __future__ import annotations

import json

import pytest
from sentences import sentence

from distill_offline.config.settings import TaskSettings
from distill_offline.errors import ConfigError, UnusableAnswer
from distill_offline.schema import Completion, Rejection
from distill_offline.tasks.naming import TypeNames
from distill_offline.tasks.ner import NER
from distill_offline.tasks.text_classification import TextClassification

TYPES = {"PER": "a named human", "WORK_OF_ART": "a title", "Facility": "a building", "Chemicals": "substances"}
SYNONYMS = {"PER": ("PERSON", "human being"), "Facility": ("FAC",)}
NAMES = TypeNames(tuple(TYPES), SYNONYMS, tagged=True)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("PER", "PER"),
        ("per", "PER"),
        (" Per ", "PER"),
        ("B-PER", "PER"),
        ("I-per", "PER"),
        ("S_PER", "PER"),
        ("<PER>", "PER"),
        ("ＰＥＲ", "PER"),
        ("Person", "PER"),
        ("persons", "PER"),
        ("I-PERSON", "PER"),
        ("Human_Being", "PER"),
        ("human beings", "PER"),
        ("work of art", "WORK_OF_ART"),
        ("WorkOfArt", "WORK_OF_ART"),
        ("Work-of-Art", "WORK_OF_ART"),
        ("B-WORK OF ART", "WORK_OF_ART"),
        ("FACILITY", "Facility"),
        ("facilities", "Facility"),
        ("fac", "Facility"),
        ("chemical", "Chemicals"),
        ("CHEMICALS", "Chemicals"),
        ("Peter", None),
        ("PERCENT", None),
        ("P", None),
        ("LOC", None),
        ("people", None),
        ("B-", None),
        ("", None),
        ("-", None),
        ("PER, ORG", None),
    ],
)
def test_a_type_is_what_it_is_called_in_any_form(written: str, meant: str | None) -> None:
    assert NAMES.read(written) == meant


def test_types_that_fold_alike_are_read_only_as_they_are_written() -> None:
    names = TypeNames(("Drug", "drug", "DRUGS", "Gene"), {}, tagged=True)
    assert [names.read(each) for each in ("Drug", "drug", "DRUG", "DRUGS", "genes")] == [
        "Drug",
        "drug",
        None,
        "DRUGS",
        "Gene",
    ]
    assert names.ambiguous == ("Drug", "drug")
    assert "Drug, drug" in names.warnings[0]
    assert NAMES.warnings == ()
    signs = TypeNames(("C++", "C#", "-"), {}, tagged=True)
    assert [signs.read(each) for each in ("c++", "C#", "-", "C")] == ["C++", "C#", "-", None]


def test_a_type_that_begins_like_a_tag_is_itself_first() -> None:
    names = TypeNames(("B-CELL", "CELL"), {}, tagged=True)
    assert [names.read(each) for each in ("b-cell", "B-CELL", "cell", "I-CELL", "B-B-CELL")] == [
        "B-CELL",
        "B-CELL",
        "CELL",
        "CELL",
        "B-CELL",
    ]


@pytest.mark.parametrize(
    ("synonyms", "message"),
    [
        ({"PRE": ("PERSON",)}, r"task\.synonyms\.PRE: task\.types names no such type\. Did you mean PER"),
        ({"PER": ("facility",)}, r"task\.synonyms\.PER: 'facility' could mean Facility, too"),
        ({"PER": ("thing",), "Facility": ("Thing",)}, r"task\.synonyms\.Facility: 'Thing' could mean PER, too"),
        ({"PER": ("--",)}, r"task\.synonyms\.PER: '--' holds no letter"),
    ],
)
def test_a_synonym_that_could_mean_anything_else_is_refused(synonyms: dict[str, tuple[str, ...]], message: str) -> None:
    for name in ("ner", "text_classification"):
        with pytest.raises(ConfigError, match=message):
            (NER if name == "ner" else TextClassification)(TaskSettings(name=name, types=TYPES, synonyms=synonyms))


TASK = NER(TaskSettings(types=TYPES, synonyms=SYNONYMS))
TARGET = sentence("Ada read Faust in the Library")


def test_entities_of_types_by_another_name_are_kept_and_counted() -> None:
    said = [["Ada", "B-PERSON"], ["Faust", "work of art"], ["Library", "Facility"], ["read", "VERB"]]
    annotation = TASK.parse(TARGET, Completion(json.dumps(said), "stop"))
    assert [(span.start, span.type) for span in annotation.spans] == [(0, "PER"), (2, "WORK_OF_ART"), (5, "Facility")]
    assert annotation.rejected == (Rejection("read", "unknown_type"),)
    assert annotation.renamed == (("B-PERSON", "PER"), ("work of art", "WORK_OF_ART"))


def test_answers_that_name_a_type_differently_do_not_contradict_each_other() -> None:
    said = '[["Ada","PER"]]\n[["Ada","person"]]'
    assert [span.type for span in TASK.parse(TARGET, Completion(said, "stop")).spans] == ["PER"]


def test_confidence_is_found_by_the_type_as_it_was_written() -> None:
    tokens = ('[["', 'Ada"', ',"', 'person"', "]]")
    answer = Completion("".join(tokens), "stop", token_texts=tokens, token_logprobs=(0.0, -0.5, 0.0, -0.5, 0.0))
    (span,) = TASK.parse(TARGET, answer).spans
    assert span.confidence == pytest.approx(0.3679, abs=1e-4)


@pytest.mark.parametrize("none", ["NONE", "none", "None", "O", "N/A", "no entity"])
def test_a_reasoned_answer_may_say_in_its_own_way_that_a_candidate_is_none(none: str) -> None:
    task = NER(TaskSettings(types=TYPES, prompt="cot"))
    said = json.dumps({"decisions": [["Ada", "per", "x"], ["read", none, "a verb"]]})
    annotation = task.parse(TARGET, Completion(said, "stop"))
    assert ([span.start for span in annotation.spans], annotation.rejected) == ([0], ())


def test_schema_prompt_and_demonstrations_know_the_types_names_alone() -> None:
    plain = NER(TaskSettings(types=TYPES))
    assert TASK.prompt(TARGET, []) == plain.prompt(TARGET, [])
    assert TASK.identity() != plain.identity()  # what is read from the same answers may differ


CLASSES = TextClassification(
    TaskSettings(
        name="text_classification", types={"World News": "a", "sport": "b"}, synonyms={"sport": ("athletics",)}
    )
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("world_news", "World News"), ("WorldNews", "World News"), ("sports", "sport"), ("Athletics", "sport")],
)
def test_classes_are_read_by_the_same_rules(written: str, meant: str) -> None:
    for text in (json.dumps({"class": written}), written):
        annotation = CLASSES.parse(TARGET, Completion(text, "stop"))
        assert (annotation.labels, annotation.renamed) == ((meant,), ((written, meant),))


def test_a_class_has_no_tags_prefix_and_a_stranger_is_none() -> None:
    for written in ("B-sport", "weather"):
        with pytest.raises(UnusableAnswer) as caught:
            CLASSES.parse(TARGET, Completion(json.dumps({"class": written}), "stop"))
        assert caught.value.reason == "unknown_class"
