"""Which of the things that a teacher says is its answer."""

from __future__ import annotations

import pytest
from sentences import sentence

from distill_offline.config.settings import TaskSettings
from distill_offline.errors import UnusableAnswer
from distill_offline.schema import Completion
from distill_offline.tasks.ner import NER
from distill_offline.tasks.text_classification import TextClassification

NER_TASK = NER(TaskSettings(types={"PER": "a named human", "ORG": "a company", "LOC": "a place"}))
ASKED = sentence("Siemens sent Ada Lovelace to Fort Worth on Monday")
DRAFT, ANSWER, EMPTY = '[["Monday","PER"]]', '[["Ada Lovelace","PER"]]', "[]"


def read(text: str, thinking: str = "") -> list[str]:
    """The mentions that are taken for the answer, or the reason why there is none."""
    try:
        annotation = NER_TASK.parse(ASKED, Completion(text, "stop", thinking=thinking))
    except UnusableAnswer as error:
        return [error.reason]
    return [" ".join(ASKED.tokens[span.start : span.end]) for span in annotation.spans]


@pytest.mark.parametrize(
    "form",
    [
        "Let me think: {draft} would be wrong, since a day is no person. Final answer: {answer}",
        "{draft}\n\nWait, a day is no person.\n{answer}",
        "{draft}\nCorrected: {answer}",
        "Draft: {draft}\nAnswer: {answer}",
        "At first sight {draft}, so: {answer}",
        "**Draft**\n{draft}\n\n**Final answer**\n{answer}",
        "```json\n{draft}\n```\nThis is wrong. Final answer:\n```json\n{answer}\n```",
        "I thought of {draft}.\n```json\n{answer}\n```",
        "```\n{draft}\n```\nFinal answer: {answer}",
        "{draft} <answer>{answer}</answer>",
        "<answer>{draft}</answer> Wait. <answer>{answer}</answer>",
        "<answer>{answer}",
        "{draft}\n<|begin_of_solution|>{answer}<|end_of_solution|>",
        "{draft}\n<|START_RESPONSE|>{answer}<|END_RESPONSE|>",
        "{draft}, hence \\boxed{{{answer}}}",
        "Final answer: {answer}. (The draft {draft} was dropped.)",
        "It is not {draft} but {answer}",
        "An answer has the form {draft}, for example. Mine: {answer}",
        "<think>{draft}</think>{answer}",
        "analysisPerhaps {draft}. A day is no person.assistantfinal{answer}",
        "<|channel|>analysis<|message|>{draft}<|end|><|start|>assistant<|channel|>final<|message|>{answer}",
        "Zuerst {draft}, das ist falsch. Ergebnis: {answer}",
        "{draft}\nいや、曜日です。最終回答: {answer}",
    ],
)
def test_the_last_whole_answer_counts_if_words_say_so(form: str) -> None:
    assert read(form.format(draft=DRAFT, answer=EMPTY)) == []
    assert read(form.format(draft=DRAFT, answer=ANSWER)) == ["Ada Lovelace"]
    assert read(form.format(draft=ANSWER, answer=EMPTY)) == []


@pytest.mark.parametrize(
    "form",
    [
        "{}\n{}",
        "Either {} or {}",
        "Option 1: {}\nOption 2: {}",
        "Answer: {}\nAnswer: {}",
        "Final answer: {}\n\nFinal answer: {}",
        "```json\n{}\n```\n```json\n{}\n```",
        "<answer>{}</answer><answer>{}</answer>",
        "<think>hm</think>{} and {}",
    ],
)
def test_answers_that_contradict_each_other_are_not_believed(form: str) -> None:
    for one, other in ((ANSWER, DRAFT), (DRAFT, EMPTY), (ANSWER, '[["Ada Lovelace","ORG"]]')):
        assert read(form.format(one, other)) == ["contradicting_answers"]


