"""Every lesson has its parts, its exercises know right from wrong, and its losses are those of the library."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import textgym  # noqa: F401  # registers the environments
from tests.lessons.answers import ANSWERS
from textgym.models import load_language_model
from textgym.teaching import Cell, Lesson, lessons_in, read_cells, read_lesson

ROOT = Path(__file__).resolve().parents[2]
LESSONS = {path.stem: path for path in lessons_in(ROOT / "lessons")}
EXERCISES = [(name, number) for name, answers in ANSWERS.items() for number in answers]
MAX_CORE_LINES = 60
MAX_SECONDS, MAX_CLAIM_SECONDS = 60, 180
PARTS = (
    "**The question.**",
    "## What do you expect?",
    "## A failure on purpose",
    "**The repair**",
    "## What to remember",
    "## The claims, measured",
    "## Exercises",
    "## Further reading",
)
pytestmark = [pytest.mark.plots, pytest.mark.skipif(not LESSONS, reason="needs the checkout")]


@pytest.fixture(scope="module", autouse=True)
def forgotten() -> Iterator[None]:
    yield
    for name in LESSONS:
        sys.modules.pop(f"lesson_{name}", None)


def namespace(name: str) -> dict[str, Any]:
    return dict(read_lesson(LESSONS[name]).namespace)


def prose_of(cell: Cell) -> str:
    return re.sub("^# ?", "", cell.source, flags=re.M)


def test_every_lesson_has_answers() -> None:
    assert list(ANSWERS) == list(LESSONS)


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_has_its_parts_in_order(name: str) -> None:
    cells = read_cells(LESSONS[name].read_text(encoding="utf-8"))
    prose = "\n".join(cell.source for cell in cells if not cell.is_code)
    places = [prose.find(part) for part in PARTS]
    assert [part for part, place in zip(PARTS, places, strict=True) if place < 0] == []
    assert places == sorted(places)
    assert re.search(rf"^# # {int(name[:2])}\. ", prose, re.MULTILINE)
    assert sorted(int(each) for each in re.findall(r"\*\*Exercise (\d)\.\*\*", prose)) == [1, 2, 3]
    core = [line for cell in cells if "core" in cell.tags for line in cell.source.splitlines() if line.strip()]
    assert 0 < len(core) <= MAX_CORE_LINES


@pytest.mark.parametrize("name", LESSONS)
def test_the_notebook_of_a_lesson_is_its_script_with_outputs(name: str) -> None:
    file = ROOT / "lessons" / "notebooks" / f"{name}.ipynb"
    stored = json.loads(file.read_text(encoding="utf-8"))["cells"]
    cells = [
        (
            cell.is_code,
            cell.source if cell.is_code else prose_of(cell).replace("](", "](../").replace("../http", "http"),
        )
        for cell in read_cells(LESSONS[name].read_text(encoding="utf-8"))
    ]
    assert [(cell["cell_type"] == "code", "".join(cell["source"]).strip("\n")) for cell in stored] == [
        (is_code, source.strip("\n")) for is_code, source in cells
    ], f"python tools/run_lessons.py {int(name[:2])} --notebooks"
    outputs = [output for cell in stored for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output["output_type"] == "error" for output in outputs)
    texts = [output for output in outputs if output["output_type"] == "stream"]
    assert not re.search(r"site-packages|ipykernel|/tmp/", json.dumps(texts))  # nothing of the machine it ran on


@pytest.mark.parametrize("name", LESSONS)
def test_formulas_of_a_lesson_can_be_shown_without_a_network(name: str) -> None:
    math = pytest.importorskip("docutils.utils.math.latex2mathml", reason="needs: pip install '.[docs]'")
    cells = read_cells(LESSONS[name].read_text(encoding="utf-8"))
    prose = "\n\n".join(prose_of(cell) for cell in cells if not cell.is_code)
    for block, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$]+)\$", re.sub(r"`[^`]*`", "", prose), re.S):
        assert math.tex2mathml(block or inline, as_block=bool(block)), block or inline


@pytest.mark.parametrize("name", LESSONS)
def test_exercises_are_handed_out_unanswered(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    lesson = read_lesson(LESSONS[name])
    assert lesson.exercises == list(ANSWERS[name])
    assert [number for number in lesson.exercises if lesson.check_answer(number).right] == []
    assert capsys.readouterr().out.count("not answered yet") == len(lesson.exercises)


@pytest.mark.parametrize(("name", "number"), EXERCISES)
def test_exercises_know_right_from_wrong(name: str, number: int) -> None:
    defined, answers = namespace(name), ANSWERS[name][number]
    verdict = Lesson(name, {**defined, f"answer_{number}": answers.right}).check_answer(number)
    assert verdict.right, verdict
    assert len(verdict.text) > len("right. ")
    assert answers.wrong
    for wrong in answers.wrong:
        verdict = Lesson(name, {**defined, f"answer_{number}": wrong}).check_answer(number)
        assert not verdict.right, verdict
        assert "not yet" in verdict.text


def test_the_loss_of_lesson_2_is_that_of_the_library() -> None:
    from textgym.agents.common.losses import sums_of_texts

    log_probs = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    returns = torch.arange(5.0)
    loss = namespace("02_reinforce")["reinforce_loss"](log_probs, returns)
    tokens, texts = -(log_probs * returns).flatten(), torch.arange(5).repeat(3)
    library = sums_of_texts(tokens, texts, 5).mean()
    assert torch.allclose(loss, library, atol=1e-6)
    assert torch.allclose(*(torch.autograd.grad(each, log_probs)[0] for each in (loss, library)), atol=1e-6)


def test_the_losses_of_lesson_5_are_those_of_the_library() -> None:
    from textgym.agents.common.losses import clipped_policy_loss, normalize_advantages

    random, defined = torch.Generator().manual_seed(0), namespace("05_ppo")
    old, new, advantages = (torch.randn(20, generator=random) for _ in range(3))
    new.requires_grad_()
    for loss, clip_range in ((defined["clipped_loss"], 0.2), (defined["ratio_loss"], float("inf"))):
        pair = loss(new, old, advantages), clipped_policy_loss(new, old, advantages, clip_range)
        assert torch.allclose(*pair, atol=1e-6)
        assert torch.allclose(*(torch.autograd.grad(each.mean(), new)[0] for each in pair), atol=1e-6)
    envs = gym.make_vec("TextSpell-v0", 8, model="letters")
    envs.reset(seed=0)
    rollout = defined["write"](load_language_model("letters"), envs)
    assert rollout.tokens.shape == rollout.log_probs.shape == rollout.advantages.shape == (24,)
    of_texts = rollout.advantages[:8]
    assert torch.allclose(rollout.advantages, of_texts.repeat(3))
    assert torch.allclose(of_texts, normalize_advantages(of_texts), atol=0.02)  # the same twice, but for the constant


@pytest.mark.parametrize("name", ["02_reinforce", "05_ppo"])
def test_what_follows_a_text_that_ended_early_is_no_part_of_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two texts: the first writes a letter and its end, the second three letters."""
    envs: Any = gym.make_vec("TextSpell-v0", 2, model="letters")
    end = gym.make("TextSpell-v0").unwrapped.tokenizer.eos_ids[0]  # type: ignore[attr-defined]
    steps = iter([(2, 2), (end, 3), (4, 4)])
    write = namespace(name)["write"]

    def policy(model: Any, observations: Any) -> torch.distributions.Categorical:
        chosen = torch.tensor(next(steps))
        return torch.distributions.Categorical(logits=-100.0 * (torch.arange(9) != chosen[:, None]) - 1)

    monkeypatch.setitem(inspect.unwrap(write).__globals__, "policy", policy)
    envs.reset(seed=0)
    written = write(None, envs)
    if name == "02_reinforce":
        assert written.rewards[2, 0] == written.log_probs[2, 0] == 0
    else:
        assert written.tokens.tolist() == [2, 2, end, 3, 4]
        assert written.advantages.shape == written.log_probs.shape == (5,)
        assert {len(each) for each in written.observations.values()} == {5}
    assert next(steps, None) is None


