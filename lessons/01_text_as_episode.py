# %% [markdown]
# # 1. A text is an episode
#
# **The question.** A language model writes "cab". Did it take one action or three?
#
# Both, and it is your choice. This lesson writes the same texts in two environments: one in which an action is a
# *token*, and one in which an action is a *whole text*. You will see what changes (the number of actions) and what
# does not (what a text is worth).
#
# You need: Python, and an idea of what `env.reset()` and `env.step(action)` are. You need no knowledge of language
# models.
#
# In one line: a language model is a policy. It reads the text so far, the *state* $s$, and gives every possible next
# token, the *action* $a$, a probability $\pi(a \mid s)$.

# %%
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import textgym  # noqa: F401  # registers the environments
from textgym.evaluation import evaluate, make_evaluation_set
from textgym.metrics import mean_interval
from textgym.models import load_language_model
from textgym.plots import blank_figure
from textgym.teaching import Claim, begin, expect, keep
from textgym.types import Interval

lesson = begin(globals())

# %% [markdown]
# ## The task
#
# `TextSpell-v0` asks for a word, letter by letter. The prompt `bc=` wants the text `bc`. The easy level has the
# letters a, b, c and words of two letters, so that everything can be drawn. `density="sparse"` pays 1 for the right
# word and 0 for any other, at the end.

# %%
WORLD = {"difficulty": "easy", "density": "sparse"}
tokens: Any = gym.make("TextSpell-v0", **WORLD)
texts: Any = gym.make("TextSpellEpisode-v0", **WORLD)

# %% [markdown]
# ## Two ways to write
#
# An *episode* begins with `reset`, which shows a prompt, and ends when `step` says `terminated` or `truncated`. The
# *return* is the sum of its rewards, where a reward $t$ steps ahead counts $\gamma^t$ ($\gamma$, the *discount*, is 1
# unless we say otherwise):
#
# $$ G = \sum_{t=0}^{T-1} \gamma^t r_t $$
#
# $T$ is the number of steps of the episode, and $r_t$ the reward of step $t$. These two functions are the whole
# lesson; the rest looks at what they return.


# %% tags=["core"]
def write_tokens(env: Any, prompt: str, text: str, gamma: float = 1.0) -> float:
    """Write a text token by token; return its return."""
    env.reset(options={"task_key": prompt})
    total, discount = 0.0, 1.0
    for token in env.unwrapped.tokenizer.encode(text):
        _, reward, terminated, truncated, _ = env.step(token)
        total, discount = total + discount * reward, discount * gamma
        if terminated or truncated:
            break
    return total


def write_text(env: Any, prompt: str, text: str) -> float:
    """Write a text by one action; return its return."""
    env.reset(options={"task_key": prompt})
    _, reward, terminated, *_ = env.step(text)
    assert terminated  # an action is a whole episode: this is a bandit
    return float(reward)


# %%
prompt = "words-easy/train/1"
observation, _ = texts.reset(options={"task_key": prompt})
print("prompt:", observation)
for text in ("bc", "ba"):
    print(
        f"{text}: {write_tokens(tokens, prompt, text):.0f} token by token, {write_text(texts, prompt, text):.0f} at once"
    )

# %% [markdown]
# ## What do you expect?
#
# Before you go on, write down:
#
# 1. How many different actions has the second environment, if a text may have any two of the three letters? And how
#    many has the first?
# 2. Will the two returns of a text be equal for *every* text, or only for right ones?
# 3. What if $\gamma = 0.9$?
#
# ## All texts in one picture
#
# The nine texts are the leaves of a tree. A token environment walks from the root to a leaf, a letter at a time; a
# text environment jumps there. The probability of a text is the product of the probabilities of its tokens, which the
# chain rule says,
#
# $$ \pi(\text{text}) = \prod_t \pi(a_t \mid s_t), $$
#
# so that a policy over tokens *is* a policy over texts. Below, the width of a branch is the probability that the
# shipped model `letters` gives it.


# %%
LETTERS = "abc"


def letter_probabilities(model: Any, text: str) -> np.ndarray:
    """Return what a language model thinks of a, b and c as the next token behind a text, (3,)."""
    ids, letters = (torch.tensor([model.tokenizer.encode(each)]) for each in (text, LETTERS))
    with torch.no_grad():
        logits = model.network(ids).logits[0, -1]  # a number for every token of the vocabulary
    return torch.softmax(logits[letters[0]], 0).numpy()


