# %% [markdown]
# # 10. PPO, GRPO, RLOO, DPO, best-of-n on one budget
#
# **The question.** Somebody will score 1,920 texts for you, and no more. Which method makes the most of them?
#
# Five methods are in daily use for language models. Their papers look different. Their losses are a few lines each, and
# you will see all of them on one page. Then each gets the same start model and the same number of *labels*, that is,
# judgements of texts, and you read the result from one table.
#
# You need: a policy gradient, a baseline and a clipped ratio (lessons 2, 3 and 5), and what a KL penalty is (lesson 6).

# %%
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import textgym  # noqa: F401  # registers the environments
from textgym.agents import DPO, PPO, BestOfN, make_vec_env, resolve_agent
from textgym.agents.common.preferences import score_responses
from textgym.evaluation import Evaluation, evaluate, make_evaluation_set
from textgym.metrics import mean_interval
from textgym.models import load_language_model
from textgym.plots import blank_figure
from textgym.teaching import Claim, begin, expect, keep
from textgym.types import Interval

lesson = begin(globals())

# %% [markdown]
# ## Five methods on one page
#
# Four of the five make a text likelier if it was better than expected. They differ in what they compare it with.
#
# | method | compares a text with | one action is | needs |
# |---|---|---|---|
# | PPO | what a learned critic expected | a token | a critic |
# | GRPO | the mean of a group of texts for the same prompt, in standard deviations | a token | groups |
# | RLOO | the mean of the *others* in the group | a text | groups |
# | DPO | one other text, to which somebody preferred it | a text | pairs, written once |
# | best-of-n | n - 1 other texts, when it answers | a text | a reward when it answers |
#
# The notation: $\rho = \pi_\theta / \pi_{\text{old}}$ is the probability ratio of an action, $A$ its advantage,
# $\varepsilon$ the clip range, $R_1, \ldots, R_k$ the rewards of the $k$ texts of a group, $\pi_{\text{ref}}$ the start
# model, $\beta$ the strength of the KL penalty, and $\sigma$ the logistic function. The first three minimise
#
# $$ L = -\min\bigl(\rho A, \; \text{clip}(\rho, 1 - \varepsilon, 1 + \varepsilon) \, A\bigr) $$
#
# with their own advantages:
#
# $$ A^{\text{GRPO}}_i = \frac{R_i - \text{mean}(R_1, \ldots, R_k)}{\text{std}(R_1, \ldots, R_k)}, \qquad
# A^{\text{RLOO}}_i = R_i - \frac{1}{k - 1} \sum_{j \ne i} R_j $$
#
# DPO (direct preference optimization) takes pairs of a chosen text $y_c$ and a rejected one $y_r$. By lesson 6 the best
# policy under a KL penalty is $\pi_{\text{ref}} \, e^{r / \beta} / Z$. Solve it for the reward: $r = \beta \log (\pi /
# \pi_{\text{ref}})$ plus a constant. So every policy *implies* a reward, and DPO fits it to the comparisons:
#
# $$ L^{\text{DPO}} = -\log \sigma\left(\beta \log \frac{\pi_\theta(y_c)}{\pi_{\text{ref}}(y_c)}
# - \beta \log \frac{\pi_\theta(y_r)}{\pi_{\text{ref}}(y_r)}\right) $$
#
# Best-of-n has no loss. It writes $n$ texts and answers with the one that has the highest reward. Its KL to the start
# model is at most $\log n - (n - 1) / n$ nats.

# %% tags=["core"]


def clipped_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, epsilon: float = 0.2) -> Tensor:
    """PPO: with tokens as actions, (M,), and the advantages of a critic."""
    ratio = (log_probs - old_log_probs).exp()
    return -torch.min(ratio * advantages, ratio.clamp(1 - epsilon, 1 + epsilon) * advantages)


def grpo_advantages(scores: Tensor) -> Tensor:
    """Of G groups of k texts, (G, k)."""
    return (scores - scores.mean(dim=1, keepdim=True)) / (scores.std(dim=1, keepdim=True) + 1e-4)


