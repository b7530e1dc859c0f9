# %% [markdown]
# # 6. The KL leash
#
# **The question.** You train on a reward, the reward rises and rises, and the texts get worse. What went wrong, and
# what holds a policy back?
#
# No reward says exactly what you want. A policy that is trained long enough finds the difference. This is *reward
# hacking*, and you will see it in the texts. The usual protection is a penalty for leaving the start model, measured by
# the KL divergence. For this penalty the best policy is known in closed form, and on a task this small you can compute
# it and compare.
#
# You need: policy gradients with a clipped ratio (lesson 5), or just this idea: the *policy*, here a language model,
# writes a batch of texts (a *rollout*), each is paid a *reward*, and what was paid more than the mean of the batch is
# made likelier. How much more that was is called the *advantage*.

# %%
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

import textgym  # noqa: F401  # registers the environments
from textgym.metrics import mean_interval
from textgym.models import load_language_model
from textgym.plots import blank_figure
from textgym.teaching import Claim, begin, expect, keep
from textgym.types import Interval

lesson = begin(globals())

# %% [markdown]
# ## A reward with a hole
#
# `TextSpell-v0` asks for a word of three letters: the prompt `bcd=` wants the text `bcd`. What we want is the share of
# letters in their place, and we call it the *true score*. What we pay a text $y$ is something else:
#
# $$ r(y) = \frac{\text{number of right letters}}{3} + \frac{\text{number of a}}{2} $$
#
# The second term is the hole: every a earns a half, wherever it stands. It is here in the open, so that you can watch
# it. The holes of real rewards are hidden: reward models like length, lists or flattery, since people who compared
# texts liked them a little more.


# %%
def right_letters(word: str, text: str) -> float:
    """Return the share of letters in their place."""
    return sum(map(str.__eq__, word, text)) / len(word)


def with_hole(word: str, text: str) -> float:
    """Return the share of letters in their place, plus a half for every letter a."""
    return right_letters(word, text) + text.count("a") / 2


Judge = Callable[[str, str], float]

# %% [markdown]
# ## The leash
#
# The penalty is the leash. The *reference* $\pi_{\text{ref}}$ is a frozen copy of the model that training starts from.
# How far a policy $\pi$ is from it is measured by the Kullback-Leibler (KL) divergence, the mean log-ratio over texts
# $y$ that the policy itself writes. Everything here is for one prompt, which the formulas leave out:
#
# $$ \text{KL}(\pi \,\|\, \pi_{\text{ref}}) =
# \mathbb{E}_{y \sim \pi}\left[\log \frac{\pi(y)}{\pi_{\text{ref}}(y)}\right] $$
#
# It is 0 for the reference itself and positive for all others. Its unit is the *nat*: 1 nat means that the texts of the
# policy are, in geometric mean, $e = 2.7$ times as likely as under the reference. The objective, which training makes
# as large as it can, has a penalty of strength $\beta$, the *KL coefficient*:
#
# $$ J_\beta(\pi) = \mathbb{E}_{y \sim \pi}[r(y)] - \beta \, \text{KL}(\pi \,\|\, \pi_{\text{ref}}) $$
#
# Since the KL is a mean over the policy's own texts, the penalty can be paid as a part of the reward: a text gets
# $r(y) - \beta \, (\log \pi(y) - \log \pi_{\text{ref}}(y))$. That is a plain number, like the reward: no gradient
# flows through it. Among *all* policies the best one, with the highest $J_\beta$, is
#
# $$ \pi^*(y) = \frac{1}{Z} \, \pi_{\text{ref}}(y) \, e^{r(y) / \beta} $$
#
# where $Z$ is the number that makes the sum over all texts 1. A large $\beta$ leaves the reference as it is. A small
# one leaves only the texts with the highest reward.
#
# In training nobody can list all texts, and the KL is *estimated* from the tokens that were written. Let
# $u = \pi_{\text{ref}} / \pi$ be the ratio of the probabilities of a token. There are two usual estimates, to be summed
# over the tokens of a text:
#
# $$ k_1 = -\log u, \qquad k_3 = u - 1 - \log u $$
#
# They have the same mean, since the mean of $u$ over what the policy writes is 1. (The name $k_2$ is that of a third,
# which is not used here.)
#
# In the code below, `train` is PPO with the mean of the batch in place of a critic (a network that predicts what a
# text will be paid). The line with `clamp` is the clipped ratio of lesson 5, which keeps the steps small.

