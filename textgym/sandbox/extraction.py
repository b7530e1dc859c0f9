"""The code in a reply of a language model.

Replies are read line by line and never parsed here: Python's parser is no safe place for text of a model.
"""

from __future__ import annotations

import re

from textgym.sandbox.suites import preamble_of

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n`]*$")
_PYTHON = ("", "python", "py", "python3")
_START = re.compile(r"(?:async def|class|def|from|import|@)\b|@|[A-Za-z_]\w* *(?::.*)?=(?!=)")
_NEXT = re.compile(r"(?:async def|class|def|if|for|while|print|assert|import|from|return)\b|[@#`<~]|[A-Z][a-z]+ ")


def extract_code(reply: str, prompt: str = "", entry_point: str = "") -> str:
    r"""Return the program that a reply means.

    In this order: the last fenced block that defines the function (else the last block of Python, else the last one at
    all); the reply from its first line of code on, if it defines the function; the prompt with the reply behind it, if
    the prompt begins to define the function, as in HumanEval, up to the first line that is no more part of it. What the
    prompt defines before the function comes first in any case.

    >>> extract_code("Sure!\n```python\ndef f(n):\n    return n\n```\nDone.", entry_point="f")
    'def f(n):\n    return n\n'
    >>> extract_code("    return n\n\nprint(f(1))", "def f(n):\n", "f")
    'def f(n):\n    return n\n\n'

    Args:
        reply: Text of a model.
        prompt: Prompt that it answers.
        entry_point: Name of the function to define.
    """
    reply = reply.replace("\r\n", "\n")
    preamble = preamble_of(prompt, entry_point)
    reply = _before_a_lone_end(reply)
    blocks = _fenced(reply)
    if blocks:
        return _behind(preamble, prompt, _best(blocks, entry_point), entry_point)
    if _defines(reply, entry_point) or not _defines(prompt, entry_point):
        return _behind(preamble, prompt, _from_first_code(reply), entry_point)
    return _joined(prompt, _body_of(reply))


def _behind(preamble: str, prompt: str, code: str, entry_point: str) -> str:
    """Put the prompt's code before a program, or before the body of a function alone."""
    if not _defines(code, entry_point) and _defines(prompt, entry_point):
        return _joined(prompt, code)
    if not preamble or "from __future__" in code or code.startswith(preamble):
        return code
    return preamble + code


def _joined(prompt: str, body: str) -> str:
    """Put a body behind the beginning of a function, though the end of one or the indent of the other be stripped."""
    last = prompt.rstrip(" \t").rpartition("\n")[2]
    if last and not body.startswith("\n") and last.endswith((":", '"""', "'''")):
        prompt += "\n"
    is_unindented = prompt.endswith("\n") and body[:1].strip() != ""
    return f"{prompt}    {body}" if is_unindented else prompt + body


def _defines(text: str, entry_point: str) -> bool:
    pattern = rf"^(?:async )?def +{re.escape(entry_point)}\b"
    return bool(entry_point) and re.search(pattern, text, re.MULTILINE) is not None


def _fenced(reply: str) -> list[tuple[str, str]]:
    """Return language and content of each fenced block; one that is cut off ends with the text."""
    blocks: list[tuple[str, str]] = []
    fence, language, lines = "", "", list[str]()
    for line in reply.splitlines():
        match = _FENCE.match(line)
        if not fence and match:
            fence, language, lines = match.group(1), match.group(2).lower(), []
        elif fence and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            blocks.append((language, "".join(f"{each}\n" for each in lines)))
            fence = ""
        elif fence:
            lines.append(line)
    if fence:
        blocks.append((language, "".join(f"{each}\n" for each in lines)))
    return blocks


def _before_a_lone_end(reply: str) -> str:
    """Return what stands before a fence that only ends a block, which the prompt or nobody has begun."""
    lines = reply.split("\n")
    fences = [row for row, line in enumerate(lines) if _FENCE.match(line)]
    first = next((line for line in lines if line.strip()), "")
    if len(fences) == 1 and lines[fences[0]].strip(" \t`~") == "" and (first[0].isspace() or _START.match(first)):
        return "\n".join((*lines[: fences[0]], ""))
    return reply


def _best(blocks: list[tuple[str, str]], entry_point: str) -> str:
    defining = [code for _, code in blocks if _defines(code, entry_point)]
    python = [code for language, code in blocks if language in _PYTHON]
    return (defining or python or [code for _, code in blocks])[-1]


def _from_first_code(reply: str) -> str:
    """Leave out what is said before the first line of code; all of it if there is none."""
    lines = reply.split("\n")
    first = next((row for row, line in enumerate(lines) if _START.match(line)), 0)
    return "\n".join(lines[first:])


def _body_of(reply: str) -> str:
    """Return the beginning of a reply that goes on with a function: up to the first line of something else."""
    first, *lines = reply.split("\n")
    for row, line in enumerate(lines):
        if _NEXT.match(line):
            return "\n".join((first, *lines[:row], ""))
    return reply
