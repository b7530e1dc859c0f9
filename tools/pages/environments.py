"""Pages of environments, from the docstrings of tasks and what their registration says."""

from __future__ import annotations

import gymnasium as gym
import tasks_page  # which puts benchmarks on the path

from benchmarks.tasks import built_in_ids
from pages.markdown import Pages, docstring, table
from textgym.envs import EpisodeTextEnv, EpisodeTextVectorEnv, TokenTextEnv, TokenTextVectorEnv
from textgym.envs.choice import EnvChoice, id_of_grain
from textgym.security.consent import load_attribute
from textgym.types import Task

FOLDER = "environments"
GRAINS = {
    "token": ("Token by token", TokenTextEnv),
    "token-vector": ("Token by token, many copies", TokenTextVectorEnv),
    "episode": ("Whole texts", EpisodeTextEnv),
    "episode-vector": ("Whole texts, many copies", EpisodeTextVectorEnv),
}
_LISTED = ("task", "data", "training / validation / test", "gold", "default reward")
"""Columns of the list of tasks; the page of a task has all."""
_INTRODUCTION = """\
Every task has two ids: at the token level an action is a token, at the episode level a text or an utterance. Both pay
the same return for the same text. The pages of the tasks are their docstrings; scores of random tokens, start models
and references are in [](../../tasks.md).
"""


def environment_pages() -> Pages:
    """Return a page for each task and for each kind of environment, and one that lists them."""
    ids = built_in_ids()
    pages = {f"{FOLDER}/{env_id}.md": environment_page(env_id) for env_id in ids}
    for name, (title, env) in GRAINS.items():
        headline, _, rest = docstring(env).partition("\n")
        text = f"# {title}\n\n{headline} The class is {{py:class}}`~{env.__module__}.{env.__qualname__}`.\n{rest}\n"
        pages[f"{FOLDER}/{name}.md"] = text
    shown = [place for place, name in enumerate(tasks_page.HEADER) if name in _LISTED]
    rows = [[f"[{env_id}]({env_id}.md)", *(tasks_page.row_of(env_id)[place] for place in shown)] for env_id in ids]
    grains = [f"* [{title}]({name}.md)" for name, (title, _) in GRAINS.items()]
    names = "\n".join([*ids, *GRAINS])
    pages[f"{FOLDER}/index.md"] = (
        f"# Environments\n\n{_INTRODUCTION}\n{table(['id', *_LISTED], rows)}\n\n"
        "## Kinds of environments\n\nSpaces, `info`, arguments and rendering are those of the kind:\n\n"
        + "\n".join(grains)
        + f"\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"
    )
    return pages


def environment_page(env_id: str) -> str:
    """Return the page of a task: what its ids, sizes, measures and options are, and its docstring."""
    task_class = load_attribute(gym.registry[env_id].kwargs["task"])
    head, _, rest = docstring(task_class).partition("\n\n")
    made = EnvChoice(env_id).make("test")
    facts = [*zip(tasks_page.HEADER, tasks_page.row_of(env_id), strict=True), *_limits(made)]
    options = [row[1:] for row in tasks_page.option_rows() if row[0] == f"`{env_id}`"]
    parts = [f"# {env_id}", " ".join(head.split()), table(["", ""], [row for row in facts if row[0] != "task"])]
    if options:
        parts += ["Options are arguments of `gym.make` and, as `--task-option NAME=VALUE`, of commands:"]
        parts += [table(["option", "values, the default first"], options)]
    parts += [
        f'```python\nimport gymnasium as gym\n\nimport textgym\n\nenv = gym.make("{env_id}")  # token by token\n'
        f'env = gym.make("{id_of_grain(env_id, "episode")}")  # whole texts\n```',
        f"The class of the task is {{py:class}}`~{task_class.__module__}.{task_class.__qualname__}`.",
        rest,
    ]
    if "## Description" not in rest:
        parts.append(_of_earlier_version(task_class))
    return "\n\n".join(parts).rstrip() + "\n"


def _of_earlier_version(task_class: type) -> str:
    """Return the docstring of what a version is made of, without its headline."""
    earlier = next(base for base in task_class.__mro__ if "## Description" in docstring(base))
    return docstring(earlier).partition("\n\n")[2]


def _limits(task: Task) -> list[tuple[str, str]]:
    return [
        ("budget of the prompt", f"{task.max_prompt_tokens} tokens"),
        ("budget of the response", f"{task.max_new_tokens} tokens"),
        ("turns", str(task.max_turns)),
    ]
