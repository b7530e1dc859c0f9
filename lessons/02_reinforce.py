# %% [markdown]
# # 2. REINFORCE from scratch
#
# **The question.** How does a model get better from nothing but a number per text?
#
# Nobody shows the model a right text. It writes, it is paid, it writes what was paid a little more often. That is
# REINFORCE (Williams, 1992), the root of everything in the lessons to come. You will write it in 30 lines, see it
# work, and see what is wrong with it: noise.
#
# You need: lesson 1 (a text is an episode, tokens are actions) and a little PyTorch.

# %%
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

import textgym  # noqa: F401  # registers the environments
from textgym.evaluation import Evaluation, evaluate, make_evaluation_set
from textgym.metrics import mean_interval
from textgym.models import load_language_model
from textgym.plots import blank_figure
from textgym.teaching import Claim, begin, expect, keep

lesson = begin(globals())

# %% [markdown]
# ## The idea
#
# We want the parameters $\theta$ of the policy for which the expected return $J$ is highest, over texts $y$ that the
# policy writes itself:
#
# $$ J(\theta) = \mathbb{E}_{y \sim \pi_\theta}\,[R(y)] $$
#
# $R(y)$ is the return of a text. The reward is a black box: it has no gradient, and need not have one. The trick is
# $\nabla \pi = \pi \, \nabla \log \pi$, which gives
#
# $$ \nabla J(\theta) = \mathbb{E}_{y \sim \pi_\theta}\,[R(y) \, \nabla \log \pi_\theta(y)] $$
#
# An expectation can be estimated by a mean over samples: write $N$ texts, and weigh the gradient of the
# log-probability of each by its return. Since $\log \pi(y)$ is the sum of the log-probabilities of its tokens, all of
# it is this loss:
#
# $$ L(\theta) = -\frac{1}{N} \sum_{i=1}^{N} R(y_i) \sum_t \log \pi_\theta(a_{i,t} \mid s_{i,t}) $$

# %% tags=["core"]
LENGTH = 3  # letters of a word of TextSpell-v0: a text is an episode of at most three steps


def policy(model: Any, observations: dict[str, np.ndarray]) -> torch.distributions.Categorical:
    """Return the distribution of the next token behind every unfinished text; ids are padded on the right."""
    lengths = torch.from_numpy(observations["attention_mask"].sum(axis=1))
    ids = torch.from_numpy(observations["input_ids"])[:, : int(lengths.max())].long()
    logits = model.network(ids).logits[torch.arange(len(ids)), lengths.long() - 1]
    return torch.distributions.Categorical(logits=logits)


class Texts(NamedTuple):
    """``N`` texts of ``T`` tokens: log-probabilities of the tokens, with gradients, and their rewards, (T, N) each."""

    log_probs: Tensor
    rewards: Tensor


def write(model: Any, envs: Any) -> Texts:
    """Write a text in every environment; what follows a text that has ended early counts 0."""
    observations, _ = envs.reset()
    log_probs, rewards, going_on = [], [], torch.ones(envs.num_envs)
    for _ in range(LENGTH):
        choice = policy(model, observations)
        tokens = choice.sample()
        observations, paid, terminated, truncated, _ = envs.step(tokens.numpy())
        log_probs.append(choice.log_prob(tokens) * going_on)
        rewards.append(torch.from_numpy(paid).float() * going_on)
        going_on = going_on * torch.from_numpy(~(terminated | truncated))
    return Texts(torch.stack(log_probs), torch.stack(rewards))


def reinforce_loss(log_probs: Tensor, returns: Tensor) -> Tensor:
    """Mean over texts of minus the return (N,) times the log-probability of the text, the sum of those of tokens (T, N)."""
    return -(log_probs.sum(dim=0) * returns).mean()


def train(seed: int, texts: int, updates: int, *, bonus: float = 0.0, centre: bool = False) -> tuple[Any, list[float]]:
    """Write, and make what was paid likelier; return the model and the mean return of every update."""
    torch.manual_seed(seed)
    model: Any = load_language_model("letters")
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    envs = gym.make_vec("TextSpell-v0", texts, model="letters")
    envs.reset(seed=seed)
    history = []
    for _ in range(updates):
        log_probs, rewards = write(model, envs)
        returns = rewards.sum(dim=0)
        optimizer.zero_grad()
        weights = returns + bonus  # more below
        reinforce_loss(log_probs, weights - weights.mean() if centre else weights).backward()
        optimizer.step()
        history.append(float(returns.mean()))
    return model, history