def tree_of(model: Any, asked: str) -> dict[str, float]:
    """Return the probability of every beginning of a text of two letters behind a prompt; that of "" is 1."""
    tree = {"": 1.0}
    for written in ("", *LETTERS):
        for letter, share in zip(LETTERS, letter_probabilities(model, asked + written), strict=True):
            tree[written + letter] = tree[written] * float(share)
    return tree


# %% tags=["experiment"]
model = load_language_model("letters")
tree = tree_of(model, "bc=")
whole = [text for text in tree if len(text) == 2]
paid = {text: write_tokens(tokens, prompt, text) for text in whole}
assert paid == {text: write_text(texts, prompt, text) for text in whole}

figure = blank_figure(width=9.6, height=4.2)
walk, jump = figure.subplots(1, 2)
places = {text: (2, 8 - row) for row, text in enumerate(whole)}
places |= {letter: (1, 8 - (3 * row + 1)) for row, letter in enumerate(LETTERS)} | {"": (0, 4)}
for written, (x, y) in places.items():
    if written:
        x_before, y_before = places[written[:-1]]
        share = tree[written] / tree[written[:-1]]
        walk.plot(
            [x_before, x], [y_before, y], color="#0072b2", linewidth=1 + 8 * share, alpha=0.6, solid_capstyle="round"
        )
    right = paid.get(written, 0.0) > 0
    walk.text(
        x,
        y,
        f" {written or 'bc='} ",
        ha="center",
        va="center",
        fontsize=11,
        bbox={"boxstyle": "round", "fc": "#d9f0e3" if right else "white"},
    )
walk.set(title="Token by token: 4 states, 3 actions in each", xlim=(-0.3, 2.4))
walk.axis("off")
jump.barh(
    [places[text][1] for text in whole],
    [tree[text] for text in whole],
    color=["#009e73" if paid[text] else "#0072b2" for text in whole],
)
jump.set(
    title="Whole text: 1 state, 9 actions",
    xlabel="probability of the text",
    yticks=[places[text][1] for text in whole],
    yticklabels=whole,
)
keep(figure, "01-tree")

# %% [markdown]
# The bar of a text is as long as the product of the widths on its way, and the green text is worth 1 in both. Nothing
# is gained or lost by the choice of actions, but look at the numbers: with a vocabulary of $V$ tokens and $T$ steps a
# tree has $V$ actions in each state, a bandit $V^T$ in its only one. GPT-2 has $V = 50{,}257$; a summary of 20 tokens
# is one of about $10^{94}$ actions. No table will hold that. A language model does, because it walks.
#
# ## The same, for a whole model
#
# Next, the model writes a text for the words of the medium level, with sampling. We play every text in both
# environments.