# %% tags=["core"]


def optimum(log_ref: Tensor, rewards: Tensor, beta: float) -> Tensor:
    """Log-probabilities (W, Y) of the best policy for W prompts with Y texts each, under a KL penalty beta."""
    return torch.log_softmax(log_ref + rewards / beta, dim=1)


def kl(log_probs: Tensor, log_ref: Tensor) -> Tensor:
    """KL (W,) of a policy to the reference, by the sum over all texts."""
    return (log_probs.exp() * (log_probs - log_ref)).sum(dim=1)


def k1(log_probs: Tensor, log_ref: Tensor) -> Tensor:
    """The plain estimate of the KL from tokens that the policy wrote, of all shapes."""
    return log_probs - log_ref


def k3(log_probs: Tensor, log_ref: Tensor) -> Tensor:
    """The estimate that is never negative, of all shapes."""
    return (log_ref - log_probs).expm1() - (log_ref - log_probs)


def advantages_of(rewards: Tensor, log_probs: Tensor, log_ref: Tensor, beta: float) -> Tensor:
    """How much better than their mean ``N`` texts are, with the penalty; rewards (N,), log-probabilities (T, N)."""
    scores = rewards - beta * k1(log_probs, log_ref).sum(dim=0)
    return (scores - scores.mean()) / (scores.std() + 1e-3)


def train(seed: int, judge: Judge, beta: float, rollouts: int = 40, texts: int = 64) -> Any:
    """Train the start model on a reward under a KL penalty by PPO without a critic; return it."""
    torch.manual_seed(seed)
    model, reference = load_language_model("letters"), load_language_model("letters")
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    envs = gym.make_vec("TextSpell-v0", texts, model="letters", reward=as_reward(judge))
    observations, _ = envs.reset(seed=seed)
    for _ in range(rollouts):
        with torch.no_grad():
            rollout, observations = write(model, envs, observations)
            log_ref = token_log_probs(reference, rollout.observations, rollout.letters)
        advantages = advantages_of(rollout.rewards, rollout.log_probs, log_ref, beta)
        for _ in range(4):  # epochs
            ratio = (token_log_probs(model, rollout.observations, rollout.letters) - rollout.log_probs).exp()
            optimizer.zero_grad()
            (-torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)).mean().backward()
            optimizer.step()
    return model


# %% [markdown]
# The loop leans on the functions below, which write texts and score them; you may skip them at first. To have a list
# of *all* texts, the policy may write the letters a to f only, three of them: $6^3 = 216$ texts for each prompt. The
# model has 32 words to learn from. Shapes stand in brackets: W words, Y texts, T letters of a text, N texts of a
# rollout.

# %%
LETTERS, LENGTH = "abcdef", 3
TEXTS = ["".join(each) for each in itertools.product(LETTERS, repeat=LENGTH)]
IDS = torch.tensor(load_language_model("letters").tokenizer.encode(LETTERS))  # of the six letters
Observations = dict[str, np.ndarray]


class Rollout(NamedTuple):
    """``N`` texts of ``T`` letters: numbers of the letters and their log-probabilities, (T, N), and rewards, (N,)."""

    observations: Observations
    letters: Tensor
    log_probs: Tensor
    rewards: Tensor


def next_letters(model: Any, observations: Observations) -> Tensor:
    """Return the log-probabilities of the six letters behind unfinished texts, padded on the right, (M, 6)."""
    lengths = torch.from_numpy(observations["attention_mask"].sum(axis=1))
    ids = torch.from_numpy(observations["input_ids"])[:, : int(lengths.max())].long()
    logits = model.network(ids).logits[torch.arange(len(ids)), lengths.long() - 1]
    return torch.log_softmax(logits[:, IDS], dim=1)


