"""The NER task: its prompts, and reading what comes back."""

from __future__ import annotations

import functools
import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import example, sentence

from distill_offline.config.settings import TaskSettings
from distill_offline.errors import ConfigError, UnusableAnswer
from distill_offline.schema import Annotation, Completion, Rejection
from distill_offline.spans.bio import decode_bio, repair_iob2
from distill_offline.tasks.base import Task
from distill_offline.tasks.ner import NER

TYPES = {"PER": "a named human; no titles", "ORG": "a company. Not a team.", "LOC": "a place"}
EXAMPLES = [
    example("Siemens/B-ORG sent Ada/B-PER Lovelace/I-PER to Fort/B-LOC Worth/I-LOC"),
    example("nothing to see here"),
    example("US/B-LOC and US/B-LOC again"),
    example('``/O He/O said/O "/O hi/O from/O Köln/B-LOC ´s/O Dom\\/B-ORG'),
    example("Ada/B-PER"),
]
PROMPTS = ["standard", "cot"]
SENTENCE = sentence("Siemens sent Ada Lovelace to Fort Worth")


@functools.cache
def task(prompt: str = "standard", guidelines: str = "") -> NER:
    return NER(TaskSettings(types=TYPES, prompt=prompt, guidelines=guidelines))


def parse(text: str, prompt: str = "standard", finish_reason: str = "stop") -> Annotation:
    return task(prompt).parse(SENTENCE, Completion(text, finish_reason))


def reason(text: str, prompt: str = "standard", finish_reason: str = "stop") -> str:
    with pytest.raises(UnusableAnswer) as caught:
        parse(text, prompt, finish_reason)
    return caught.value.reason


def found(annotation: Annotation) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.type) for span in annotation.spans]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_a_perfect_teachers_answer_is_read_back_as_the_gold_labels(prompt: str, number: int) -> None:
    gold = EXAMPLES[number]
    annotation = task(prompt).parse(gold.sentence, Completion(task(prompt).answer(gold), "stop"))
    assert annotation.labels == gold.labels
    assert annotation.rejected == ()
    assert annotation.id == gold.sentence.id


TWINS = [
    example("May/B-PER came in May"),
    example("In May came May/B-PER and May/B-PER in May"),
    example("York/B-LOC and New/B-LOC York/I-LOC and York"),
    example("US and US/B-LOC and US"),
]


@pytest.mark.parametrize("number", range(len(TWINS)))
def test_a_reasoned_answer_says_which_of_several_places_is_no_entity(number: int) -> None:
    gold = TWINS[number]
    annotation = task("cot").parse(gold.sentence, Completion(task("cot").answer(gold), "stop"))
    assert (annotation.labels, annotation.rejected) == (gold.labels, ())


def test_a_mention_said_once_is_every_place_unless_the_task_says_otherwise() -> None:
    target = sentence("Oslo beat Bergen , and Oslo celebrated as only Oslo can")
    tokens = ('[["', 'Oslo"', ',"LOC"', '],["Bergen","LOC"]]')
    answer = Completion("".join(tokens), "stop", token_texts=tokens, token_logprobs=(0.0, -0.5, -0.5, 0.0))
    annotation = task().parse(target, answer)
    assert [(s.start, s.alignment) for s in annotation.spans] == [
        (0, "exact"),
        (2, "exact"),
        (5, "repeated"),
        (9, "repeated"),
    ]
    sure = {span.start: span.confidence for span in annotation.spans}
    assert sure[0] == sure[5] == sure[9] == pytest.approx(0.3679, abs=1e-4)
    first = NER(TaskSettings(types=TYPES, repeats="first"))
    assert [span.start for span in first.parse(target, answer).spans] == [0, 2]
    assert first.identity() != task().identity()
    assert first.prompt(target, EXAMPLES) == task().prompt(target, EXAMPLES)