def test_the_estimates_and_the_optimum_of_lesson_6_are_those_of_the_library_and_of_the_closed_form() -> None:
    from textgym.agents.common.losses import kl_estimates, kl_loss, normalize_advantages

    random, defined = torch.Generator().manual_seed(0), namespace("06_kl")
    policy, reference = (torch.randn(3, 5, generator=random) for _ in range(2))
    estimates = kl_estimates(policy.numpy(), reference.numpy())
    for name, library in (("k1", estimates.k1), ("k3", estimates.k3)):
        assert torch.allclose(defined[name](policy, reference), torch.from_numpy(library), atol=1e-6)
    policy.requires_grad_()
    pair = defined["k3"](policy, reference).mean(), kl_loss(policy.flatten(), reference.flatten()).mean()
    assert torch.allclose(*(torch.autograd.grad(each, policy)[0] for each in pair), atol=1e-6)
    rewards, penalties = torch.arange(5.0), torch.from_numpy(estimates.k1).sum(0)
    advantages = defined["advantages_of"](rewards, policy.detach(), reference, 0.1)
    assert torch.allclose(advantages, normalize_advantages(rewards - 0.1 * penalties), atol=1e-6)
    log_ref, paid = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log(), torch.tensor([[0.0, 0.25, 0.5, 1.0]])
    for beta, divergence, reward in ((0.1, 2.2069761910, 0.9919591728), (1.0, 0.0573606105, 0.3843451682)):
        best = defined["optimum"](log_ref, paid, beta)
        assert defined["kl"](best, log_ref).item() == pytest.approx(divergence, abs=1e-5)
        assert (best.exp() * paid).sum().item() == pytest.approx(reward, abs=1e-5)


