"""How many tokens the trunk reads: a fast path that is lost costs many times as many, whatever the machine.

Four environments, prompts of P = 12 tokens, texts of T = 5 tokens that never end early, rollouts of T steps: four whole
texts. The last token of a text is never read: nothing follows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import stable_baselines3
import transformers

import textgym
from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer
from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.ppo import PPO
from textgym.tasks import TextTask
from textgym.types import Episode, Example, Split

ENVS, PROMPT, NEW, EPOCHS = 4, 12, 5, 3
PREFILL = ENVS * PROMPT
STEPS = ENVS * (NEW - 1)  # the first action follows from the prompts
WHOLE = ENVS * (PROMPT + NEW - 1)  # whole texts, as passes without a cache read them
SHARED = PROMPT + STEPS  # texts after one prompt, which is read once
EOS = 1
SEED = 24  # of environments whose first four prompts, and the four that follow, are all different


class Digits:
    """Prompts of one digit, repeated: the test tokenizer has a token of its own for every one."""

    name = "digits"

    def __init__(self, split: Split, count: int) -> None:
        self.split = split
        self._items = [Example(f"{split}/{row}", str(row) * PROMPT, ("x",)) for row in range(count)]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Example:
        return self._items[index]

    def find(self, key: str) -> Example:
        return next(item for item in self._items if item.key == key)


class DigitTask(TextTask):
    """A prompt is a digit, repeated, and nothing else; ``one_prompt`` gives all environments the same."""

    name = "DigitTask"
    prompt_template = "{prompt}"
    max_prompt_tokens, max_new_tokens = PROMPT, NEW
    metrics: ClassVar[dict[str, Any]] = {}
    count = 10

    def __init__(self, split: Split = "train") -> None:
        self.dataset = Digits(split, self.count)

    def is_success(self, episode: Episode) -> bool:
        return False


class OneDigitTask(DigitTask):
    name = "OneDigitTask"
    count = 1


class TokensRead:
    """Tokens that trunks read since the last look, by the name of the trunk."""

    def __init__(self, **models: Any) -> None:
        self._counts = dict.fromkeys(models, 0)
        for name, model in models.items():
            model.trunk.register_forward_pre_hook(self._hook(name), with_kwargs=True)

    def _hook(self, name: str) -> Any:
        def count(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            ids = arguments[0] if arguments else named["input_ids"]
            self._counts[name] += ids.numel()

        return count

    def take(self) -> dict[str, int]:
        counts = dict(self._counts)
        self._counts = dict.fromkeys(counts, 0)
        return counts


@pytest.fixture(scope="module")
def tasks() -> tuple[str, str]:
    return textgym.register_task("TestDigits", DigitTask)[0], textgym.register_task("TestOneDigit", OneDigitTask)[0]


def make_env(task: str, tokenizer: Path) -> Any:
    return make_vec_env(
        task, ENVS, None, model=str(tokenizer), max_new_tokens=NEW, reward=lambda p, r, e: [0.5] * len(r)
    )


def make_agent(kind: type[Any], env: Any, network: Any, **policy: Any) -> Any:
    kwargs = {"model": network, "suppress_tokens": (EOS,), **policy}
    options: dict[str, Any] = {
        "n_steps": NEW,
        "batch_size": ENVS * NEW,
        "n_epochs": EPOCHS,
        "seed": SEED,
        "device": "cpu",
    }
    if kind is not PPO:
        options |= {"rollout_buffer_class": EpisodeRolloutBuffer}
    return kind(CausalLMPolicy, env, policy_kwargs=kwargs, **options)


def roll_out(agent: Any) -> None:
    """Collect one rollout, without an update."""
    _, callback = agent._setup_learn(ENVS * NEW)
    assert agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, NEW)


def test_prompts_are_what_is_counted_on(tasks: tuple[str, str], tokenizer_folder: Path, make_network: Any) -> None:
    for task, distinct in zip(tasks, (ENVS, 1), strict=True):
        agent = make_agent(PPO, make_env(task, tokenizer_folder), make_network())
        roll_out(agent)
        segments = agent.rollout_buffer.segments()
        assert [len(segment.prefix) for segment in segments] == [PROMPT] * ENVS
        assert [segment.stop - segment.start for segment in segments] == [NEW] * ENVS
        assert len({segment.prefix.tobytes() for segment in segments}) == distinct
        following = agent._last_obs
        assert (following["attention_mask"].sum(1) == PROMPT).all()
        assert len({row.tobytes() for row in following["input_ids"]}) == distinct


@pytest.mark.parametrize("critic", ["detached", "shared"])
def test_ppo_with_one_trunk(critic: str, tasks: tuple[str, str], tokenizer_folder: Path, make_network: Any) -> None:
    """A rollout: each prompt once, one token a step, nothing after the last; then the reference and each epoch."""
    agent = make_agent(PPO, make_env(tasks[0], tokenizer_folder), make_network(), critic=critic)
    read = TokensRead(policy=agent.policy.model, reference=agent.reference.network)
    roll_out(agent)
    assert read.take() == {"policy": PREFILL + STEPS, "reference": WHOLE} == {"policy": 64, "reference": 64}
    agent.train()
    assert read.take() == {"policy": EPOCHS * WHOLE, "reference": 0} == {"policy": 192, "reference": 0}


def test_ppo_with_a_separate_critic(tasks: tuple[str, str], tokenizer_folder: Path, make_network: Any) -> None:
    """The critic reads whole texts once after the rollout, and once an epoch."""
    agent = make_agent(PPO, make_env(tasks[0], tokenizer_folder), make_network(), critic="separate")
    read = TokensRead(policy=agent.policy.model, critic=agent.policy.critic, reference=agent.reference.network)
    roll_out(agent)
    assert read.take() == {"policy": PREFILL + STEPS, "critic": WHOLE, "reference": WHOLE}
    agent.train()
    assert read.take() == {"policy": EPOCHS * WHOLE, "critic": EPOCHS * WHOLE, "reference": 0}


@pytest.mark.parametrize("critic", ["detached", "separate"])
def test_a_shared_prompt_is_read_once(
    critic: str, tasks: tuple[str, str], tokenizer_folder: Path, make_network: Any
) -> None:
    """In the rollout, by the reference, and in every epoch."""
    agent = make_agent(PPO, make_env(tasks[1], tokenizer_folder), make_network(), critic=critic)
    trunks = {"policy": agent.policy.model, "reference": agent.reference.network}
    if critic == "separate":
        trunks["critic"] = agent.policy.critic
    read = TokensRead(**trunks)
    roll_out(agent)
    assert read.take() == dict.fromkeys(trunks, SHARED) == dict.fromkeys(trunks, 12 + 4 * 4)
    agent.train()
    assert read.take() == {**dict.fromkeys(trunks, EPOCHS * SHARED), "reference": 0}


@pytest.mark.parametrize("critic", ["detached", "separate"])
def test_stock_ppo_with_the_episode_buffer(
    critic: str, tasks: tuple[str, str], tokenizer_folder: Path, make_network: Any
) -> None:
    """It asks for the values of the four prompts that follow, too; a critic of its own decodes beside the policy."""
    agent = make_agent(stable_baselines3.PPO, make_env(tasks[0], tokenizer_folder), make_network(), critic=critic)
    trunks = {"policy": agent.policy.model}
    if critic == "separate":
        trunks["critic"] = agent.policy.critic
    read = TokensRead(**trunks)
    roll_out(agent)
    rollout = PREFILL + STEPS
    following = PREFILL
    if critic == "detached":
        assert read.take() == {"policy": rollout + following} == {"policy": 112}
    else:
        assert read.take() == {"policy": rollout, "critic": rollout + following} == {"policy": 64, "critic": 112}
    agent.train()
    assert read.take() == dict.fromkeys(trunks, EPOCHS * WHOLE)


def test_the_next_rollout_begins_with_its_prompts(
    tasks: tuple[str, str], tokenizer_folder: Path, make_network: Any
) -> None:
    """After an update nothing that was cached is of use; what was not read for values is read now."""
    agent = make_agent(PPO, make_env(tasks[0], tokenizer_folder), make_network())
    read = TokensRead(policy=agent.policy.model)
    roll_out(agent)
    agent.train()
    read.take()
    callback = agent._init_callback(None)
    assert agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, NEW)
    assert read.take() == {"policy": PREFILL + STEPS}


def test_environments_that_wrote_their_share_read_no_further_prompts(
    tasks: tuple[str, str], tokenizer_folder: Path, make_network: Any
) -> None:
    """They take part in the steps of the others; what they are shown meanwhile is not read, but for a token each."""
    options = {"rollout_texts": ENVS, "n_steps": NEW, "seed": SEED, "device": "cpu"}
    kwargs = {"model": make_network(), "suppress_tokens": range(3, 377)}  # so that texts end early
    agent = PPO(CausalLMPolicy, make_env(tasks[0], tokenizer_folder), policy_kwargs=kwargs, **options)
    read = TokensRead(policy=agent.policy.model)
    choose, idle, new = agent._choose_actions, [], []

    def noting(skipped: Any) -> Any:
        texts = agent._texts
        begun = skipped & (texts["attention_mask"].sum(1) == PROMPT)
        idle.append(skipped.sum())
        new.append(len(set(texts["input_ids"][begun, 0].tolist())))
        return choose(skipped)

    agent._choose_actions = noting  # type: ignore[method-assign]
    roll_out(agent)
    assert any(idle)
    assert sum(segment.stop - segment.start for segment in agent.rollout_buffer.segments()) < ENVS * NEW
    assert read.take() == {"policy": PREFILL + (len(idle) - 1) * ENVS + sum(new)}


def test_stock_buffer_reads_each_text_of_a_minibatch_once(
    tasks: tuple[str, str], tokenizer_folder: Path, make_network: Any
) -> None:
    """Stable-Baselines3's own buffer hands over single transitions; a full batch of them is four texts all the same."""
    env = make_env(tasks[0], tokenizer_folder)
    kwargs = {"model": make_network(), "suppress_tokens": (EOS,)}
    agent = stable_baselines3.PPO(
        CausalLMPolicy, env, n_steps=NEW, batch_size=ENVS * NEW, n_epochs=EPOCHS, policy_kwargs=kwargs, seed=SEED
    )
    read = TokensRead(policy=agent.policy.model)
    roll_out(agent)
    read.take()
    agent.train()
    assert read.take() == {"policy": EPOCHS * WHOLE}


def test_a_model_without_a_cache_reads_every_text_at_every_step(tasks: tuple[str, str], tokenizer_folder: Path) -> None:
    """The counts above are those of a fast path: this is what it costs to have none, which is said."""
    config = transformers.BloomConfig(vocab_size=384, hidden_size=32, n_layer=2, n_head=2, pad_token_id=None)
    network = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.warns(UserWarning, match="keys and values"):
        agent = make_agent(PPO, make_env(tasks[0], tokenizer_folder), network)
    read = TokensRead(policy=agent.policy.model)
    roll_out(agent)
    assert read.take() == {"policy": sum(ENVS * (PROMPT + step) for step in range(NEW))} == {"policy": 280}
    agent.train()
    assert read.take() == {"policy": EPOCHS * WHOLE}
