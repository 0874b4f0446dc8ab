"""Prompt templates that loop, grow or nest without an end: refused within seconds, with file and line."""

from __future__ import annotations

import resource
import threading
import time
from pathlib import Path

import pytest

from distill_offline.config.settings import TaskSettings
from distill_offline.errors import ConfigError
from distill_offline.tasks.prompting import PromptTemplate
from distill_offline.text import template_limits

WHOLE = '{% set answer = "pairs" %}\n{% block system %}Rules.{% endblock %}\n{% block user %}BODY{% endblock %}\n'


def template(folder: Path, body: str, text: str = WHOLE) -> PromptTemplate:
    file = folder / "site.jinja"
    file.write_text(text.replace("BODY", body))
    return PromptTemplate(TaskSettings(types={"PER": "a human"}, prompt=str(file)), ("pairs",))


NEVER_ENDING = {
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}.{% endfor %}{% endfor %}",
    "an empty loop": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a list that grows": "{% set l = [1] %}{% for a in l %}{% if l.append(a) %}{% endif %}{% endfor %}",
    "a macro in loops": "{% macro m() %}x{% endmacro %}{% for a in range(99999) %}{% for b in range(9) %}{{ m() }}"
    "{% endfor %}{% endfor %}",
    "a large number of times": "{{ 'x' * 10 ** 10 }}",
    "times a list": "{{ [0] * 10 ** 9 }}",
    "times, the other way": "{{ 10 ** 10 * 'x' }}",
    "doubling by ~": "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "doubling by +": "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "doubling lists": "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "doubling by replace": "{% set n = namespace(s='x') %}{% for i in range(60) %}"
    "{% set n.s = n.s | replace('x', 'xx') %}{% endfor %}",
    "doubling by a block": "{% set a %}xxxxxxxxxx{% endset %}{% set b %}{% for i in range(999) %}{{ a }}{% endfor %}"
    "{% endset %}{% set c %}{% for i in range(9999) %}{{ b }}{% endfor %}{% endset %}{{ c }}",
    "doubling by join": "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = [n.s, n.s] | join %}"
    "{% endfor %}",
    "lists in lists": "{% set n = namespace(l=['xxxxxxxxxx']) %}{% for i in range(40) %}{% set n.l = [n.l, n.l] %}"
    "{% endfor %}{{ n.l }}",
    "center": "{{ 'x' | center(10 ** 10) }}",
    "a method that fills": "{{ 'x'.ljust(10 ** 10) }}",
    "a method that replaces": "{{ ('x' * 99999).replace('x', 'y' * 99999) }}",
    "tabs": "{{ '\t'.expandtabs(10 ** 9) }}",
    "a wide format": "{{ '{:9999999999}'.format(1) }}",
    "a format whose width is given": "{{ '{:{w}}'.format(1, w=10 ** 9) }}",
    "a wide %": "{{ '%9999999999d' % 1 }}",
    "a % whose width is given": "{{ '%*d' % (10 ** 9, 1) }}",
    "a wide format filter": "{{ '%9999999999d' | format(1) }}",
    "indent": "{{ 'a\nb' | indent(10 ** 9) }}",
    "lorem ipsum": "{{ lipsum(n=10 ** 6) }}",
    "a power": "{{ 9 ** (9 ** 9) }}",
    "a product": "{% set n = namespace(s=9) %}{% for i in range(99) %}{% set n.s = n.s * n.s %}{% endfor %}",
    "a range": "{{ range(10 ** 10) | list }}",
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "macros that call each other": "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}"
    "{{ a() }}",
    "a recursive loop": "{% for a in [[1]] recursive %}{{ loop([a]) }}{% endfor %}",
    "two lists in lists compared": "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(40) %}"
    "{% set n.a = [n.a, n.a] %}{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a == n.b }}",
    "a list sought in lists in lists": "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(40) %}"
    "{% set n.a = [n.a, n.a] %}{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a is in [n.b] }}",
    "each of a list sought in it": "{% set l = range(99999) | list %}{{ l | select('in', l | reverse | list) | list }}",
    "many comments": "{{ ('<!---->' * 500000) | striptags }}",
    "itself": "{% include 'site.jinja' %}",
}  # fmt: skip


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the limits, to spare the test's time."""
    monkeypatch.setattr(template_limits, "_STEPS", 20_000)
    monkeypatch.setattr(template_limits, "_SECONDS", 0.5)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("body", NEVER_ENDING.values(), ids=NEVER_ENDING)
