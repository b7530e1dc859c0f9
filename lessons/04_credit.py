# %% [markdown]
# # 4. Which token earned it?
#
# **The question.** The word was `dab`, the model wrote `dac`, and got 2 points out of 3. Which letter earned them?
#
# REINFORCE with whole texts says: all three did, the wrong one too. This is the *credit assignment problem*: to
# tell which actions a return is due to. This lesson compares four answers with the exact one, which can be computed
# here: the return of the text, the rewards that came after a token, a learned critic, and a mixture of the last two,
# which is called *generalized advantage estimation* (GAE). Then it pays tokens in between, first badly, then well.
#
# You need: lesson 2 (a policy gradient weighs log-probabilities) and lesson 3 (a baseline is subtracted from returns).

# %%
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

import textgym  # noqa: F401  # registers the environments
from textgym.metrics import mean_interval
from textgym.models import load_language_model
from textgym.plots import blank_figure
from textgym.rewards import Shaped
from textgym.teaching import Claim, begin, expect, keep

lesson = begin(globals())

# %% [markdown]
# ## The task, paid in two ways
#
# `TextSpell-v0` shows a prompt such as `dab=` and asks for the word. Each right letter is worth a third. The task pays
# it at once: its reward is *dense*. With `at_the_end` the same sum is paid with the last letter: the reward is
# *terminal*, as that of a reward model is, which judges whole texts. Every text has the same return in both.

# %%
LETTERS = 3  # letters of a word: every text is an episode of three steps
PROMPT = LETTERS + 1  # tokens of a prompt, with its "="
A, D = 2, 5  # tokens of the first and the last letter of the alphabet abcd; 0 is padding


def at_the_end(prompts: Sequence[str], texts: Sequence[str], examples: Sequence[Any]) -> list[float]:
    """Share of the letters that are right, paid for the whole text."""
    pairs = [zip(text, example.references[0], strict=False) for text, example in zip(texts, examples, strict=True)]
    return [sum(written == asked for written, asked in pair) / LETTERS for pair in pairs]


DENSE: dict[str, Any] = {"density": "dense"}
TERMINAL: dict[str, Any] = {"reward": at_the_end}


def policy(model: Any, ids: Tensor) -> torch.distributions.Categorical:
    """Return the distribution of the next letter behind unfinished texts (N, PROMPT + LETTERS), padded with 0."""
    lengths = (ids > 0).sum(dim=1)
    logits = model.network(ids[:, : int(lengths.max())]).logits[torch.arange(len(ids)), lengths - 1]
    return torch.distributions.Categorical(logits=logits[:, A : D + 1])


class Texts(NamedTuple):
    """``N`` texts of ``T`` letters.

    Attributes:
        states: (T, N, PROMPT + LETTERS) the text before each letter, padded with 0.
        letters: (T, N) from 0 for a.
        log_probs: (T, N), with gradients.
        rewards: (T, N).
    """

    states: Tensor
    letters: Tensor
    log_probs: Tensor
    rewards: Tensor


def write(model: Any, envs: Any, observations: dict[str, np.ndarray]) -> tuple[Texts, dict[str, np.ndarray]]:
    """Write a text in every environment; return them, and the next prompts."""
    steps = []
    for _ in range(LETTERS):
        ids = torch.from_numpy(observations["input_ids"])[:, : PROMPT + LETTERS].long()
        choice = policy(model, ids)
        letters = choice.sample()
        observations, paid, *_ = envs.step(letters.numpy() + A)
        steps.append((ids, letters, choice.log_prob(letters), torch.from_numpy(paid).float()))
    return Texts(*(torch.stack(each) for each in zip(*steps, strict=True))), observations


class Critic(nn.Module):
    """A small network that reads the text so far, and says how much reward it expects from here on."""

    def __init__(self, vocabulary: int = 9, width: int = 64) -> None:
        super().__init__()
        read = nn.Linear(16 * (PROMPT + LETTERS), width)
        self.layers = nn.Sequential(nn.Embedding(vocabulary, 16), nn.Flatten(), read, nn.ReLU(), nn.Linear(width, 1))
        self.optimizer = torch.optim.Adam(self.parameters(), lr=3e-3)

    def forward(self, states: Tensor) -> Tensor:
        """Values of states (..., PROMPT + LETTERS)."""
        return self.layers(states.flatten(0, -2)).view(states.shape[:-1])

    def fit(self, states: Tensor, returns: Tensor, steps: int = 10) -> None:
        """Take some steps towards the returns that followed on states."""
        for _ in range(steps):
            self.optimizer.zero_grad()
            ((self(states) - returns) ** 2).mean().backward()
            self.optimizer.step()