def test_the_list_of_all_texts_of_lesson_6_holds_what_its_policy_writes() -> None:
    defined, model = namespace("06_kl"), load_language_model("letters")
    assert torch.allclose(defined["LOG_REF"].exp().sum(1), torch.ones(32), atol=1e-5)
    envs = gym.make_vec("TextSpell-v0", 4, model="letters", reward=defined["as_reward"](defined["with_hole"]))
    observations, infos = envs.reset(seed=0)
    words = [int(str(key).rpartition("/")[2]) for key in infos["task_key"]]
    with torch.no_grad():
        rollout, _ = defined["write"](model, envs, observations)
        again = defined["token_log_probs"](model, rollout.observations, rollout.letters)
    texts = (rollout.letters * torch.tensor([[36], [6], [1]])).sum(0)
    assert torch.allclose(again, rollout.log_probs, atol=1e-5)
    assert torch.allclose(defined["REF"][words, texts].T, rollout.log_probs, atol=1e-4)
    assert torch.allclose(defined["REWARDS"][words, texts], rollout.rewards, atol=1e-6)


def test_the_losses_of_lesson_10_are_those_of_the_library() -> None:
    from textgym.agents.common import group_advantages as groups
    from textgym.agents.common import losses, preference_losses

    random, defined = torch.Generator().manual_seed(0), namespace("10_one_budget")
    old, new, log_ref = (torch.randn(3, 8, generator=random) for _ in range(3))
    scores, texts = torch.rand(2, 4, generator=random), torch.arange(8).repeat(3)
    new.requires_grad_()
    of_group = torch.from_numpy(groups.group_relative_advantages(scores.double().numpy())).float()
    left_out = torch.from_numpy(groups.leave_one_out_advantages(scores.double().numpy())).float()
    assert torch.allclose(defined["grpo_advantages"](scores), of_group, atol=1e-5)
    assert torch.allclose(defined["rloo_advantages"](scores), left_out, atol=1e-6)
    tokens, before, reference = new.flatten(), old.flatten(), log_ref.flatten()
    surrogate = losses.clipped_policy_loss(tokens, before, of_group.flatten().repeat(3), 0.2)
    grpo = losses.mean_of_texts(surrogate + 0.04 * losses.kl_loss(tokens, reference), texts, 8, "grpo", 3)
    sums = [losses.sums_of_texts(each, texts, 8) for each in (tokens, before)]
    rloo = losses.clipped_policy_loss(*sums, left_out.flatten(), 0.2).mean()
    for ours, library in (
        (defined["grpo_loss"](new, old, log_ref, scores, 0.04), grpo),
        (defined["rloo_loss"](new, old, scores), rloo),
        (defined["dpo_loss"](new[0], new[1], 0.1).sum(), preference_losses.dpo_loss(new[0], new[1], 0.1).sum()),
        (
            defined["clipped_loss"](tokens, before, reference).sum(),
            losses.clipped_policy_loss(tokens, before, reference, 0.2).sum(),
        ),
    ):
        assert torch.allclose(ours, library, atol=1e-5)
        gradients = [torch.autograd.grad(each, new, retain_graph=True)[0] for each in (ours, library)]
        assert torch.allclose(*gradients, atol=1e-5)