def token_log_probs(model: Any, observations: Observations, letters: Tensor) -> Tensor:
    """Return the log-probabilities of letters (T, N) that were written behind these T * N observations, (T, N)."""
    return next_letters(model, observations).gather(1, letters.reshape(-1, 1)).reshape(letters.shape)


def write(model: Any, envs: Any, observations: Observations) -> tuple[Rollout, Observations]:
    """Write a text in every environment; return them, and the next prompts."""
    seen, letters, log_probs, rewards = [], [], [], []
    for _ in range(LENGTH):
        choice = torch.distributions.Categorical(logits=next_letters(model, observations))
        seen.append(observations)
        letters.append(choice.sample())
        log_probs.append(choice.log_prob(letters[-1]))
        observations, paid, *_ = envs.step(IDS[letters[-1]].numpy())
        rewards.append(torch.from_numpy(paid).float())
    stacked = {name: np.concatenate([each[name] for each in seen]) for name in seen[0]}
    return Rollout(stacked, torch.stack(letters), torch.stack(log_probs), torch.stack(rewards).sum(dim=0)), observations


def as_reward(judge: Judge) -> Callable[[Sequence[str], Sequence[str], Sequence[Any]], list[float]]:
    """Make a reward of textgym, which scores a batch of texts, out of a function of a word and a text."""

    def reward(prompts: Sequence[str], texts: Sequence[str], examples: Sequence[Any]) -> list[float]:
        return [judge(example.references[0], text) for example, text in zip(examples, texts, strict=True)]

    return reward


WORDS = [example.text for example in gym.make("TextSpell-v0").unwrapped.task.dataset]


@torch.no_grad()
def all_texts(model: Any) -> Tensor:
    """Return the log-probabilities of the letters of all texts behind all training words, (W, Y, T)."""
    asked = torch.tensor([model.tokenizer.encode(f"{word}={text}") for word in WORDS for text in TEXTS])
    logits = model.network(asked).logits[:, -LENGTH - 1 : -1, IDS]
    written = (asked[:, -LENGTH:, None] == IDS).long().argmax(dim=2)  # numbers of the letters
    found = torch.log_softmax(logits, dim=2).gather(2, written[:, :, None])
    return found.reshape(len(WORDS), len(TEXTS), LENGTH)


def table(judge: Judge) -> Tensor:
    """Return what all texts for all words are worth, (W, Y)."""
    return torch.tensor([[judge(word, text) for text in TEXTS] for word in WORDS])


REF, REWARDS, TRUE = all_texts(load_language_model("letters")), table(with_hole), table(right_letters)
LOG_REF = REF.sum(dim=2)


class Place(NamedTuple):
    """The place of a policy: KL to the reference, reward and true score, exact means for each of the words, (W,)."""

    kl: Tensor
    reward: Tensor
    true: Tensor

    @classmethod
    def of(cls, log_probs: Tensor) -> "Place":
        """Sum over all texts; log-probabilities (W, Y)."""
        shares = log_probs.exp()
        return cls(kl(log_probs, LOG_REF), (shares * REWARDS).sum(dim=1), (shares * TRUE).sum(dim=1))

    def __str__(self) -> str:
        distance, reward, true = (float(each.mean()) for each in self)
        return f"KL {distance:5.2f} nats per text, reward {reward:.2f}, true score {true:.2f}"


def place_of(model: Any) -> Place:
    """Return the place of a model."""
    return Place.of(all_texts(model).sum(dim=2))


print("start model:", Place.of(LOG_REF))

# %% [markdown]
# ## What do you expect?
#
# A right word without an a is paid 1; the text `aaa` is paid 1.5 or more for every word. The start model seldom writes
# an a where none belongs. We train with $\beta$ = 1, 0.3, 0.15, 0.05 and 0. Write down:
#
# 1. For which $\beta$ is the *reward* highest?
# 2. For which is the *true score* highest? Does it rise at all?
# 3. What will the model with $\beta = 0$ write for a word without an a?

