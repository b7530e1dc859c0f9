# %% [markdown]
# # 4. Which token earned it?
#
# **The question.** The word was `dac`, the model wrote `dab`, and got 2 points out of 3. Which letter earned them?
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
# `TextSpell-v0` shows a prompt such as `dac=` and asks for the word. Each right letter is worth a third. The task pays
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
# $T$ is the number of tokens, $r_k$ the reward of token $k$, $\gamma$ the discount. The next step asks how much
# *better* the token was than expected. The *value* $V^\pi(s)$ is the expected reward-to-go of the policy $\pi$ behind
# the text so far $s$, and $Q^\pi(s, a)$ that with the token $a$ behind it. The advantage is their difference,
#
# $$ A^\pi(s, a) = Q^\pi(s, a) - V^\pi(s), $$
#
# and this is the answer to our question: the credit of a token. A critic $V$ estimates $V^\pi$. With it, one step
# gives an estimate of the advantage, the *temporal-difference error* $\delta_t$, and GAE adds up those of later
# steps, each multiplied by another $\gamma \lambda$:
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
# 1. The reward is terminal. Which letters of `dab` get credit from the return, and which from the rewards-to-go?
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


def measured(model: Any, tree: Tree) -> np.ndarray:
    """Return the expected return of each of the 32 training words, (32,), exactly."""
    return of_words(tree, exact_values(model, tree)[1]).numpy()


# %% [markdown]
# ## How right is a credit?
#
# We take the start model and 512 texts with terminal rewards. The exact advantage of every letter comes from the
# tree. An estimate is as good as its correlation with it: 1 is the exact credit, up to a factor, and 0 is chance. We
# measure it for first, second and third letters apart, and take the mean. We do so for every $\lambda$, and for
# critics that have learned from no texts, from few, and from many.


# %%
LAMBDAS = np.linspace(0, 1, 11)


class Credits(NamedTuple):
    """Texts of the start model, and what their letters earned.

    Attributes:
        texts: 512 texts, whose rewards are terminal.
        exact: (T, N) advantages by dynamic programming.
        values: (T, N) of the texts so far, by the name of the critic that gives them.
        critic: The one that learned from the most texts.
        poor: Values (T, N) of 20 critics, each of which learned from another 64 texts.
    """

    texts: Texts
    exact: Tensor
    values: dict[str, Tensor]
    critic: Critic
    poor: list[Tensor]

    def agreement(self, values: Tensor, lam: float) -> float:
        """Correlation of estimated and exact advantages, mean over the places of letters; 0 for a constant."""
        estimates = generalized_advantages(self.texts.rewards, values, lam=lam)
        pairs = torch.stack([estimates, self.exact], dim=1)  # (T, 2, N)
        return float(np.mean([0.0 if pair[0].std() < 1e-6 else float(torch.corrcoef(pair)[0, 1]) for pair in pairs]))


def measure_credits(seed: int, batches: Sequence[int] = (1, 4, 40)) -> Credits:
    """Fit a critic to more and more texts of the start model, 64 in a batch, and compare it with the exact values."""
    torch.manual_seed(seed)
    model, tree, critic = load_language_model("letters"), tree_of(TERMINAL), Critic()
    of_letters, exact = exact_values(model, tree)
    envs = gym.make_vec("TextSpell-v0", 512, model="letters", **TERMINAL)
    with torch.no_grad():
        texts, observations = write(model, envs, envs.reset(seed=seed)[0])
        more: list[tuple[Tensor, Tensor]] = []
        while len(more) < max(batches):
            written, observations = write(model, envs, observations)
            to_go = rewards_to_go(written.rewards)
            more += zip(written.states.split(64, dim=1), to_go.split(64, dim=1), strict=True)
    at = places_of(tree, texts.states)
    values = {"no critic": torch.zeros_like(texts.rewards)}
    for number, (states, returns) in enumerate(more, 1):
        critic.fit(states, returns)
        if number in batches:
            values[f"critic of {64 * number:,} texts"] = critic(tree.ids).detach()[at]
    values["exact values"] = exact[at]
    beginners = [(Critic(), *batch) for batch in more[:20]]
    for beginner, states, returns in beginners:
        beginner.fit(states, returns)
    poor = [beginner(tree.ids).detach()[at] for beginner, *_ in beginners]
    return Credits(texts, of_letters[at, texts.letters] - exact[at], values, critic, poor)


# %% tags=["experiment"]
credits = measure_credits(seed=0)
for name, values in credits.values.items():
    found = [credits.agreement(values, lam) for lam in LAMBDAS]
    print(f"{name:21}: correlation at most {max(found):.2f}, at lambda {LAMBDAS[int(np.argmax(found))]:.1f}")

# %% [markdown]
# ## Credit, in one picture
#
# On the left, one text and what four methods give its letters. On the right, how right GAE is.