def grpo_loss(log_probs: Tensor, old: Tensor, log_ref: Tensor, scores: Tensor, kl_coef: float) -> Tensor:
    """Of the tokens (T, N) of the N = G k texts, with the k3 estimate of the KL; a scalar."""
    advantages = grpo_advantages(scores).flatten().expand(log_probs.shape)  # all tokens of a text have its advantage
    k3 = (log_ref - log_probs).expm1() - (log_ref - log_probs)
    return (clipped_loss(log_probs, old, advantages) + kl_coef * k3).mean()


def rloo_advantages(scores: Tensor) -> Tensor:
    """Of G groups of k texts, (G, k)."""
    others = (scores.sum(dim=1, keepdim=True) - scores) / (scores.shape[1] - 1)
    return scores - others


def rloo_loss(log_probs: Tensor, old: Tensor, scores: Tensor) -> Tensor:
    """Of whole texts, by the log-probabilities of tokens (T, N); the KL penalty is in the scores; a scalar."""
    return clipped_loss(log_probs.sum(dim=0), old.sum(dim=0), rloo_advantages(scores).flatten()).mean()


def dpo_loss(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Of pairs, by the log-ratios log pi - log ref of both texts, (B,)."""
    return -F.logsigmoid(beta * (chosen - rejected))


def best_of_n(texts: Sequence[str], rewards: Sequence[float]) -> str:
    """The text with the highest reward; of equal ones the first."""
    return texts[int(np.argmax(rewards))]


def best_of_n_kl(n: int) -> float:
    """The largest KL of the best of n to one sample, in nats."""
    return float(np.log(n) - (n - 1) / n)


# %% [markdown]
# That is all the difference. In the library each of them is an agent with these losses (the tests compare the
# numbers), and with everything around them: critics, groups, minibatches, logs, checkpoints.
#
# ## The budget
#
# `TextSpell-v0` asks for a word of three letters and pays a third for each letter in its place. A label is a text that
# was scored, or a pair of texts that was compared. PPO, GRPO and RLOO get 1,920 scores: 30 rollouts of 64 texts, each
# used for 4 epochs. DPO gets 1,920 comparisons of texts of the start model, and passes over them four times.
# Best-of-n gets nothing in advance, but 8 scores for every answer.

# %%
LEAST = {"PPO": 0.2, "GRPO": 0.2, "RLOO": 0.2, "DPO": 0.0, "best-of-8": 0.1}  # what each is claimed to gain
LABELS = 1_920
TOKENS = 3 * LABELS  # a text has three letters
SHARED = {"learning_rate": 3e-3, "kl_coef": 0.01}
GROUPS = {**SHARED, "group_size": 4, "n_epochs": 4}


def start_model() -> Any:
    """Load the start model of all."""
    return load_language_model("letters")


def dpo_agent(seed: int, **options: Any) -> DPO:
    """Train by DPO on comparisons of texts of the start model."""
    env = make_vec_env("TextSpell-v0", n_envs=1, seed=seed, model="letters")
    agent = DPO.create(env, "letters", seed=seed, labels=LABELS, learning_rate=1e-3, batch_size=64, **options)
    return agent.learn(4 * LABELS // 64)


def learned(method: str, seed: int) -> Any:
    """Return the agent that a method makes of the budget."""
    env = make_vec_env("TextSpell-v0", n_envs=64, seed=seed, model="letters")
    match method:
        case "best-of-8":
            return BestOfN.create(gym.make("TextSpellEpisode-v0"), "letters", seed=seed, n=8)
        case "DPO":
            return dpo_agent(seed)
        case "PPO":
            return PPO.create(env, "letters", seed=seed, **SHARED).learn(TOKENS)
    return resolve_agent(method.lower()).create(env, "letters", seed=seed, **GROUPS).learn(TOKENS)


def measured(agent: Any, seed: int) -> Evaluation:
    """Let an agent write the 32 training words once more; ``kl`` is that to the start model."""
    asked = make_evaluation_set("TextSpell-v0", prompts=32, split="train", seed=seed)
    return evaluate(agent, asked, reference=start_model())


class Row(NamedTuple):
    """A row of the table: mean reward with its 95 % interval, KL in nats, labels in training and of each answer."""

    reward: Interval
    kl: float
    labels: int
    each: int

    @classmethod
    def of(cls, method: str, agent: Any, seed: int = 0) -> "Row":
        """Measure an agent."""
        found = measured(agent, seed).measures.intervals()
        if method.startswith("best-of-"):
            return cls(found["reward"], best_of_n_kl(agent.n), 0, agent.n)
        return cls(found["reward"], found["kl"].mean, 0 if method == "start model" else LABELS, 0)


# %% [markdown]
# ## What do you expect?
#
# Write down, before you run it:
#
# 1. Which of the five has the highest reward? Which moves farthest from the start model?
# 2. DPO never writes a text while it learns. Is that a handicap here, where the start model has
#    less than a third of the letters right?
# 3. How many answers can best-of-8 give for the budget of the others?

# %% tags=["experiment"]
agents = {method: learned(method, seed=0) for method in LEAST}
rows = {method: Row.of(method, agent) for method, agent in {"start model": start_model(), **agents}.items()}
print(f"{'':12} reward               KL, nats  labels in training  labels of an answer")
for method, row in rows.items():
    shown = f"{row.reward.mean:.2f} [{row.reward.low:.2f}, {row.reward.high:.2f}]"
    print(f"{method:12} {shown:20} {row.kl:8.2f}  {row.labels:18,}  {row.each:19}")

# %% [markdown]
# ## How to read the table
#
# - **The interval first.** It is about 32 words, of one run. Two rows whose intervals overlap much are not told apart
#   by this table; the claims below take three seeds and compare word by word.
# - **Reward per nat.** What a method gained, it bought with KL. Best-of-n is hard to beat there.
# - **Labels when?** Training pays once. Best-of-8 pays eight scores for every answer: after 240 answers it has spent
#   what the others had, and the next answer costs as much as the first.
# - **What a label tells.** A comparison of two texts of equal reward is a tie. It was paid for and teaches DPO nothing;
#   here that is more than a third of them. And DPO learns about texts of the start model only, while PPO, GRPO and RLOO
#   spend later labels on texts of a better one.
# - **Defaults are compared with defaults.** A learning rate that suits one method is a handicap for another.
#
# The picture has reward against KL, with best-of-n for several n as a line.

# %% tags=["experiment"]
STYLES: Mapping[str, tuple[str, str]] = {
    "start model": ("0.4", "x"),
    "PPO": ("#0072b2", "o"),
    "GRPO": ("#d55e00", "s"),
    "RLOO": ("#009e73", "^"),
    "DPO": ("#cc79a7", "D"),
}
figure = blank_figure(width=9.6, height=4.2)
learning, bought = figure.subplots(1, 2)
for method in ("PPO", "GRPO", "RLOO"):
    rewards = [record["reward"] for record in agents[method].history]
    smooth = np.convolve(np.pad(rewards, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    learning.plot(64 * np.arange(1, len(rewards) + 1), smooth, color=STYLES[method][0], label=method)
learning.plot(LABELS, rows["DPO"].reward.mean, "D", color=STYLES["DPO"][0], label="DPO, at the end")
learning.set(title="What labels buy", xlabel="labels", ylabel="mean reward of a rollout", ylim=(0, 1))
several = {n: BestOfN.create(gym.make("TextSpellEpisode-v0"), "letters", n=n) for n in (2, 4, 8, 16, 64)}
line = {n: Row.of(f"best-of-{n}", agent) for n, agent in several.items()}
places = [
    (rows["start model"].kl, rows["start model"].reward.mean),
    *((row.kl, row.reward.mean) for row in line.values()),
]
bought.plot(*zip(*places, strict=True), ".--", color="#e69f00", label="best-of-n")
for n, row in line.items():
    bought.annotate(f"{n}", (row.kl, row.reward.mean), (4, -12), textcoords="offset points", fontsize=8)
for method, (colour, marker) in STYLES.items():
    reward = rows[method].reward
    errors = [[reward.mean - reward.low], [reward.high - reward.mean]]
    bought.errorbar(rows[method].kl, reward.mean, errors, fmt=marker, color=colour, capsize=3, label=method)
bought.set(
    title="What KL buys",
    xlabel="KL to the start model, nats per text",
    ylabel="mean reward of 32 words",
    ylim=(0, 1.05),
)
learning.legend(loc="lower right", fontsize=8)
bought.legend(loc="lower right", fontsize=8)
keep(figure, "10-one-budget")

# %% [markdown]
# ## A failure on purpose
#
# DPO was told which texts are better. Does it make them likelier? The loss asks only for a *difference*: that the
# chosen text gains on the rejected one. We measure how the log-probability of both has changed.


# %%
def changes(agent: DPO) -> np.ndarray:
    """Return how the log-probabilities of chosen and rejected texts of all pairs have changed, (B, 2), in nats."""
    texts = [(pair.prompt, (pair.chosen, pair.rejected)) for pair in agent.pairs]
    with torch.no_grad():
        after, before = (score_responses(model, texts).sums for model in (agent.text_model, start_model()))
    return (after - before).numpy()


# %% tags=["experiment"]
kept = dpo_agent(0, sft_coef=1.0)
for name, agent in (("DPO", agents["DPO"]), ("DPO with cross-entropy", kept)):
    chosen, rejected = changes(agent).mean(axis=0)
    reward = measured(agent, 0).measures.values["reward"].mean()
    print(f"{name:23} chosen {chosen:+6.2f} nats, rejected {rejected:+6.2f} nats, reward {reward:.2f}")

# %% [markdown]
# The chosen texts have become *less* likely, by a factor of thousands. The rejected ones fell further, so the loss is
# satisfied. Both texts of a pair share letters, and what pushes one down takes the other along. The probability went to
# texts that are in no pair, and nobody ever said that these are good.
#
# **The repair** is a second term, the cross-entropy of the chosen text, with the weight `sft_coef`. It says what the
# difference leaves open, and the chosen texts stay about as likely as they were. It has its own price: texts that were
# chosen are better than one other text, which need not be good, and a model that copies them copies that too. Whichever
# you take, look at `log_prob_chosen` in the log.
#
# ## What to remember
#
# - PPO, GRPO and RLOO are one loss with three advantages. DPO is the same KL-regularised problem, solved on pairs that
#   exist already. Best-of-n is what the reward is worth without any training.
# - A budget has a unit. Ask what is scarce: labels, tokens, seconds, or the time of an answer.
# - Try best-of-n first. Where it does not help, no training on that reward will.
# - `textgym compare TextSpell-v0 --agents ppo,grpo,rloo,dpo --budget labels=1920 --seeds 5` makes such a table, with
#   curves, costs and texts; see [comparing methods](../docs/comparison.md). Pages: [PPO](../docs/ppo.md),
#   [GRPO](../docs/grpo.md), [RLOO](../docs/rloo.md), [DPO](../docs/dpo.md), [best-of-n](../docs/best_of_n.md).
#
# ## The claims, measured
#
# `python lessons/10_one_budget.py --claims`, or `lesson.check_claims()` in a notebook, measures this over three seeds.


# %%
def claims() -> list[Claim]:
    """Every method gains on the budget; DPO lowers the chosen texts, and a cross-entropy term holds them up."""
    start = [measured(start_model(), seed) for seed in range(3)]
    agents = {method: [learned(method, seed) for seed in range(3)] for method in LEAST}
    found = {method: [measured(agent, seed) for seed, agent in enumerate(group)] for method, group in agents.items()}
    held = [dpo_agent(seed, sft_coef=1.0) for seed in range(3)]
    plain, kept = (np.concatenate([changes(agent)[:, 0] for agent in group]) for group in (agents["DPO"], held))
    prompts = [str(pair.prompt) for agent in held for pair in agent.pairs]  # pairs of a prompt are not independent
    return [
        *(
            Claim(f"{method} raises the reward of the 32 words by", gain(start, found[method]), above=least)
            for method, least in LEAST.items()
        ),
        Claim("GRPO gains more than DPO on as many labels, by", gain(found["DPO"], found["GRPO"]), above=0.1),
        Claim("DPO changes the log-probability of chosen texts by, in nats,", mean_interval(plain, prompts), below=0),
        Claim("Cross-entropy holds it up, compared with that, by", mean_interval(kept - plain, prompts), above=0.5),
    ]


def gain(before: list[Evaluation], after: list[Evaluation]) -> Interval:
    """Return the mean difference of rewards of the same prompts, with its 95 % interval; the seeds are averaged."""
    rewards = [np.mean([each.measures.values["reward"] for each in group], axis=0) for group in (before, after)]
    return mean_interval(rewards[1] - rewards[0])


# %% [markdown]
# ## Exercises
#
# Replace `None`, then ask: `python lessons/10_one_budget.py --exercise 1`, or `lesson.check_answer(1)` in a notebook.
#
# **Exercise 1.** Write `answer_1(scores)`: the advantages of RLOO of one group, from the list of the scores of its
# texts.

# %%
answer_1: Any = None


def check_1(answer: Any) -> str:
    """From each score subtract the mean of the other k - 1 scores; its own is not among them."""
    for scores, right in (
        ([1.0, 0.0, 0.0, 1.0], [2 / 3, -2 / 3, -2 / 3, 2 / 3]),
        ([3.0, 1.0], [2.0, -2.0]),
        ([0.5, 0.5, 0.5], [0.0, 0.0, 0.0]),
    ):
        expect(answer(scores), right, f"the advantages of {scores}")
    return "It is k / (k - 1) times the difference to the mean of all. A baseline without the text itself has no bias."


# %% [markdown]
# **Exercise 2.** A reward is 1 for a right text and 0 for a wrong one, and the policy writes a right one with
# probability 0.1. Which share of groups of 4 texts has equal rewards, so that GRPO and RLOO learn nothing from it? Give
# four decimals.

# %%
answer_2: Any = None


def check_2(answer: Any) -> str:
    """All four are wrong, or all four are right; add the two probabilities."""
    expect(answer, 0.9**4 + 0.1**4, "the share of groups without spread", tolerance=5e-5)
    return (
        "Two thirds of the budget. Larger groups, prompts that are neither too hard nor too easy, or a denser reward."
    )


# %% [markdown]
# **Exercise 3.** Write `answer_3(chosen, rejected, ref_chosen, ref_rejected, beta)`: the loss of DPO of one pair, from
# four log-probabilities, those of the policy and those of the reference, and $\beta$; all are numbers.

# %%
answer_3: Any = None


def check_3(answer: Any) -> str:
    """Subtract the log-probability of the reference from each text's own, then take the difference times beta."""
    expect(answer(-4.0, -3.0, -4.0, -3.0, 0.1), np.log(2), "the loss before the first step, at beta 0.1,")
    expect(
        answer(-4.0, -8.0, -4.0, -3.0, 0.5), np.log1p(np.exp(-2.5)), "the loss of a rejected text that fell by 5 nats"
    )
    expect(answer(-9.0, -13.0, -4.0, -3.0, 0.5), np.log1p(np.exp(-2.5)), "the loss where both fell by 5 nats more")
    return "The last two are equal: the loss does not see it when both texts fall together."


# %% [markdown]
# ## Further reading
#
# - Schulman et al., "Proximal policy optimization algorithms" (2017),
#   [arXiv:1707.06347](https://arxiv.org/abs/1707.06347).
# - Shao et al., "DeepSeekMath" (2024), [arXiv:2402.03300](https://arxiv.org/abs/2402.03300): GRPO.
# - Ahmadian et al., "Back to basics" (2024), [arXiv:2402.14740](https://arxiv.org/abs/2402.14740): RLOO.
# - Rafailov et al., "Direct preference optimization" (2023), [arXiv:2305.18290](https://arxiv.org/abs/2305.18290).
# - Beirami et al., "Theoretical guarantees on the best-of-n alignment policy" (2024),
#   [arXiv:2401.01879](https://arxiv.org/abs/2401.01879).
# - Razin et al., "Unintentional unalignment: likelihood displacement in direct preference optimization" (2024),
#   [arXiv:2410.08847](https://arxiv.org/abs/2410.08847): why chosen texts fall.
# - Pang et al., "Iterative reasoning preference optimization" (2024),
#   [arXiv:2404.19733](https://arxiv.org/abs/2404.19733): the cross-entropy term.
# - Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice" (2021),
#   [arXiv:2108.13264](https://arxiv.org/abs/2108.13264): how to compare methods over few seeds.
#
# Next: [11. Dialogue: several turns, masks, delayed reward](11_dialogue.py).