# %% [markdown]
# That was all of it. `TextSpell-v0` pays each right letter a third, so that a right word has the return 1. The start
# model has learnt from demonstrations that are wrong in three letters out of five.
#
# ## What do you expect?
#
# We will train twice, both times on 4,800 texts: 600 updates of 8 texts, or 75 updates of 64 texts. Write down:
#
# 1. Where does the return end, if it starts at 0.33?
# 2. Which of the two ends higher, the one with more updates, or the one with more texts in each?
# 3. By which factor is the gradient of 8 texts noisier (in variance) than that of 64?
#
# ## Noise, in one picture
#
# The gradient of a batch is one sample of a random vector. We take 60 batches of each size from the same start model,
# and look at their gradients in two directions: along their mean, and along one that is perpendicular to it.


# %%
def gradients(texts: int, batches: int, seed: int) -> np.ndarray:
    """Return the gradients of the loss at the start model, of independent batches, (batches, parameters)."""
    torch.manual_seed(seed)
    model: Any = load_language_model("letters")
    envs = gym.make_vec("TextSpell-v0", texts, model="letters")
    envs.reset(seed=seed)
    found = []
    for _ in range(batches):
        log_probs, rewards = write(model, envs)
        of_parameters = torch.autograd.grad(reinforce_loss(log_probs, rewards.sum(dim=0)), list(model.parameters()))
        found.append(torch.cat([each.flatten() for each in of_parameters]).numpy())
    return np.stack(found)


def variance(of: np.ndarray) -> float:
    """Return the mean squared distance of gradients from their mean."""
    return float(((of - of.mean(axis=0)) ** 2).sum(axis=1).mean() * len(of) / (len(of) - 1))


def measured(model: Any, seed: int) -> Evaluation:
    """Let a model write the 32 training words once more."""
    return evaluate(model, make_evaluation_set("TextSpell-v0", prompts=32, split="train", seed=seed))


# %% tags=["experiment"]
clouds = {texts: gradients(texts, batches=60, seed=0) for texts in (8, 64)}
for texts, cloud in clouds.items():
    print(f"{texts:3} texts: variance of the gradient {variance(cloud):.3f}")
print(f"ratio: {variance(clouds[8]) / variance(clouds[64]):.1f}")

curves = {}
for texts, updates in ((8, 600), (64, 75)):
    model, curves[texts] = train(seed=0, texts=texts, updates=updates)
    print(f"{texts:3} texts: return of the 32 words {measured(model, 0).measures.values['reward'].mean():.2f}")

# %% tags=["experiment"]
figure = blank_figure(width=9.6, height=4.0)
noise, learning = figure.subplots(1, 2)
along = clouds[64].mean(axis=0)
along /= np.linalg.norm(along)
rest = clouds[8] - np.outer(clouds[8] @ along, along)
across = np.linalg.svd(rest - rest.mean(axis=0), full_matrices=False)[2][0]
for texts, colour, marker in ((8, "#d55e00", "x"), (64, "#0072b2", "o")):
    noise.scatter(
        clouds[texts] @ along, clouds[texts] @ across, color=colour, marker=marker, s=18, label=f"{texts} texts"
    )
    smooth = np.array(curves[texts]).reshape(75, -1).mean(axis=1)
    smooth = np.convolve(np.pad(smooth, 4, mode="edge"), np.full(9, 1 / 9), mode="valid")
    learning.plot(np.linspace(64, 4_800, 75), smooth, color=colour, label=f"{texts} texts in an update")
noise.axvline(0, color="0.7", zorder=0)
noise.set(title="60 gradients of each batch size", xlabel="along their mean: to the right, J rises", ylabel="across")
learning.set(title="The same number of texts", xlabel="texts", ylabel="return of the training texts", ylim=(0, 1))
noise.legend()
learning.legend()
keep(figure, "02-noise")

# %% [markdown]
# Every cross is an honest estimate of the same gradient: their mean is right (REINFORCE is *unbiased*). But a cross
# to the left of the line makes the model worse. The variance falls like $1/N$: eight times as many texts, an eighth
# of the variance. Large batches are not a waste here, they are what makes the direction worth a step.
#
# ## A failure on purpose
#
# Your reward has no zero. Let us pay five more for *every* text, right or wrong. The best policy is the same. Is the
# learning?

# %% tags=["experiment"]
for name, options in (
    ("as it is", {}),
    ("five more for all", {"bonus": 5.0}),
    ("five more, centred", {"bonus": 5.0, "centre": True}),
):
    model, history = train(seed=0, texts=64, updates=75, **options)
    print(f"{name:18} {history[0]:.2f} -> {measured(model, 0).measures.values['reward'].mean():.2f}")

