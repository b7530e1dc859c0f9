"""RLOO and GRPO: groups that are whole and answer one prompt, and the numbers of TRL 1.16."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

import textgym
from tests.envs.guessing import Guessing, write_tokenizer
from textgym.agents import GRPO, RLOO, make_vec_env
from textgym.agents.common.group_advantages import group_relative_advantages, leave_one_out_advantages
from textgym.agents.common.rollout_buffer import EpisodeSamples

GROUPS, _ = textgym.register_task("TestGroups", Guessing)
# Eight texts of up to four tokens, as TRL's trainers were given them: two groups of four.
LENGTHS = (4, 2, 3, 1, 4, 4, 2, 3)
OLD = [
    [-1.2, -0.4, -0.9, -2.0], [-0.7, -1.6], [-0.3, -0.5, -1.1], [-2.3],
    [-0.8, -0.8, -0.6, -1.0], [-1.9, -0.2, -0.4, -0.5], [-1.0, -1.3], [-0.6, -0.9, -2.2],
]  # fmt: skip
NEW = [
    [-0.9, -0.5, -0.85, -2.4], [-0.35, -1.58], [-0.6, -0.4, -1.15], [-2.15],
    [-0.8, -0.58, -0.85, -0.9], [-2.02, -0.15, -0.12, -0.52], [-0.6, -1.65], [-0.59, -0.93, -2.13],
]  # fmt: skip
REFERENCE = [
    [-1.1, -0.4, -1.0, -1.8], [-0.7, -1.8], [-0.2, -0.4, -1.1], [-2.6],
    [-0.8, -0.7, -0.6, -1.1], [-1.7, -0.2, -0.6, -0.5], [-0.9, -1.4], [-0.6, -0.6, -2.3],
]  # fmt: skip
REWARDS = np.array([[1.0, 0.0, 0.0, 1.0], [0.2, 0.9, 0.5, 0.4]])
BY_TOKEN = [
    [0.0, -0.0340641951393674, -0.03957694836389538, -0.025235376432100977],
    [0.05342329232598486, 0.03840727277122221], [0.0, 0.041606101897729585, 0.03581070377132959],
    [-0.04373929235795875], [0.04429144758376826, 0.0551905421981643, 0.0, 0.04894961978905259],
    [-0.05237732004510778, -0.06208309154862569, 0.0, -0.057885890880593795], [0.0, 0.0],
    [0.0149121946774616, 0.01432747916068859, 0.015834313297727914],
]  # fmt: skip
TRL: dict[str, tuple[dict[str, Any], float, list[list[float]]]] = {
    "grpo": (
        {"kl_coef": 0.0},
        0.006311400690345748,
        [
            [0.0, -0.02448364025642032, -0.02844593163654981, -0.01813792681057258],
            [0.07679598271860325, 0.05521045460863193], [0.0, 0.039872514318657515, 0.03431859111419086],
            [-0.12575046552913144], [0.03183447795083344, 0.03966820220493059, 0.0, 0.03518253922338155],
            [-0.03764619878242122, -0.04462222205057472, 0.0, -0.041605484070426794], [0.0, 0.0],
            [0.014290853232567366, 0.013730500862326562, 0.015174550243655917],
        ],
    ),
    "grpo, with KL": (
        {"kl_coef": 0.04},
        0.008001482434694382,
        [
            [0.00022658655865252265, -0.02461510390401488, -0.028271816607081134, -0.019165575311060716],
            [0.07753426249430646, 0.055704157613725734],
            [-0.0008197078294021171, 0.039872514318657515, 0.03423313928689749],
            [-0.12393860628724031],
            [0.03183447795083344, 0.039809551659034145, -0.00035503177085967666, 0.03540912578203407],
            [-0.03811760848784116, -0.044561258831200615, 0.000476520760242324, -0.04163073574546024],
            [0.0006479544482957053, -0.0007100635417193529],
            [0.014307436842985419, 0.013078887314886928, 0.015435108882661943],
        ],
    ),
    "by token": ({"loss_type": "dapo", "kl_coef": 0.0}, -0.0027010084878079797, BY_TOKEN),
    "dapo": ({"loss_type": "dapo", "clip_range_high": 0.28, "kl_coef": 0.0}, -0.010437170188664543, BY_TOKEN),
    "dr_grpo": (
        {"loss_type": "dr_grpo", "scale_advantages": "none", "kl_coef": 0.0},
        0.0017819316949330317,
        [
            [0.0, -0.01413808465681187, -0.016426110880875377, -0.010473750719306864],
            [0.022172930446769643, 0.01594064593791806], [0.0, 0.017268295594931992, 0.014862959757823656],
            [-0.018153660042629423], [0.009375, 0.011681969349256695, 0.0, 0.010360977356959195],
            [-0.011086505458964467, -0.013140888704700301, 0.0, -0.01225248341633444], [0.0, 0.0],
            [0.003156406772138025, 0.0030326422923390873, 0.003351588066419425],
        ],
    ),
    "rloo": (
        {"kl_coef": 0.05},
        0.011643435120191822,
        [
            [-0.0733394921578851] * 4, [0.12275583086832767] * 2, [0.0] * 3, [-0.09415698342110458],
            [0.05407228747156677] * 4, [0.0] * 4, [0.0004380296234900201] * 2, [0.016207096069130362] * 3,
        ],
    ),
}  # fmt: skip


def flat(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor([number for row in rows for number in row], dtype=torch.float64)


@pytest.fixture
def make(make_env: Any, make_network: Any, length_reward: Any) -> Any:
    """``make(kind, n_envs=4, env={...}, **arguments)``: texts of up to 4 tokens, two of every environment a rollout."""

    def make(kind: Any = GRPO, n_envs: int = 4, env: Any = None, **more: Any) -> Any:
        policy = {"model": make_network(seed=3), "suppress_tokens": tuple(range(20, 377))}
        made = make_env(n_envs, **{"reward": length_reward, "max_new_tokens": 4, **(env or {})})
        settings = {"rollout_texts": 2 * n_envs, "group_size": 2, "learning_rate": 1e-2, "seed": 1, **more}
        return kind("CausalLMPolicy", made, policy_kwargs=policy, **settings)

    return make


@pytest.mark.parametrize("name", TRL)
def test_losses_and_gradients_are_those_of_trl(name: str, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options, expected, gradients = TRL[name]
    kind = RLOO if name == "rloo" else GRPO
    agent = make(kind, group_size=4, **options)
    texts = torch.tensor([text for text, length in enumerate(LENGTHS) for _ in range(length)])
    # RLOO's scores have the penalty in them: log pi_old - log ref, summed over the tokens of a text.
    kl = np.array([sum(old) - sum(reference) for old, reference in zip(OLD, REFERENCE, strict=True)])
    scores = REWARDS - agent.kl_coef * kl.reshape(2, 4) if agent.penalizes_rewards else REWARDS
    advantages = torch.from_numpy(agent.group_advantages(scores).reshape(-1))[texts]
    log_probs = flat(NEW).requires_grad_()
    places = np.arange(len(texts))
    sample = EpisodeSamples(None, texts, None, flat(OLD), advantages, None, places)  # type: ignore[arg-type]
    monkeypatch.setattr(agent, "texts_of", lambda _: (texts, 8))
    monkeypatch.setattr(agent.policy, "evaluate_actions", lambda *_: (None, log_probs, torch.zeros(len(texts))))
    agent.reference_log_probs = flat(REFERENCE).numpy()
    loss, statistics = agent.loss(sample, advantages)
    loss.backward()
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(log_probs.grad, flat(gradients), atol=1e-6)
    assert agent.size(sample) == (23 if options.get("loss_type") == "dapo" else 8)
    if kind is GRPO:
        # Below 0.8: e^-0.4, e^-0.3, e^-0.25, e^-0.35; above 1.2: e^0.3, e^0.35, e^0.22, e^0.28, e^0.4
        clipped = 8 if "clip_range_high" in options else 9
        assert float(statistics["clip_fraction"]) == pytest.approx(clipped / 23)


@pytest.mark.parametrize("kind", [RLOO, GRPO])
def test_a_rollout_is_whole_groups_that_answer_one_prompt(kind: Any, make: Any) -> None:
    agent = make(kind, n_envs=6, group_size=3, kl_coef=0.3)
    seen = set()
    for _ in range(3):
        agent.learn(1, reset_num_timesteps=False)
        buffer, prompts, scores = agent.rollout_buffer, defaultdict(set), defaultdict(list)
        given: dict[int, float] = {}
        for segment in buffer.segments():
            place = segment.text % 6, segment.text // 6  # environment and number of its text
            assert place[0] == segment.env
            group = (segment.env // 3, place[1])
            prompts[group].add(segment.prefix.tobytes())
            steps = slice(segment.start, segment.stop)
            scores[group].append(buffer.rewards[steps, segment.env].astype(np.float64).sum())
            (given[segment.text],) = {float(number) for number in buffer.advantages[steps, segment.env]}
        assert sorted(prompts) == [(0, 0), (0, 1), (1, 0), (1, 1)]
        assert {len(found) for found in prompts.values()} == {1}
        seen |= set(map(frozenset, prompts.values()))
        advantages = leave_one_out_advantages if kind is RLOO else group_relative_advantages
        for (first, number), found in scores.items():
            expected = advantages(np.array([found]))[0]  # type: ignore[operator]
            members = [given[6 * number + 3 * first + member] for member in range(3)]
            np.testing.assert_allclose(members, expected, atol=1e-4)
        assert not buffer.advantages[~buffer.counted].any()
        record = agent.history[-1]
        assert record["texts"] == 12.0
        assert record["group_std"] == pytest.approx(np.mean([np.std(found, ddof=1) for found in scores.values()]))
    assert len(seen) > 4  # other prompts in other rollouts


def test_the_penalty_is_in_the_rewards_or_in_the_loss(make: Any) -> None:
    for place in ("loss", "reward"):
        agent = make(GRPO, kl_in=place, kl_coef=0.5, n_epochs=2)
        for _ in range(2):
            agent.learn(1, reset_num_timesteps=False)
        ends = {(step, env): info["rewards"]["total"] for step, env, info in agent.finished}
        rewards = np.where(agent.rollout_buffer.counted, agent.rollout_buffer.rewards, 0.0)
        scores = np.zeros_like(rewards)
        for (step, env), score in ends.items():
            scores[step, env] = score
        assert np.allclose(rewards, scores, atol=1e-6) == (place == "loss")
        assert ("kl_loss" in agent.history[-1]) == (place == "loss")
        assert agent.history[-1]["kl"] != 0


OPTIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "rloo": (RLOO, {"n_epochs": 2}),
    "grpo": (GRPO, {}),
    "unbiased_kl": (GRPO, {"unbiased_kl": True, "n_epochs": 2, "n_minibatches": 2}),
    "dapo": (GRPO, {"loss_type": "dapo", "clip_range_high": 0.28, "n_epochs": 2, "n_minibatches": 2}),
    "dr_grpo": (GRPO, {"loss_type": "dr_grpo", "scale_advantages": "none", "kl_in": "reward", "kl_target": 0.1}),
}


@pytest.mark.parametrize(("kind", "options"), OPTIONS.values(), ids=OPTIONS.keys())
def test_micro_batches_change_nothing(kind: Any, options: dict[str, Any], make: Any) -> None:
    gradients = []
    for size in (None, 3):
        agent = make(kind, micro_batch_size=size, **options)
        agent.learn(1)
        members = next(agent.minibatches())
        statistics = agent.accumulate_gradients(members, None)
        gradients.append([parameter.grad for parameter in agent.policy.model.parameters()])
        gradients[-1].append(torch.tensor(statistics["loss"]))
        np.random.seed(0)
    for left, right in zip(*gradients, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-5)


def weights(agent: Any) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in agent.policy.state_dict().values()]


class SaveAt(BaseCallback):
    """Saves at the start of the ``number``-th rollout."""

    def __init__(self, folder: Path, number: int) -> None:
        super().__init__()
        self.folder, self.number = folder, number

    def _on_rollout_start(self) -> None:
        self.number -= 1
        if self.number == 0:
            self.model.save(self.folder)

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize(("kind", "options"), OPTIONS.values(), ids=OPTIONS.keys())
def test_resume_goes_on_bit_for_bit_with_the_same_groups(
    kind: Any, options: dict[str, Any], make: Any, tmp_path: Path
) -> None:
    run = make(kind, **options)
    run.learn(90, callback=SaveAt(tmp_path / "saved", 2))
    assert len(run.history) > 2
    torch.manual_seed(123)
    np.random.seed(123)
    again = kind.load(tmp_path / "saved", env=make(kind, seed=77).env)
    assert len(again.history) == 1
    again.learn(90 - again.num_timesteps, reset_num_timesteps=False)
    assert all(map(torch.equal, weights(run), weights(again)))
    for ours, theirs in zip(run.history, again.history, strict=True):
        assert {**ours, "tokens_per_second": 0} == {**theirs, "tokens_per_second": 0}
    np.testing.assert_array_equal(run.rollout_buffer.actions, again.rollout_buffer.actions)


def test_same_seed_same_run(make: Any) -> None:
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(99)  # what was drawn before must not matter
        np.random.seed(seed)
        runs.append(make(RLOO, seed=seed))
        runs[-1].learn(60)
    assert all(map(torch.equal, weights(runs[0]), weights(runs[1])))
    assert not all(map(torch.equal, weights(runs[0]), weights(runs[2])))


@pytest.mark.parametrize("kind", [RLOO, GRPO])
def test_all_turns_of_a_conversation_have_the_advantage_of_its_score(
    kind: Any, make_network: Any, tmp_path: Path
) -> None:
    folder = str(write_tokenizer(tmp_path / "words"))
    env = make_vec_env(GROUPS, n_envs=6, seed=0, model=folder)
    options = {"group_size": 3, "rollout_texts": 12, "micro_batch_size": 4, "n_epochs": 2, "seed": 0}
    agent = kind("CausalLMPolicy", env, policy_kwargs={"model": make_network(rows=24, scale=1.0)}, **options)
    agent.learn(1)
    buffer = agent.rollout_buffer
    turns = defaultdict(list)
    for segment in buffer.segments():
        turns[segment.text].append(segment)
    assert sorted(turns) == list(range(12))
    assert max(map(len, turns.values())) == 3
    for segments in turns.values():
        (env_of,) = {segment.env for segment in segments}
        assert len({float(buffer.advantages[each.start, env_of]) for each in segments}) == 1
    returns = {(step, env): info["episode"]["r"] for step, env, info in agent.finished}
    last = {text: max(segments, key=lambda each: each.start) for text, segments in turns.items()}
    scores = np.array([returns[last[text].stop - 1, last[text].env] for text in range(12)]).reshape(4, 3)
    penalties = np.zeros(12)
    if agent.penalizes_rewards:
        for text, segments in turns.items():
            rewards = sum(buffer.rewards[each.start : each.stop, each.env].sum() for each in segments)
            penalties[text] = scores.reshape(-1)[text] - rewards
    expected = agent.group_advantages(scores - penalties.reshape(4, 3)).reshape(-1)
    found = [float(buffer.advantages[last[text].start, last[text].env]) for text in range(12)]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_minibatches_keep_groups_together(make: Any) -> None:
    agent = make(GRPO, n_envs=4, rollout_texts=12, n_minibatches=4)
    agent.learn(1)
    orders = []
    for _ in range(2):
        dealt = [[segment.text for segment in members] for members in agent.minibatches()]
        assert sorted(len(texts) for texts in dealt) == [2, 2, 4, 4]
        assert sorted(text for texts in dealt for text in texts) == list(range(12))
        assert all(texts[place] + 1 == texts[place + 1] for texts in dealt for place in range(0, len(texts), 2))
        orders.append(dealt)
    assert orders[0] != orders[1]
    agent.n_minibatches = 99
    assert [len(members) for members in agent.minibatches()] == [2] * 6


def test_environments_that_make_no_groups_are_refused(
    make: Any, env_ids: tuple[str, str], tokenizer_folder: Path, make_network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"expected n_envs to be a multiple of group_size=4, .*, got 6; change one"):
        make(n_envs=6, group_size=4)
    alone = make(n_envs=1, group_size=2)  # it acts
    assert len(alone.act(alone.env.reset())) == 1
    with pytest.raises(ValueError, match=r"expected n_envs to be a multiple of group_size=2, .*, got 1"):
        alone.learn(1)
    singles = DummyVecEnv([lambda: gym.make(env_ids[0], model=str(tokenizer_folder), max_new_tokens=4)] * 2)
    other = GRPO("CausalLMPolicy", singles, group_size=2, policy_kwargs={"model": make_network()})
    with pytest.raises(TypeError, match=r"expected an environment of .*make_vec_env, got DummyVecEnv"):
        other.learn(1)
    deaf = make()
    monkeypatch.setattr("textgym.agents.common.groups.seed_copies", lambda *_: None)
    with pytest.raises(ValueError, match="expected the same prompt in environments of the same seed for group_size"):
        deaf.learn(1)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"loss_type": "bnpo"}, "expected loss_type of grpo, dapo, dr_grpo, got 'bnpo'; choose one of these"),
        ({"scale_advantages": "std"}, "expected scale_advantages of group, batch, none, got 'std'"),
        ({"kl_in": "both"}, "expected kl_in of loss, reward, got 'both'"),
        ({"group_size": 1}, "expected group_size of at least 2, got 1"),
        ({"n_minibatches": 0}, "expected n_minibatches of at least 1, got 0"),
        ({"clip_range_high": -0.1}, "expected clip_range_high of at least 0, got -0.1"),
    ],
)
def test_options_out_of_range_are_refused(option: dict[str, Any], words: str, make: Any) -> None:
    with pytest.raises(ValueError, match=words):
        make(**option)
