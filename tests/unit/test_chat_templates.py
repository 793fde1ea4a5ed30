"""Chat templates are programs of strangers: they end, soon, and within bounds."""

from __future__ import annotations

import time
from typing import Any

import pytest
from jinja2.exceptions import SecurityError
from transformers.utils.chat_template_utils import render_jinja_template

from samdan.lm import templates
from samdan.lm.templates import Template, TemplateLimit

MESSAGES = [
    {"role": "system", "content": "짧게."},
    {"role": "user", "content": " 안녕? "},
    {"role": "assistant", "content": "네, 안녕하세요.\n둘째 줄"},
]
BOMBS = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "loops that write": "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}"
    "{% endfor %}",
    "range": "{% for a in range(10 ** 9) %}{% endfor %}",
    "times": "{{ 'a' * 10 ** 10 }}",
    "times of messages": "{{ messages[0].content * 10 ** 10 }}",
    "a list times": "{{ ([1] * 10 ** 10) | length }}",
    "number": "{{ 9 ** 9 ** 9 ** 9 ** 9 ** 9 }}",
    "number by number": "{% set n = namespace(x=99) %}{% for a in range(99) %}"
    "{% set n.x = n.x * n.x %}{% endfor %}",
    "doubling by ~": "{% set n = namespace(x='aa') %}{% for a in range(64) %}"
    "{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling by +": "{% set n = namespace(x='aa') %}{% for a in range(64) %}"
    "{% set n.x = n.x + n.x %}{% endfor %}",
    "doubling a list": "{% set n = namespace(x=[1]) %}{% for a in range(64) %}"
    "{% set n.x = n.x + n.x %}{% endfor %}",
    "doubling by replace": "{% set n = namespace(x='aa') %}{% for a in range(64) %}"
    "{% set n.x = n.x.replace('a', 'aa') %}{% endfor %}",
    "replace filter": "{% set n = namespace(x='aa') %}{% for a in range(64) %}"
    "{% set n.x = n.x | replace('a', 'aa') %}{% endfor %}",
    "doubling a block": "{% set x = 'ab' %}"
    + "".join("{% set x %}{{ x }}{{ x }}{% endset %}" for _ in range(64)),
    "join": "{% set n = namespace(x='aa') %}{% for a in range(64) %}"
    "{% set n.x = [n.x, n.x] | join(n.x) %}{% endfor %}",
    "join method": "{% set n = namespace(x='aa') %}{% for a in range(64) %}"
    "{% set n.x = n.x.join([n.x, n.x]) %}{% endfor %}",
    "center": "{{ 'a' | center(10 ** 9) }}",
    "ljust": "{{ messages[0].role.ljust(1000000000) }}",
    "percent": "{{ '%1000000000d' % 3 }}",
    "star": "{{ '%*d' | format(1000000000, 3) }}",
    "format": "{{ '{:>1000000000}'.format('a') }}",
    "format by value": "{{ '{:>{}}'.format('a', 1000000000) }}",
    "indent": "{{ 'a\nb' | indent(10 ** 9) }}",
    "batch": "{{ [1] | batch(10 ** 8, 'x') | list | length }}",
    "tojson": "{{ messages | tojson(indent=10 ** 9) }}",
    "macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
    "{{ m(60) }}",
    "recursive loop": "{% for a in range(99) recursive %}{{ loop(range(99)) }}{% endfor %}",
    "lazy": "{% for a in range(99999) | map('string') %}{% for b in range(99999) | select %}"
    "{% endfor %}{% endfor %}",
    "long": "{# " + "x" * 1_000_001 + " #}",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_template_without_end_ends(bomb: str) -> None:
    start = time.thread_time()
    with pytest.raises((TemplateLimit, OverflowError, RecursionError, ArithmeticError)):
        Template(BOMBS[bomb]).render(MESSAGES, add_generation_prompt=False)
    assert time.thread_time() - start < 2 * templates.MAX_SECONDS


@pytest.mark.parametrize(
    "escape",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append({}) }}",
        "{{ raise_exception.__globals__ }}",
        "{{ namespace.__init__.__globals__['sys'] }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ '{0.__class__.__init__}'.format(messages) }}",
        "{{ messages | attr('__class__') }}",
    ],
)
def test_a_template_reaches_nothing(escape: str) -> None:
    try:
        found = Template(escape).render(MESSAGES)
    except (SecurityError, AttributeError, TypeError, ValueError):
        return
    except Exception as error:  # Jinja's own class for what is undefined
        assert type(error).__name__ == "UndefinedError"  # noqa: PT017
        return
    assert found == ""


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ loop.index }}/{{ loop.length }} {{ loop.last }} {{ m.role }}: "
        "{{ m['content'] | trim }}{{ '\\n' if not loop.last }}{% endfor %}"
        "{% if add_generation_prompt %}{{ bos_token ~ '>' }}{% endif %}",
        "{% for m in messages[::-1] if m.role != 'system' %}{{ loop.revindex0 }}{{ loop.previtem }}"
        "{{ m | tojson }}{% else %}none{% endfor %}",
        "{% macro show(m) %}[{{ m.content.split('\\n')[-1] }}]{% endmacro %}"
        "{% for m in messages | rejectattr('role', 'equalto', 'system') %}{{ show(m) }}"
        "{% endfor %}",
        "{% set ns = namespace(n=0, seen='') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
        "{% set ns.seen = ns.seen + m.role ~ ns.n %}{% if ns.n == 2 %}{% continue %}{% endif %}"
        "{% endfor %}{{ ns.seen }} {{ 7 % 3 }}"
        " {{ '%s-%d' % ('a', 3) }} {{ 2 ** 8 }} {{ 'ab' * 2 }}",
        "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}"
        "{{ messages | map(attribute='role') | join(', ') }} {{ messages | length }}"
        "{% for a in range(messages | length) %}{{ a }}{% endfor %}",
        "{% generation %}{{ messages[2].content | upper | replace('\\n', ' ') }}{% endgeneration %}"
        "{{ 'a\\nb' | indent(2) }} {{ {'b': 1, 'a': 2} | dictsort }}{{ dict(a=1) }}",
    ],
)
def test_an_ordinary_template_gives_what_transformers_gives(template: str) -> None:
    values: dict[str, Any] = {"add_generation_prompt": True, "bos_token": "<s>"}
    theirs, _ = render_jinja_template([MESSAGES], chat_template=template, **values)
    assert Template(template).render(MESSAGES, **values) == theirs[0]


def test_a_budget_is_for_one_conversation() -> None:
    made = Template("{% for m in messages %}{% for a in range(2000) %}{% endfor %}{% endfor %}ok")
    for _ in range(200):
        assert made.render(MESSAGES) == "ok"


def test_what_messages_hold_may_be_long() -> None:
    long = [{"role": "user", "content": "가" * 3_000_000}, {"role": "assistant", "content": "나"}]
    made = Template("{% for m in messages %}{{ m.content.strip() + '\\n' }}{% endfor %}")
    assert len(made.render(long)) == 3_000_003
