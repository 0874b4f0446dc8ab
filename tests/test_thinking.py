"""Thoughts are told from answers, whatever form a model gives them."""

from __future__ import annotations

import time

import pytest

from distill_offline.backends.thinking_tags import thinking_tags
from distill_offline.text.thinking import Tags, answer_part, split_thinking

DRAFT, ANSWER = '[["Monday","PER"]]', "[]"

FORMS = [
    "<think>\n{}\n</think>\n\n{}",
    "<think>{}</think>{}",
    "<THINK>{}</Think>{}",
    '<think effort="high">{}</think>{}',
    "{}</think>{}",
    "<thinking>{}</thinking>{}",
    "<thought>{}</thought>{}",
    "<reasoning>{}</reasoning>{}",
    "<reflection>{}</reflection>{}",
    "<scratchpad>{}</scratchpad>{}",
    "<analysis>{}</analysis>{}",
    "<inner_monologue>{}</inner_monologue>{}",
    "<seed:think>{}</seed:think>{}",
    "<|think|>{}<|/think|>{}",
    "<thinking_start>{}<thinking_end>{}",
    "[THINK]{}[/THINK]{}",
    "{}[/THINK]{}",
    "◁think▷{}◁/think▷{}",
    "<|begin_of_thought|>{}<|end_of_thought|>\n\n{}",
    "<|START_THINKING|>{}<|END_THINKING|>{}",
    "<|inner_prefix|>{}<|inner_suffix|>{}",
    "<|channel>thought\n{}<channel|>{}",
    "<unused94>thought\n{}<unused95>{}",
    "&lt;think&gt;{}&lt;/think&gt;{}",
    "Here is my thought process:\n{}\n\nHere is my response:\n\n{}",
    "Thinking...\n{}\n...done thinking.\n\n{}",
    "Thinking…\n{}\n…done thinking\n{}",
    '<details type="reasoning" done="true">\n<summary>Thought for 7 seconds</summary>\n> {}\n</details>\n{}',
    "<details>\n<summary>🧠 Thinking</summary>\n{}\n</details>\n{}",
    "Thinking...\r\n{}\r\n...done thinking.\r\n\r\n{}",
    "\ufeff<details type='reasoning'>{}</details>\n{}",
    "Sure.\n<details type='reasoning'>{}</details>\n{}",
    "<details><summary><b>Show reasoning</b></summary>{}</details>\n{}",
    "<details type='reasoning'>One could write </details> here. {}</details>\n{}",
    "<details type='reasoning'><details><summary>x</summary>y</details>{}</details>\n{}",
    "<details open>\n<details type='reasoning'>{}</details>\n{}\n</details>",
    "<details type='tool_calls'></details><details type='reasoning'>{}</details>{}",
    "[THINK]Draft: ```json\n{}\n```[/THINK]```json\n{}\n```",
    'I think of "sport"</think>"{}" </think>{}',
    "<details type='reasoning'>one</details>\n<details type='reasoning'>{}</details>\n{}",
    "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>{}",
    "{}<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|>",
    "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>{}",
    "<|start|>assistant<|channel|>commentary<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>{}",
    "analysis{}assistantfinal{}",
    "analysis\n{}\nassistant\nfinal\n{}",
    "Perhaps {}assistantfinal{}",
    "<think>one <think>in the</think> other {}</think>{}",
    "<think>What would <think> be here? {}</think>{}",
    '<think>"</think>" is a tag, {}</think>{}',
    "<think>`</think>` is a tag, {}</think>{}",
    "<think>twice</think><think>{}</think>{}",
    "<thinking>{}</thinking>{}</thinking>",
]


@pytest.mark.parametrize("form", FORMS)
def test_what_a_model_thinks_is_no_part_of_its_answer(form: str) -> None:
    said = form.format(f"Perhaps {DRAFT}? No.", ANSWER)
    for answer in (split_thinking(said)[1], answer_part(said), answer_part(split_thinking(said)[1])):
        assert DRAFT not in answer
        assert ANSWER in answer
    thinking, _ = split_thinking(said)
    assert DRAFT in thinking


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_that_holds_the_very_tags_is_whole(form: str) -> None:
    tagged = '[["</think>","PER"],["<|channel|>","PER"],["assistantfinal","PER"],["[/THINK]","PER"]]'
    said = form.format("hm", tagged)
    assert tagged in split_thinking(said)[1]
    assert tagged in answer_part(said)


@pytest.mark.parametrize(
    "said",
    [
        f"<think>Perhaps {DRAFT}",
        f"<THINKING>\nPerhaps {DRAFT}",
        f"[THINK]Perhaps {DRAFT}",
        f"◁think▷Perhaps {DRAFT}",
        f"<|begin_of_thought|>{DRAFT}",
        f"<|START_THINKING|>{DRAFT}",
        f"<|channel>thought\n{DRAFT}",
        f"thought\nPerhaps {DRAFT}",
        f"<|channel|>analysis<|message|>Perhaps {DRAFT}<|end|>",
        f"<|channel|>commentary<|message|>{DRAFT}<|end|>",
        f"analysisPerhaps {DRAFT}. A day is no person.",
        f"Well, <think>perhaps {DRAFT}",
        f"<think>a</think>{DRAFT}<think>or not",
        f"<think>{DRAFT}</think>",
        f"{DRAFT}</think>",
        f"Thinking...\n{DRAFT}",
        f'<details type="reasoning" done="false">\n{DRAFT}',
    ],
)
def test_a_thought_that_has_no_end_or_nothing_behind_it_is_no_answer(said: str) -> None:
    assert answer_part(said).strip() == ""
    assert answer_part(split_thinking(said)[1]).strip() == ""