def test_a_mention_said_twice_is_two_places_one_of_each_type() -> None:
    target = sentence("Paris met Paris in Paris")
    said = '[["Paris","PER"],["Paris","LOC"]]'
    assert found(task().parse(target, Completion(said, "stop"))) == [(0, 1, "PER"), (2, 3, "LOC")]
    said = '{"decisions":[["Paris","PER","x"],["Paris","NONE","x"]]}'
    assert found(task("cot").parse(target, Completion(said, "stop"))) == [(0, 1, "PER")]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["O", "B-PER", "B-LOC", "I-LOC"]), min_size=1, max_size=12), st.sampled_from(PROMPTS))
def test_answer_and_parse_are_inverse_where_words_are_distinct(tags: list[str], prompt: str) -> None:
    valid, _ = repair_iob2(tags)
    gold = example(" ".join(f"w{n}/{tag}" for n, tag in enumerate(valid)))
    ner = task(prompt)
    assert ner.parse(gold.sentence, Completion(ner.answer(gold), "stop")).labels == gold.labels


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompt_has_types_guidelines_demonstrations_and_the_raw_text_in_order(prompt: str) -> None:
    ner = task(prompt, "Prefer the longest name.")
    asked = ner.prompt(SENTENCE, EXAMPLES[:2])
    assert [m.role for m in asked.messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    system = asked.messages[0].content
    assert all(f"- {name}: {definition}" in system for name, definition in TYPES.items())
    assert "Prefer the longest name." in system
    asked_for = [EXAMPLES[0].sentence.text, EXAMPLES[1].sentence.text, SENTENCE.text]
    for message, text in zip(asked.messages[1::2], asked_for, strict=True):
        assert message.content.endswith(text)
    assert [m.content for m in asked.messages[2::2]] == [ner.answer(EXAMPLES[0]), ner.answer(EXAMPLES[1])]
    assert asked.sentence_id == SENTENCE.id
    assert asked.schema is not None
    json.dumps(asked.schema)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_have_no_stray_blanks_and_no_unfilled_template(prompt: str) -> None:
    for content in (m.content for m in task(prompt).prompt(SENTENCE, EXAMPLES).messages):
        assert content == content.strip()
        assert "{{" not in content
        assert "{%" not in content
        assert "\n\n\n" not in content


def test_without_guidelines_the_prompt_does_not_speak_of_them() -> None:
    assert "uidelines" not in task().prompt(SENTENCE, []).messages[0].content


def test_text_that_looks_like_a_template_is_only_text() -> None:
    tricky = sentence("{{ 7*7 }} {% raw %} {{ types }}")
    assert task().prompt(tricky, []).messages[-1].content.endswith(tricky.text)


def test_it_is_a_task_with_a_tag_pair_for_every_type() -> None:
    ner = task()
    assert isinstance(ner, Task)
    assert ner.labels == ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")


def test_reasoned_answer_holds_candidates_and_a_reason_for_each_decision() -> None:
    value = json.loads(task("cot").answer(EXAMPLES[0]))
    assert value["candidates"] == ["Siemens", "Ada Lovelace", "Fort Worth"]
    assert value["decisions"][0] == ["Siemens", "ORG", "a company"]
    assert value["decisions"][1] == ["Ada Lovelace", "PER", "a named human"]


def test_identity_changes_with_what_shapes_the_prompt() -> None:
    same = task().identity()
    assert task().identity() == same
    assert task("cot").identity() != same
    assert task(guidelines="x").identity() != same
    assert NER(TaskSettings(types={**TYPES, "PER": "other"})).identity() != same


def test_mentions_become_spans_and_what_has_no_place_is_counted_with_its_reason() -> None:
    pairs = [
        ["Siemens", "ORG"],
        ["siemens", "ORG"],
        ["Narnia", "LOC"],
        ["Lovelace to", "THING"],
        ["Love", "PER"],
        [" ", "PER"],
        ["FORT WORTH", "LOC"],
    ]
    annotation = parse(json.dumps(pairs))
    assert found(annotation) == [(0, 1, "ORG"), (5, 7, "LOC")]
    assert [span.alignment for span in annotation.spans] == ["exact", "normalised"]
    assert sorted((r.mention, r.reason) for r in annotation.rejected) == [
        (" ", "empty"),
        ("Love", "inside_token"),
        ("Lovelace to", "unknown_type"),
        ("Narnia", "not_in_text"),
        ("siemens", "overlapping"),
    ]
    assert [(s.start, s.end, s.type) for s in decode_bio(annotation.labels)] == found(annotation)


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ('[["Ada Lovelace","PER"]]', "standard"),
        ('  [ ["Ada Lovelace" , "PER"] ]\n', "standard"),
        ('```json\n[["Ada Lovelace","PER"]]\n```', "standard"),
        ('Sure! Here it is:\n[["Ada Lovelace","PER"]]\nI hope this helps [really].', "standard"),
        ('As you asked [see above]:\n```json\n[["Ada Lovelace","PER"]]\n```', "standard"),
        ('I found [] nothing, so: [["Ada Lovelace","PER"]]', "standard"),
        ('Not [] but [see above]: [["Ada Lovelace","PER"]], and no other {so it seems}.', "standard"),
        ('There are [2] candidates, ["Ada","Fort"]: [["Ada Lovelace","PER"]]', "standard"),
        ('First [["Ada Lovelace","PER"]], and again [["Ada Lovelace", "PER"]]', "standard"),
        ('[["Ada Lovelace","PER"]]\n\nText: Siemens grows\n[["Siemens","ORG"]]', "standard"),
        ('In {braces} it is {"entities":[{"text":"Ada Lovelace","type":"PER"}]}.', "standard"),
        ('[{"text":"Ada Lovelace","type":"PER"}]', "standard"),
        ('{"entities":[{"entity":"Ada Lovelace","label":"PER"}]}', "standard"),
        ('[["Ada Lovelace","PER","a human"]]', "standard"),
        ('{"context":"","candidates":[],"decisions":[["Ada Lovelace","PER","x"],["sent","NONE","a verb"]]}', "cot"),
        ('{"decisions":[["Ada Lovelace","PER"]]}', "cot"),
        ('[["Ada Lovelace","PER"]]', "cot"),
    ],
)
def test_answers_of_many_forms_are_read(text: str, prompt: str) -> None:
    annotation = parse(text, prompt)
    assert found(annotation) == [(2, 4, "PER")]
    assert annotation.rejected == ()