@pytest.mark.parametrize(
    "form",
    [
        "Perhaps {}? A day is no person, so there are no entities.",
        "{} would be wrong. There are no entities.",
        "I first had {}. The correct answer is an empty list.",
        "{}\n\nWait, that is a day. No entities in the sentence.",
        "```json\n{}\n```\nFinal answer: none",
        "{}\n**Final answer:** `None`",
        "{} No: the sentence has no named entities",
    ],
)
def test_an_answer_that_words_behind_it_take_back_is_not_believed(form: str) -> None:
    assert read(form.format(DRAFT)) == ["contradicting_answers"]
    assert read(form.format(EMPTY)) == []


@pytest.mark.parametrize(
    "form",
    [
        "Answer: {answer}\nExcluded: {draft}",
        "Final answer: {answer}\n\n**Rejected candidates:** {draft}",
        "<answer>Entities: {answer}. Rejected: {draft}</answer>",
        "{answer}\n\nNext sentence: Bosch grows.\nAnswer: {draft}",
        "{answer}\nExample 2: Bosch grows.\nAnswer: {draft}",
        "{answer}\nAnother example:\n'Bosch grows.' Output: {draft}",
    ],
)
def test_a_list_of_what_was_left_out_or_of_another_text_is_no_answer(form: str) -> None:
    assert read(form.format(answer=ANSWER, draft=DRAFT)) == ["Ada Lovelace"]
    assert read(form.format(answer=EMPTY, draft=DRAFT)) == []


@pytest.mark.parametrize(
    "form",
    [
        "{answer}\nWait, what about {draft}? No, a day is no person.",
        "{answer}\nActually, let me check once more: is {draft} right? No.",
        "{answer}\nOr {draft}? I think not.",
        "{answer}\nA wrong answer would be {draft}.",
        "{answer}\nIt would be wrong to answer {draft}.",
        "{answer}\nThe usual mistake is {draft}.",
        "{answer}\nInstead one might say {draft}, but that is wrong.",
        "{answer}\nThus {draft} can be ruled out.",
        "{answer}\nThe final answer does not contain {draft}.",
        "{answer}\nTherefore I reject {draft}.",
        "{answer}. Monday is actually a day, so I dropped {draft}.",
        "Final answer: {answer}\nEarlier wrong answer: {draft}",
        "Corrected: {answer}\nOriginal: {draft}",
        "{answer}\nSorry for my previous answer {draft}",
        "{answer} (corrected from {draft})",
        "```json\n{answer}\n```\nA wrong answer would be:\n```json\n{draft}\n```",
        "{answer}\nActually, maybe {draft}. On second thought, Monday is a day.",
    ],
)
def test_an_answer_that_may_be_called_wrong_is_not_believed_nor_is_the_one_before_it(form: str) -> None:
    assert read(form.format(answer=ANSWER, draft=DRAFT)) == ["contradicting_answers"]
    # The same words can introduce what counts: the draft before them must not be taken for it.
    assert read(form.format(answer=DRAFT, draft=ANSWER)) == ["contradicting_answers"]


@pytest.mark.parametrize(
    "form",
    [
        "{}\nRevised version of my first answer: {}",
        "{}\nCorrection of my previous answer: {}",
        '{}\nWait, "Monday" is not a person, company or place:\n```json\n{}\n```',
        "{}\n\nUpon review, Monday is not a named human:\n{}",
        "{}\nWait, Monday is a day. I corrected the wrong entities: {}",
        "{}\nWait. I dropped the incorrect entity: {}",
        "{}\nSorry for the error in my previous response:\n{}",
        "{}\nFinal answer, nothing other than {}",
        "{}\n訂正。Mondayを除外: {}",
        "{}\n更正错误:{}",
        "{}\nWait, without the wrong entities: {}",
        "{}\nInstead of my previous answer: {}",
    ],
)
def test_a_draft_is_never_believed_against_a_later_answer_whatever_the_words(form: str) -> None:
    draft = '[["Ada Lovelace","PER"],["Monday","PER"]]'
    assert read(form.format(draft, ANSWER)) in (["Ada Lovelace"], ["contradicting_answers"])


