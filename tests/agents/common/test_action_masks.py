"""What algorithms of sb3-contrib ask of the policy and the buffer: masks of actions, and second derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from textgym.agents.common.masked_buffer import MaskedEpisodeBuffer
from textgym.models.batch import EpisodeBatch

TEXTS = [[5, 6, 7], [5, 6, 7, 8], [9, 10]]


def observed(width: int = 48) -> dict[str, torch.Tensor]:
    ids, mask = torch.zeros(3, width, dtype=torch.long), torch.zeros(3, width, dtype=torch.int8)
    for row, text in enumerate(TEXTS):
        ids[row, : len(text)], mask[row, : len(text)] = torch.tensor(text), 1
    return {"input_ids": ids, "attention_mask": mask, "prompt_length": torch.tensor([[2], [2], [1]])}


def as_episodes() -> EpisodeBatch:
    """The same three observations: the first two are places of one text."""
    rows, positions = torch.tensor([0, 0, 1]), torch.tensor([2, 3, 1])
    return EpisodeBatch(torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]]), torch.tensor([2, 1]), rows, positions)


@pytest.fixture
def masks() -> np.ndarray[Any, Any]:
    allowed = np.zeros((3, 377), dtype=bool)
    allowed[0, [11, 12]] = allowed[1, 13] = allowed[2, 11:31] = True
    return allowed


def test_masked_distributions_are_those_of_the_bare_model(
    masks: np.ndarray[Any, Any], make_policy: Any, oracle_of: Any
) -> None:
    policy = make_policy(temperature=0.7)
    policy.set_training_mode(False)
    oracle = oracle_of(policy)
    allowed = torch.from_numpy(masks)
    expected = [
        oracle.logits(text).masked_fill(~row, -1e9).log_softmax(0) for text, row in zip(TEXTS, allowed, strict=True)
    ]
    actions = torch.tensor([12, 13, 20])
    for obs in (observed(), as_episodes()):
        values, log_probs, entropy = policy.evaluate_actions(obs, actions, masks)
        chosen = torch.stack([row[action] for row, action in zip(expected, actions, strict=True)])
        torch.testing.assert_close(log_probs, chosen, rtol=0, atol=1e-4)
        entropies = torch.stack([-(row.exp() * row).sum() for row in expected])
        torch.testing.assert_close(entropy, entropies, rtol=0, atol=1e-4)
        assert values.shape == (3, 1)
        logits = policy.get_distribution(obs, masks).distribution.logits
        torch.testing.assert_close(logits.exp(), torch.stack(expected).exp(), rtol=0, atol=1e-5)
    assert float(log_probs[1]) == pytest.approx(0, abs=1e-6)  # the only one


def test_masked_actions_are_never_drawn(masks: np.ndarray[Any, Any], make_policy: Any) -> None:
    policy = make_policy()
    policy.set_training_mode(False)
    drawn = []
    for _ in range(30):
        with torch.no_grad():
            actions, _, log_probs = policy(observed(), action_masks=masks)
        assert masks[np.arange(3), actions].all()
        _, scored, _ = policy.evaluate_actions(observed(), actions, torch.from_numpy(masks))
        torch.testing.assert_close(log_probs, scored, rtol=0, atol=1e-4)
        drawn.append(tuple(actions.tolist()))
    assert len(set(drawn)) > 3
    greedy, _, _ = policy(observed(), deterministic=True, action_masks=masks)
    obs = {name: array.numpy() for name, array in observed().items()}
    assert policy.predict(obs, deterministic=True, action_masks=masks)[0].tolist() == greedy.tolist()
    one = {name: array[0] for name, array in obs.items()}
    assert policy.predict(one, deterministic=True, action_masks=masks[:1])[0] == greedy[0]


@pytest.mark.parametrize("critic", ["detached", "shared", "separate"])
def test_values_of_episode_batches_are_those_of_observations(critic: str, make_policy: Any) -> None:
    policy = make_policy(critic=critic)
    torch.nn.init.normal_(policy.value_head.weight)
    values = policy.predict_values(as_episodes())
    torch.testing.assert_close(values, policy.predict_values(observed()), rtol=0, atol=1e-4)
    values.sum().backward()
    assert policy.value_head.weight.grad is not None
    trained = (policy.critic or policy.model).parameters()
    assert any(parameter.grad is not None for parameter in trained) == (critic != "detached")


def test_eager_attention_computes_the_same_and_is_differentiated_twice(make_network: Any, make_policy: Any) -> None:
    fused, eager = make_policy(make_network()), make_policy(make_network(), attention="eager")
    assert eager.describe()["options"]["attention"] == "eager"  # type: ignore[index]
    left, right = (policy.get_distribution(as_episodes()).distribution.logits for policy in (fused, eager))
    torch.testing.assert_close(left, right, rtol=0, atol=1e-4)
    weights = list(eager.model.parameters())
    (first,) = torch.autograd.grad(right[:, 11].sum(), weights[:1], create_graph=True)
    second = torch.autograd.grad((first**2).sum(), weights, allow_unused=True)
    assert sum(grad is not None and bool(grad.any()) for grad in second) > 5
    with pytest.raises(ValueError, match="expected attention 'auto' or 'eager', got 'flash'; use one of these"):
        make_policy(attention="flash")


def test_masks_come_back_with_their_transitions(make_env: Any) -> None:
    env = make_env(3)
    buffer = MaskedEpisodeBuffer(5, env.observation_space, env.action_space, "cpu", n_envs=3)
    rng, obs, starts = np.random.default_rng(0), env.reset(), np.ones(3, dtype=bool)
    given = []
    for step in range(5):
        actions, masks = rng.integers(2, 377, 3), None if step == 3 else rng.random((3, 377)) < 0.3
        new, _, dones, _ = env.step(actions)
        zeros = torch.zeros(3)
        buffer.add(obs, actions.reshape(3, 1), zeros.numpy(), starts, zeros[:, None], zeros, action_masks=masks)
        given.append(np.ones((3, 377), dtype=bool) if masks is None else masks)
        obs, starts = new, dones
    buffer.compute_returns_and_advantage(torch.zeros(3, 1), dones)
    by_action = {
        int(action): row
        for acts, rows in zip(buffer.actions[..., 0], given, strict=True)
        for action, row in zip(acts, rows, strict=True)
    }
    seen = 0
    for sample in buffer.get(4):
        for action, mask in zip(sample.actions.flatten().tolist(), sample.action_masks.numpy(), strict=True):
            np.testing.assert_array_equal(mask, by_action[action])
            seen += 1
    assert seen == 15 == len(by_action)
