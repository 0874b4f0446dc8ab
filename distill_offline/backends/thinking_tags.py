"""What a model's own chat template says of its thoughts: uncommon tags around them, and whether prompts begin one."""

from __future__ import annotations

import re
from dataclasses import replace

import jinja2

from distill_offline.backends.chat_template import ChatTemplate
from distill_offline.text.template_limits import LimitReached
from distill_offline.text.thinking import Tags, ends_within_thought, is_known

__all__ = ["thinking_tags"]

_QUESTION, _THOUGHT, _ANSWER = "distill-offline-question", "distill-offline-thought", "distill-offline-answer"
_FIELDS = ("reasoning_content", "reasoning", "thinking", "thought", "thoughts")
_TAG_AT_END = re.compile(r"(?:<[^<>\s]{1,60}>|\[[^\[\]\s]{1,40}\]|◁[^◁▷\s]{1,40}▷)\s*\Z")
_CLOSING = re.compile(r"[<\[◁][^<>\[\]◁▷\s]{0,20}(?:/|end)[^<>\[\]◁▷\s]{1,40}[>\]▷]", re.IGNORECASE)
_SPLIT = re.compile(r"""\.split\(\s*(['"])([^'"]{3,60})\1""")


def thinking_tags(template: str, *, thinking: bool) -> Tags:
    """What a Jinja chat template says of thoughts. `thinking` is handed to it as `enable_thinking`.

    The tags are found out by rendering a turn that has a thought, else from where the template itself cuts a turn
    (`.split("</x>")`); those that text/thinking.py knows are left out. Raises LimitReached.
    """
    try:
        compiled = ChatTemplate(template)
        tags = _rendered(compiled, thinking)
        begun = ends_within_thought(_opening(compiled, thinking, tags))
    except LimitReached:
        raise
    except jinja2.TemplateError:
        tags, begun = None, False
    if tags is None:
        ends = (match[2].strip() for match in _SPLIT.finditer(template))
        tags = next((Tags("", end) for end in ends if _CLOSING.fullmatch(end)), Tags())
    return Tags(is_begun=begun) if not tags.close or is_known(tags.close) else replace(tags, is_begun=begun)


def _rendered(compiled: ChatTemplate, thinking: bool) -> Tags | None:
    before, _, behind = _turn(compiled, thinking, dict.fromkeys(_FIELDS, _THOUGHT)).partition(_THOUGHT)
    between, answered, _ = behind.partition(_ANSWER)
    close = between.replace(_THOUGHT, "").strip()
    if not answered or not _CLOSING.search(close):
        return None
    opening = _TAG_AT_END.search(before)
    name = opening[0].strip() if opening else ""
    # The heading of every turn of the assistant's opens no thought.
    is_heading = _turn(compiled, thinking, {}).partition(_ANSWER)[0].rstrip().endswith(name)
    return Tags("" if is_heading else name, close)


def _opening(compiled: ChatTemplate, thinking: bool, tags: Tags | None) -> str:
    """What a prompt ends with behind the question; an uncommon tag that opens a thought as a common one."""
    prompt = _render(compiled, [{"role": "user", "content": _QUESTION}], is_prompt=True, thinking=thinking)
    prompt = prompt.rpartition(_QUESTION)[2]
    if tags is not None and tags.open and not is_known(tags.close):
        return prompt.replace(tags.open, "<think>").replace(tags.close, "</think>")
    return prompt


def _turn(compiled: ChatTemplate, thinking: bool, thought: dict[str, str]) -> str:
    messages = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER, **thought}]
    return _render(compiled, messages, is_prompt=False, thinking=thinking)


def _render(compiled: ChatTemplate, messages: list[dict[str, str]], *, is_prompt: bool, thinking: bool) -> str:
    return compiled.render(
        bos_token="", eos_token="", messages=messages, add_generation_prompt=is_prompt, enable_thinking=thinking
    )