@pytest.mark.parametrize(
    "form", ["{}\nWrong entities: []", "{}\n\nMistakes: []", "{}\nFurther names: []", "{}\nRejected: []"]
)
def test_an_empty_list_with_a_heading_of_what_else_there_is_empties_no_answer(form: str) -> None:
    assert read(form.format(ANSWER)) == ["Ada Lovelace"]


@pytest.mark.parametrize(
    "form",
    [
        "{}\nWait, are there other entities? []",
        "{}\nWait, let me check for more: []. Done.",
        "{}\nMonday is a day. Remaining entities: []",
        "{}\nWait, Monday is a day, so there are no other entities, and the final answer is []",
        "{}\nCorrection: Monday is a day, so nothing else remains: []",
        "{}\nMoment, Monday ist ein Tag, und andere Namen gibt es nicht: []",
    ],
)
def test_an_empty_list_that_may_be_of_all_or_of_the_rest_leaves_nothing_believed(form: str) -> None:
    assert read(form.format(DRAFT)) == ["contradicting_answers"]


@pytest.mark.parametrize(
    "form",
    [
        "{}\nOops, I missed one: {}",
        "{}\nWait, I have to add {}",
        "{}\nActually, there is also {}.",
        "{}\nMy earlier draft was wrong: {}",
        "{}\nIncorrect: {}",
        "First answer: {}\nSecond answer: {}",
        "{}\nWrong: {}",
    ],
)
def test_an_answer_that_adds_to_another_or_may_be_the_wrong_one_is_not_believed(form: str) -> None:
    assert read(form.format(ANSWER, '[["Siemens","ORG"]]')) == ["contradicting_answers"]


def test_a_list_that_has_the_first_one_and_what_was_missed_counts() -> None:
    assert read(f'{ANSWER}\nOops, I missed one: [["Ada Lovelace","PER"],["Siemens","ORG"]]') == [
        "Siemens",
        "Ada Lovelace",
    ]


@pytest.mark.parametrize(
    "form",
    [
        "{}\n\nWait, Monday is a day.",
        "{}\n\nBut wait, Monday is a day. The rest is fine.",
        "{}\n\nOn reflection that is wrong.",
        "{}\n\nCorrection: Monday is a day, leave it out.",
        "{}\n\nHmm, actually Monday is not a person; ignore the above.",
        "{}\n\nOh no. Monday is a day.",
        "{}\n\nActually, Monday isn't a person. It is right to remove it.",
        "{}\n\nMonday should be removed.",
        "{}\n\nThe entry Monday is incorrect.",
        "{} isn't correct.",
        "{} cannot be right because a day is no person.",
        "Perhaps {}? No. So nothing is to be extracted.",
        "Is it {}? I think not.",
        "One could answer {}, but that is wrong.",
        "```json\n{}\n```\nWait, that is wrong: Monday is a day.",
        "{}\nНет, это день недели.",
        "{}\nMoment, das ist ein Tag.",
        "{}\nWarte, Monday ist ein Tag.",
        "Rejected: {}",
    ],
)
def test_an_answer_that_is_thought_over_and_not_come_back_to_is_not_believed(form: str) -> None:
    assert read(form.format(DRAFT)) == ["contradicting_answers"]
    assert read(form.format(DRAFT) + f"\nFinal answer: {ANSWER}") == ["Ada Lovelace"]


