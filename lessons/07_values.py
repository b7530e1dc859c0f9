# %% [markdown]
# # 7. Writing by values
#
# **The question.** If you knew what every next letter is worth, would you need a policy?
#
# No. You would write the letter that is worth most. The lessons before this one changed the probabilities of a
# policy. This one learns *values*, and leaves the writing to a maximum. You will fill a table by Q-learning, change
# one line to get SARSA, compare both with exact values, see why a maximum must not be trusted too early, and put a
# network in place of the table: DQN.
#
# You need: lesson 1 (an episode, the discount $\gamma$). It helps to know the values of lesson 4.

# %%
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Literal

import gymnasium as gym
import numpy as np

import textgym  # noqa: F401  # registers the environments
from textgym.agents import make_vec_env, resolve_agent
from textgym.agents.common.sweeps import TextTree, text_tree, value_iteration
from textgym.metrics import mean_interval
from textgym.plots import blank_figure
from textgym.teaching import Claim, begin, expect, keep
from textgym.types import Interval

lesson = begin(globals())

# %% [markdown]
# ## The task
#
# `TextSpell-v0` shows a prompt such as `cb=` and asks for the word before the sign, here `cb`. A *token*, the
# action, is one letter. The easy level has the letters a, b, c and five training words of two letters.
# `density="sparse"` pays 1 for the right word, at the end, and nothing before. A prompt and what stands behind it is
# the *state*. Each word has four unfinished texts (no letter yet, or one of three), so there are 20, with three
# letters that may follow on each: 60 values in all. A second reward, `"deceptive"`, is for the failure further below.

# %%
A, COUNT = 2, 3  # number of the letter a in the vocabulary (b is 3, c is 4); how many letters there are
GAMMA = 0.9
SPARSE = {"difficulty": "easy", "density": "sparse"}
DECEPTIVE = {"difficulty": "easy", "density": "deceptive"}

State = tuple[int, ...]
Table = dict[State, np.ndarray]


def state_of(observation: dict[str, np.ndarray]) -> State:
    """Return the text so far, prompt and letters, as a tuple of tokens (numbers).

    `input_ids` has a fixed length and is filled up behind the text; `attention_mask` is 1 where the text is.
    """
    return tuple(observation["input_ids"][: observation["attention_mask"].sum()].tolist())


# %% [markdown]
# ## The idea
#
# The *action value* $Q^*(s, a)$ is the largest return that can follow when the letter $a$ is written behind the text
# $s$. It obeys the *Bellman equation*,
#
# $$ Q^*(s, a) = r(s, a) + \gamma \max_b Q^*(s', b), $$
#
# where $r$ is the reward of the letter, $\gamma$ the discount, $s'$ the text with the letter, and $b$ any letter
# behind that. The second term is 0 where the text ends. *Q-learning* takes the equation for an instruction. It begins
# with a table of zeros, $Q$ without the star, and after every letter moves the value a share $\alpha$ (the *step
# size*) towards the right side, its *target*:
#
# $$ Q(s, a) \leftarrow Q(s, a) + \alpha \, \bigl(r + \gamma \max_b Q(s', b) - Q(s, a)\bigr) $$
#
# *SARSA* puts in place of $\max_b Q(s', b)$ the value $Q(s', a')$ of the letter $a'$ that is *really* written next.
# Its name is what an update needs: $s, a, r, s', a'$.
#
# The letters must be chosen somehow while the table is wrong. Two usual ways to *explore*:
#
# | | probability of letter $a$ |
# |---|---|
# | epsilon-greedy | with probability $\epsilon$ any letter, else the one of the largest value |
# | softmax (Boltzmann) | proportional to $\exp(Q(s, a) / \tau)$; $\tau$ is the temperature |


# %% tags=["core"]
def epsilon_greedy(values: np.ndarray, epsilon: float) -> np.ndarray:
    """Probabilities of letters: any with probability epsilon, else a best one; equally good ones share."""
    best = values == values.max()
    return epsilon / len(values) + (1 - epsilon) * best / best.sum()