@pytest.mark.parametrize(
    "text",
    ["[]", "```\n[]\n```", "No entities: []", "[] and [] again", "[]\nThere is none [as far as I see]; 1. none, [2]."],
)
def test_an_empty_list_is_an_answer(text: str) -> None:
    assert set(parse(text).labels) == {"O"}


@pytest.mark.parametrize(
    "text",
    [
        "I found [] nothing, so: [Ada, PER]",
        "Of [Ada, Fort Worth] none is: []",
        'I found [] nothing, so: [["Ada","PER"',
        "I found [] nothing, so: [['Ada','PER']]",
        'I found [["Ada","PER"]] and [["Siemens","ORG"',
        "Candidates [1] and then []",
        "As said [see above].",
    ],
)
def test_an_answer_that_may_be_read_in_two_ways_is_not_read(text: str) -> None:
    assert reason(text) == "not_json"


def test_none_is_no_entity_where_the_prompt_says_so_and_an_unknown_type_elsewhere() -> None:
    assert parse('{"decisions":[["Ada","NONE","no"]]}', "cot").rejected == ()
    assert parse('[["Ada","NONE"]]').rejected == (Rejection("Ada", "unknown_type"),)


@pytest.mark.parametrize(
    ("text", "finish_reason", "expected"),
    [
        ('[["Ada","PER"]]', "length", "truncated"),
        ("", "length", "truncated"),
        ("", "prompt_too_long", "prompt_too_long"),
        ("[]", "error: out of memory", "engine_error"),
        ("[]", "abort", "engine_error"),
        ("[]", "", "engine_error"),
        ("", "stop", "empty"),
        (" \n", "stop", "empty"),
        ("There are no entities.", "stop", "not_json"),
        ("O O O O", "stop", "not_json"),
        ('[["Ada","PER"]', "stop", "not_json"),
        ('[["Ada","PER"],', "stop", "not_json"),
        ("[[Ada, PER]]", "stop", "not_json"),
        ("[['Ada','PER']]", "stop", "not_json"),
        ("{}", "stop", "wrong_shape"),
        ("[1]", "stop", "wrong_shape"),
        ("[[]]", "stop", "wrong_shape"),
        ("[null]", "stop", "wrong_shape"),
        ('["Ada","PER"]', "stop", "wrong_shape"),
        ('[["Ada"]]', "stop", "wrong_shape"),
        ('[[1,"PER"]]', "stop", "wrong_shape"),
        ('[["Ada",null]]', "stop", "wrong_shape"),
        ('[[["Ada"],"PER"]]', "stop", "wrong_shape"),
        ('[["Ada","PER"],["Siemens"]]', "stop", "wrong_shape"),
        ('[{"text":"Ada"}]', "stop", "wrong_shape"),
        ('{"decisions":"none"}', "stop", "wrong_shape"),
        ('{"decisions":null}', "stop", "wrong_shape"),
        ('{"PER":["Ada"]}', "stop", "wrong_shape"),
    ],
)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_an_answer_that_cannot_be_trusted_has_a_reason_and_is_never_all_o(
    text: str, finish_reason: str, expected: str, prompt: str
) -> None:
    assert reason(text, prompt, finish_reason) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"context":"x","candidates":[],"decisions":[["Ada Lovelace","PER","a hum',
        '{"entities":[],"more":[["Ada","PER"]',
        '{"a":{"decisions":[]},"decisions":[["Ada","PER"',
        '[[],["Ada","PER"',
    ],
)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_an_empty_list_inside_a_broken_answer_is_not_taken_for_the_answer(text: str, prompt: str) -> None:
    assert reason(text, prompt) == "not_json"