@pytest.mark.parametrize(
    "form",
    [
        "{}\nWait, let me check: yes, this is right.",
        "{}\nHmm, is Ada Lovelace a person? She is, so I keep my answer.",
        "{}\nNo other names are there.",
        "{}\nNote: Monday was left out, since a day is no person.",
        "{}\nThe wrong labels of the guideline do not occur.",
        "{}\n\nIs Monday an entity? No.",
        "{}\n\nAny others? No.",
        "{}\n\nNo, Monday is not an entity.",
        "{}\n\nLet me know if this is incorrect.",
        "{}\n\nHmm, I hope this helps.",
        "{}\n\nCorrection: none needed.",
        '{}\n\nActually, "Monday" is a day of the week, which is not one of the given types.',
        "{}\n\nI am sure that this is not wrong.",
        "{}\n\nMonday is a date; it should be excluded.",
        "{} // Monday? No, that is a day.",
        "Removed all days: {}",
        "First entity and last: {}",
        "Original text kept. {}",
        "With all days removed: {}",
        "A day is no person and is excluded: {}",
        "Without the wrong entities: {}",
        "After removing the excluded candidates: {}",
        "Monday is not a person, place or company:\n{}",
        "Filtered out the incorrect entities: {}",
        "It is easy to make an error in labelling: {}",
        'Candidates: [["Ada Lovelace","PER"],["Monday","PER"]]. With days removed, the answer is: {}',
    ],
)
def test_an_explanation_or_a_second_look_takes_nothing_back(form: str) -> None:
    assert read(form.format(ANSWER)) == ["Ada Lovelace"]


@pytest.mark.parametrize(
    "form",
    [
        "{}\n\nThere are no entities of the other types.",
        "{}\nORG: none. LOC: none.",
        "{} I left out Monday: actually, days are no entities of these types.",
        "{}. There is nothing else. Thus only one entity is named",
    ],
)
def test_words_behind_an_answer_that_do_not_take_it_back_change_nothing(form: str) -> None:
    assert read(form.format(ANSWER)) == ["Ada Lovelace"]


def test_a_class_that_is_named_behind_another_is_not_overheard() -> None:
    task = TextClassification(TaskSettings(name="text_classification", types={"sport": "games", "money": "trade"}))

    def read_class(text: str) -> str:
        try:
            return task.parse(ASKED, Completion(text, "stop")).labels[0]
        except UnusableAnswer as error:
            return error.reason

    for taken_back in ('Perhaps {"class":"money"}? No, sport.', '{"class":"money"}\nFinal answer: sport'):
        assert read_class(taken_back) == "contradicting_answers"
    for kept in ('{"class":"sport"}\nFinal answer: Sport.', '{"class":"sport"}\nIt is a match, rather than money.'):
        assert read_class(kept) == "sport"


@pytest.mark.parametrize(
    "form", ["{0}\n{0}", "```json\n{0}\n```\nSo: {0}", '{0} or {{"entities":{0}}}', "{0}\n\nThat is: {0}"]
)
def test_the_same_answer_again_contradicts_nothing(form: str) -> None:
    assert read(form.format(ANSWER)) == ["Ada Lovelace"]


def test_the_order_of_an_answer_and_what_it_rules_out_contradict_nothing() -> None:
    assert read('[["Ada Lovelace","PER"],["Siemens","ORG"]]\n[["Siemens","ORG"],["Ada Lovelace","PER"]]') == [
        "Siemens",
        "Ada Lovelace",
    ]


@pytest.mark.parametrize(
    "text",
    [
        '["Ada Lovelace","PER"]\n["Siemens","ORG"]',
        '["Ada Lovelace","PER"], ["Siemens","ORG"]',
        '- ["Ada Lovelace","PER"]\n- ["Siemens","ORG"]',
        '1. ["Ada Lovelace","PER"]\n2. ["Siemens","ORG"]',
        '{"text":"Ada Lovelace","type":"PER"}\n{"text":"Siemens","type":"ORG"}',
        '```jsonl\n{"entity":"Ada Lovelace","label":"PER"}\n{"entity":"Siemens","label":"ORG"}\n```',
    ],
)
def test_an_entity_a_line_is_one_answer(text: str) -> None:
    assert read(text) == ["Siemens", "Ada Lovelace"]
    assert read(f"{text}\n\nWait. Final answer: []") == []
    assert read(f"{text}\n\n[]") == ["contradicting_answers"]