# %%
def credits_of(asked: str, written: str, credits: Credits) -> dict[str, Tensor]:
    """Return what four methods give the letters (T,) of a text that the start model writes."""
    model, tree, texts = load_language_model("letters"), tree_of(DENSE), credits.texts
    of_letters, exact = exact_values(model, tree)
    codes = [model.tokenizer.encode(f"{asked}={written[:place]}") for place in range(LETTERS)]
    states = torch.tensor([[*ids, *[0] * (PROMPT + LETTERS - len(ids))] for ids in codes])
    at, letters = places_of(tree, states), torch.tensor(model.tokenizer.encode(written)) - A
    rewards = tree.rewards[at, letters]
    right = (texts.letters + A == texts.states[0, :, :LETTERS].T).float().mean(dim=1) / LETTERS  # what is usual
    terminal = torch.tensor([0.0, 0.0, float(rewards.sum())])
    values = credits.critic(states).detach()
    return {
        "return of the text": (rewards.sum() - right.sum()).expand(LETTERS),
        "reward-to-go, dense": rewards_to_go(rewards) - rewards_to_go(right),
        "GAE, lambda 0.3,\nterminal": generalized_advantages(terminal[:, None], values[:, None], lam=0.3)[:, 0],
        "exact advantage": of_letters[at, letters] - exact[at],
    }


# %% tags=["experiment"]
rows = credits_of("dac", "dab", credits)
figure = blank_figure(width=10.4, height=4.2)
one, all_of_them = figure.subplots(1, 2, width_ratios=(1, 1.25))
table = torch.stack(list(rows.values())).numpy()
one.imshow(table, cmap="PuOr_r", vmin=-0.5, vmax=0.5, aspect="auto")
for (row, place), credit in np.ndenumerate(table):
    one.text(place, row, f"{credit:+.2f}", ha="center", va="center", color="black" if abs(credit) < 0.35 else "white")
one.set(
    title="Credit in points: asked dac, written dab",
    xticks=range(LETTERS),
    xticklabels=["d (right)", "a (right)", "b (wrong)"],
    yticks=range(len(rows)),
    yticklabels=rows,
)
for name, colour in zip(credits.values, ("0.45", "#cc79a7", "#e69f00", "#009e73", "#0072b2"), strict=True):
    found = [credits.agreement(credits.values[name], lam) for lam in LAMBDAS]
    best = int(np.argmax(found))
    all_of_them.plot(LAMBDAS, found, color=colour, label=name)
    if name != "no critic":
        all_of_them.plot(LAMBDAS[best], found[best], "o", color=colour)
all_of_them.set(
    title="The better the critic, the smaller the best lambda (dots)",
    xlabel="lambda of GAE",
    ylabel="correlation with the exact credit",
    ylim=(0, 1.02),
)
all_of_them.legend(loc="lower right")
keep(figure, "04-credit")

# %% [markdown]
# The return gives the wrong letter as much as the right ones. The reward-to-go gives it less than 0, and still gives
# the first letter what the second one earned. GAE with a critic comes near to the exact numbers, from a reward that
# is paid at the end only. Now look at the exact row. The first letter is right, and earns nothing. The start model
# writes this d with probability 0.98, so that it was expected, and paid for by $V$. The second letter is right too,
# and had probability 0.09. *It earned the points.* Credit is what was better than expected.
#
# On the right, trust must be earned. Without a critic $\lambda = 0$ gives the first two letters nothing. A critic of a
# few texts is best corrected by what was really paid, with a $\lambda$ near 1. A good critic is worth more than the
# rest of a random text, and with exact values $\lambda = 0$ is exact. In practice $\lambda$ is 0.95 to 1 for texts:
# critics of language models are seldom good.
#
# **What $\gamma$ is not.** $\lambda$ and $\gamma$ both make later tokens count less. But $\lambda$ changes the
# *estimate* only: with a perfect critic any $\lambda$ has the right mean. $\gamma$ changes the *goal*: with $\gamma <
# 1$ a reward that comes later is worth less, whatever the critic knows (lesson 1). Lower $\lambda$ against noise, not
# $\gamma$.

# %% tags=["experiment"]
letters_tree = tree_of(DENSE)
start = measured(load_language_model("letters"), letters_tree).mean()
for name, world, credit in (
    ("terminal, return of the text", TERMINAL, "text"),
    ("terminal, GAE with a critic", TERMINAL, "critic"),
    ("dense, rewards-to-go", DENSE, "to go"),
):
    print(f"{name:28} {start:.2f} -> {measured(train(0, world, credit), letters_tree).mean():.2f}")

