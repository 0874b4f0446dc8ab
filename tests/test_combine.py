"""Labels of several teachers for the same sentences become one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from distill_offline import manifest
from distill_offline.annotations import AnnotationLine, LineValues, read_lines, write_lines
from distill_offline.cli import commands
from distill_offline.corpus import read_examples, write_examples
from distill_offline.errors import InputError
from distill_offline.pipeline.combine import combine as combine_files
from distill_offline.schema import Example, Sentence
from distill_offline.scoring.metrics import quick_f1
from distill_offline.select.combining import combine
from distill_offline.select.dawid_skene import dawid_skene
from distill_offline.spans.bio import decode_bio, encode_bio

NER = "token-classification"


def line(example: Example, labels: tuple[str, ...]) -> AnnotationLine:
    return AnnotationLine(example.sentence, labels, decode_bio(labels) if len(labels) > 1 else ())


def teacher(gold: Sequence[Example], seed: int, *, misses: float, confuses: float = 0.0) -> list[AnnotationLine]:
    """Misses a share of the entities, and calls a share of those that are left by the next type's name."""
    random, types = np.random.default_rng(seed), ["PERSON", "ORGANISATION", "LOCATION", "EQUIPMENT", "DATE"]
    lines = []
    for example in gold:
        kept = [span for span in decode_bio(example.labels) if random.random() >= misses]
        spans = []
        for span in kept:
            name = types[(types.index(span.type) + 1) % 5] if random.random() < confuses else span.type
            spans.append(type(span)(span.start, span.end, name))
        lines.append(line(example, encode_bio(spans, len(example.labels))))
    return lines


@pytest.fixture(scope="module")
def gold() -> list[Example]:
    return list(read_examples("package:demo/train.jsonl", origin="original"))[:150]


def f1(gold: Sequence[Example], lines: Sequence[AnnotationLine]) -> float:
    return quick_f1("entity_f1", [e.labels for e in gold], [x.labels for x in lines])


def test_three_independent_teachers_are_better_together_than_the_best_alone(gold: list[Example]) -> None:
    said = {f"t{seed}": teacher(gold, seed, misses=0.3, confuses=0.1) for seed in range(3)}
    best = max(f1(gold, lines) for lines in said.values())
    for method in ("majority", "dawid_skene"):
        found = combine(NER, said, method)
        assert f1(gold, found.lines) > best + (0.03 if method == "majority" else 0.08)
        assert found.by_teachers == {3: 150}
        assert [x.sentence.id for x in found.lines] == [e.sentence.id for e in gold]


def test_a_reliable_teacher_outweighs_two_that_confuse_types(gold: list[Example]) -> None:
    said = {
        "good": teacher(gold, 1, misses=0.02),
        "bad": teacher(gold, 2, misses=0.05, confuses=0.7),
        "worse": teacher(gold, 3, misses=0.05, confuses=0.75),
    }
    voted, weighed = (f1(gold, combine(NER, said, *how).lines) for how in (("majority",), ("dawid_skene", gold[:40])))
    assert weighed > voted + 0.1
    assert weighed > 0.95
    found = combine(NER, said, "dawid_skene", gold[:40]).teachers
    assert found["good"]["gives_what_is_true"]["B-PERSON"] > 0.8 > found["worse"]["gives_what_is_true"]["B-PERSON"]


def test_gold_keeps_two_that_share_their_mistakes_from_outvoting_a_better_one(gold: list[Example]) -> None:
    copied = teacher(gold, 5, misses=0.4, confuses=0.4)
    said = {"good": teacher(gold, 6, misses=0.1), "twin": copied, "other twin": copied}
    blind, told = (f1(gold[60:], combine(NER, said, "dawid_skene", part).lines[60:]) for part in (None, gold[:60]))
    assert blind < 0.6
    assert told > blind + 0.2


def test_confidence_and_agreement_say_how_sure_a_span_is(gold: list[Example]) -> None:
    said = {f"t{seed}": teacher(gold, seed, misses=0.3, confuses=0.1) for seed in range(3)}
    lines = combine(NER, said).lines
    spans = [(span, gold_line) for x, gold_line in zip(lines, gold, strict=True) for span in x.spans]
    truth = [{(s.start, s.end, s.type) for s in decode_bio(e.labels)} for _, e in spans]
    right = [(s.start, s.end, s.type) in t for (s, _), t in zip(spans, truth, strict=True)]
    sure = [span.confidence or 0.0 for span, _ in spans]
    assert all(0 <= value <= 1 for value in sure)
    assert np.mean([s for s, r in zip(sure, right, strict=True) if r]) > np.mean(
        [s for s, r in zip(sure, right, strict=True) if not r] or [0.0]
    )
    assert {span.agreement for span, _ in spans} <= {1 / 3, 2 / 3, 1.0, 0.0}


