"""Templates that do too much end in seconds, in any thread."""

from __future__ import annotations

import threading

import pytest

from textgym.errors import CheckpointError
from textgym.text.chat import ChatTemplate
from textgym.types import Message

HOSTILE = {
    "nested loops": "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
    "silent loops": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "filters": "{% for i in range(100000) %}{{ range(100000) | map('string') | join | length }}{% endfor %}",
    "multiplied text": "{{ 'x' * 10000000000 }}",
    "multiplied list": "{% for i in [0] * 10000000000 %}{% endfor %}",
    "power": "{{ 10 ** (10 ** 10) }}",
    "square": "{% set n = namespace(x=10) %}{% for i in range(90) %}{% set n.x = n.x * n.x %}{% endfor %}{{ n.x }}",
    "doubled by +": "{% set n = namespace(x='ab') %}{% for i in range(90) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "doubled by ~": "{% set n = namespace(x='ab') %}{% for i in range(90) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubled by set": "{% set n = namespace(x='ab') %}{% for i in range(90) %}{% set n.x %}{{ n.x }}{{ n.x }}"
    "{% endset %}{% endfor %}",
    "doubled by replace": "{% set n = namespace(x='aa') %}{% for i in range(90) %}{% set n.x = n.x.replace('a', 'aa')"
    " %}{% endfor %}",
    "doubled by a filter": "{% set n = namespace(x='aa') %}{% for i in range(90) %}{% set n.x = n.x|replace('a', n.x)"
    " %}{% endfor %}",
    "doubled by join": "{% set n = namespace(x='aa') %}{% for i in range(90) %}{% set n.x = n.x.join([n.x, n.x])"
    " %}{% endfor %}",
    "doubled by format": "{% set n = namespace(x='aa') %}{% for i in range(90) %}{% set n.x = '{0}{0}'.format(n.x) %}"
    "{% endfor %}",
    "doubled by %": "{% set n = namespace(x='aa') %}{% for i in range(90) %}{% set n.x = '%(x)s%(x)s' % {'x': n.x} %}"
    "{% endfor %}",
    "kept slices": "{% set n = namespace(x='a' * 100000, l=[]) %}{% for i in range(100000) %}{% set n.l = n.l "
    "+ [n.x[1:]] %}{% endfor %}",
    "wide": "{{ 'x'.center(10000000000) }}",
    "wide filter": "{{ 'x' | center(10000000000) }}",
    "wide format": "{{ '%10000000000d' % 1 }}",
    "wide braces": "{{ '{:10000000000}'.format(1) }}",
    "wide indent": "{{ ('\n' * 100000) | indent(99999) }}",
    "wide json": "{{ [1, 2] | tojson(indent=10000000000) }}",
    "deep json": "{% set n = namespace(x=[1] * 100000) %}{% for i in range(400) %}{% set n.x = [n.x] %}{% endfor %}"
    "{{ n.x | tojson(indent=90000) }}",
    "separated json": "{{ [[1] * 100000] | tojson(separators=('x' * 100000, 'y')) }}",
    "same list again": "{% set n = namespace(x=[1]) %}{% for i in range(90) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
    "{{ n.x }}",
    "same list times two": "{% set n = namespace(x=[1]) %}{% for i in range(90) %}{% set n.x = [n.x] * 2 %}{% endfor %}"
    "{{ n.x | tojson }}",
    "same dict again": "{% set n = namespace(x={}) %}{% for i in range(90) %}{% set n.x = dict(a=n.x, b=n.x) %}"
    "{% endfor %}{{ n.x | string }}",
    "same namespace again": "{% set n = namespace(x=1) %}{% for i in range(90) %}{% set n.x = namespace(a=n.x, b=n.x)"
    " %}{% endfor %}{{ n.x }}",
    "namespaces in a list": "{% set n = namespace(x=1) %}{% for i in range(90) %}{% set n.x = namespace(a=n.x, b=n.x)"
    " %}{% endfor %}{{ [n.x] | join }}",
    "same text again": "{% set x = 'x' * 1000000 %}{{ ([x] * 10000) | tojson }}",
    "same text printed": "{% set x = 'x' * 1000000 %}{{ [x] * 10000 }}",
    "slow filter": "{{ ('<!---->' * 1000000) | striptags }}",
    "slow codec": "{{ ('é' * 1000000).encode('punycode') }}",
    "batch": "{{ [1] | batch(10000000000, 'x') | list }}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "branching recursion": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "recursive loop": "{% for i in [[[]]] recursive %}{{ loop(messages) }}{{ loop(messages) }}{% endfor %}",
    "lorem": "{{ lipsum(n=10000000) }}",
    "brackets": "{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}",
    "blocks": "{% if 1 %}" * 20_000,
    "source": "x" * 2**20,
    "internals": "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "format internals": "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "changed input": "{{ messages.append(messages) }}",
    "include": "{% include '/etc/passwd' %}",
    "division": "{{ 1 / 0 }}",
    "types": "{{ messages + 1 }}",
    "syntax": "{% for %}",
    "unknown tag": "{% nothing %}",
    "undefined": "{{ nothing.at.all }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates_end_in_seconds_with_an_error(name: str) -> None:
    """In any thread, and without a signal."""
    seen: list[Exception] = []

    def render() -> None:
        try:
            ChatTemplate(HOSTILE[name], {}).render([Message("user", "Hi")])
        except Exception as error:
            seen.append(error)

    thread = threading.Thread(target=render, daemon=True)
    thread.start()
    thread.join(120)  # one or two seconds are usual
    assert [type(error) for error in seen] == [CheckpointError]
    assert str(seen[0]).startswith("expected a chat template that runs on a conversation, got ")
    assert len(str(seen[0])) < 600


def test_the_clock_ends_what_counting_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgym.text.chat_sandbox.MOST_SECONDS", -1.0)
    with pytest.raises(CheckpointError, match="LimitError: more than -1 seconds"):
        ChatTemplate("{% for i in range(200) %}{{ i }}{% endfor %}", {}).render([Message("user", "Hi")])