@pytest.mark.parametrize(
    "text", ['{"decisions":[["Ada","PER"]],"decisions":[]}', '[{"text":"Ada","text":"Siemens","type":"PER"}]']
)
def test_a_key_that_stands_twice_is_not_resolved_by_chance(text: str) -> None:
    assert reason(text, "cot") == "wrong_shape"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        "[" * 5_000 + "]" * 5_000,
        '{"a":' * 200_000,
        "```" * 300_000 + "[",
        "```json" + " " * 900_000,
        '[["' + "A" * 900_000,
        "[" + '["A","PER"],' * 80_000,
        "[" + "1" * 900_000 + "]",
        "x" * 2_000_000 + "[]",
        "[" * 2_000_000,
        "Ah: " + "[] " * 300_000 + "[",
        "Ah: " + "[a] " * 240_000,
        "Ah: " + "[a " * 300_000,
        "Ah: " + "{}[[]]" * 160_000,
        "Ah: " + '[["A","P"]] ' * 80_000 + "[[",
    ],
    ids=lambda text: f"{text[:8]!r} and so on",
)
@pytest.mark.slow
def test_a_megabyte_of_nonsense_is_quarantined_in_no_time(text: str) -> None:
    start = time.perf_counter()
    assert reason(text) in ("not_json", "wrong_shape")
    assert time.perf_counter() - start < 2


def test_a_flood_of_mentions_is_counted_in_no_time() -> None:
    start = time.perf_counter()
    annotation = parse(json.dumps([["Ada", "PER"], ["Lovel", "PER"], ["Narnia", "LOC"]] * 10_000))
    assert time.perf_counter() - start < 3
    assert found(annotation) == [(2, 3, "PER")]
    assert len(annotation.rejected) == 29_999


def test_half_a_character_and_control_characters_are_only_rejected_mentions() -> None:
    annotation = parse('[["\\ud800","PER"],["Ada\\u0000","PER"],["Ada","P\\ud800"],["Siemens","ORG"]]')
    assert found(annotation) == [(0, 1, "ORG")]
    assert [r.reason for r in annotation.rejected] == ["not_in_text", "not_in_text", "unknown_type"]