def test_sentences_that_one_teacher_lacks_are_kept_and_counted(gold: list[Example]) -> None:
    said = {"a": teacher(gold, 1, misses=0.1), "b": teacher(gold, 2, misses=0.1)[:100]}
    found = combine(NER, said)
    assert found.by_teachers == {1: 50, 2: 100}
    assert len(found.lines) == 150
    with pytest.raises(ValueError, match="no sentence was labelled by two"):
        combine(NER, {"a": said["a"][:50], "b": said["a"][60:90]})
    with pytest.raises(ValueError, match="two teachers at least"):
        combine(NER, {"a": said["a"]})


def text(number: int) -> Sentence:
    return Sentence(
        f"t:{number}", "t", number, f"text {number}", ("text", str(number)), ((0, 4), (5, 5 + len(str(number))))
    )


def test_a_sentence_that_is_cut_otherwise_is_no_second_one(gold: list[Example]) -> None:
    lines = teacher(gold[:3], 1, misses=0.0)
    first = lines[0].sentence
    whole = replace(first, tokens=(first.text,), offsets=((0, len(first.text)),))
    with pytest.raises(ValueError, match=f"sentence {first.id} is cut into other tokens"):
        combine(NER, {"a": lines, "b": [AnnotationLine(whole, ("O",), ()), *lines[1:]]}, "majority")


@pytest.mark.parametrize("method", ["majority", "dawid_skene"])
def test_classes_and_sets_of_classes_are_combined_as_well(method: str) -> None:
    random = np.random.default_rng(0)
    truth = [("sport",) if n % 2 else ("trade",) for n in range(400)]
    said = {
        f"t{seed}": [
            AnnotationLine(
                text(n), labels if random.random() > 0.25 else (("trade",) if labels == ("sport",) else ("sport",))
            )
            for n, labels in enumerate(truth)
        ]
        for seed in range(5)
    }
    found = combine("sequence-classification", said, method)  # type: ignore[arg-type]
    right = np.mean([x.labels == labels for x, labels in zip(found.lines, truth, strict=True)])
    assert right > max(np.mean([x.labels == y for x, y in zip(lines, truth, strict=True)]) for lines in said.values())
    sets = {name: [AnnotationLine(x.sentence, (*x.labels, "all")) for x in lines] for name, lines in said.items()}
    both = combine("multi-label-classification", sets, method)  # type: ignore[arg-type]
    assert all("all" in x.labels for x in both.lines)


def test_the_estimate_finds_the_confusions_that_made_the_votes() -> None:
    random = np.random.default_rng(1)
    truth = random.integers(3, size=4000)
    matrices = [
        np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.3, 0.1, 0.6]]),
        np.eye(3) * 0.7 + 0.1,
        np.eye(3) * 0.85 + 0.05,
    ]
    votes = np.stack([[random.choice(3, p=m[t]) for t in truth] for m in matrices], axis=1)
    votes[random.random(votes.shape) < 0.1] = -1
    votes[(votes < 0).all(axis=1)] = 0
    found = dawid_skene(votes, 3)
    assert np.abs(found.confusions - matrices).max() < 0.08
    assert found.probabilities.sum(axis=1) == pytest.approx(1)