# %%
def returns_of(seed: int, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Let the shipped model write; return the returns of its texts, token by token and at once, (32,) each."""
    asked = make_evaluation_set("TextSpell-v0", prompts=32, split="train", seed=seed)
    by_token, at_once = gym.make("TextSpell-v0"), gym.make("TextSpellEpisode-v0")
    written = evaluate(load_language_model("letters"), asked).texts
    keys = [f"words/train/{place}" for place in range(len(written))]
    pairs = list(zip(keys, written, strict=True))
    return (
        np.array([write_tokens(by_token, key, text, gamma) for key, text in pairs]),
        np.array([write_text(at_once, key, text) for key, text in pairs]),
    )


# %% tags=["experiment"]
for gamma in (1.0, 0.9):
    stepwise, at_once = returns_of(seed=0, gamma=gamma)
    print(f"gamma {gamma}: mean return {stepwise.mean():.3f} token by token, {at_once.mean():.3f} at once")

# %% [markdown]
# ## A failure on purpose
#
# With $\gamma = 1$ the two columns are equal to the last digit. With $\gamma = 0.9$ they are not: a letter that is
# paid one step later counts 0.9 as much, so that the token environment pays the *same text* less. Worse, it pays
# *long* texts less than short ones, and an agent that maximises that return learns to stop early, which nobody asked
# for. Most RL libraries have 0.99 as their default. For a summary of 100 tokens whose reward comes at the end that is
# a factor of $0.99^{99} = 0.37$.
#
# **The repair** is one number: $\gamma = 1$, the default of all agents here. A text ends by itself; no discount is
# needed to keep the sum finite.
#
# ## What to remember
#
# | | token by token | whole text |
# |---|---|---|
# | in Gymnasium | `TextSpell-v0` | `TextSpellEpisode-v0` |
# | in RL | Markov decision process (MDP) | contextual bandit |
# | state | prompt and tokens so far | prompt |
# | actions | $V$ | $V^T$ |
# | rewards | any token may be paid (lesson 4) | one |
# | used by | PPO, A2C, DQN | best-of-n, expert iteration, RLOO in its usual form |
#
# ## The claims, measured
#
# `python lessons/01_text_as_episode.py --claims`, or `lesson.check_claims()` in a notebook, measures this over three seeds.


# %%
def claims() -> list[Claim]:
    """With gamma 1 the returns are the same; with 0.9 the token environment pays less."""
    differences = {gamma: [np.subtract(*returns_of(seed, gamma)) for seed in range(3)] for gamma in (1.0, 0.9)}
    largest = float(np.abs(differences[1.0]).max())
    less = mean_interval(np.mean(differences[0.9], axis=0))  # of the 32 prompts, over the seeds
    return [
        Claim(
            "At gamma 1, largest difference of the returns of a text:", Interval(largest, largest, largest), below=1e-6
        ),
        Claim("At gamma 0.9, return by tokens minus return at once:", less, below=-0.01),
    ]


# %% [markdown]
# ## Exercises
#
# Replace `None`, then ask: `python lessons/01_text_as_episode.py --exercise 1`, or `lesson.check_answer(1)` in a
# notebook.
#
# **Exercise 1.** Write a function of $V$ and $T$ that returns two numbers: the number of states of the token
# environment in which a token is to be chosen (all beginnings of texts, the empty one included), and the number of
# actions of the bandit.

# %%
answer_1: Any = None


def check_1(answer: Any) -> str:
    """Count the beginnings of length 0, of length 1, and so on, to T - 1. Ends of texts are no choices any more."""
    for vocabulary, length, states in ((3, 2, 4), (4, 3, 21), (2, 10, 1023)):
        expect(answer(vocabulary, length), (states, vocabulary**length), f"the pair for V={vocabulary} and T={length}")
    return "A tree has few more states than a bandit has actions, and no more than V actions in each."


# %% [markdown]
# **Exercise 2.** Write `answer_2(rewards, gamma)`: the return of an episode, from its list of rewards.

# %%
answer_2: Any = None


def check_2(answer: Any) -> str:
    """Reward number t, counted from 0, is multiplied by gamma to the power of t."""
    for rewards, gamma, right in (
        ([0, 0, 1], 1.0, 1.0),
        ([0, 0, 1], 0.9, 0.81),
        ([1, 2, 3], 0.5, 2.75),
        ([], 0.9, 0.0),
    ):
        expect(answer(rewards, gamma), right, f"the return of {rewards} at gamma {gamma}")
    return "The first reward is not discounted: it is paid for what you do now."


# %% [markdown]
# **Exercise 3.** The text `cb` for the prompt `cb=` pays 1. At which $\gamma$ is a right text of *five* letters worth
# half as much as a right text of one, in the sparse token environment? Give the number to three decimals.

# %%
answer_3: Any = None


def check_3(answer: Any) -> str:
    """A text of one letter is paid at step 0, one of five at step 4."""
    expect(answer, 0.5**0.25, "gamma", tolerance=1e-3)
    return "A discount that sounds harmless decides how long your texts will be."


# %% [markdown]
# ## Further reading
#
# - Sutton and Barto, *Reinforcement Learning: An Introduction* (2nd ed., 2018), chapters 2 (bandits) and 3 (MDPs).
# - Ranzato et al., "Sequence level training with recurrent neural networks" (2016),
#   [arXiv:1511.06732](https://arxiv.org/abs/1511.06732): a text as an episode.
# - Ramamurthy et al., "Is reinforcement learning (not) for natural language processing?" (2023),
#   [arXiv:2210.01241](https://arxiv.org/abs/2210.01241): the token MDP.
# - Ahmadian et al., "Back to basics" (2024), [arXiv:2402.14740](https://arxiv.org/abs/2402.14740): the whole text as
#   one action.
#
# Next: [2. REINFORCE from scratch](02_reinforce.py) makes the model better at spelling, in 30 lines.