def softmax(values: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities of letters, proportional to exp(value / temperature)."""
    weights = np.exp((values - values.max()) / temperature)
    return weights / weights.sum()


def target(
    rule: Literal["q", "sarsa"], reward: float, following: np.ndarray, letter: int, ended: bool, gamma: float = GAMMA
) -> float:
    """What a value is moved towards, from the values of the letters that may follow, and the one that does."""
    if ended:
        return reward
    return reward + gamma * float(following.max() if rule == "q" else following[letter])


Policy = Callable[[np.ndarray, float], np.ndarray]  # of values and the share of the run that is left


def learn(
    world: dict[str, str],
    rule: Literal["q", "sarsa"],
    policy: Policy,
    letters: int,
    *,
    power: float = 0.0,
    seed: int = 0,
) -> Table:
    """Write letters, and learn from each; the step size is n ** -power for the n-th update of a value.

    `world` has the options of the environment. One text follows on another until all letters are written.
    """
    env, random = gym.make("TextSpell-v0", **world), np.random.default_rng(seed)
    table: Table = defaultdict(lambda: np.zeros(COUNT))
    updates: Table = defaultdict(lambda: np.zeros(COUNT))
    state, letter = state_of(env.reset(seed=seed)[0]), int(random.integers(COUNT))
    for written in range(letters):
        observation, reward, ended, *_ = env.step(letter + A)
        following = state_of(env.reset()[0] if ended else observation)  # behind the last letter: the next prompt
        next_letter = int(random.choice(COUNT, p=policy(table[following], 1 - written / letters)))
        updates[state][letter] += 1
        goal = target(rule, float(reward), table[following], next_letter, ended)
        table[state][letter] += updates[state][letter] ** -power * (goal - table[state][letter])
        state, letter = following, next_letter
    return table


# %% [markdown]
# The step size is 1 for Q-learning here: `power=0`. Letters lead to texts without chance, and rewards are without
# chance, so that one look is enough. The target of SARSA depends on a letter that is drawn. It needs a mean over many
# looks, and so a step size that falls: `power=0.8` below.
#
# ## What do you expect?
#
# The table is filled by *random* letters, and the word is paid at the end only. Write down:
#
# 1. Two values on the way to `cb` are not 0: that of c behind `cb=`, and that of b behind `cb=c`. Which becomes right
#    first?
# 2. Can values that were learned from random letters be those of the *best* writer? By Q-learning? By SARSA?
# 3. What happens if you always write the best letter that you know of, from the start?
#
# ## The exact values
#
# With 60 values *value iteration* is done in a moment: apply the right side of the Bellman equation to all values at
# once, until they stand still. That needs the environment's rules; Q-learning needs only what it sees. `epsilon`
# above 0 gives the values of a writer who goes on exploring at this rate: the mean over what this writer writes next
# stands in place of the maximum.


# %%
def tree_of(world: dict[str, str]) -> TextTree:
    """Return all unfinished texts of the training words."""
    env: Any = gym.make("TextSpell-v0", **world)
    data = env.unwrapped.task.dataset
    return text_tree(env, [data[place].key for place in range(len(data))])


def exact_values(tree: TextTree, epsilon: float = 0.0) -> np.ndarray:
    """Values (S, 3) of the letters behind all S unfinished texts."""
    return value_iteration(tree, GAMMA, epsilon=epsilon)[:, A : A + COUNT]


def learned_values(tree: TextTree, table: Table) -> np.ndarray:
    """Values (S, 3) of a table; 0 where it has none."""
    return np.array([table.get(state, np.zeros(COUNT)) for state in tree.states])


def random_letters(values: np.ndarray, left: float) -> np.ndarray:
    """Take no notice of values."""
    return epsilon_greedy(values, 1.0)


def explorer(values: np.ndarray, left: float) -> np.ndarray:
    """Go on exploring at a rate of 0.3."""
    return epsilon_greedy(values, 0.3)


# %% tags=["experiment"]
tree = tree_of(SPARSE)
best, careful = exact_values(tree), exact_values(tree, epsilon=0.3)
filled = learned_values(tree, learn(SPARSE, "q", random_letters, 3_000))
print(f"Q-learning, random letters: largest error {np.abs(filled - best).max():.3f}")
for rule, power in (("q", 0.0), ("sarsa", 0.8)):
    found = learned_values(tree, learn(SPARSE, rule, explorer, 6_000, power=power))
    print(
        f"{rule:5}, epsilon 0.3: mean error {np.abs(found - best).mean():.3f} as values of the best writer, "
        f"{np.abs(found - careful).mean():.3f} as values of the one who explores"
    )

# %% [markdown]
# Questions 1 and 3 are answered below, question 2 here. Q-learning finds the values of the best writer from letters
# that were drawn blindly. It is *off-policy*: its maximum asks what the best next letter would give, whichever one is
# written. It could learn from a log of others as well. SARSA is *on-policy*: it learns what a text is worth to
# somebody who goes on making mistakes. From random letters it would learn the values of a random writer. Both are
# right about what they say, and as exploration ends they agree.
#
# ## Value flows backwards, in one picture
#
# On the way to the word `cb` four texts matter: nothing yet, and each first letter. We look at the table after more
# and more random letters, which are spent on all five words. (The curves on the right, and the three returns printed
# first, belong to the failure that follows.)


# %%
def paths(tree: TextTree, values: np.ndarray) -> np.ndarray:
    """Mean return of each training word, (words,), if the best letter by values (S, 3) is written; of equal ones any."""
    better = np.array([epsilon_greedy(row, 0.0) for row in values])
    rewards, following = tree.rewards[:, A : A + COUNT], tree.following[:, A : A + COUNT]
    returns = np.zeros(len(values))
    for _ in range(2):  # letters of a word
        returns = (better * (rewards + np.where(following >= 0, returns[following], 0.0))).sum(axis=1)
    return returns[[place for place in range(len(returns)) if place not in following]]  # a prompt follows on nothing


def greedy(values: np.ndarray, left: float) -> np.ndarray:
    """Write a best letter, from the first one on."""
    return epsilon_greedy(values, 0.0)


def falling(values: np.ndarray, left: float) -> np.ndarray:
    """Explore less and less."""
    return epsilon_greedy(values, left)


def cooling(values: np.ndarray, left: float) -> np.ndarray:
    """Explore by softmax, whose temperature falls."""
    return softmax(values, 0.02 + left)


POLICIES = {"greedy": greedy, "epsilon-greedy": falling, "softmax": cooling}


def returns_of(name: str, letters: int, seed: int) -> np.ndarray:
    """Learn from the deceptive reward with a policy; return what the best letters then bring, of each word."""
    tree = tree_of(DECEPTIVE)
    return paths(tree, learned_values(tree, learn(DECEPTIVE, "q", POLICIES[name], letters, seed=seed)))


# %% tags=["experiment"]
lengths = (25, 50, 100, 200, 400, 800)
curves = {
    name: [np.mean([returns_of(name, n, seed).mean() for seed in range(3)]) for n in lengths] for name in POLICIES
}
for name, curve in curves.items():
    print(f"{name:15}: return {curve[-1]:.2f} after {lengths[-1]} letters of the deceptive reward")

# %% tags=["experiment"]
env: Any = gym.make("TextSpell-v0", **SPARSE)
asked = "cb"
rows = [tuple(env.unwrapped.tokenizer.encode(f"{asked}={written}")) for written in ("", "a", "b", "c")]
shown = {"after 20 letters": 20, "after 40 letters": 40, "after 80 letters": 80}
tables = {name: learn(SPARSE, "q", random_letters, letters, seed=3) for name, letters in shown.items()}
tables["exact"] = dict(zip(tree.states, best, strict=True))
figure = blank_figure(width=11.4, height=3.8)
*grids, curve_axes = figure.subplots(1, 5, width_ratios=(1, 1, 1, 1, 1.9))
for axes, (name, table) in zip(grids, tables.items(), strict=True):
    values = np.array([table.get(row, np.zeros(COUNT)) for row in rows])
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
    for (row, letter), value in np.ndenumerate(values):
        axes.text(letter, row, f"{value:.1f}", ha="center", va="center", weight="bold" if value else "normal")
    axes.set(title=name, xticks=range(COUNT), xticklabels="abc", yticks=range(4))
    axes.set_yticklabels([f"{asked}={written}" for written in ("", "a", "b", "c")] if axes is grids[0] else [])
grids[0].set(ylabel="text so far", xlabel="next letter")
for (name, curve), colour, marker in zip(curves.items(), ("#d55e00", "#0072b2", "#009e73"), "xos", strict=True):
    curve_axes.plot(lengths, curve, color=colour, marker=marker, label=name)
curve_axes.set(
    title="Deceptive reward", xlabel="letters written", ylabel="return of the best known text", ylim=(0, 1.05)
)
curve_axes.set_xscale("log", base=2)
curve_axes.set_xticks(lengths, [str(each) for each in lengths])
curve_axes.legend(loc="lower right")
keep(figure, "07-values")

# %% [markdown]
# Nothing happens until the word is written by chance. Then the value of the *last* letter is right: b behind `cb=c`.
# When c is next written behind `cb=`, its value becomes 0.9 times the largest of the values that stand behind it now.
# Values flow from the end of a text to its beginning, a letter at each visit. In a text of 100 tokens that is a long
# way.
#
# ## A failure on purpose
#
# The reward `"deceptive"` pays 1 for the word at its end, but a quarter of a point at once for every *wrong* letter.
# A word of two wrong letters brings 0.5. A greedy writer tries a letter, is paid for a wrong one, and now has
# something to prefer. It never finds out what the others are worth: look at the orange crosses, means over the five
# words and three seeds. More letters do not help, since they are the same letters. Note that the table is not wrong
# about what it has seen. Wrong is the maximum, which takes the 0 of a letter that was never tried for its value.
#
# **The repair** is to explore. Epsilon-greedy and softmax writers try all letters at first ($\epsilon$ falls from 1
# to 0, the temperature from 1.02 to 0.02), and fewer and fewer of them later. With enough letters both find most
# words or all. Softmax tries a letter that is a little worse more often than one that is much worse; for
# epsilon-greedy all letters but the best are alike. With a vocabulary of 50,000 tokens neither is enough: random
# tokens are no text. There one explores by sampling from a language model, which is what the policy gradient of
# lesson 2 does all the time.
#
# ## A network in place of the table
#
# A table knows nothing about a text that it has not seen. A *deep Q-network* (DQN; Mnih et al., 2015) computes values
# by a network with parameters $\theta$. Here it is a *language model*, a network that reads a text and gives every
# token a probability, with a layer for $Q$ on top. It takes gradient steps down
#
# $$ L(\theta) = \mathbb{E} \bigl[ h \bigl( r + \gamma \max_b Q_{\theta'}(s', b) - Q_\theta(s, a) \bigr) \bigr] $$
#
# where $h$ is the Huber loss (half the square of small errors, linear in large ones), $\mathbb{E}$ the mean over the
# letters of a batch, and the maximum is left out again where the text ends. It is the update of Q-learning with two
# precautions. Letters are drawn from a *replay buffer* of what was written before, so that they are not all about one
# text. And the maximum is taken by $\theta'$, the *target network*, a copy of $\theta$ that is renewed now and then,
# so that the goal does not move with every step.
#
# The agents of this package are `q_learning`, `sarsa` and `dqn`; the last one is the DQN of Stable-Baselines3. We
# train a table and a network on the 32 words of three letters, a to d, of the medium level, and ask both for 16
# *other* words. The reward is dense, a third for each right letter, and $\gamma$ is 1. The network begins as
# `letters`, a tiny language model that comes with the package; the table makes no use of it.


# %%
def asked_for(agent: Any, split: str) -> np.ndarray:
    """Let an agent write the letters of the largest values; return the share of right ones of each word of a split."""
    env: Any = gym.make("TextSpell-v0", split=split)
    data, returns = env.unwrapped.task.dataset, []
    for place in range(len(data)):
        observation, ended, total = env.reset(options={"task_key": data[place].key})[0], False, 0.0
        while not ended:
            shown = {name: np.asarray(array)[None] for name, array in observation.items()}
            observation, reward, ended, *_ = env.step(int(agent.act(shown, greedy=True)[0]))  # a batch of one
            total += float(reward)
        returns.append(total)
    return np.array(returns)


def trained(name: str, seed: int) -> Any:
    """Train an agent of the package on 6,000 letters."""
    options: dict[str, Any] = {"dqn": {"learning_rate": 3e-3}, "q_learning": {"learning_rate": 1.0}}[name]
    agent: Any = resolve_agent(name).create(
        make_vec_env("TextSpell-v0", 32, seed=seed), "letters", seed=seed, **options
    )
    return agent.learn(6_000)


# %% tags=["experiment"]
for name in ("q_learning", "dqn"):
    agent = trained(name, seed=0)
    shares = {split: asked_for(agent, split).mean() for split in ("train", "test")}
    print(
        f"{name:10}: {shares['train']:.2f} of the letters of training words are right, {shares['test']:.2f} of other words"
    )

# %% [markdown]
# The table learns its own words, and guesses the others: one letter in four is right by chance. The network spells
# most letters of words that it was never asked for. It has not learned words, but to copy.
#
# ## What to remember
#
# | | learns | from |
# |---|---|---|
# | Q-learning | values of the best writer (off-policy) | any letters, also those of others |
# | SARSA | values of the writer who explores (on-policy) | its own letters |
# | DQN | as Q-learning, by a network | a replay buffer |
# | policy gradient (lesson 2) | probabilities | its own texts |
#
# - Value flows from the end of a text to its beginning.
# - A maximum over values that were never tried needs exploration.
# - Values can be learned from old texts, and from those of others. Over a vocabulary of thousands, where random
#   tokens are no text, policies are the usual tool.
#
# Pages: [Q-learning](../docs/q_learning.md), [SARSA](../docs/sarsa.md), [DQN](../docs/dqn.md),
# [logs](../docs/logs.md) (learning from what others wrote).
#
# ## The claims, measured
#
# `python lessons/07_values.py --claims`, or `lesson.check_claims()` in a notebook, measures this over three seeds.


# %%
def claims() -> list[Claim]:
    """Random letters give exact values; SARSA's are those of the explorer; greed is stuck; a network generalises."""
    seeds, tree = range(3), tree_of(SPARSE)
    best, careful = exact_values(tree), exact_values(tree, epsilon=0.3)
    blind = [learned_values(tree, learn(SPARSE, "q", random_letters, 3_000, seed=seed)) for seed in seeds]
    largest = float(np.abs(np.array(blind) - best).max())
    found = [learned_values(tree, learn(SPARSE, "sarsa", explorer, 6_000, power=0.8, seed=seed)) for seed in seeds]
    nearer = [np.abs(each - best).max() - np.abs(each - careful).max() for each in found]
    returns = {name: np.mean([returns_of(name, 800, seed) for seed in seeds], axis=0) for name in POLICIES}
    spelt = {
        name: np.mean([asked_for(trained(name, seed), "test") for seed in seeds], axis=0)
        for name in ("q_learning", "dqn")
    }
    return [
        Claim("Q-learning from random letters, largest error:", Interval(largest, largest, largest), below=0.01),
        Claim("SARSA, largest error as best values minus as the explorer's:", mean_interval(nearer), above=0.05),
        Claim(
            "Return, greedy minus epsilon-greedy:",
            mean_interval(returns["greedy"] - returns["epsilon-greedy"]),
            below=-0.1,
        ),
        Claim("Return, greedy minus softmax:", mean_interval(returns["greedy"] - returns["softmax"]), below=-0.1),
        Claim(
            "Right letters of other words, DQN minus table:",
            mean_interval(spelt["dqn"] - spelt["q_learning"]),
            above=0.1,
        ),
    ]


# %% [markdown]
# ## Exercises
#
# Replace `None`, then ask: `python lessons/07_values.py --exercise 1`, or `lesson.check_answer(1)` in a notebook.
#
# **Exercise 1.** *Expected SARSA* takes the mean over what may be written next, in place of the letter that was
# drawn. Write `answer_1(reward, following, epsilon, gamma)`: its target for an epsilon-greedy writer, where the text
# has not ended. `following` is the list of the values of the next letters, of any number, no two of them equal.

# %%
answer_1: Any = None


def check_1(answer: Any) -> str:
    """Each letter has the probability epsilon / number of letters; the best one has 1 - epsilon more."""
    expect(answer(1.0, [0.0, 3.0], 0.0, 0.5), 2.5, "the target without exploration")
    expect(answer(0.0, [0.0, 0.3, 0.9], 1.0, 1.0), 0.4, "the target of random letters")
    expect(answer(0.0, [0.0, 0.3, 0.9], 0.3, 0.9), 0.675, "the target with epsilon 0.3 and gamma 0.9")
    return "It has less variance than SARSA, and at epsilon 0 it is Q-learning."


# %% [markdown]
# **Exercise 2.** The word is `cb`, the letters are a, b and c, the reward is sparse, $\gamma = 0.9$. SARSA explores
# with $\epsilon = 0.3$ for ever, epsilon-greedy. Which value does it find for c as the first letter? Give a number.
# (Begin at the end: what is each second letter worth, and how often does this writer take it?)

# %%
answer_2: Any = None


def check_2(answer: Any) -> str:
    """A random letter may be the right one, too: with probability epsilon / 3."""
    expect(answer, 0.9 * (0.7 + 0.3 / 3), "the value", tolerance=1e-6)
    return "The best writer would have 0.9. What is missing is the price of exploring the second letter."


# %% [markdown]
# **Exercise 3.** A maximum of noisy values is too high: whichever value is overestimated wins. *Double Q-learning*
# has two tables, and lets one choose the letter and the other say what it is worth. Write `answer_3(first, second)`.
# Both are lists, the values of the same next letters in either table. It returns the value of $s'$ (without reward
# and $\gamma$) if the first table chooses.

# %%
answer_3: Any = None


def check_3(answer: Any) -> str:
    """Find the place of the largest value in the first list; return the number at this place of the second."""
    for first, second, right in (
        ([0.1, 0.9, 0.3], [0.5, 0.2, 0.4], 0.2),
        ([1.0, 0.0], [0.7, 0.8], 0.7),
        ([-3.0, -1.0, -2.0], [1.0, 2.0, 3.0], 2.0),
    ):
        expect(answer(first, second), right, f"the value for {first} and {second}")
    return "The errors of the two tables are independent, so that the one does not choose what the other overestimates."


# %% [markdown]
# ## Further reading
#
# - Watkins and Dayan, "Q-learning" (1992), [doi:10.1007/BF00992698](https://doi.org/10.1007/BF00992698).
# - Sutton and Barto, *Reinforcement Learning: An Introduction* (2nd ed., 2018), chapter 6.
# - Mnih et al., "Human-level control through deep reinforcement learning" (2015),
#   [doi:10.1038/nature14236](https://doi.org/10.1038/nature14236): DQN.
# - van Seijen et al., "A theoretical and empirical analysis of expected Sarsa" (2009),
#   [doi:10.1109/ADPRL.2009.4927542](https://doi.org/10.1109/ADPRL.2009.4927542).
# - van Hasselt, Guez and Silver, "Deep reinforcement learning with double Q-learning" (2016),
#   [arXiv:1509.06461](https://arxiv.org/abs/1509.06461).
# - Snell et al., "Offline RL for natural language generation with implicit language Q learning" (2023),
#   [arXiv:2206.11871](https://arxiv.org/abs/2206.11871): values of texts that are there already.
#
# Next: [8. From clicks, ratings and comparisons to a reward model](08_human_feedback.py).