def test_best_of_n_of_lesson_10_is_that_of_the_library() -> None:
    from textgym.metrics.best_of_n import best_of_n_kl_bound

    defined = namespace("10_one_budget")
    assert [defined["best_of_n_kl"](n) for n in (1, 4, 16)] == pytest.approx(
        [best_of_n_kl_bound(n) for n in (1, 4, 16)]
    )
    assert defined["best_of_n"](["ab", "ba", "aa"], [0.0, 1.0, 1.0]) == "ba"


def test_the_losses_of_lesson_3_are_those_of_the_library() -> None:
    from textgym.agents.common.group_advantages import leave_one_out_advantages
    from textgym.agents.common.losses import clipped_policy_loss, clipped_value_loss, sums_of_texts

    defined, random = namespace("03_baselines"), torch.Generator().manual_seed(0)
    returns = torch.rand(12, generator=random)
    advantages = returns - defined["leave_one_out"](returns)
    library = leave_one_out_advantages(returns.view(3, 4).double().numpy()).flatten()
    assert torch.allclose(advantages.double(), torch.from_numpy(library), atol=1e-6)
    log_probs = torch.randn(3, 12, generator=random).requires_grad_()
    of_texts = sums_of_texts(log_probs.flatten(), torch.arange(12).repeat(3), 12)
    losses = (
        defined["policy_loss"](log_probs, advantages),
        clipped_policy_loss(of_texts, of_texts.detach(), advantages, 0.2).mean(),  # RLOO's, in its first step
    )
    assert torch.allclose(*(torch.autograd.grad(each, log_probs)[0] for each in losses), atol=1e-6)
    values = torch.rand(12, generator=random)
    assert torch.allclose(
        defined["value_loss"](values, returns), clipped_value_loss(values, values, returns, None).mean(), atol=1e-6
    )


def test_the_losses_and_values_of_lesson_4_are_those_of_the_library() -> None:
    from textgym.agents.common import losses
    from textgym.agents.common.value_losses import lambda_returns

    defined, random = namespace("04_credit"), torch.Generator().manual_seed(0)
    rewards, values, log_probs = torch.randn(3, 3, 5, generator=random)
    dones = torch.tensor([0.0, 0.0, 1.0])[:, None].expand(3, 5)
    for gamma, lam in ((1.0, 0.95), (0.9, 0.0), (0.7, 1.0)):
        advantages = defined["generalized_advantages"](rewards, values, gamma, lam)
        arrays = (each.double().numpy() for each in (rewards, values, dones))
        library = losses.generalized_advantages(*arrays, torch.zeros(5).double().numpy(), gamma, lam)
        assert torch.allclose(advantages.double(), torch.from_numpy(library), atol=1e-6)
    to_go = defined["rewards_to_go"](rewards, 0.9)[:, 0]
    assert torch.allclose(to_go, lambda_returns(rewards[:, 0], values[:, 0], dones[:, 0] > 0, 0.9, 1.0), atol=1e-6)
    log_probs.requires_grad_()
    tokens = losses.clipped_policy_loss(log_probs.flatten(), log_probs.detach().flatten(), advantages.flatten(), 0.2)
    both = (
        defined["policy_loss"](log_probs, advantages),
        losses.sums_of_texts(tokens, torch.arange(5).repeat(3), 5).mean(),
    )
    assert torch.allclose(*(torch.autograd.grad(each, log_probs)[0] for each in both), atol=1e-6)


def test_the_tree_of_lesson_4_has_the_optimal_values(monkeypatch: pytest.MonkeyPatch) -> None:
    defined = namespace("04_credit")
    tree = defined["tree_of"](defined["DENSE"])
    best = (tree.rewards == tree.rewards.max(dim=1, keepdim=True).values).double()  # every right letter
    greedy = torch.distributions.Categorical(probs=best)
    monkeypatch.setitem(defined["exact_values"].__globals__, "policy", lambda model, ids: greedy)
    values = defined["exact_values"](None, tree, gamma=0.9)[1]
    optimal = gym.make("TextSpell-v0").unwrapped.optimal_values(gamma=0.9)
    assert torch.allclose(values.double(), torch.tensor([optimal[state] for state in optimal]).double(), atol=1e-6)