@pytest.mark.parametrize(
    "said",
    [
        "[]",
        ' [["a <think> tag","PER"]]',
        '[["</think>","PER"],["<think>","PER"]]',
        '{"decisions":[["<|channel|>final<|message|>","PER","a tag"]]}',
        'The tag "<think>" is no entity: []',
        "an analysis of [the text]: []",
        "analysis: []",
        "I think, and my reasoning is short: []",
        "<details><summary>Answer</summary>[]</details>",
        "<details open>[]</details>",
        "<details><summary>Answer after thinking</summary>[]</details>",
        "<details><summary>I think these are the entities</summary>[]</details>",
        "<details><summary>Reasoned answer</summary>[]</details>",
        "[]\n\nThinking...\n",
        "[]\n\nNote: the text doesn't close '<think>'.",
        "Here's the answer; '</think>' is markup: []",
        'The 5" pipe has "<think>" on it: []',
        "It has ``<think>`` and ```</think>``` in it: []",
        '[["<details type=\'reasoning\'>","PER"]]',
        'Behind `<details type="reasoning">` there is no entity: []',
    ],
)
def test_an_answer_without_thoughts_stays_as_it_is(said: str) -> None:
    assert split_thinking(said) == ("", said)
    assert answer_part(said) == said


def test_tags_in_a_repetition_of_the_text_are_spoken_of() -> None:
    asked = "Write <think> before you answer."
    assert answer_part(f"{asked} No entity: []", asked) == f"{asked} No entity: []"
    assert answer_part(f"<think>{asked}</think>[]", asked).strip() == "[]"


def test_tags_of_the_models_own_template_count() -> None:
    tags = Tags("<mull>", "</mull>")
    assert split_thinking(f"<mull>{DRAFT}</mull>[]", tags) == (DRAFT, "[]")
    assert split_thinking(f"{DRAFT}</mull>[]", tags) == (DRAFT, "[]")
    assert split_thinking(f"<mull>{DRAFT}", tags) == (DRAFT, "")
    assert split_thinking('[["</mull>","PER"]]', tags) == ("", '[["</mull>","PER"]]')
    assert split_thinking(f"<think>{DRAFT}</think>[]", tags) == (DRAFT, "[]")


def test_a_thought_that_the_prompt_began_and_nothing_ends_is_all_thinking() -> None:
    begun = Tags(is_begun=True)
    assert split_thinking(f"Perhaps {DRAFT}", begun) == (f"Perhaps {DRAFT}", "")
    assert split_thinking(f"Perhaps {DRAFT}</think>[]", begun) == (f"Perhaps {DRAFT}", "[]")
    # An engine that enforces a schema gives JSON and nothing else.
    assert split_thinking(DRAFT, begun) == ("", DRAFT)


TURNS = "{% for m in messages %}<|{{ m.role }}|>\n"
SAID = "{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>\n"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (TURNS + SAID + "{% endif %}", Tags()),
        (TURNS + SAID + "{% if enable_thinking %}<think>\n{% endif %}{% endif %}", Tags(is_begun=True)),
        (TURNS + SAID + "<think>\n\n</think>{% endif %}", Tags()),
        (TURNS + SAID + "<|channel|>analysis<|message|>{% endif %}", Tags(is_begun=True)),
        (
            TURNS
            + "{% if m.reasoning_content %}<mull>{{ m.reasoning_content }}</mull>{% endif %}"
            + SAID
            + "{% endif %}",
            Tags("<mull>", "</mull>"),
        ),
        (
            TURNS + "{% if m.thinking %}<mull>{{ m.thinking }}</mull>{% endif %}" + SAID + "<mull>{% endif %}",
            Tags("<mull>", "</mull>", is_begun=True),
        ),
        (TURNS + "{% if m.reasoning %}{{ m.reasoning }}[/MULL]{% endif %}" + SAID + "{% endif %}", Tags("", "[/MULL]")),
        (TURNS + SAID + "{% endif %}{% set x = '' .split('</mull>') %}", Tags("", "</mull>")),
        (TURNS + "{% if m.thought %}<think>{{ m.thought }}</think>{% endif %}" + SAID + "{% endif %}", Tags()),
        ("{{ raise_exception('no') }}{% set x = y.split('</mull>') %}", Tags("", "</mull>")),
        ("{% no jinja", Tags()),
    ],
)
def test_a_chat_template_says_how_its_model_thinks(template: str, expected: Tags) -> None:
    assert thinking_tags(template, thinking=True) == expected


@pytest.mark.parametrize(
    "said",
    [
        "<think>" * 140_000,
        "</think>" * 120_000,
        "<think></think>" * 65_000,
        "<think " * 140_000,
        "<" + " " * 900_000,
        "<|channel|>" * 90_000,
        "<|channel|>final<|message|>" * 40_000,
        "assistantfinal" * 70_000,
        '["<think>",' * 90_000,
        '["a", ' * 160_000 + "<think>",
        "{<think>" * 120_000,
        "`<think>`" * 100_000,
        "[" * 900_000 + "<think>",
    ],
    ids=lambda said: f"{said[:12]!r} and so on",
)
@pytest.mark.slow
def test_a_megabyte_of_tags_costs_no_more_than_its_length(said: str) -> None:
    start = time.process_time()
    answer_part(said)
    assert time.process_time() - start < 3
