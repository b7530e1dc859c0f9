"""RLOO's update of a recorded rollout, written out in plain torch: equation by equation, on the bare network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from textgym.agents import CausalLMPolicy, make_vec_env
from textgym.agents.common.rollout_buffer import Segment
from textgym.agents.rloo import RLOO
from textgym.models.loading import load_language_model

KL, LEARNING_RATE, CLIP, NORM, EPS = 0.05, 1e-2, 0.2, 0.5, 1e-5


class Recorded(RLOO):
    """RLOO that keeps its minibatches and, for each text, what it was paid."""

    kind = "tests.Recorded"

    def train(self) -> None:
        self.dealt: list[list[Segment]] = []
        self.paid = {env: float(info["rewards"]["total"]) for _, env, info in self.finished}
        super().train()

    def minibatches(self) -> Iterator[list[Segment]]:
        for members in super().minibatches():
            self.dealt.append(members)
            yield members


def log_prob(network: nn.Module, agent: Recorded, text: Segment) -> Tensor:
    """log pi(y | x), one text at a time, without padding or cache."""
    response = torch.from_numpy(agent.rollout_buffer.actions[text.start : text.stop, text.env, 0].astype("int64"))
    ids = torch.cat([torch.from_numpy(text.prefix.astype("int64")), response])
    rows = network(input_ids=ids[None]).logits[0, len(text.prefix) - 1 : -1].log_softmax(-1)
    return rows.gather(-1, response[:, None]).sum()


def test_an_update_is_the_formula_in_plain_torch() -> None:
    env = make_vec_env("TextSpell-v0", n_envs=32, seed=0, model="letters", difficulty="easy")
    policy_kwargs = {"model": "letters", "optimizer_kwargs": {"eps": EPS, "weight_decay": 0.0}}
    settings: dict[str, Any] = {"group_size": 4, "n_minibatches": 2, "n_epochs": 3, "clip_range": CLIP}
    agent = Recorded(
        CausalLMPolicy,
        env,
        **settings,
        kl_coef=KL,
        learning_rate=lambda _: LEARNING_RATE,
        max_grad_norm=NORM,
        seed=0,
        device="cpu",
        policy_kwargs=policy_kwargs,
    )
    agent.learn(2)
    reference: Any = load_language_model("letters").network
    network: Any = load_language_model("letters").network
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, eps=EPS, weight_decay=0.0)
    with torch.no_grad():  # the first rollout: the policy is the reference still, and no text has a KL penalty
        before = {each.text: log_prob(reference, agent, each) for each in agent.rollout_buffer.segments()}
    groups: dict[int, list[Segment]] = defaultdict(list)
    for each in agent.rollout_buffer.segments():
        groups[agent.group_of(each.text)].append(each)
    advantages = {}
    for group in groups.values():
        for each in group:
            others = [agent.paid[other.env] for other in group if other is not each]
            advantages[each.text] = agent.paid[each.env] - sum(others) / len(others)

    assert len(agent.dealt) == 6
    clipped = 0
    for members in agent.dealt:
        losses = []
        for each in members:
            ratio = (log_prob(network, agent, each) - before[each.text]).exp()
            advantage = advantages[each.text]
            losses.append(-torch.min(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage))
            clipped += abs(float(ratio.detach()) - 1) > CLIP
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), NORM)
        optimizer.step()
    assert clipped > 10
    trained, start = (dict(each.state_dict()) for each in (agent.text_model.network, reference))
    for name, expected in network.state_dict().items():
        torch.testing.assert_close(trained[name], expected, rtol=0, atol=2e-4)  # of steps of 1e-2
    assert max(float((trained[name] - start[name]).abs().max()) for name in start) > LEARNING_RATE