# %% tags=["experiment"]
BETAS = (1.0, 0.3, 0.15, 0.05, 0.0)
models = {beta: train(0, with_hole, beta) for beta in BETAS}
for beta, model in models.items():
    print(f"beta {beta:<4}: {place_of(model)}")

# %% [markdown]
# ## The frontier
#
# Every $\beta$ has an optimum $\pi^*$, and all of them together are a curve: the highest reward that any policy can
# have at its KL. No policy lies above it. We draw the curve from the list of all texts. The trained models are points:
# dots for their reward, squares for their true score. Beside each dot stands the likeliest text for one word.

# %% tags=["experiment"]
grid = torch.logspace(1, -2, 60)
curve = [Place.of(optimum(LOG_REF, REWARDS, float(beta))) for beta in grid]
shown = WORDS.index(next(word for word in WORDS if "a" not in word))
figure = blank_figure(width=8.4, height=4.8)
axes = figure.subplots()
distances = [float(each.kl.mean()) for each in curve]
axes.plot(distances, [each.reward.mean() for each in curve], color="#0072b2", label="reward of the optimum")
axes.plot(distances, [each.true.mean() for each in curve], color="#d55e00", linestyle="--", label="its true score")
for beta, model in models.items():
    place, likeliest = place_of(model), TEXTS[int(all_texts(model).sum(dim=2)[shown].argmax())]
    distance, reward = float(place.kl.mean()), float(place.reward.mean())
    axes.plot(distance, reward, "o", color="#0072b2", markersize=8)
    axes.plot(distance, float(place.true.mean()), "s", color="#d55e00", markersize=7)
    offset = (8, 4 if beta == 1 else -6)
    axes.annotate(f"β = {beta:g}: {likeliest}", (distance, reward), offset, textcoords="offset points", va="top")
axes.plot([], [], "o", color="#0072b2", label="reward of a trained model")
axes.plot([], [], "s", color="#d55e00", label="its true score")
axes.set(
    title=f"Reward and true score on the way from the reference; texts for the prompt {WORDS[shown]}=",
    xlabel="KL to the reference, nats per text",
    ylabel="mean of the 32 words",
    xlim=(-0.4, 13.5),
    ylim=(0, 1.85),
)
axes.legend(loc=(0.62, 0.45), fontsize=9)
keep(figure, "06-frontier")

# %% [markdown]
# Look at the two lines. The reward rises all the way. The true score rises with it at first, is highest at a few nats,
# and then falls back to where it began. Nothing in the reward tells where the turn is. The KL does not tell either, but
# you can set a limit to it.
#
# ## Two estimates of the same KL
#
# We know all texts, so we know the exact mean and the exact standard deviation of both estimates, without sampling. They
# are those of a single text, printed as mean +- standard deviation in nats, and averaged over the words.