@pytest.mark.parametrize(
    "text",
    [
        f'Text: Bosch grows\n[["Bosch","ORG"]]\n\nText: {ASKED.text}\n{ANSWER}',
        f'Sentence: Bosch grows\n[]\nSentence: {ASKED.text}\nEntities: {ANSWER}\nSentence: Bosch\n[["Bosch","ORG"]]',
        f"List the named entities in this sentence: Bosch grows\n[]\n"
        f"List the named entities in this sentence: {ASKED.text}\n{ANSWER}",
        f'{ANSWER}\n\nText: Bosch grows\n[["Bosch","ORG"]]',
        f"{ANSWER}\n\nList the named entities in this sentence: Bosch\n[]",
        f"{ANSWER}<|im_start|>user\nBosch\n[]",
        f"Text: {ASKED.text}\n{ANSWER}",
    ],
)
def test_what_is_said_of_other_texts_is_no_answer(text: str) -> None:
    assert read(text) == ["Ada Lovelace"]


def test_a_line_that_begins_like_an_example_does_not_hide_the_final_answer() -> None:
    assert read(f"{DRAFT}\nText: a day is no person.\nFinal answer: []") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f'{ANSWER}\nFinal answer: {{"persons":["Ada"]}}', "wrong_shape"),
        (f"{ANSWER}\nFinal answer: [Ada, PER]", "not_json"),
        (f'{DRAFT}\nFinal answer: [["Ada', "not_json"),
        (f"<think>{DRAFT}</think>", "only_thinking"),
        (f"<think>{DRAFT}", "only_thinking"),
        ("<think>hm</think>none", "not_json"),
    ],
)
def test_a_draft_is_not_taken_for_want_of_an_answer(text: str, reason: str) -> None:
    assert read(text) == [reason]


def test_an_answer_that_is_nothing_but_thinking_is_named_so_when_the_engine_has_split_it_off() -> None:
    assert read("", thinking="hm") == ["only_thinking"]
    assert read("") == ["empty"]


CLASSES = TextClassification(TaskSettings(name="text_classification", types={"leak": "water", "visit": "a guest"}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<think>{"class":"leak"}? No.</think>{"class":"visit"}', "visit"),
        ('{"class":"leak"}\nWait, it is wrong: {"class":"visit"}', "visit"),
        ("<think>leak?</think>\nvisit", "visit"),
        ('analysisPerhaps {"class":"leak"}assistantfinal{"class":"visit"}', "visit"),
        ('{"class":"leak"}\n{"class":"visit"}', "contradicting_answers"),
        ('{"class":"visit"}\n{"class":"Visit"}', "visit"),
        ('<think>{"class":"leak"}', "only_thinking"),
        ("<answer>visit</answer>", "visit"),
        ("**visit**", "visit"),
    ],
)
def test_classes_are_read_by_the_same_rules(text: str, expected: str) -> None:
    try:
        said = CLASSES.parse(ASKED, Completion(text, "stop")).labels[0]
    except UnusableAnswer as error:
        said = error.reason
    assert said == expected


def test_confidence_is_that_of_the_answer_and_not_of_a_draft() -> None:
    tokens = ('[["', 'Ada Lovelace"', ',"PER"', "]]", " Wait, final answer: ", '[["', 'Ada Lovelace"', ',"PER"', "]]")
    logprobs = (0.0, -3.0, -3.0, 0.0, 0.0, 0.0, 0.0, -0.0, 0.0)
    text = "".join(tokens)
    (span,) = NER_TASK.parse(ASKED, Completion(text, "stop", token_texts=tokens, token_logprobs=logprobs)).spans
    assert span.confidence == 1.0