# %% [markdown]
# With five more, every text that happens to be written becomes likelier, the wrong ones too, and which ones were
# written is chance. The expected gradient has not changed, since $\mathbb{E}\,[c \, \nabla \log \pi] = c \, \nabla
# \sum_y \pi(y) = c \, \nabla 1 = 0$. Its variance has: it grows with the square of the returns.
#
# **The repair** is the same line of algebra, used in our favour: if a constant may be added, one may be subtracted.
# `weights - weights.mean()` pays what is better than usual, and charges what is worse. Such a constant is called a
# *baseline*, and lesson 3 is about good ones.
#
# ## What to remember
#
# - A policy gradient needs samples, their log-probabilities and a number for each. The reward may be any function.
# - The estimate is right on average and noisy; variance falls like $1/N$ and rises with the square of the returns.
# - `textgym train TextSpell-v0 --agent reinforce` is this lesson with a KL penalty, gradient clipping and plots; see
#   [its page](../docs/reinforce.md).
#
# ## The claims, measured
#
# `python lessons/02_reinforce.py --claims`, or `lesson.check_claims()` in a notebook, measures this over three seeds.


# %%
def claims() -> list[Claim]:
    """The return rises; eight times as many texts have an eighth of the variance; a bonus for all spoils it."""
    start = [measured(load_language_model("letters"), seed) for seed in range(3)]
    plain = [measured(train(seed, 64, 100)[0], seed) for seed in range(3)]
    spoilt = [measured(train(seed, 64, 100, bonus=5.0)[0], seed) for seed in range(3)]
    ratios = [variance(gradients(8, 60, seed)) / variance(gradients(64, 60, seed)) for seed in range(8)]
    return [
        Claim("REINFORCE raises the return of the 32 words by", gain(start, plain), above=0.3),
        Claim("Five more for every text costs, of the return,", gain(spoilt, plain), above=0.1),
        Claim("Variance of the gradient of 8 texts over that of 64:", mean_interval(ratios), above=4, below=20),
    ]


def gain(before: list[Evaluation], after: list[Evaluation]) -> Any:
    """Return the mean difference of returns of the same prompts, with its 95 % interval; the three seeds are averaged."""
    rewards = [np.mean([each.measures.values["reward"] for each in group], axis=0) for group in (before, after)]
    return mean_interval(rewards[1] - rewards[0])


# %% [markdown]
# ## Exercises
#
# Replace `None`, then ask: `python lessons/02_reinforce.py --exercise 1`, or `lesson.check_answer(1)` in a notebook.
#
# **Exercise 1.** Some texts end early, and their places after the end are padding, which nobody chose. Write
# `answer_1(log_probs, returns, written)`: the loss of this lesson, where `written` (T, N) is 1 for tokens of the text
# and 0 for padding.

# %%
answer_1: Any = None


def check_1(answer: Any) -> str:
    """Padding has log-probabilities too; a product with `written` takes them out of the sum over tokens."""
    log_probs = torch.tensor([[-1.0, -2.0], [-3.0, -9.0]])
    written = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    expect(
        answer(log_probs, torch.tensor([1.0, 0.5]), written), 2.5, "the loss of two texts, of two tokens and of one,"
    )
    expect(answer(log_probs, torch.tensor([1.0, 0.5]), torch.ones(2, 2)), 4.75, "the loss without padding")
    return "The mean is over texts, not over tokens: a long text is one sample, as a short one is."


# %% [markdown]
# **Exercise 2.** A policy chooses between two texts with logits 0 and 0, so that either has probability 1/2. The
# first is paid 1, the second 0. What is the exact derivative of $J$ with respect to the first logit?

# %%
answer_2: Any = None


def check_2(answer: Any) -> str:
    """J is the probability of the first text, a logistic function of the difference of the logits."""
    expect(answer, 0.25, "the derivative", tolerance=1e-6)
    return "It is pi (1 - pi): a policy that is sure learns slowly, right or wrong."


# %% [markdown]
# **Exercise 3.** In the same situation all rewards are raised by $c$. Write `answer_3(c)`: the *variance* of the
# estimate of that derivative from one text. ($\partial \log \pi / \partial z_1$ is 1/2 for the first text and -1/2
# for the second.)

# %%
answer_3: Any = None


def check_3(answer: Any) -> str:
    """The estimate is (1 + c) / 2 or -c / 2, with probability 1/2 each; the variance is half their distance, squared."""
    for bonus in (0.0, 5.0, -0.5):
        expect(answer(bonus), ((1 + 2 * bonus) / 4) ** 2, f"the variance with c = {bonus}")
    return "At c = -1/2, the mean return, it is 0: here a baseline removes all of the noise."


# %% [markdown]
# ## Further reading
#
# - Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning" (1992),
#   [doi:10.1007/BF00992696](https://doi.org/10.1007/BF00992696).
# - Sutton and Barto, *Reinforcement Learning: An Introduction* (2nd ed., 2018), sections 13.1 to 13.3.
# - Greensmith, Bartlett and Baxter, "Variance reduction techniques for gradient estimates in reinforcement learning"
#   (2004), [JMLR 5](https://jmlr.org/papers/v5/greensmith04a.html).
#
# Next: [3. Baselines, leave-one-out, critics](03_baselines.py).