# %% [markdown]
# All three learn, and with one seed their differences are chance: the noise that two other letters bring is little for
# updates of 64 texts. It grows with the number of tokens. In a text of 100 tokens the return gives each of them the
# luck of 99 others.
#
# ## A failure on purpose
#
# Now only the whole word is paid: 1 if it is right, else 0. The start model writes 1 word in 25, so that there is
# little to learn from. A teacher wants to help, and remembers that words have vowels: half a point for every vowel.
# Of our four letters, a is one.


# %%
def word(prompts: Sequence[str], texts: Sequence[str], examples: Sequence[Any]) -> list[float]:
    """1 for the word, else 0."""
    return [float(text == example.references[0]) for text, example in zip(texts, examples, strict=True)]


def vowels(prompts: Sequence[str], texts: Sequence[str], examples: Sequence[Any]) -> list[float]:
    """Half a point for every vowel."""
    return [text.count("a") / 2 for text in texts]


def word_and_vowels(prompts: Sequence[str], texts: Sequence[str], examples: Sequence[Any]) -> list[float]:
    """Both, added up: the help that does harm."""
    return [sum(both) for both in zip(word(prompts, texts, examples), vowels(prompts, texts, examples), strict=True)]


WORD: dict[str, Any] = {"reward": word}
BONUS: dict[str, Any] = {"reward": word_and_vowels}
VOWELS: dict[str, Any] = {"reward": Shaped(word, vowels)}
SHARES: dict[str, Any] = {"reward": Shaped(word, at_the_end)}


def changed(world: dict[str, Any]) -> float:
    """Return the share of unfinished texts that can still become the word, and whose best letters are others now."""
    plain, other = (gym.make("TextSpell-v0", **each).unwrapped.optimal_values() for each in (WORD, world))
    pairs = [(plain.of_actions(*state), other.of_actions(*state)) for state in plain if plain[state] > 0]
    best = [[np.isclose(values, values.max()) for values in pair] for pair in pairs]
    return float(np.mean([(before != after).any() for before, after in best]))


# %% tags=["experiment"]
words_tree = tree_of(WORD)
for name, world in (
    ("no help", WORD),
    ("vowels as a bonus", BONUS),
    ("vowels as a potential", VOWELS),
    ("letters as a potential", SHARES),
):
    right = measured(train(0, world, "critic", lam=0.3), words_tree).mean()
    print(f"{name:22}: best letters changed in {changed(world):3.0%}; {right:.2f} of the words right after training")

# %% [markdown]
# The bonus is learned, and the words are not: `aaa` is worth 1.5 points, most words no more. Whoever pays for what
# *often goes with* success changes what is best. In 4 of 10 unfinished texts that can still become the word, the best
# next letter is now another one. This is *reward hacking*, to which lesson 6 comes back.
#
# **The repair** is *potential-based shaping*. Let $\Phi(s)$ be a *potential*, any number that a text so far gets, such
# as half its vowels. Pay each token the *difference* that it makes,
#
# $$ F(s, s') = \gamma \Phi(s') - \Phi(s), $$
#
# where $s'$ is the text with the token, and $\Phi = 0$ for the empty text and for every finished text. The discounted
# differences of a text add up to 0: what was paid for vowels is taken back at the end. The value of every letter in
# $s$ changes by the same number $-\Phi(s)$, so that their order stays, whatever $\Phi$ is (Ng, Harada and Russell,
# 1999). A foolish potential costs time at worst. A good one, such as the share of right letters so far, tells after
# each letter what would be known at the end only. It helps those who listen to the next reward, with $\lambda$ below
# 1. With the reward-to-go it is no more than a baseline: the differences from $s$ on add up to $-\Phi(s)$, whatever
# is written.
#
# In this package it is `Shaped(reward, potential, gamma)`. The dense reward of `TextSpell-v0` is the case in which the
# reward is its own potential.
#
# ## What to remember
#
# - Credit is the advantage $A^\pi(s, a)$: what a token adds to the expected return. All else are estimates of it.
# - Rewards before a token are not its own. Use the reward-to-go.
# - $\lambda$ says how far to trust the critic: near 1 for a poor one, small for a good one. It changes noise and bias of
#   the estimate. $\gamma$ changes the goal.
# - Pay tokens in between by a potential, not by a bonus.
#
# In this package: `--gae-lambda` and `--gamma` of [PPO](../docs/ppo.md), whose log has `explained_variance` (how good
# the critic is), and `env.unwrapped.optimal_values()` for the exact values of the *best* policy.
#
# ## The claims, measured
#
# `python lessons/04_credit.py --claims`, or `lesson.check_claims()` in a notebook, measures this over three seeds.


