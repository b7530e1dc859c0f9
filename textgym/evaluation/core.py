"""Evaluation of agents on a fixed list of prompts, with the same seeds for every agent."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from textgym.envs.choice import EnvChoice, with_budgets
from textgym.evaluation.acting import act_episodes
from textgym.evaluation.episodes import silent_episode, transcript
from textgym.evaluation.measures import Measures, ended_by_eos, fixed_examples, measure, measured
from textgym.evaluation.metrics import named_metrics
from textgym.evaluation.reward_guard import guarded_reward
from textgym.evaluation.sampling import Samples, Sampling, sample_texts
from textgym.models.text_model import TextModel
from textgym.pages import escaped, table
from textgym.rewards import reward_name
from textgym.tasks.base import describe_task
from textgym.text.plurals import counted
from textgym.types import Agent, Data, Episode, Example, FloatArray, Metric, RewardFn, Split, Task
from textgym.values import attribute_of

DEFAULT = "default"
"""As a reward: the task's own."""
OF_GENERATION = ("length", "kl")
"""Measures that are taken while an agent writes, and that its texts alone do not tell."""
_SHOWN = 5  # texts in a notebook


@dataclass(frozen=True, slots=True, repr=False)
class EvaluationSet:
    """The prompts, reward and seed of an evaluation: every agent gets the same prompts and seeds.

    Attributes:
        task: Formats the prompts, and has its own metrics.
        examples: Examples whose prompts the agents answer.
        reward: Scores texts; ``None`` for none.
        sampling: Budgets, temperature, seed.
        metrics: Measures beside those of the task, by name.
    """

    task: Task
    examples: Sequence[Example]
    reward: RewardFn | None
    sampling: Sampling
    metrics: Mapping[str, Metric] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return prompts, task, budget and reward, in one line."""
        about = f"{counted(len(self.examples), 'prompts')} of {describe_task(self.task)}"
        budget = f"up to {self.sampling.max_new_tokens} new tokens"
        return f"<{type(self).__name__}: {about}, {budget}, reward {self.reward_name}>"

    @property
    def reward_name(self) -> str:
        """The name of the reward; ``"none"`` without one."""
        return "none" if self.reward is None else reward_name(self.reward)


@dataclass(frozen=True, slots=True, repr=False)
class Evaluation:
    """The result of an evaluation: an episode per example, its measures, and the seconds it took.

    Attributes:
        episodes: Conversation about every example, in their order.
        measures: Numbers of every episode; ``measures.intervals()`` has their means.
        seconds: Duration of the evaluation.
        task: Name of the task.
    """

    episodes: Sequence[Episode]
    measures: Measures
    seconds: float
    task: str = ""

    def __repr__(self) -> str:
        """Return task, number of texts, and the main means with their 95 % intervals, in one line."""
        of = f" of {self.task}" if self.task else ""
        return f"<{type(self).__name__}{of}: {counted(len(self.episodes), 'texts')}, {self.measures.main}>"

    def _repr_html_(self) -> str:
        """Return the means and the first texts as tables; IPython asks for it."""
        rewards = self.measures.values.get("reward", np.full(len(self.episodes), np.nan))
        rows = [
            (episode.example.key, transcript(episode), f"{reward:.3g}")
            for episode, reward in zip(self.episodes[:_SHOWN], rewards[:_SHOWN], strict=True)
        ]
        return f"<p>{escaped(repr(self))}</p>{self.measures._repr_html_()}{table(('example', 'text', 'reward'), rows)}"

    @property
    def texts(self) -> list[str]:
        """The last turn of the agent in every episode."""
        return [episode.text for episode in self.episodes]


def make_evaluation_set(
    task: Task | EnvChoice | str,
    reward: RewardFn | str | None = DEFAULT,
    prompts: int = 300,
    seed: int = 0,
    *,
    temperature: float = 1.0,
    max_prompt_tokens: int | None = None,
    max_new_tokens: int | None = None,
    stop: Sequence[str] = (),
    data: Data | None = None,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    prompt_template: str | None = None,
    split: Split = "test",
    metrics: Sequence[str] = (),
) -> EvaluationSet:
    """Ask about the first ``prompts`` examples of the task's split; budgets that are ``None`` are the task's.

    Args:
        task: A task on a split, or the id of an environment, of which ``split`` is taken then.
        reward: A reward, its name, ``"default"`` for the task's own, or ``None`` for none.
        prompts: Number of examples.
        seed: Seed of all random numbers that agents draw.
        temperature: Divides the logits; 0 takes the most likely token.
        max_prompt_tokens, max_new_tokens: Budgets.
        stop: Strings that end a text of a language model, and are no part of it.
        data, prompt_column, reference_column, prompt_template: Data and template of an environment that is named by its
            id, as ``gym.make`` takes them.
        split: Split of the data that belong to an id.
        metrics: Names of measures beside those of the task, as :func:`~textgym.evaluation.metrics.named_metrics` reads
            them: ``"bleu"``, ``"ter"``, ``"bertscore?model=FOLDER"``.

    Raises:
        ValueError: ``prompts`` is below 1, or the split is empty.
        TypeError: Data or a template are given beside a task, which has its own.
        RewardError: The reward cannot score a text of this task. Models are loaded for it, so whatever is wrong with
            them is raised too.
    """
    about = {
        "prompt_column": prompt_column,
        "reference_column": reference_column,
        "prompt_template": prompt_template,
    }
    given = [name for name, value in {"data": data, **about}.items() if value is not None]
    if given and not isinstance(task, str):
        raise TypeError(
            f"expected {', '.join(given)} beside the id of an environment, got a {type(task).__name__}, which has its "
            "own; give the id, or leave that out"
        )
    match task:
        case str():
            task = EnvChoice.of({"env_id": task, **about}).make(split, data)
        case EnvChoice():
            task = task.make(split)
    task = with_budgets(task, max_prompt_tokens, max_new_tokens)
    if isinstance(reward, str):
        reward = guarded_reward(task.reward if reward == DEFAULT else reward, task)
    examples = fixed_examples(task.dataset, prompts)
    silent = silent_episode(task, examples[0])
    measure(task, [silent], reward)  # fails here, and not after minutes of sampling
    found = named_metrics(metrics, task)
    for name, metric in found.items():
        measured(metric, name, [silent])
    sampling = Sampling(task.max_prompt_tokens, task.max_new_tokens, temperature, seed, stop=tuple(stop))
    return EvaluationSet(task, examples, reward, sampling, found)


def evaluate(
    agent: Agent | TextModel,
    evaluation_set: EvaluationSet,
    *,
    reference: TextModel | None = None,
    title: str | None = None,
    tokenizer: str | None = None,
) -> Evaluation:
    """Get one response per prompt, of several turns one conversation, and measure it.

    Where a conversation has several turns, its KL, log-probabilities and length are sums over the agent's turns.

    Args:
        agent: A language model, or an agent that has one as ``text_model``: its texts are sampled. Any other agent is
            stepped through the environment.
        evaluation_set: Prompts, reward and seed.
        reference: Start model that the KL is measured to; the model itself (KL 0) or ``None`` (no KL) are fine. There
            is no KL either where its tokenizer is another one, at temperature 0, where all probability is on one text,
            or where the agent is no language model.
        title: Title of the progress bar; no bar without.
        tokenizer: Name of the model whose tokens an agent writes that acts token by token, and has no language model;
            ``None`` is the start model of the task.
    """
    start = time.perf_counter()
    task, examples, sampling = evaluation_set.task, evaluation_set.examples, evaluation_set.sampling
    match _writer_of(agent):
        case TextModel() as model:
            samples = sample_texts(model, task, examples, sampling, title)
            episodes, values = samples.episodes, {"length": samples.lengths}
            kl = _kl(model, reference, samples, sampling.temperature)
            values |= {} if kl is None else {"kl": kl}
        case acting:
            episodes, values = act_episodes(acting, task, examples, sampling, tokenizer=tokenizer, title=title)
    return _measured(evaluation_set, episodes, values, start)


def rescore(evaluation: Evaluation, evaluation_set: EvaluationSet) -> Evaluation:
    """Measure the episodes of an evaluation by the reward and the metrics of another evaluation set.

    Nothing is generated: the result is that of :func:`evaluate` with this set, had the agent written the same. Length
    and KL are of the generation, and stay.

    Args:
        evaluation: Episodes, as :func:`evaluate` returned them or
            :func:`~textgym.training.results.read_episodes` reads them from a file.
        evaluation_set: Reward and metrics, on the same examples.

    Raises:
        ValueError: The episodes are about other examples.
        RewardError: The reward cannot score an episode.
        DataError: It lacks something in the examples, such as references.
    """
    start = time.perf_counter()
    about, asked = ([example.key for example in each] for each in (_examples_of(evaluation), evaluation_set.examples))
    if about != asked:
        raise ValueError(
            f"expected an evaluation set of the examples that the {counted(len(about), 'episodes')} are about, got "
            f"{counted(len(asked), 'others')}; make it with the same task, data, split and prompts"
        )
    kept = {name: values for name, values in evaluation.measures.values.items() if name in OF_GENERATION}
    return _measured(evaluation_set, evaluation.episodes, kept, start)


def _examples_of(evaluation: Evaluation) -> list[Example]:
    return [episode.example for episode in evaluation.episodes]


def _measured(
    evaluation_set: EvaluationSet, episodes: Sequence[Episode], of_generation: Mapping[str, FloatArray], start: float
) -> Evaluation:
    """Measure episodes, of whose generation some numbers are known."""
    task, metrics = evaluation_set.task, evaluation_set.metrics
    values = {**of_generation, **{name: measured(metric, name, episodes) for name, metric in metrics.items()}}
    values["eos"] = ended_by_eos(episodes)
    measures = measure(task, episodes, evaluation_set.reward).with_values(values)
    return Evaluation(episodes, measures, time.perf_counter() - start, task.name)


def write_episodes(
    agent: Agent | TextModel,
    task: Task,
    examples: Sequence[Example],
    sampling: Sampling,
    *,
    tokenizer: str | None = None,
    title: str | None = None,
) -> list[Episode]:
    """Let an agent write one episode per example, as :func:`evaluate` does, and measure nothing."""
    match _writer_of(agent):
        case TextModel() as model:
            return sample_texts(model, task, examples, sampling, title).episodes
        case acting:
            return act_episodes(acting, task, examples, sampling, tokenizer=tokenizer, title=title)[0]


def text_model_of(writer: Agent | TextModel) -> TextModel | None:
    """Return the language model that writes an agent's texts; ``None`` for agents that act in other ways."""
    return writer if isinstance(writer, TextModel) else attribute_of(writer, "text_model")


def _writer_of(agent: Agent | TextModel) -> TextModel | Agent:
    """Return the language model that writes an agent's texts, or else the agent, which acts step by step."""
    return text_model_of(agent) or agent


def _kl(model: TextModel, reference: TextModel | None, samples: Samples, temperature: float) -> FloatArray | None:
    """Log pi - log ref of every episode, shape (n,), both at the temperature at which it was sampled."""
    if reference is model:
        return np.zeros(len(samples.episodes))
    if reference is None or reference.tokenizer.fingerprint != model.tokenizer.fingerprint or temperature == 0:
        return None
    return samples.log_probs(model, temperature) - samples.log_probs(reference, temperature)
