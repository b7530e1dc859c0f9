"""Responses of a language model to a prompt, or to prompts of the data."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from textgym import console
from textgym.checks import check_settings
from textgym.envs.choice import EnvChoice, with_budgets
from textgym.errors import suggested
from textgym.evaluation.core import text_model_of, write_episodes
from textgym.evaluation.episodes import transcript
from textgym.evaluation.loading import require_context
from textgym.evaluation.measures import fixed_examples
from textgym.evaluation.sampling import Sampling
from textgym.models.prompt_format import format_of_model
from textgym.registration import registered_ids
from textgym.text.templates import SLOT, parse_template
from textgym.training.agents import ActorSettings, FoundAgent, find_agent
from textgym.training.from_run import run_of, say_cut_prompts, say_other_template
from textgym.training.recovery import advising_on_memory
from textgym.types import Example, Message, Task

_LOOKS_LIKE_ID = re.compile(r"([\w.]+:)?\w+-v\d+")
_SHOWN_CHARS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateSettings(ActorSettings):
    """Settings of ``textgym generate``, with those of :class:`~textgym.training.agents.ActorSettings`.

    The task of ``choice`` formats the prompt, and has the examples where there is no document.

    Attributes:
        document: The prompt; ``None`` takes examples of the split.
        prompts: Number of examples.
        n: Responses per prompt.
        columns: Values for the other columns of the prompt template, of a prompt that is given.
        temperature: 0 takes the most likely token at every step.
    """

    document: str | None = None
    prompts: int = 1
    n: int = 3
    temperature: float = 1.0
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = ("prompts", "n", "max_prompt_tokens", "max_new_tokens")
        check_settings(self, counts=counts, not_negative=("temperature",))
        if self.document is not None and not self.document.strip():
            raise ValueError("expected a prompt, got an empty text; give one, or an environment to take some from")
        if self.columns and self.document is None:
            raise ValueError("expected a prompt with --column, got none; give a text, or leave --column out")

    def filled(self) -> EnvChoice:
        """Return the choice of the task, with the values in place of the columns of its template.

        Raises:
            ValueError: The template has no column that a value is given for.
        """
        if not self.columns:
            return self.choice
        template = self.choice.prompt_template
        parsed = parse_template(SLOT if template is None else template)
        for name in self.columns:
            if name not in parsed.columns:
                known = suggested(name, parsed.columns) or f" Its columns are: {', '.join(parsed.columns) or 'none'}."
                raise ValueError(
                    f"expected --column with a column of the prompt template {parsed.source!r}, got {name!r}.{known}"
                )
        return replace(self.choice, prompt_template=parsed.filled(self.columns))


def document_from_stdin(model: str | None) -> str | None:
    """Return the document that stdin has; if it is empty, ``None`` where the model's run has data to take some from.

    Args:
        model: Name of the model or agent; ``None`` where the user asked for stdin, whatever it has.
    """
    text = sys.stdin.read().strip() if sys.stdin is not None else ""
    if not text and model is not None and run_of(model) is not None:
        return None
    if text:
        console.remark(
            "The prompt is read from standard input; name an environment to take prompts of its data instead."
        )
    return text


def parse_columns(typed: Sequence[str]) -> dict[str, str]:
    """Return the values of columns that were typed as ``NAME=VALUE``.

    >>> parse_columns(["customer=Ann", "note=a=b"])
    {'customer': 'Ann', 'note': 'a=b'}
    """
    pairs = [each.partition("=") for each in typed]
    for each, (name, sign, _) in zip(typed, pairs, strict=True):
        if not sign or not name:
            raise ValueError(f"expected --column NAME=VALUE, got {each!r}; write the name of a column before =")
    return {name: value for name, _, value in pairs}


def split_argument(argument: str | None, text: str | None) -> tuple[str | None, str | None]:
    """Return (environment id, document) from the command's argument, which may be either; ``None`` is not given.

    What looks like an id is taken as one, so that a typo in it is found.
    """
    if argument is None:
        return None, text
    if argument in registered_ids() or _LOOKS_LIKE_ID.fullmatch(argument):
        return argument, text
    if text is not None:
        raise ValueError(f"expected one prompt, got both {argument[:40]!r} and --text; leave one out")
    return None, argument


@advising_on_memory("generate")
def run_generate(settings: GenerateSettings) -> list[str]:
    """Print ``n`` responses per prompt."""
    found = find_agent(settings)
    task = with_budgets(settings.filled().make(settings.split), found.max_prompt_tokens, found.max_new_tokens)
    given = settings.document is not None
    examples = [_given(settings, found)] if given else fixed_examples(task.dataset, settings.prompts)
    repeated = [example for example in examples for _ in range(settings.n)]
    if found.language_model is not None:
        say_other_template(task, found.language_model, settings.columns)
    texts = _write(settings, found, task, repeated)
    for place, example in enumerate(examples):
        if not given:
            console.heading(example.key)
            console.say(_shorten(example.text), style="dim")
        for number in range(settings.n):
            text = " ".join(texts[place * settings.n + number].split())
            console.say(f"{number + 1}. {text}" if settings.n > 1 else text)
    return texts


def _given(settings: GenerateSettings, found: FoundAgent) -> Example:
    """Return the document as an example, behind the system message that the model learned with, if any."""
    document = str(settings.document)
    asked = None if found.language_model is None else format_of_model(found.language_model)
    if asked is None or asked.system is None or asked.template is None:
        return Example("given", document)
    console.remark(f"After the system message that {found.language_model} learned with: {asked.system!r:.80}")
    return Example("given", (Message("system", asked.system), Message("user", document)))


def _write(settings: GenerateSettings, found: FoundAgent, task: Task, examples: Sequence[Example]) -> list[str]:
    """Write one text per example with the language model or the agent."""
    budgets = (task.max_prompt_tokens, task.max_new_tokens)
    sampling = Sampling(*budgets, settings.temperature, settings.seed, stop=found.stop)
    writer = found.load()
    model = text_model_of(writer)
    if model is not None:
        require_context(model, task)
        say_cut_prompts(task, model.tokenizer, examples[:: settings.n])
    elif settings.document is not None:
        raise ValueError(
            f"expected an environment, in which the agent {settings.agent!r} acts, got a prompt; name an environment"
        )
    episodes = write_episodes(writer, task, examples, sampling, tokenizer=found.tokenizer)
    return [transcript(episode) for episode in episodes]


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