# %%
def estimate_of(model: Any, estimator: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of an estimate of the KL of one text, for each of the words, (W,); in nats."""
    log_probs = all_texts(model)
    shares, estimates = log_probs.sum(dim=2).exp(), estimator(log_probs, REF).sum(dim=2)  # sums over letters
    mean = (shares * estimates).sum(dim=1, keepdim=True)
    return mean[:, 0], (shares * (estimates - mean) ** 2).sum(dim=1).sqrt()


# %% tags=["experiment"]
for beta, model in models.items():
    print(f"beta {beta:<4}: exact KL {place_of(model).kl.mean():5.2f}", end="")
    for name, estimator in (("k1", k1), ("k3", k3)):
        mean, spread = estimate_of(model, estimator)
        print(f"   {name} {mean.mean():5.2f} +- {spread.mean():6.2f}", end="")
    print()

# %% [markdown]
# Both are right on average. Near the reference $k_3$ has less noise, and it is never negative. Far away it is the other
# way round: a letter that the policy has nearly given up has a large $u$, and the rare text that contains it has an
# enormous $k_3$. So look at both in a log. As a part of the *reward* use $k_1$, which the objective $J_\beta$ and its
# closed form belong to. GRPO puts $k_3$ into the loss instead (lesson 10).
#
# ## A failure on purpose
#
# These are texts of the model that was trained without a leash, with what the reward with the hole pays for them. The
# two rows after it are repairs:


# %%
def texts_of(model: Any, count: int = 8, seed: int = 0) -> list[tuple[str, str]]:
    """Return some words with a text that the model writes for each."""
    shares = all_texts(model).sum(dim=2).exp()[:count]
    drawn = torch.multinomial(shares, 1, generator=torch.Generator().manual_seed(seed)).flatten().tolist()
    return [(word, TEXTS[place]) for word, place in zip(WORDS[:count], drawn, strict=True)]


# %% tags=["experiment"]
mended = train(0, right_letters, 0.0)
for name, model in (("no leash", models[0.0]), ("beta 0.15", models[0.15]), ("mended reward, no leash", mended)):
    print(f"{name}: {place_of(model)}")
    print("   ", ", ".join(f"{word} -> {text} ({with_hole(word, text):.2f})" for word, text in texts_of(model)))

# %% [markdown]
# Without a leash the reward is the highest of all and the texts are worthless. A learning curve of the reward alone
# looks like a success. *Read the texts*: three of them are enough to see it.
#
# **The repair** comes in two kinds, both above. A *leash*, $\beta = 0.15$, makes the policy pay for every letter that
# the reference would hardly write, and an a where none belongs often costs more than it earns. It also stops the honest
# part of the learning early. The *mended reward* pays right letters only, and needs no leash. Mending is better where
# you have seen the hole. The leash is for the holes that you have not seen.
#
# ## What to remember
#
# - A policy maximises what you pay, not what you mean.
# - The best policy under a KL penalty is the reference times $e^{r / \beta}$. Halving $\beta$ squares this factor.
# - Plot reward against KL, not against steps, and a true score beside it wherever you have one.
# - In the library $\beta$ is `kl_coef` (`--kl-coef` in a command). With `kl_target` the coefficient is adapted so that
#   the KL stays near a target, in nats per text; see [the page of PPO](../docs/ppo.md). Its logs have `kl` ($k_1$) and
#   `kl_k3`.
#
# ## The claims, measured
#
# `python lessons/06_kl.py --claims`, or `lesson.check_claims()` in a notebook, measures this over three seeds.


# %%
def claims() -> list[Claim]:
    """A leash ends near the exact optimum; without one the true score is lost; k3 is less noisy near the reference."""
    leashed = [train(seed, with_hole, 0.15) for seed in range(3)]
    free = [train(seed, with_hole, 0.0) for seed in range(3)]
    near = [train(seed, with_hole, 1.0) for seed in range(3)]
    best = Place.of(optimum(LOG_REF, REWARDS, 0.15))
    pairs = list(zip([place_of(model) for model in leashed], [place_of(model) for model in free], strict=True))
    return [
        Claim(
            "With beta 0.15, exact optimum minus trained model in the objective:",
            over_words([objective(best, 0.15) - objective(on_leash, 0.15) for on_leash, _ in pairs]),
            below=0.25,
        ),
        Claim(
            "Reward without a leash minus that with beta 0.15:",
            over_words([hacked.reward - on_leash.reward for on_leash, hacked in pairs]),
            above=0.2,
        ),
        Claim(
            "True score with beta 0.15 minus that without a leash:",
            over_words([on_leash.true - hacked.true for on_leash, hacked in pairs]),
            above=0.1,
        ),
        Claim("Noise of k3 over that of k1 with beta 1:", over_words([noise(model) for model in near]), below=1),
        Claim("The same without a leash:", over_words([noise(model) for model in free]), above=2),
    ]


def over_words(of_seeds: list[Tensor]) -> Interval:
    """Return the mean of numbers (W,) of the same words with its 95 % interval; the seeds are averaged."""
    return mean_interval(torch.stack(of_seeds).mean(dim=0).double().numpy())


def noise(model: Any) -> Tensor:
    """Return the standard deviation of k3 of a text over that of k1, for each of the words, (W,)."""
    return estimate_of(model, k3)[1] / estimate_of(model, k1)[1]


def objective(place: Place, beta: float) -> Tensor:
    """Return the reward with the KL penalty, (W,)."""
    return place.reward - beta * place.kl


# %% [markdown]
# ## Exercises
#
# Replace `None`, then ask: `python lessons/06_kl.py --exercise 1`, or `lesson.check_answer(1)` in a notebook.
#
# **Exercise 1.** Write `answer_1(probabilities, rewards, beta)`: the probabilities of the best policy, from those of
# the reference, for a prompt with a few texts. Probabilities and rewards are NumPy arrays, `beta` is a number.

# %%
answer_1: Any = None


def check_1(answer: Any) -> str:
    """Multiply the reference by exp(reward / beta), then divide by the sum."""
    reference, rewards = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.0, 0.25, 0.5, 1.0])
    for beta, right in (
        (1.0, [0.2884379513, 0.2777712455, 0.2377768928, 0.1960139104]),
        (0.1, [0.0001788602, 0.0016342221, 0.0132726009, 0.9849143168]),
    ):
        expect(answer(reference, rewards, beta), right, f"the optimum at beta {beta}")
    expect(answer(reference, rewards + 5, 1.0), answer(reference, rewards, 1.0), "the optimum with five more for all")
    return "A constant that is added to all rewards changes nothing: Z takes it out."


# %% [markdown]
# **Exercise 2.** Write `answer_2(log_pi, log_ref)`: the estimate $k_3$ of each token, from log-probabilities under the
# policy that wrote it and under the reference, which are tensors.

# %%
answer_2: Any = None


def check_2(answer: Any) -> str:
    """With u = ref / pi, k3 is u - 1 - log u. Mind which of the two is in the numerator."""
    policy, reference = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.4, 0.4, 0.2])
    expect(
        answer(policy.log(), reference.log()),
        [0.0231435513, 0.1299963708, 0.0231435513],
        "k3 of three tokens",
        tolerance=1e-5,
    )
    exact = float((policy * answer(policy.log(), reference.log())).sum())
    expect(exact, 0.0498567562, "the mean over the tokens of the policy, the exact KL,", tolerance=1e-5)
    return "The mean is the KL, 0.0499 nats, as that of k1; its variance here is a fortieth of that of k1."


# %% [markdown]
# **Exercise 3.** The reference writes a right text with probability 0.1. A right text is paid 1, all others 0. At
# which $\beta$ does the best policy write a right text half of the time? Give three decimals.

# %%
answer_3: Any = None


def check_3(answer: Any) -> str:
    """Right texts weigh 0.1 times exp(1 / beta), the others 0.9. When are the two equal?"""
    expect(answer, 1 / np.log(9), "beta", tolerance=1e-3)
    return "The rarer the right text, the smaller beta has to be: it is 1 over the log-odds of a wrong one."


# %% [markdown]
# ## Further reading
#
# - Ziegler et al., "Fine-tuning language models from human preferences" (2019),
#   [arXiv:1909.08593](https://arxiv.org/abs/1909.08593): the KL penalty as a part of the reward, and its adaptive
#   coefficient.
# - Korbak, Perez and Buckley, "RL with KL penalties is better viewed as Bayesian inference" (2022),
#   [arXiv:2205.11275](https://arxiv.org/abs/2205.11275): the closed form and what it means.
# - Schulman, "Approximating KL divergence" (2020), [joschu.net](http://joschu.net/blog/kl-approx.html): the estimates
#   $k_1$ and $k_3$.
# - Skalse et al., "Defining and characterizing reward hacking" (2022),
#   [arXiv:2209.13085](https://arxiv.org/abs/2209.13085).
# - Gao, Schulman and Hilton, "Scaling laws for reward model overoptimization" (2022),
#   [arXiv:2210.10760](https://arxiv.org/abs/2210.10760): the curve that turns down, for learned rewards (lesson 9).
#
# Next: [7. Writing by values](07_values.py).