def test_the_loss_of_lesson_8_is_that_of_the_library() -> None:
    from textgym.reward_models.losses import bradley_terry_loss

    chosen, rejected = torch.randn(2, 7, generator=torch.Generator().manual_seed(0)).double()
    loss = namespace("08_human_feedback")["bradley_terry_loss"](chosen, rejected)
    assert torch.allclose(loss, bradley_terry_loss(chosen, rejected, torch.ones(7)).double(), atol=1e-6)


def test_the_best_of_n_and_the_loss_of_lesson_9_are_those_of_the_library() -> None:
    from textgym.metrics.best_of_n import best_of_n_kl_bound, best_of_n_law
    from textgym.reward_models.losses import bradley_terry_loss

    defined, random = namespace("09_goodhart"), np.random.default_rng(0)
    shares, rewards = random.dirichlet(np.ones(6), size=2), random.integers(3, size=(2, 6)).astype(float)  # with ties
    for n in (1, 2, 16, 10_000):
        library = np.stack([best_of_n_law(*row, n) for row in zip(shares, rewards, strict=True)])
        np.testing.assert_allclose(defined["best_of_n"](shares, rewards, n), library, atol=1e-12)
        assert defined["best_of_n_kl"](n) == pytest.approx(best_of_n_kl_bound(n))
    weights, differences = torch.from_numpy(random.normal(size=3)), torch.from_numpy(random.normal(size=(5, 3)))
    scores = differences @ weights
    likelihood = bradley_terry_loss(scores, torch.zeros(5), torch.ones(5)).double() * 5
    loss = defined["negative_log_posterior"](weights, differences)
    assert torch.allclose(loss, likelihood + weights.square().sum() / 2, atol=1e-6)


def test_the_features_of_lesson_9_hold_the_true_score_and_read_any_text() -> None:
    defined = namespace("09_goodhart")
    same = np.concatenate([np.tile(np.eye(6), (3, 1, 1)).ravel(), np.zeros(72)]) / 3
    np.testing.assert_allclose(defined["FEATURES"] @ same, defined["TRUE"], atol=1e-12)
    np.testing.assert_allclose(defined["START"].sum(axis=1), 1, atol=1e-9)
    assert [defined["features_of"]("abc", text).sum() for text in ("abc", "ab", "", "a=c", "abcd")] == [5, 3, 0, 2, 5]


def test_the_updates_of_lesson_7_are_those_of_the_library() -> None:
    from textgym.agents import SARSA, QLearning
    from textgym.agents.common import exploration
    from textgym.agents.common.value_losses import td_targets

    defined = namespace("07_values")
    rows = np.array([[0.0, 0.9, 0.3], [0.5, 0.5, -1.0], [0.0, 0.0, 0.0]])
    for row in rows:
        for rate in (0.3, 1.0):
            for name in ("epsilon_greedy", "softmax"):
                library = getattr(exploration, name)(row[None], rate)[0]
                np.testing.assert_allclose(defined[name](row, rate), library, atol=1e-12)
    rewards, letters, probabilities = np.array([1.0, 0.0, 0.5]), np.array([2, 1, 0]), np.full((3, 3), 1 / 3)
    for rule, agent in (("q", QLearning()), ("sarsa", SARSA())):
        following = torch.from_numpy(agent.values_after(rows, letters, probabilities))
        library = td_targets(torch.from_numpy(rewards), following, 0.9).numpy()
        found = [defined["target"](rule, *each, False) for each in zip(rewards, rows, letters, strict=True)]
        np.testing.assert_allclose(found, library, atol=1e-12)
        assert defined["target"](rule, 1.0, rows[0], 0, True) == 1.0


