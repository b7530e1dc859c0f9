"""Right and wrong answers to the exercises of the lessons, by name of the script and number of the exercise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from torch.nn.functional import logsigmoid

from textgym.metrics import mean_interval


class Answers(NamedTuple):
    """A right answer, and wrong ones that a learner may well give."""

    right: Any
    wrong: tuple[Any, ...]


def mask_of(words: list[str]) -> list[int]:
    """Return 1 for the words of the agent in a conversation."""
    mask, speaker = [], ""
    for word in words:
        is_marker = word in ("User", "Assistant", ":")
        speaker = word if word in ("User", "Assistant") else speaker
        mask.append(int(speaker == "Assistant" and not is_marker))
    return mask


def _best_before_patience_ran_out(scores: Sequence[float], patience: int) -> int:
    best = 0
    for place, score in enumerate(scores):
        if score > scores[best]:
            best = place
        if place - best >= patience:
            break
    return best


def _first_fall(scores: Sequence[float], patience: int) -> int:
    return next(place for place, (score, after) in enumerate(pairwise(scores)) if after < score)


ANSWERS: Mapping[str, Mapping[int, Answers]] = {
    "01_text_as_episode": {
        1: Answers(
            lambda vocabulary, length: (sum(vocabulary**depth for depth in range(length)), vocabulary**length),
            (lambda vocabulary, length: (vocabulary**length, vocabulary**length),),
        ),
        2: Answers(
            lambda rewards, gamma: sum(gamma**step * reward for step, reward in enumerate(rewards)),
            (
                lambda rewards, gamma: sum(rewards),
                lambda rewards, gamma: sum(gamma ** (step + 1) * reward for step, reward in enumerate(rewards)),
            ),
        ),
        3: Answers(0.5 ** (1 / 4), (0.5, 0.5 ** (1 / 5))),
    },
    "02_reinforce": {
        1: Answers(
            lambda log_probs, returns, written: -((log_probs * written).sum(0) * returns).mean(),
            (
                lambda log_probs, returns, written: -(log_probs.sum(0) * returns).mean(),
                lambda log_probs, returns, written: ((log_probs * written).sum(0) * returns).mean(),
            ),
        ),
        2: Answers(0.25, (0.5, 1)),
        3: Answers(lambda bonus: ((1 + 2 * bonus) / 4) ** 2, (lambda bonus: bonus**2, lambda bonus: 1 / 16)),
    },
    "03_baselines": {
        1: Answers(
            lambda returns: (returns - returns.mean(1, keepdim=True)) * returns.shape[1] / (returns.shape[1] - 1),
            (
                lambda returns: returns - returns.mean(1, keepdim=True),
                lambda returns: returns - returns.mean(),
                lambda returns: (returns.sum(1, keepdim=True) - returns) / (returns.shape[1] - 1),
            ),
        ),
        2: Answers(
            lambda p, first, second: (1 - p) * first + p * second,
            (lambda p, first, second: p * first + (1 - p) * second, lambda p, first, second: (first + second) / 2),
        ),
        3: Answers("abe", ("ab", "abef", "abde", "abc", "", 3)),
    },
    "04_credit": {
        1: Answers(
            lambda rewards, values, gamma: [
                reward + gamma * after - before
                for reward, before, after in zip(rewards, values, [*values[1:], 0.0], strict=True)
            ],
            (
                lambda rewards, values, gamma: [reward - value for reward, value in zip(rewards, values, strict=True)],
                lambda rewards, values, gamma: [
                    reward + after - before
                    for reward, before, after in zip(rewards, values, [*values[1:], 0.0], strict=True)
                ],
                lambda rewards, values, gamma: [
                    reward + gamma * after - before
                    for reward, before, after in zip(rewards, values, [*values[1:], values[-1]], strict=True)
                ],
            ),
        ),
        2: Answers((0.1 + 0.49**0.5) / 1.2, (0.5, 0.4, 1.0)),
        3: Answers(
            lambda potentials, gamma: [
                gamma * after - before for before, after in zip(potentials, [*potentials[1:], 0.0], strict=True)
            ],
            (
                lambda potentials, gamma: list(potentials),
                lambda potentials, gamma: [gamma * after - before for before, after in pairwise(potentials)],
                lambda potentials, gamma: [
                    after - before for before, after in zip(potentials, [*potentials[1:], 0.0], strict=True)
                ],
            ),
        ),
    },
    "05_ppo": {
        1: Answers(
            lambda ratio, advantage, epsilon: (
                0.0 if (ratio > 1 + epsilon if advantage > 0 else ratio < 1 - epsilon) else -advantage
            ),
            (
                lambda ratio, advantage, epsilon: -advantage if abs(ratio - 1) <= epsilon else 0.0,
                lambda ratio, advantage, epsilon: -advantage,
                lambda ratio, advantage, epsilon: (
                    0.0 if (ratio > 1.2 if advantage > 0 else ratio < 0.8) else -advantage
                ),
            ),
        ),
        2: Answers(22, (21, 49, 245)),
        3: Answers(
            lambda log_probs, old: (log_probs - old).sum(0).exp(),
            (
                lambda log_probs, old: (log_probs - old).exp().mean(0),
                lambda log_probs, old: (log_probs - old).exp().sum(0),
                lambda log_probs, old: (log_probs - old).exp().prod(),
            ),
        ),
    },
    "06_kl": {
        1: Answers(
            lambda reference, rewards, beta: (
                reference * np.exp(rewards / beta) / (reference * np.exp(rewards / beta)).sum()
            ),
            (
                lambda reference, rewards, beta: reference * np.exp(rewards / beta),
                lambda reference, rewards, beta: (
                    reference * np.exp(rewards * beta) / (reference * np.exp(rewards * beta)).sum()
                ),
                lambda reference, rewards, beta: np.exp(rewards / beta) / np.exp(rewards / beta).sum(),
            ),
        ),
        2: Answers(
            lambda log_pi, log_ref: (log_ref - log_pi).exp() - 1 - (log_ref - log_pi),
            (
                lambda log_pi, log_ref: (log_pi - log_ref).exp() - 1 - (log_pi - log_ref),
                lambda log_pi, log_ref: log_pi - log_ref,
                lambda log_pi, log_ref: 0.5 * (log_pi - log_ref) ** 2,
            ),
        ),
        3: Answers(0.4551, (2.1972, 0.4343, 0.5)),
    },
    "07_values": {
        1: Answers(
            lambda reward, following, epsilon, gamma: (
                reward + gamma * (epsilon * sum(following) / len(following) + (1 - epsilon) * max(following))
            ),
            (
                lambda reward, following, epsilon, gamma: reward + gamma * max(following),
                lambda reward, following, epsilon, gamma: reward + gamma * sum(following) / len(following),
                lambda reward, following, epsilon, gamma: reward + gamma * (1 - epsilon) * max(following),
            ),
        ),
        2: Answers(0.72, (0.9, 0.63, 0.8, 0.81)),
        3: Answers(
            lambda first, second: second[first.index(max(first))],
            (
                lambda first, second: max(second),
                lambda first, second: max(first),
                lambda first, second: first[second.index(max(second))],
            ),
        ),
    },
    "08_human_feedback": {
        1: Answers(
            lambda a, b, label: -(label * logsigmoid(a - b) + (1 - label) * logsigmoid(b - a)).mean(),
            (lambda a, b, label: -(label * logsigmoid(a - b)).mean(), lambda a, b, label: -logsigmoid(a - b).mean()),
        ),
        2: Answers(0.731, (0.5, 1.0, 0.599)),
        3: Answers(
            lambda clicks, propensities: float((clicks / propensities).mean()),
            (
                lambda clicks, propensities: float(clicks.mean()),
                lambda clicks, propensities: float((clicks / propensities).sum() / (1 / propensities).sum()),
            ),
        ),
    },
    "09_goodhart": {
        1: Answers(53, (20, 54, 52)),
        2: Answers(_best_before_patience_ran_out, (lambda scores, patience: int(np.argmax(scores)), _first_fall)),
        3: Answers(
            lambda before, after: mean_interval(after - before).high < 0,
            (
                lambda before, after: after.mean() < before.mean(),
                lambda before, after: mean_interval(after).high < mean_interval(before).low,
            ),
        ),
    },
    "10_one_budget": {
        1: Answers(
            lambda scores: [score - (sum(scores) - score) / (len(scores) - 1) for score in scores],
            (
                lambda scores: [score - sum(scores) / len(scores) for score in scores],
                lambda scores: (np.array(scores) - np.mean(scores)) / (np.std(scores) + 1e-4),
                lambda scores: [score - (sum(scores) - score) / len(scores) for score in scores],
            ),
        ),
        2: Answers(0.6562, (0.6561, 0.0001, 0.3438)),
        3: Answers(
            lambda chosen, rejected, ref_chosen, ref_rejected, beta: np.log1p(
                np.exp(-beta * (chosen - ref_chosen - rejected + ref_rejected))
            ),
            (
                lambda chosen, rejected, ref_chosen, ref_rejected, beta: np.log1p(np.exp(-beta * (chosen - rejected))),
                lambda chosen, rejected, ref_chosen, ref_rejected, beta: np.log1p(
                    np.exp(beta * (chosen - ref_chosen - rejected + ref_rejected))
                ),
                lambda chosen, rejected, ref_chosen, ref_rejected, beta: np.log1p(
                    np.exp(-(chosen - ref_chosen - rejected + ref_rejected))
                ),
            ),
        ),
    },
    "11_dialogue": {
        1: Answers(
            mask_of,
            (
                lambda words: [1] * len(words),
                lambda words: [int(word not in ("User", "Assistant", ":")) for word in words],
                lambda words: [int(word != "User") * int("Assistant" in words[:at]) for at, word in enumerate(words)],
            ),
        ),
        2: Answers(1 / 3, (1 / 9, 0.5, 0.373)),
        3: Answers(
            lambda losses, turns: np.mean([losses[turns == turn].mean() for turn in set(turns[turns >= 0])]),
            (
                lambda losses, turns: losses[turns >= 0].mean(),
                lambda losses, turns: losses.mean(),
                lambda losses, turns: np.mean([losses[turns == turn].mean() for turn in set(turns)]),
            ),
        ),
    },
    "12_islands": {
        1: Answers(
            [[2 / 3, 1 / 3, 0, 0], [1 / 3, 1 / 3, 1 / 3, 0], [0, 1 / 3, 1 / 3, 1 / 3], [0, 0, 1 / 3, 2 / 3]],
            (
                [[1 / 2, 1 / 2, 0, 0], [1 / 3, 1 / 3, 1 / 3, 0], [0, 1 / 3, 1 / 3, 1 / 3], [0, 0, 1 / 2, 1 / 2]],
                [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]],
            ),
        ),
        2: Answers(
            lambda agents: 1 - 1 / agents, (lambda agents: 0.75, lambda agents: 1 / agents, lambda agents: 1 / 3)
        ),
        3: Answers(352, (22, 56, 336, 339.2)),
    },
}
