"""REINFORCE++: returns normalized over all tokens of the rollout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from textgym.agents import REINFORCEPlusPlus
from textgym.agents.common.rollout_buffer import EpisodeSamples


@pytest.fixture
def make(make_env: Any, make_network: Any, length_reward: Any) -> Any:
    """``make(n_envs=4, **arguments)``: texts of up to 4 tokens."""

    def make(n_envs: int = 4, **more: Any) -> Any:
        policy = {"model": make_network(seed=3), "suppress_tokens": tuple(range(20, 377))}
        env = make_env(n_envs, reward=length_reward, max_new_tokens=4)
        settings = {"learning_rate": 1e-2, "seed": 1, **more}
        return REINFORCEPlusPlus("CausalLMPolicy", env, policy_kwargs=policy, **settings)

    return make


def test_advantages_by_hand(make: Any) -> None:
    """Three texts of 3, 2 and 4 tokens; the second environment goes on with what does not count."""
    agent = make(3)
    buffer = agent.rollout_buffer
    buffer.reset()
    buffer.rewards[:] = [[-0.01, 0.03, -0.02], [0.02, 0.0, -0.01], [1.0, 5.0, -0.02], [7.0, 5.0, 0.5]]
    buffer.episode_starts[:] = [[1, 1, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]]
    buffer.counted[:] = [[1, 1, 1], [1, 1, 1], [1, 0, 1], [0, 0, 1]]
    buffer._last = (torch.zeros(3, 1), np.array([True, True, True]))
    metrics = agent.estimate_advantages()
    # Returns 1.01 1.02 1.0 | 0.03 0.0 | 0.45 0.47 0.48 0.5: mean 4.96 / 9, variance 0.13685432098765432
    expected = [
        [1.2404472056551543, -1.40864343693043, -0.27331887582232245],
        [1.267478742824395, -1.489738048438152, -0.21925580148384125],
        [1.2134156684859136, np.nan, -0.19222426431460057],
        [np.nan, np.nan, -0.1381611899761192],
    ]
    found = np.where(buffer.counted, buffer.advantages, np.nan)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert metrics == pytest.approx({"return_std": 0.13685432098765432**0.5}, abs=1e-6)


def test_the_loss_is_a_mean_over_tokens(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make(ent_coef=0.5)
    log_probs, old = torch.tensor([0.0, 0.5]), torch.tensor([0.0, 0.0])
    advantages, entropy = torch.tensor([1.0, 2.0]), torch.tensor([0.1, 0.3])
    sample = EpisodeSamples(None, None, None, old, advantages, None, None)  # type: ignore[arg-type]
    monkeypatch.setattr(agent.policy, "evaluate_actions", lambda *_: (None, log_probs, entropy))
    loss, statistics = agent.loss(sample, advantages)
    # -(1 * 1 + min(e^0.5 * 2, 1.2 * 2)) / 2 = -1.7; entropy 0.5 * 0.2
    assert float(loss) == pytest.approx(-1.8)
    assert float(statistics["clip_fraction"]) == 0.5
    assert float(statistics["ratio_max"]) == pytest.approx(np.exp(0.5))


def test_a_pass_is_several_steps_and_goes_on_bit_for_bit(make: Any, tmp_path: Path) -> None:
    run = make(rollout_texts=8)
    run.learn(1)
    assert sorted(len(members) for members in run.minibatches()) == [2, 2, 2, 2]
    assert run.history[0]["ratio_max"] > 1.001  # of the later ones
    run = make(rollout_texts=8)
    run.learn(1)
    run.save(tmp_path / "saved")
    run.learn(1, reset_num_timesteps=False)
    again = REINFORCEPlusPlus.load(tmp_path / "saved", env=make(seed=7).env)
    again.learn(1, reset_num_timesteps=False)
    assert all(map(torch.equal, run.policy.state_dict().values(), again.policy.state_dict().values()))


def test_there_is_nothing_of_a_value_function(make: Any) -> None:
    with pytest.raises(TypeError, match="vf_coef"):
        make(vf_coef=0.1)
    agent = make()
    agent.learn(1)
    assert not {"value_loss", "value_error", "explained_variance"} & agent.history[0].keys()
