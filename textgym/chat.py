"""Chat templates: what a model's own template writes around one user message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from textgym.errors import CheckpointError, MissingExtraError


def render_user_message(template: str, content: str, tokens: Mapping[str, str]) -> tuple[str, str]:
    """Render a chat template for one user message and return the text before and after its content.

    Templates come with models, so they run in Jinja's immutable sandbox. No clock is offered: prompts do not change
    with the date.

    Args:
        template: Jinja source, as in ``tokenizer_config.json`` or ``chat_template.jinja``.
        content: A stand-in for the user's text that the template does not contain; the real text is never rendered.
        tokens: ``bos_token`` and the like.

    Raises:
        CheckpointError: The template does not run, or does not write the content exactly once.
    """
    try:
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise MissingExtraError("models with a chat template need jinja2; pip install jinja2") from error
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"], autoescape=False
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    messages = [{"role": "user", "content": content}]
    try:
        text = environment.from_string(template).render(messages=messages, add_generation_prompt=True, **tokens)
    except TemplateError as error:
        raise CheckpointError(f"expected a chat template that takes one user message, got: {error}") from error
    pieces = text.split(content)
    if len(pieces) != 2:
        raise CheckpointError(
            f"expected a chat template that writes the user's text once, got {len(pieces) - 1} times; "
            "remove the template to prompt the model with plain text"
        )
    return pieces[0], pieces[1]


def _to_json(value: Any, indent: int | None = None) -> str:
    """Chat templates expect a ``tojson`` that does not escape HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise CheckpointError(f"expected a chat template that takes one user message, got its refusal: {message}")
