"""A model's chat template renders as transformers renders it, and cannot hang, grow or dig without an end."""

from __future__ import annotations

import time

import pytest
from model_fixtures import CHATML, tiny_llama
from test_template_limits import NEVER_ENDING

from distill_offline.backends.chat import Chat
from distill_offline.backends.thinking_tags import thinking_tags
from distill_offline.errors import BackendError
from distill_offline.schema import Message
from distill_offline.text import template_limits

TURNS = (Message("system", "Rules & <b>"), Message("user", "Zoë said: 'no'."), Message("assistant", "[]"))
DIALECTS = {
    "chatml": CHATML,
    "special tokens": "{{ bos_token }}{% for m in messages %}{{ m['content'] | trim + eos_token }}{% endfor %}",
    "json": "{% for m in messages %}{{ m | tojson }}{{ m | tojson(indent=2, ensure_ascii=True) }}{% endfor %}",
    "whitespace": "{% for m in messages %}\n  {% if loop.first %}\n  first\n  {% endif %}\n{{ m.role }}\n{% endfor %}",
    "a namespace": "{% set s = namespace(n=0) %}{% for m in messages %}{% set s.n = s.n + 1 %}{{ s.n }}{% endfor %}",
    "break and continue": "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.content }}"
    "{% if m.role == 'assistant' %}{% break %}{% endif %}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{% set x=1 %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "what is not there": "{{ nothing }}{% if tools is not none %}tools{% endif %}"
    "{% if messages[0].tool_calls %}x{% endif %}{{ documents is defined }}"
    "{{ add_generation_prompt }}{{ enable_thinking }}",
    "macros and slices": "{% macro m(a) %}<{{ a }}>{% endmacro %}{% for x in messages[1:] | reverse %}"
    "{{ m(x.content) }}{% endfor %}{{ messages | length }}{{ messages[::-1][0].role.upper() }}",
    "methods": "{% for m in messages %}{{ m.content.split(':')[0].strip() ~ '|' ~ m.get('x', 'y') }}"
    "{{ m.items() | list }}{% endfor %}{{ messages | map(attribute='role') | join(',') }}",
    "the year": "{{ strftime_now('%Y') }}",
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> object:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(tiny_llama(tmp_path_factory.mktemp("model"))))


@pytest.mark.parametrize("template", DIALECTS.values(), ids=DIALECTS)
def test_a_chat_template_renders_as_transformers_renders_it(tokenizer: object, template: str) -> None:
    theirs = tokenizer.apply_chat_template(  # type: ignore[attr-defined]
        [{"role": turn.role, "content": turn.content} for turn in TURNS],
        chat_template=template,
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,
    )
    chat = Chat(tokenizer, template=template)
    assert chat._apply(TURNS) == theirs
    assert theirs


@pytest.mark.parametrize("body", NEVER_ENDING.values(), ids=NEVER_ENDING)
@pytest.mark.attack("templates without an end")
def test_a_chat_template_without_an_end_is_refused(
    tokenizer: object, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_limits, "_STEPS", 20_000)
    monkeypatch.setattr(template_limits, "_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(BackendError, match="chat template does not render"):
        Chat(tokenizer, template=body)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "body", ["{% if 1 %}" * 300 + "{% endif %}" * 300, "{{ " + "(" * 5000 + ")" * 5000 + " }}", "{% if %}"]
)
@pytest.mark.attack("templates without an end")
def test_a_chat_template_that_does_not_compile_is_refused(tokenizer: object, body: str) -> None:
    with pytest.raises(BackendError, match="chat template does not render"):
        Chat(tokenizer, template=body)


def test_a_conversation_on_which_an_expression_fails_is_an_error_of_the_template_without_the_text(
    tokenizer: object,
) -> None:
    from jinja2 import TemplateError

    chat = Chat(tokenizer, template="{{ {'Hello': 1}.get(messages[0].content, messages[0].content) + 1 }}")
    with pytest.raises(TemplateError, match="an expression of it fails") as caught:
        chat.render((Message("user", "Ada Lovelace"),))
    assert "Ada" not in str(caught.value)


def test_a_template_that_never_ends_is_found_out_before_an_engine_renders_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_limits, "_STEPS", 2_000)
    with pytest.raises(template_limits.LimitReached, match="more than 2,000 steps"):
        thinking_tags(CHATML + NEVER_ENDING["an empty loop"], thinking=False)


@pytest.mark.parametrize(
    "body",
    [
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='x') }}",
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__globals__['datetime'] }}",
        "{{ self._TemplateReference__context.environment }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ '%s' | format | attr('__class__') | attr('__mro__') }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{% include '/etc/passwd' %}",
    ],
)
@pytest.mark.attack("templates without an end")
def test_what_a_template_has_no_business_with_stays_hidden(tokenizer: object, body: str) -> None:
    shown, problem = "", "the chat template does not render"
    try:
        shown = Chat(tokenizer, template=body).render((Message("user", "T"),))
    except BackendError as error:
        problem = str(error)
    assert shown == ""
    assert "the chat template does not render" in problem
