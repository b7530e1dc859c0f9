"""The program in a reply."""

from __future__ import annotations

import pytest

from textgym.sandbox import extract_code

PROMPT = 'import math\n\n\ndef area(r):\n    """Return the area.\n\n    >>> area(0)\n    0\n    """\n'
BODY = "    square = r * r\n\n    return math.pi * square\n"
WHOLE = "def area(r):\n" + BODY
TASK = "Write a Python function area(r) that returns the area of a circle."


def area_of(code: str) -> float:
    """What the program makes of 2; the replies are this file's own."""
    names: dict[str, object] = {}
    exec(compile(code, "reply", "exec"), names)
    return names["area"](2)  # type: ignore[operator, no-any-return]


@pytest.mark.parametrize(
    "reply",
    [
        *(BODY, BODY.rstrip(), WHOLE, f"import math\n\n{WHOLE}", PROMPT + BODY),
        f"```python\n{WHOLE}```",
        f"```\n{WHOLE}```\n",
        f"~~~py\n{WHOLE}~~~\n",
        f"Sure! Here it is:\n\n```python\n{WHOLE}```\n\nIt multiplies pi by the square.",
        f"```python\nimport math\n{WHOLE}",  # cut off
        f"A helper:\n```python\nhelper = 1\n```\nthen\n```python\n{WHOLE}```\nRun:\n```bash\npython area.py\n```",
        f"```python\n{WHOLE}```\nFor example:\n```python\nprint(area(2))\n```",
        f"Of course.\n\n{WHOLE}",
        f"{BODY}\n\ndef check(candidate):\n    assert candidate(",
        f"{BODY}\nprint(area(2))\nif __name__ == '__main__':\n    main(",
        f"{BODY}```\nThis works.",
        f"{BODY}\n\n# Test\nassert area(1",
        f"```python\n{BODY}```",
        f"```python\r\n{WHOLE}```".replace("\n", "\r\n").replace("\r\r", "\r"),
        f"    ```python\n{WHOLE}\n    ```",
    ],
)
def test_replies_to_a_prompt_that_begins_the_function(reply: str) -> None:
    assert area_of(extract_code(reply, PROMPT, "area")) == pytest.approx(12.566370614)


@pytest.mark.parametrize("reply", [BODY, BODY.lstrip(), "\n" + BODY, f"```python\n{BODY}```", WHOLE, BODY.strip()])
@pytest.mark.parametrize("prompt", [PROMPT, PROMPT.strip(), "import math\ndef area(r):", "import math\ndef area(r):\n"])
def test_stripped_prompts_and_replies_fit_together(prompt: str, reply: str) -> None:
    assert area_of(extract_code(reply, prompt, "area")) == pytest.approx(12.566370614)


def test_a_prompt_may_end_within_a_line() -> None:
    assert extract_code(" r * r", "def area(r):\n    return", "area") == "def area(r):\n    return r * r"
    assert extract_code("return r", "def area(r):\n    ", "area") == "def area(r):\n    return r"


@pytest.mark.parametrize(
    "reply",
    [
        f"import math\n\n{WHOLE}",
        f"Here you are:\n\nimport math\n{WHOLE}",
        f"```python\nimport math\n{WHOLE}```",
        "import math\n\ndef helper(r):\n    return r * r\n\ndef area(r):\n    return math.pi * helper(r)\n",
        "from math import pi\narea = lambda r: pi * r * r",
    ],
)
def test_replies_to_a_task_in_words(reply: str) -> None:
    assert area_of(extract_code(reply, TASK, "area")) == pytest.approx(12.566370614)


def test_what_the_prompt_defines_comes_first_but_once() -> None:
    prompt = "def helper(r):\n    return r * r\n\ndef area(r):\n"
    assert extract_code("def area(r):\n    return helper(r)\n", prompt, "area").count("def helper") == 1
    assert extract_code(prompt + "    return helper(r)\n", prompt, "area").count("def helper") == 1
    assert extract_code("    return helper(r)\n", prompt, "area").count("def helper") == 1


def test_imports_from_the_future_stay_first() -> None:
    code = "from __future__ import annotations\nimport math\n" + WHOLE
    assert extract_code(code, PROMPT, "area") == code


def test_replies_without_code_stay_what_they_are() -> None:
    assert extract_code("I cannot do that.", TASK, "area") == "I cannot do that."
    assert extract_code("", TASK, "area") == ""
    assert extract_code("", PROMPT, "area") == PROMPT


def test_replies_are_never_parsed() -> None:
    deep = "(" * 10**6  # which Python's own parser may not survive
    assert deep in extract_code(f"```python\n{deep}\n```", PROMPT, "area")