# %% [markdown]
# ## The idea
#
# A letter cannot change what was paid before it. So the first step is to weigh a token not with the return of the
# text, but with its *reward-to-go*, what follows from it on:
#
# $$ G_t = \sum_{k=t}^{T-1} \gamma^{k-t} r_k $$
#
# $T$ is the number of tokens, $r_k$ the reward of token $k$, $\gamma$ the discount. The next step asks how much *better*
# the token was than expected. The *value* $V^\pi(s)$ is the expected reward-to-go of the policy $\pi$ behind the text
# so far $s$, and $Q^\pi(s, a)$ that with the token $a$ behind it. The advantage is their difference,
#
# $$ A^\pi(s, a) = Q^\pi(s, a) - V^\pi(s), $$
#
# and this is the answer to our question: the credit of a token. A critic $V$ estimates $V^\pi$. With it, one step gives
# an estimate of the advantage, the *temporal-difference error* $\delta_t$, and GAE adds up those of later steps, each
# multiplied by another $\gamma \lambda$:
#
# $$ \delta_t = r_t + \gamma V(s_{t+1}) - V(s_t), \qquad
#    \hat A_t = \sum_{k=t}^{T-1} (\gamma \lambda)^{k-t} \delta_k $$
#
# Behind the last token $V$ is 0. With $\lambda = 0$ the estimate is $\delta_t$: it trusts the critic in everything but
# one reward. With $\lambda = 1$ the values in between cancel, and it is $G_t - V(s_t)$: the critic is a baseline only.
# A small $\lambda$ has less variance, since later tokens are chance. It has more bias, if the critic is wrong.
#
# **Exact values.** A task of three letters has 672 unfinished texts. *Dynamic programming* computes $V^\pi$ of all of
# them, from the last letter back to the first:
#
# $$ Q^\pi(s, a) = r(s, a) + \gamma V^\pi(s'), \qquad V^\pi(s) = \sum_a \pi(a \mid s) \, Q^\pi(s, a) $$
#
# where $s'$ is $s$ with $a$ behind it.


# %% tags=["core"]
def rewards_to_go(rewards: Tensor, gamma: float = 1.0) -> Tensor:
    """Discounted sums (T, N) of the rewards (T, N) from each token to the end."""
    found = rewards.clone()
    for step in reversed(range(len(rewards) - 1)):
        found[step] += gamma * found[step + 1]
    return found


def generalized_advantages(rewards: Tensor, values: Tensor, gamma: float = 1.0, lam: float = 0.95) -> Tensor:
    """Estimates (T, N) from the rewards of tokens and the values of the texts before them, (T, N) each."""
    following = torch.cat([values[1:], torch.zeros_like(values[:1])])  # 0 where the text has ended
    return rewards_to_go(rewards + gamma * following - values, gamma * lam)  # the same sum, of other numbers


def policy_loss(log_probs: Tensor, advantages: Tensor) -> Tensor:
    """Mean over texts of minus the sum of the log-probabilities of tokens, each times its advantage, (T, N) both."""
    return -(log_probs * advantages).sum(dim=0).mean()


class Tree(NamedTuple):
    """All ``S`` unfinished texts: ids, rewards of the letters, and the place of the longer text, -1 at the end, (S, 4)."""

    ids: Tensor
    rewards: Tensor
    following: Tensor


def exact_values(model: Any, tree: Tree, gamma: float = 1.0) -> tuple[Tensor, Tensor]:
    """Values (S, 4) of letters and (S,) of texts under the policy of a model, by dynamic programming."""
    with torch.no_grad():
        probabilities = policy(model, tree.ids).probs
    values = torch.zeros(len(tree.ids))
    for _ in range(LETTERS):  # the first sweep is right for the last letters, the next for those before them
        of_letters = tree.rewards + gamma * torch.where(tree.following >= 0, values[tree.following], 0.0)
        values = (probabilities * of_letters).sum(dim=1)
    return of_letters, values


def train(seed: int, world: dict[str, Any], credit: str, updates: int = 60, lam: float = 0.8) -> Any:
    """Train on 64 texts an update, whose tokens get the credit "text", "to go" or "critic"; return the model."""
    torch.manual_seed(seed)
    model: Any = load_language_model("letters")
    critic, optimizer = Critic(), torch.optim.Adam(model.parameters(), lr=3e-3)
    envs = gym.make_vec("TextSpell-v0", 64, model="letters", **world)
    observations, _ = envs.reset(seed=seed)
    for _ in range(updates):
        texts, observations = write(model, envs, observations)
        to_go = rewards_to_go(texts.rewards)
        weights = to_go if credit == "to go" else to_go[:1].expand_as(to_go)  # of the first token: all of the text
        weights = weights - weights.mean(dim=1, keepdim=True)
        if credit == "critic":
            weights = generalized_advantages(texts.rewards, critic(texts.states).detach(), lam=lam)
            critic.fit(texts.states, to_go)
        optimizer.zero_grad()
        policy_loss(texts.log_probs, weights).backward()
        optimizer.step()
    return model