def test_the_loss_of_lesson_11_is_that_of_the_library_on_the_tokens_of_the_agent() -> None:
    from textgym.agents.common import losses

    defined = namespace("11_dialogue")
    torch.manual_seed(0)
    model, talk = defined["start_model"](), defined["converse"](defined["clerk"], defined["customers"](32, 0))
    log_probs, own = model.log_probs(talk.ids), talk.turns >= 0
    rewards, ends = talk.rewards.numpy().astype(float), np.zeros((3, 32))
    library = losses.generalized_advantages(rewards.T, ends, ends, np.zeros(32), 0.9, 1.0).T
    assert torch.allclose(defined["returns"](talk.rewards, 0.9), torch.from_numpy(library).float(), atol=1e-6)
    tokens, rows = log_probs[own], own.nonzero()[:, 0]
    advantages = torch.tensor(  # by hand: of the same turn in other conversations
        [
            library[row, turn]
            - np.mean([library[each, turn] for each in range(32) if (talk.turns[each] == turn).any()])
            for row, turn in zip(rows.tolist(), talk.turns[own].tolist(), strict=True)
        ]
    ).float()
    surrogate = losses.clipped_policy_loss(tokens, tokens.detach(), advantages, 0.2)
    pair = (
        defined["policy_loss"](log_probs, talk, 0.9, own),
        losses.mean_of_texts(surrogate, rows, 32, "dapo", 3),
    )
    gradients = [torch.autograd.grad(each, log_probs, retain_graph=True)[0] for each in pair]
    assert torch.allclose(*gradients, atol=1e-6)
    assert (gradients[0][~own] == 0).all()
    assert torch.allclose(defined["masked_mean"](-log_probs, own), -tokens.mean(), atol=1e-6)


def test_the_mask_of_lesson_11_marks_what_the_environment_says_the_agent_said() -> None:
    defined = namespace("11_dialogue")
    envs = defined["customers"](8, 0)
    torch.manual_seed(0)
    said: dict[int, list[str]] = {}
    step = envs.step

    def watched(actions: Any) -> Any:
        found = step(actions)
        for row in np.flatnonzero(found[2]).tolist():
            turns = found[4]["final_info"]["turns"][row]
            said.setdefault(row, [turn["content"] for turn in turns if turn["role"] == "assistant"])
        return found

    envs.step = watched
    talk = defined["converse"](defined["clerk"], envs)
    for row in range(8):
        own = talk.ids[row][talk.turns[row] >= 0].tolist()
        assert [defined["WORDS"][id_] for id_ in own] == said[row]


def test_the_exchanges_of_lesson_12_are_those_of_the_library() -> None:
    from textgym.agents.common.consensus import averaged, disagreement, metropolis_weights, neighbours

    defined, random = namespace("12_islands"), torch.Generator().manual_seed(0)
    parameters = torch.randn(5, 7, generator=random).double()
    for name in ("full", "ring", "star"):
        for agents in (2, 3, 4, 5):
            graph = defined[name](agents)
            weights = defined["mixing_matrix"](graph)
            assert graph == neighbours(name, agents)
            np.testing.assert_allclose(weights, metropolis_weights(neighbours(name, agents)), atol=1e-12)
            known = dict(enumerate(parameters[:agents]))
            library = torch.stack([averaged(place, known, weights) for place in range(agents)]).numpy()
            mixed = defined["exchanged"](parameters[:agents].numpy(), weights)
            np.testing.assert_allclose(mixed, library, atol=1e-12)
            factor = defined["contraction"](weights)
            assert defined["spread"](mixed) <= factor * defined["spread"](parameters[:agents].numpy()) + 1e-12
    factors = [defined["contraction"](defined["mixing_matrix"](defined[name](4))) for name in ("full", "ring", "star")]
    assert factors == pytest.approx([0, 1 / 3, 3 / 4], abs=1e-12)
    own, *others = torch.randn(3, 6, 9, generator=random).log_softmax(-1)
    assert torch.allclose(
        defined["consensus_term"](own, others, 4), disagreement(own, others, 4, "l1").mean(), atol=1e-6
    )


def test_the_islands_of_lesson_12_get_their_words_and_send_what_was_computed() -> None:
    defined = namespace("12_islands")
    group = defined["train"]("ring", 0, stages=1, tokens=768).group
    for number, peer in group.peers.items():
        task = peer.env.get_attr("task")[0]
        assert [task.dataset[place].text for place in range(8)] == defined["SHARDS"][number]
    numbers = defined["parameters_of"](group).shape[1]
    assert group.bytes_sent == defined["bytes_of_exchange"](defined["ring"](4), numbers)


@pytest.mark.slow
@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_runs_and_its_claims_hold(name: str, tmp_path: Path) -> None:
    for options, seconds in (((), MAX_SECONDS), (("--claims",), MAX_CLAIM_SECONDS)):
        command = [sys.executable, str(LESSONS[name]), *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=10 * seconds, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "runs" / "lessons").glob(f"{name[:2]}-*.png"))
