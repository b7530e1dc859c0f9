"""Direct Preference Optimization: its numbers by hand, its variants, and where it ends up."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch

from tests.agents.preference_data import letters, make, pairs_of
from textgym.agents.common.feedback_ids import PreferencePair
from textgym.agents.common.preference_losses import dpo_loss
from textgym.agents.dpo import DPO, LossType
from textgym.agents.options import checked_options
from textgym.models.causal_lm import CausalLM
from textgym.models.log_probs import response_log_probs

PAIRS = [
    PreferencePair([5, 6, 7], [8, 9, 1], [4, 1]),
    PreferencePair([3], [4, 4, 4, 1], [1]),
    PreferencePair([5, 6, 7], [4, 1], [9, 9, 1]),
]


def by_hand(network: Any, prompt: list[int], response: list[int]) -> float:
    """Log-probability of a response, by the bare model on one unpadded text."""
    with torch.no_grad():
        log_probs = network(torch.tensor([[*prompt, *response]])).logits[0].double().log_softmax(-1)
    return sum(float(log_probs[len(prompt) + k - 1, token]) for k, token in enumerate(response))


def test_loss_and_statistics_are_those_of_the_bare_model(make_network: Any) -> None:
    """Sums over response tokens only, against the model before training, after a few steps."""
    network = make_network(scale=1.0)
    start = copy.deepcopy(network)
    agent = DPO(CausalLM(network), PAIRS, beta=0.3, batch_size=2, learning_rate=1e-3)
    agent.learn(3)
    loss, statistics = agent.loss([0, 1, 2], np.random.default_rng(0))
    ratios = [
        [by_hand(network, pair.prompt, each) - by_hand(start, pair.prompt, each) for each in pair[1:]] for pair in PAIRS
    ]
    margins = [0.3 * (chosen - rejected) for chosen, rejected in ratios]
    assert loss.item() == pytest.approx(np.mean([math.log1p(math.exp(-margin)) for margin in margins]), abs=1e-4)
    assert statistics["margin"].item() == pytest.approx(np.mean(margins), abs=1e-4)
    assert statistics["accuracy"].item() == pytest.approx(np.mean([margin > 0 for margin in margins]))
    assert statistics["reward_chosen"].item() == pytest.approx(0.3 * np.mean([each[0] for each in ratios]), abs=1e-4)
    assert statistics["forward_kl"].item() == pytest.approx(-np.mean(ratios), abs=1e-4)
    chosen = np.mean([by_hand(network, pair.prompt, pair.chosen) for pair in PAIRS])
    assert statistics["log_prob_chosen"].item() == pytest.approx(chosen, abs=1e-3)


def test_the_first_loss_is_that_of_a_coin(make_network: Any) -> None:
    agent = DPO(CausalLM(make_network()), PAIRS)
    agent.learn(1)
    assert agent.losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert agent.history[0]["accuracy"] == 0.5
    assert agent.history[0]["forward_kl"] == pytest.approx(0.0, abs=1e-4)


def test_it_ends_at_the_best_policy_for_the_preferences_under_the_penalty() -> None:
    """Of two texts, one preferred three times in four: the log-ratio is log(3) / beta above that of the start."""
    model = letters()
    encode = model.tokenizer.encode
    right, wrong = (encode("ab="), encode("ab"), encode("bc")), (encode("ab="), encode("bc"), encode("ab"))
    pairs = [PreferencePair(*right)] * 3 + [PreferencePair(*wrong)]

    def log_ratio() -> float:
        found = response_log_probs(model, [encode("ab=")] * 2, [encode("ab"), encode("bc")])
        return float(found[0] - found[1])

    start = log_ratio()
    agent = DPO(model, pairs, beta=0.5, batch_size=4, learning_rate=3e-3)
    agent.learn(60)
    assert log_ratio() - start == pytest.approx(math.log(3) / 0.5, abs=0.15)
    # the loss is then the entropy of the preferences
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert agent.losses[-1] == pytest.approx(entropy, abs=0.01)


LOSSES: tuple[LossType, ...] = ("sigmoid", "robust", "exo", "hinge", "nca", "sppo", "apo_zero", "apo_down")


@pytest.mark.parametrize("loss_type", LOSSES)
def test_every_loss_separates_the_texts(loss_type: LossType) -> None:
    smoothing = {"robust": 0.1, "exo": 0.01}.get(loss_type, 0.0)
    agent = make("dpo", loss_type=loss_type, label_smoothing=smoothing)
    agent.learn(24)
    assert agent.measures(None)["preference_accuracy"] > 0.7
    assert agent.history[-1]["margin"] > agent.history[0]["margin"]


def test_variants_by_argument() -> None:
    agent = make("dpo", average_log_probs=True, sft_coef=0.5, label_smoothing=0.1)
    rows = [0, 1, 2]
    loss, _ = agent.loss(rows, np.random.default_rng(0))
    items = [agent.items[row] for row in rows]
    sums = [
        [float(response_log_probs(agent.text_model, [item.prompt], [each])[0]) for each in item[1:]] for item in items
    ]
    reference = agent.references[0][rows].double()
    means = (torch.tensor(sums) - reference) / 2  # two letters each
    expected = dpo_loss(*means.unbind(1), 0.1, 0.1) - 0.5 * torch.tensor(sums)[:, 0] / 2
    assert loss.item() == pytest.approx(expected.mean().item(), abs=1e-4)
    free = make("dpo", reference_free=True)
    found = free.loss(rows, np.random.default_rng(0))[0].item()
    assert found == pytest.approx(dpo_loss(*torch.tensor(sums).unbind(1), 0.1).mean().item(), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"loss_type": "hinge", "label_smoothing": 0.1},
            "expected label_smoothing with the loss sigmoid, robust, exo, got",
        ),
        ({"loss_type": "exo"}, 'expected label_smoothing above 0 with loss_type="exo", whose loss is infinite'),
        ({"loss_type": "logistic"}, "expected loss_type sigmoid, robust, .*, got 'logistic'"),
        ({"label_smoothing": 0.5}, "expected label_smoothing of at most 0.49, got 0.5"),
    ],
)
def test_options_that_do_not_fit_together(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DPO(letters(), pairs_of(letters())[:2], **options)
    if options != {"loss_type": "logistic"}:  # which a command line refuses by its choices
        with pytest.raises(ValueError, match=words):
            checked_options(DPO, options)