# %% [markdown]
# ## What do you expect?
#
# Write down:
#
# 1. The reward is terminal. Which letters of `dac` get credit from the return, and which from the rewards-to-go?
# 2. The critic knows nothing yet: it says 0 for everything. Which $\lambda$ is best? And which is best once the
#    critic is perfect?
# 3. Dense and terminal rewards have the same return for every text. Do they teach equally fast?
#
# ## The tree of all texts
#
# `optimal_values(gamma=0)` gives the reward of every letter behind every unfinished text, which is all that dynamic
# programming needs.


# %%
def tree_of(world: dict[str, Any]) -> Tree:
    """Look up all unfinished texts of the 32 training words, and what their letters are paid."""
    env: Any = gym.make("TextSpell-v0", **world).unwrapped
    data, paid = env.task.dataset, env.optimal_values(gamma=0.0)
    asked = {data[place].key: env.tokenizer.encode(data[place].text + "=") for place in range(len(data))}
    places = {state: place for place, state in enumerate(paid)}
    ids = [[*asked[key], *written, *[0] * (LETTERS - len(written))] for key, written in paid]
    rewards = np.stack([paid.of_actions(*state)[A : D + 1] for state in paid])
    following = [[places.get((key, (*written, token)), -1) for token in range(A, D + 1)] for key, written in paid]
    return Tree(torch.tensor(ids), torch.from_numpy(rewards).float(), torch.tensor(following))


def places_of(tree: Tree, states: Tensor) -> Tensor:
    """Return where states (..., PROMPT + LETTERS) stand in the tree."""
    places = {tuple(ids): place for place, ids in enumerate(tree.ids.tolist())}
    return torch.tensor([places[tuple(ids)] for ids in states.flatten(0, -2).tolist()]).view(states.shape[:-1])


def of_words(tree: Tree, values: Tensor) -> Tensor:
    """Return the values (32,) of the prompts, behind which nothing is written yet, out of those (S,) of all texts."""
    return values[(tree.ids > 0).sum(dim=1) == PROMPT]


def measured(model: Any, world: dict[str, Any]) -> np.ndarray:
    """Return the expected return of each of the 32 training words, (32,), exactly."""
    tree = tree_of(world)
    return of_words(tree, exact_values(model, tree)[1]).numpy()


# %% [markdown]
# ## How wrong is a credit?
#
# We take the start model and 512 texts with terminal rewards. The exact advantage of every letter comes from the tree. An
# estimate is as good as it is near to that: we measure the root mean square error (RMSE), in points, for every
# $\lambda$ and for critics that have learned from few texts or from many.


# %%
LAMBDAS = np.linspace(0, 1, 11)


class Credits(NamedTuple):
    """Texts of the start model, and what their letters earned.

    Attributes:
        texts: 512 texts.
        exact: (T, N) advantages by dynamic programming.
        values: (T, N) of the texts so far, by the name of the critic that gives them.
    """

    texts: Texts
    exact: Tensor
    values: dict[str, Tensor]

    def error(self, critic: str, lam: float) -> float:
        """Root mean square error of the estimated advantages."""
        estimates = generalized_advantages(self.texts.rewards, self.values[critic], lam=lam)
        return float(((estimates - self.exact) ** 2).mean().sqrt())


def measure_credits(seed: int, batches: Sequence[int] = (0, 4, 40)) -> Credits:
    """Fit a critic to more and more texts of the start model, 64 in a batch, and compare it with the exact values."""
    torch.manual_seed(seed)
    model, tree, critic = load_language_model("letters"), tree_of(TERMINAL), Critic()
    of_letters, exact = exact_values(model, tree)
    envs = gym.make_vec("TextSpell-v0", 512, model="letters", **TERMINAL)
    with torch.no_grad():
        texts, observations = write(model, envs, envs.reset(seed=seed)[0])
        more = []
        for _ in range(-(-max(batches) // 8)):
            written, observations = write(model, envs, observations)
            more += zip(written.states.split(64, dim=1), rewards_to_go(written.rewards).split(64, dim=1), strict=True)
    at = places_of(tree, texts.states)
    nothing = torch.zeros_like(texts.rewards)
    values = {"no critic": nothing}
    for number, (states, returns) in enumerate(more, 1):
        critic.fit(states, returns)
        if number in batches:
            values[f"critic of {64 * number:,} texts"] = critic(tree.ids).detach()[at]
    values["exact values"] = exact[at]
    return Credits(texts, of_letters[at, texts.letters] - exact[at], values)


# %% tags=["experiment"]
credits = measure_credits(seed=0)
for name in credits.values:
    errors = [credits.error(name, lam) for lam in LAMBDAS]
    print(f"{name:22}: least error {min(errors):.3f} at lambda {LAMBDAS[int(np.argmin(errors))]:.1f}")