@settings(deadline=None)
@given(st.text('[]{}",:\\ aPER0-nul`', max_size=40), st.sampled_from(PROMPTS))
def test_any_text_is_either_parsed_or_refused(text: str, prompt: str) -> None:
    reasons = set()
    try:
        assert len(parse(text, prompt).labels) == len(SENTENCE.tokens)
    except UnusableAnswer as error:
        reasons.add(error.reason)
    assert reasons <= {"empty", "not_json", "wrong_shape", "contradicting_answers"}


OWN = """{% set answer = "pairs" %}
{% block system %}Label {{ types | join("/") }}.{{ guidelines }}{% endblock %}
{% block user %}Text ({{ types | length }} types): {{ text }}{% endblock %}
"""


def test_a_users_own_template_is_used(tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text(OWN)
    messages = task(str(file)).prompt(SENTENCE, EXAMPLES[1:2]).messages
    assert [m.content for m in messages] == [
        "Label PER/ORG/LOC.",
        "Text (3 types): nothing to see here",
        "[]",
        f"Text (3 types): {SENTENCE.text}",
    ]


def test_guidelines_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "guidelines.md"
    file.write_text("  Titles are no names.\n")
    assert "Titles are no names." in task(guidelines=str(file)).prompt(SENTENCE, []).messages[0].content
    with pytest.raises(ConfigError, match=r"task\.guidelines: .*missing\.md cannot be read"):
        task(guidelines=str(tmp_path / "missing.md"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (OWN.replace("block user", "block usr"), r"own\.jinja has no block 'user'"),
        (OWN.replace("block system", "block sys"), r"own\.jinja has no block 'system'"),
        (OWN.replace('"pairs"', '"tags"'), r"own\.jinja must set answer to one of pairs, reasoned"),
        (OWN.replace("{% set", "{# set").replace("%}\n{% block s", "#}\n{% block s"), r"own\.jinja must set answer"),
        (OWN.replace("{% endblock %}\n{% block user", "\n{% block user"), r"own\.jinja:\d: "),
        (OWN.replace("{{ guidelines }}", "{{ guideline }}"), r"own\.jinja:2: 'guideline' is undefined"),
        (OWN.replace("{{ text }}", "{{ txt }}"), r"own\.jinja:3: 'txt' is undefined"),
        (OWN.replace("{{ text }}", "{{ 1 // 0 }}"), r"own\.jinja:3: "),
        (OWN.replace("{{ text }}", "{{ text.split.__globals__ }}"), r"own\.jinja:3: "),
        (OWN.replace("{{ text }}", "{{ text() }}"), r"own\.jinja:3: "),
        ("{% extends 'other' %}" + OWN, r"own\.jinja"),
        ("", r"own\.jinja has no block"),
    ],
)
def test_a_templates_mistake_is_named_with_its_file_and_line(tmp_path: Path, source: str, message: str) -> None:
    file = tmp_path / "own.jinja"
    file.write_text(source)
    with pytest.raises(ConfigError, match=rf"^task\.prompt: .*{message}"):
        task(str(file))


def test_what_fails_for_one_text_alone_does_not_show_the_text(tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text(OWN.replace("{{ text }}", "{{ text and text.index('secret') }} {{ text }}"))
    ner = task(str(file))
    with pytest.raises(ConfigError, match=r"own\.jinja:3: ValueError") as caught:
        ner.prompt(SENTENCE, [])
    assert "Lovelace" not in str(caught.value)


def test_unknown_prompt_names_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'standrad' is neither a readable file nor one of brief, cot, standard"):
        task("standrad")


@pytest.mark.parametrize("types", [{}, {"": "x"}, {"A B": "x"}, {"NONE": "x"}, {"O": "x"}])
def test_types_that_cannot_be_tags_are_refused(types: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"^task\.types: "):
        NER(TaskSettings(types=types))


def test_errors_hold_no_corpus_text() -> None:
    for text in ("Ada said so", '[["Ada"]]', '{"Ada":1}'):
        with pytest.raises(UnusableAnswer) as caught:
            parse(text)
        assert "Ada" not in str(caught.value)