# %%
def claims() -> list[Claim]:
    """A good critic wants a small lambda and a poor one a large one; a bonus does harm, a potential none."""
    seeds = range(3)
    found = [measure_credits(seed) for seed in seeds]
    poor = np.array([[each.agreement(values, lam) for lam in (0.0, 0.8)] for each in found for values in each.poor])
    exact = [each.agreement(each.values["exact values"], 0.0) for each in found]
    returns = np.array([each.agreement(each.values["no critic"], 1.0) for each in found])

    def of(lam: float) -> np.ndarray:
        return np.array([each.agreement(each.values["critic of 2,560 texts"], lam) for each in found])

    after = {
        name: [train(seed, world, "critic", lam=0.3) for seed in seeds]
        for name, world in (("bonus", BONUS), ("potential", SHARES))
    }
    return [
        Claim("Agreement of poor critics, lambda 0.8 minus 0:", mean_interval(poor[:, 1] - poor[:, 0]), above=0.02),
        Claim("Agreement of a good critic, lambda 0.3 minus 1:", mean_interval(of(0.3) - of(1.0)), above=0.05),
        Claim("Agreement of a good critic minus that of the return:", mean_interval(of(0.3) - returns), above=0.1),
        Claim("Agreement with exact values and lambda 0:", mean_interval(exact), above=0.999),
        Claim(
            "Right words, vowels as a bonus minus letters as a potential:",
            gain(after["potential"], after["bonus"], WORD),
            below=-0.1,
        ),
    ]


def gain(before: list[Any], after: list[Any], world: dict[str, Any]) -> Any:
    """Return the mean difference of expected returns of the same words, with its 95 % interval; seeds are averaged."""
    tree = tree_of(world)
    means = [np.mean([measured(model, tree) for model in group], axis=0) for group in (before, after)]
    return mean_interval(means[1] - means[0])


# %% [markdown]
# ## Exercises
#
# Replace `None`, then ask: `python lessons/04_credit.py --exercise 1`, or `lesson.check_answer(1)` in a notebook.
#
# **Exercise 1.** Write `answer_1(rewards, values, gamma)`, for two lists of the same length about one text: the list
# of temporal-difference errors $\delta_t$. `values[t]` is that of the text before token $t$.

# %%
answer_1: Any = None


def check_1(answer: Any) -> str:
    """The value behind a token is that before the next one; behind the last token it is 0."""
    expect(answer([0.0, 0.0, 1.0], [0.2, 0.5, 0.4], 1.0), [0.3, -0.1, 0.6], "the list of errors at gamma 1")
    expect(answer([1.0, 2.0], [0.5, 4.0], 0.5), [2.5, -2.0], "the list of errors at gamma 0.5")
    return "At gamma 1 they add up to the return minus the first value: what the critic did not foresee."


# %% [markdown]
# **Exercise 2.** For the rewards 0, 0, 1 and the values 0.2, 0.5, 0.4, with $\gamma = 1$: at which $\lambda$ does GAE
# give the first token 0.5? Give it to three decimals.

# %%
answer_2: Any = None


def check_2(answer: Any) -> str:
    """The errors are 0.3, -0.1 and 0.6. Their sum, each times another lambda, is a square equation."""
    expect(answer, 2 / 3, "lambda", tolerance=1e-3)
    return "At lambda 0 it is 0.3 and at 1 it is 0.8: the less you trust the critic, the more the last reward counts."


# %% [markdown]
# **Exercise 3.** A text gets the potentials `potentials` before its tokens: one number for each token, the first of
# them 0, for the empty text. Write `answer_3(potentials, gamma)`: what shaping pays for each token.

# %%
answer_3: Any = None


def check_3(answer: Any) -> str:
    """Behind the last token the text is finished, and the potential of a finished text is 0."""
    expect(answer([0.0, 0.5, 1.0], 1.0), [0.5, 0.5, -1.0], "the payments at gamma 1")
    expect(answer([0.0, 0.5, 1.0], 0.5), [0.25, 0.0, -1.0], "the payments at gamma 0.5")
    expect(answer([0.0], 0.9), [0.0], "the payment of a text of one token")
    return "Discounted from the beginning they add up to 0, for every text: no text gains from them."


# %% [markdown]
# ## Further reading
#
# - Schulman et al., "High-dimensional continuous control using generalized advantage estimation" (2016),
#   [arXiv:1506.02438](https://arxiv.org/abs/1506.02438).
# - Ng, Harada and Russell, "Policy invariance under reward transformations: theory and application to reward shaping"
#   (ICML 1999).
# - Sutton and Barto, *Reinforcement Learning: An Introduction* (2nd ed., 2018), chapters 4 (dynamic programming), 6
#   (temporal differences), 12 (lambda) and 13.
# - Kazemnejad et al., "VinePPO: refining credit assignment in RL training of LLMs" (2024),
#   [arXiv:2410.01679](https://arxiv.org/abs/2410.01679): how wrong the critics of language models are.
#
# Next: [5. PPO](05_ppo.py) takes several steps on the same texts.