def test_the_verb_joins_folders_and_files_and_seals_what_it_made(tmp_path: Path, gold: list[Example]) -> None:
    (tmp_path / "a").mkdir()
    write_lines(tmp_path / "a" / "annotations.jsonl", teacher(gold, 1, misses=0.2))
    manifest.seal(tmp_path / "a", stage="annotate", config={}, seeds={}, inputs=[], models={})
    labelled = [Example(x.sentence, x.labels, "original") for x in teacher(gold, 2, misses=0.2)]
    write_examples(tmp_path / "b.jsonl", labelled)
    write_examples(tmp_path / "gold.jsonl", gold[:30])
    command = ["combine", f"a={tmp_path / 'a'}", f"b={tmp_path / 'b.jsonl'}", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(commands, [*command, "--gold", str(tmp_path / "gold.jsonl"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["sentences"] == 150
    assert len(list(read_lines(tmp_path / "out" / "annotations.jsonl", NER))) == 150
    assert manifest.verify(tmp_path / "out") == []
    assert manifest.show(tmp_path / "out")["counts"]["by_teachers"] == {"2": 150}
    again = CliRunner().invoke(commands, command)
    assert isinstance(again.exception, InputError)
    assert "not empty" in str(again.exception)
    (tmp_path / "a" / "manifest.json").unlink()
    with pytest.raises(InputError, match="not been run to its end"):
        combine_files({"a": tmp_path / "a", "b": tmp_path / "b.jsonl"}, tmp_path / "c")


def said_of(sentence: Sentence, *labels: str, masked: tuple[int, ...] = ()) -> AnnotationLine:
    return AnnotationLine(sentence, labels, decode_bio(labels), beside=LineValues(masked=masked))


def test_of_sentences_alike_those_with_the_same_id_go_together() -> None:
    first, second = text(1), replace(text(1), id="t:2")
    said = {
        "a": [said_of(second, "B-PER", "O")],
        "b": [said_of(first, "O", "B-PER"), said_of(second, "B-PER", "O")],
        "c": [said_of(replace(first, id="other"), "B-PER", "O")],  # whose ids are of another kind
    }
    found = combine(NER, said, "majority")
    assert [(x.sentence.id, x.labels) for x in found.lines] == [("t:2", ("B-PER", "O")), ("t:1", ("O", "B-PER"))]
    assert found.by_teachers == {1: 1, 3: 1}


@pytest.mark.parametrize("method", ["majority", "dawid_skene"])
def test_what_teachers_mask_is_no_vote_and_stays_masked(method: str) -> None:
    known = [said_of(text(n), "B-PER", "O") for n in range(2, 20)]
    masked = said_of(text(1), "O", "O", masked=(0,))
    said = {"a": [masked, *known], "b": [masked, *known], "c": [said_of(text(1), "O", "O"), *known]}
    [line, *_] = combine(NER, said, method).lines  # type: ignore[arg-type]
    assert (line.labels, line.beside.masked) == (("O", "O"), (0,))
    said = {"a": [masked, *known], "b": [said_of(text(1), "B-PER", "O"), *known]}
    [line, *_] = combine(NER, said, method).lines  # type: ignore[arg-type]
    assert (line.labels, line.beside.masked) == (("B-PER", "O"), ())


@pytest.mark.parametrize("masking", [1, 2])
def test_a_majority_is_of_those_who_answered(masking: int) -> None:
    masked = said_of(text(1), "O", "O", masked=(0, 1))
    said = {"a": [said_of(text(1), "B-PER", "O")], **{f"m{n}": [masked] for n in range(masking)}}
    [line] = combine(NER, said, "majority").lines
    assert (line.labels, line.spans[0].agreement, line.beside.masked) == (("B-PER", "O"), 1.0, (1,))
    said["b"] = [said_of(text(1), "O", "O")]
    [line] = combine(NER, said, "majority").lines
    assert (line.labels, line.spans[0].agreement) == (("B-PER", "O"), 0.5)  # half of those who answered
    said["c"] = [said_of(text(1), "O", "O")]
    assert combine(NER, said, "majority").lines[0].labels == ("O", "O")


def test_what_gold_masks_says_nothing_of_a_teacher(gold: list[Example]) -> None:
    sentences = [text(n) for n in range(30)]
    said = {
        "a": [said_of(each, "B-PER", "O") for each in sentences],
        "b": [said_of(each, "O", "O") for each in sentences],
    }
    masked = [Example(each, ("O", "O"), "original", masked=(0,)) for each in sentences]
    found = combine(NER, said, "dawid_skene", masked)
    certainty = [told["gives_what_is_true"]["O"] for told in found.teachers.values()]
    assert certainty[0] == certainty[1]  # of the second tokens alone
    assert combine(NER, said, "dawid_skene", [Example(each, ("O", "O"), "original") for each in sentences]) != found


def test_gold_that_contradicts_itself_is_passed_over_and_told() -> None:
    said = {name: [said_of(text(n), "B-PER", "O") for n in range(3)] for name in "ab"}
    one = Example(replace(text(1), id="x"), ("B-PER", "O"), "original")
    other = Example(replace(text(1), id="y"), ("O", "O"), "original")
    more = Example(text(2), ("B-PER", "O"), "original")
    found = [combine(NER, said, "dawid_skene", [*pair, more]) for pair in ((one, other), (other, one))]
    assert found[0].teachers == found[1].teachers
    assert found[0].teachers["a"]["on_gold"] == 1
    assert found[0].doubts[0].startswith("gold has x and y, of the same tokens, with different labels")
    elsewhere = [replace(each, sentence=replace(text(9), id=each.sentence.id)) for each in (one, other)]
    assert combine(NER, said, "dawid_skene", [*elsewhere, more]).doubts == ()  # no teacher labelled it
    assert combine(NER, said, "dawid_skene", [one, replace(one, sentence=other.sentence)]).doubts == ()


def test_teachers_that_name_types_otherwise_are_told_of() -> None:
    def doubts(*labels: str) -> tuple[str, ...]:
        said = {name: [said_of(text(1), label, "O")] for name, label in zip("ab", labels, strict=True)}
        return combine(NER, said, "majority").doubts

    assert doubts("B-PER", "B-PER") == ()
    assert doubts("B-PER", "O") == ()
    (doubt,) = doubts("B-PER", "B-PATIENT")
    assert doubt.startswith("a gives PER and b PATIENT: they have no type in common.")
    assert doubts("B-PER", "B-per")[0].startswith("PER, per differ in capitals alone")


def test_gold_that_is_of_no_use_is_refused(gold: list[Example]) -> None:
    said = {"a": teacher(gold[:20], 1, misses=0.1), "b": teacher(gold[:20], 2, misses=0.1)}
    with pytest.raises(ValueError, match="majority is counted without gold"):
        combine(NER, said, "majority", gold[:20])
    for other in ([], gold[30:40]):
        with pytest.raises(ValueError, match=f"none of the {len(other)} sentences of gold"):
            combine(NER, said, "dawid_skene", other)
    vessels = [replace(each, labels=tuple(x[:2] + "VESSEL" if x != "O" else x for x in each.labels)) for each in gold]
    with pytest.raises(ValueError, match=r"gold has other types \(VESSEL\) than the teachers \(DATE, "):
        combine(NER, said, "dawid_skene", vessels)
    assert combine(NER, said, "dawid_skene", [*vessels[:1], *gold[1:20]]).strange == ("VESSEL",)
    nothing = [AnnotationLine(text(1), ())]
    assert combine("multi-label-classification", {"a": nothing, "b": nothing}, gold=[Example(text(1), (), "original")])


def test_labels_of_gold_beside_the_annotations_count_and_do_not_come_out(tmp_path: Path, gold: list[Example]) -> None:
    copied = teacher(gold, 5, misses=0.4, confuses=0.4)
    said = {"good": teacher(gold, 6, misses=0.1), "twin": copied, "other": copied}
    for name, lines in said.items():
        (tmp_path / name / "gold" / "train").mkdir(parents=True)
        write_lines(tmp_path / name / "annotations.jsonl", lines[60:])
        write_lines(tmp_path / name / "gold" / "train" / "annotations.jsonl", lines[: 60 if name != "other" else 0])
        manifest.seal(tmp_path / name, stage="annotate", config={}, seeds={}, inputs=[], models={})
    write_examples(tmp_path / "gold.jsonl", gold[:60])
    folders = {name: tmp_path / name for name in said}
    found = combine_files(folders, tmp_path / "told", gold=tmp_path / "gold.jsonl")
    assert [told["on_gold"] for told in found.teachers.values()] == [60, 60, 0]
    assert len(found.lines) == 90
    assert f1(gold[60:], found.lines) > f1(gold[60:], combine_files(folders, tmp_path / "blind").lines) + 0.1
    named = [row["name"] for row in manifest.show(tmp_path / "told")["inputs"]]
    assert named.count("annotations.jsonl") == 6


def test_what_a_file_of_labels_says_and_no_line_can_hold_is_told(tmp_path: Path, gold: list[Example]) -> None:
    write_lines(tmp_path / "annotations.jsonl", teacher(gold[:5], 1, misses=0.0))
    (tmp_path / "b.conll").write_text("".join(f"{t} I-DATE\n" for t in gold[0].sentence.tokens[:2]) + "\n", "utf-8")
    with (tmp_path / "b.conll").open("a") as file:
        file.write("".join(f"{t} O\n" for t in gold[1].sentence.tokens))
    command = ["combine", f"a={tmp_path / 'annotations.jsonl'}", f"b={tmp_path / 'b.conll'}", "-o", str(tmp_path / "x")]
    result = CliRunner().invoke(commands, command)
    assert result.exit_code == 0, result.output
    assert "b: not kept: 1 tags that continue nothing." in result.output
