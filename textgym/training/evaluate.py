"""A run that evaluates a language model, alone or beside the one it started from."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

from textgym import console
from textgym.checks import check_settings
from textgym.envs.choice import EnvChoice, describe_data
from textgym.errors import TextGymError
from textgym.evaluation.core import Evaluation, EvaluationSet, evaluate, make_evaluation_set
from textgym.evaluation.loading import load_model, require_context
from textgym.evaluation.reward_guard import guarded_reward
from textgym.files.paths import user_path
from textgym.rewards.core import reward_name
from textgym.training.recovery import advising_on_memory
from textgym.training.results import show_comparison, summarise, write_texts
from textgym.training.run_folder import RunFolder
from textgym.training.stored_settings import located
from textgym.types import Split

_SHOWN = 2
_DOCUMENT_CHARS = 240


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """Settings of ``textgym evaluate``."""

    choice: EnvChoice
    model: str = "tiny"
    reference_model: str | None = None
    reward: str | None = None
    split: Split = "test"
    prompts: int = 300
    seed: int = 0
    temperature: float = 1.0
    max_prompt_tokens: int | None = None
    max_new_tokens: int | None = None
    device: str = "auto"
    out: str | None = None

    def __post_init__(self) -> None:
        check_settings(self, counts=("prompts", "max_prompt_tokens", "max_new_tokens"), not_negative=("temperature",))


@advising_on_memory("evaluate")
def run_evaluate(settings: EvaluateSettings) -> RunFolder:
    """Measure one model, or a model and the one it started from, and write ``summary.json``."""
    start = time.perf_counter()
    task = settings.choice.make(settings.split)
    reward = guarded_reward(task.default_reward if settings.reward is None else settings.reward, task)
    eval_set = make_evaluation_set(
        task,
        reward,
        settings.prompts,
        settings.seed,
        temperature=settings.temperature,
        max_prompt_tokens=settings.max_prompt_tokens,
        max_new_tokens=settings.max_new_tokens,
    )
    start_name = start_model_of(settings.model) if settings.reference_model is None else settings.reference_model
    against = f" and {start_name}, which it is compared with," if start_name is not None else ""
    console.say(
        f"Evaluating {settings.model}{against} on {len(eval_set.examples)} prompts of {describe_data(task)}, "
        f"temperature {settings.temperature:g}, reward {reward_name(reward)!r}; seconds to minutes for small models."
    )
    model = load_model(settings.model, settings.device)
    reference = load_model(start_name, settings.device) if start_name is not None else None
    for network in filter(None, (model, reference)):
        require_context(network, eval_set.task)
    run = RunFolder.create(settings.out, "evaluate", asdict(located(settings)))
    before = evaluate(reference, eval_set, reference=reference, title="before") if reference else None
    only = evaluate(model, eval_set, reference=reference or model, title="after" if reference else "sampling")
    first, second = (before, only) if before else (only, None)
    for side, evaluation in (("before", first), ("after", second)):
        if evaluation:
            write_texts(run, side, eval_set, evaluation)
    seconds = {"before": first.seconds, "after": second.seconds if second else 0.0}
    run.write_summary({**summarise(first, second), "seconds": {**seconds, "total": time.perf_counter() - start}})
    _show(eval_set, first, second)
    console.say(f"\nTexts and summary.json are in {run.path}")
    return run


def _show(eval_set: EvaluationSet, first: Evaluation, second: Evaluation | None) -> None:
    if second:
        show_comparison(eval_set, first, second, ("before", "after"), _SHOWN)
        return
    console.print_measures({"mean, 95 % interval": first.measures.intervals()})
    for example, text in list(zip(eval_set.examples, first.texts, strict=True))[:_SHOWN]:
        console.say()
        console.say(" ".join(example.prompt.split())[:_DOCUMENT_CHARS], style="dim")
        console.say(f"-> {text or '(empty)'}")


def start_model_of(model: str) -> str | None:
    """Return the model that a run started from, if ``model`` is a run folder that says so and it still exists."""
    if not (user_path(model) / "config.json").is_file():
        return None
    try:
        settings = RunFolder(model).config().get("settings", {})
    except TextGymError:
        return None
    name = settings.get("model") if isinstance(settings, dict) else None
    moved = isinstance(name, str) and name.startswith("/") and not Path(name).is_dir()
    return name if isinstance(name, str) and not moved else None