@pytest.mark.attack("templates without an end")
def test_a_template_without_an_end_is_refused_with_its_file_and_line(tmp_path: Path, body: str) -> None:
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError, match=r"task\.prompt: .*site\.jinja:\d+: "):
        template(tmp_path, body)
    assert time.monotonic() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10  # in kB


@pytest.mark.parametrize(
    "body", ["{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "{% if 1 %}" * 300 + "{% endif %}" * 300]
)
@pytest.mark.attack("templates without an end")
def test_a_template_that_is_nested_too_deeply_is_refused(tmp_path: Path, body: str) -> None:
    with pytest.raises(ConfigError, match=r"site\.jinja: (it is nested too deeply|too many)"):
        template(tmp_path, body)


@pytest.mark.usefixtures("few")
def test_a_limit_is_reached_in_any_thread_and_begins_anew_each_time(tmp_path: Path) -> None:
    made = template(tmp_path, "{% for a in range(text | length) %}{% for b in range(1500) %}{% endfor %}{% endfor %}ok")
    found: list[str] = []

    def ask(text: str) -> None:
        try:
            found.append(made.user(text))
        except ConfigError as error:
            found.append(str(error))

    for text in ("a" * 9, "a" * 9, "a" * 99):
        thread = threading.Thread(target=ask, args=(text,))
        thread.start()
        thread.join()
    assert found[:2] == ["ok", "ok"]
    assert "site.jinja:3: more than 20,000 steps" in found[2]
    assert "aaa" not in found[2]


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("{{ text }}", "Ada"),
        ("{{ text ~ '!' ~ 1 }}", "Ada!1"),
        ("{% for name, what in types.items() %}- {{ name }}: {{ what }}\n{% endfor %}", "- PER: a human"),
        ("{{ types | tojson(indent=2) }}", '{\n  "PER": "a human"\n}'),
        ("{{ '%-5s|%d' % (text, 3) }}", "Ada  |3"),
        ("{{ '[{:>5}|{}'.format(text, 3) }}", "[  Ada|3"),
        ("{{ '%s %s' | format(text, 3) }}", "Ada 3"),
        ("{{ types | join(', ') }}{{ types.keys() | list | length }}", "PER1"),
        ("{% macro m(a, b) %}{{ a }}-{{ b }}{% endmacro %}{{ m(text, text) }}", "Ada-Ada"),
        ("{{ '-' * 5 }}{{ 2 ** 8 }}{{ 7 % 4 }}{{ 1 + 1.5 }}", "-----25632.5"),
        ("{{ text | upper | replace('A', 'B') | center(9) | trim }}", "BDB"),
        ("{{ [text, text] | map('lower') | join('/') }}", "ada/ada"),
        ("{% set a %}{{ text }}{% endset %}{% filter upper %}{{ a }}{% endfilter %}", "ADA"),
        ("{{ types | dictsort | first | last | indent(2) }}", "a human"),
        ("{% call(x) m() %}{{ x }}{% endcall %}{% macro m() %}{{ caller(text) }}{% endmacro %}", "Ada"),
    ],
)
def test_what_templates_do_is_as_it_was(tmp_path: Path, body: str, shown: str) -> None:
    if "{% call" in body:  # a macro is defined before it is called
        body = body.partition("{% macro")[1] + body.partition("{% macro")[2] + body.partition("{% macro")[0]
    assert template(tmp_path, body).user("Ada") == shown


def test_a_long_text_fits_easily(tmp_path: Path) -> None:
    made = template(tmp_path, "{{ before }}\n{{ text | indent(4) }}{{ text | replace('a', 'b') }}")
    assert len(made.user("a\n" * 250_000, "before " * 1000)) > 1_000_000


def test_a_truth_value_is_no_number_of_words(tmp_path: Path) -> None:
    made = template(tmp_path, "x", "{% set max_words = true %}" + WHOLE)
    with pytest.raises(ConfigError, match="max_words must be a whole number"):
        made.whole_number("max_words")
