# %% [markdown]
# # 9. Goodhart: when the measure becomes the target
#
# **The question.** A reward model was learned from comparisons. You optimise against it, harder and harder. Up to
# which point do the texts get better?
#
# "When a measure becomes a target, it ceases to be a good measure", says Goodhart's law. A learned reward is a
# measure of what people want. It is right about most texts that people have compared. An optimiser looks for the
# texts with the highest reward, and among these are the ones that it is wrong about. In this lesson you watch the
# learned reward rise while the true score falls, read the texts that do it, and see what helps.
#
# You need: reward models from comparisons (lesson 8) and the KL divergence to the start model (lesson 6).

# %%
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

import textgym  # noqa: F401  # registers the environments
from textgym.agents import RLOO, make_vec_env
from textgym.evaluation import evaluate, make_evaluation_set
from textgym.metrics import mean_interval
from textgym.models import load_language_model
from textgym.plots import blank_figure
from textgym.rewards import ScoredConversations, Scores
from textgym.teaching import Claim, begin, expect, keep
from textgym.types import Example, Shown, Task

lesson = begin(globals())

# %% [markdown]
# ## All texts, and what the start model thinks of them
#
# `TextSpell-v0` asks for a word: the prompt `bcd=` wants the text `bcd`. The *true score* of a text is its share of
# letters in their place. Research papers call such a score the *gold* reward: in a real project nobody has it. We
# have it, so that we can look.
#
# Words and texts are short, so we list all $6^3 = 216$ texts of three letters, for each of the 32 training words.
# The start model writes the right letter or the next one of the alphabet, and hardly anything else. Remember this:
# nobody will ever compare texts that it does not write.

# %%
LETTERS, LENGTH = "abcdef", 3
TEXTS = ["".join(each) for each in itertools.product(LETTERS, repeat=LENGTH)]
WORDS = [example.text for example in gym.make("TextSpell-v0").get_wrapper_attr("task").dataset]


@torch.no_grad()
def start_model_shares() -> np.ndarray:
    """Return the probabilities of all texts for all words, (W, Y), if the start model writes letters only."""
    model = load_language_model("letters")
    asked = torch.tensor([model.tokenizer.encode(f"{word}={text}") for word in WORDS for text in TEXTS])
    letters = torch.tensor(model.tokenizer.encode(LETTERS))
    logits = model.network(asked).logits[:, -LENGTH - 1 : -1, letters]
    written = (asked[:, -LENGTH:, None] == letters).long().argmax(dim=2)
    found = torch.log_softmax(logits, dim=2).gather(2, written[:, :, None]).sum(dim=(1, 2)).double().exp()
    shares = found.reshape(len(WORDS), len(TEXTS)).numpy()
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def right_letters(word: str, text: str) -> float:
    """Return the share of letters in their place: the true score."""
    return sum(map(str.__eq__, word, text)) / len(word)


START = start_model_shares()
TRUE = np.array([[right_letters(word, text) for text in TEXTS] for word in WORDS])
print(f"true score of the start model: {(START * TRUE).sum(axis=1).mean():.2f}")
for number in (0, 9):
    likeliest = [TEXTS[place] for place in START[number].argsort()[:-6:-1]]
    print(f"for {WORDS[number]} it mostly writes {', '.join(likeliest)}")

# %% [markdown]
# ## The reward model
#
# As in lesson 8 the reward is linear, $r = w \cdot x$. This time the features $x$ are not told what matters. There
# is one feature for each (place, asked letter, written letter), and one for each pair of letters that stand side by
# side. The former can express the true score exactly. The latter mean nothing. A network that reads texts is in the
# same situation: it can see a thousand things, and few of them matter.
#
# The weights maximise the posterior: the probability of the comparisons by Bradley and Terry, times a normal prior
# of standard deviation 1, which keeps weights small that no comparison speaks of:
#
# $$ L(w) = -\sum_i \log \sigma\bigl(w \cdot (x^{\text{chosen}}_i - x^{\text{rejected}}_i)\bigr)
# + \tfrac{1}{2} |w|^2 $$
#
# where $i$ runs over the comparisons and $\sigma$ is the logistic function.
#
# ## Optimising without training
#
# Best-of-$n$ writes $n$ texts and keeps the one with the highest reward (lesson 10). If $F(y)$ is the probability
# that a text of the start model has at most the reward of $y$, and $F^-(y)$ that it has less, then all $n$ texts
# are at most as good as $y$ with probability $F(y)^n$, and the best of $n$ is *$y$ or its equal* with probability
# $F(y)^n - F^-(y)^n$. So we know the policy exactly, for every $n$, and nothing below is noise of sampling. Its KL
# divergence to the start model is at most $\log n - (n - 1) / n$ nats: $n$ is a dial for the pressure.


# %% tags=["core"]
class Comparisons(NamedTuple):
    """Numbers of words, and of the chosen and the rejected texts, (N,) each."""

    words: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray


def features_of(word: str, text: str) -> np.ndarray:
    """What the reward model sees of a text, (180,): asked and written letters by place, and neighbouring letters."""
    asked, written = ([LETTERS.index(each) if each in LETTERS else None for each in string] for string in (word, text))
    copied, beside = np.zeros((LENGTH, 6, 6)), np.zeros((LENGTH - 1, 6, 6))
    for place, (wanted, letter) in enumerate(zip(asked, written, strict=False)):  # the text may be shorter
        if letter is not None:
            copied[place, wanted, letter] = 1
    for place, (letter, following) in enumerate(itertools.pairwise(written[:LENGTH])):
        if letter is not None and following is not None:
            beside[place, letter, following] = 1
    return np.concatenate([copied.ravel(), beside.ravel()])


def compare(count: int, random: np.random.Generator, noise: float = 0.3) -> Comparisons:
    """Let an annotator compare two texts of the start model ``count`` times."""
    words = random.integers(len(WORDS), size=count)
    pairs = np.array([random.choice(len(TEXTS), size=2, p=START[word]) for word in words])
    first, second = TRUE[words, pairs[:, 0]], TRUE[words, pairs[:, 1]]
    takes_first = random.random(count) < 1 / (1 + np.exp((second - first) / noise))
    order = np.where(takes_first[:, None], pairs, pairs[:, ::-1])
    return Comparisons(words, order[:, 0], order[:, 1])


def negative_log_posterior(weights: Tensor, differences: Tensor) -> Tensor:
    """Of choices, by features (N, F) of the chosen text minus those of the rejected one."""
    return -logsigmoid(differences @ weights).sum() + weights.square().sum() / 2


def fit(data: Comparisons) -> np.ndarray:
    """Return the weights (F,) of a reward model."""
    differences = torch.from_numpy(FEATURES[data.words, data.chosen] - FEATURES[data.words, data.rejected])
    weights = torch.zeros(FEATURES.shape[2], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = negative_log_posterior(weights, differences)
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach().numpy()


def best_of_n(shares: np.ndarray, rewards: np.ndarray, n: float) -> np.ndarray:
    """Probabilities of all texts to be the best of n, from those of the start model; (W, Y) all."""
    order = np.sign(rewards[:, :, None] - rewards[:, None, :])  # +1 where the first is better
    below, at_most = ((shares[:, None, :] * (order >= least)).sum(axis=2) for least in (1, 0))
    return np.asarray(shares / (at_most - below) * (at_most**n - below**n))


# %%
FEATURES = np.array([[features_of(word, text) for text in TEXTS] for word in WORDS])


class Learned(NamedTuple):
    """A reward model: weights (F,), and its rewards of all texts for all words, (W, Y), scaled."""

    weights: np.ndarray
    rewards: np.ndarray

    @classmethod
    def of(cls, labels: int, seed: int) -> "Learned":
        """Fit one to comparisons, and scale it: rewards of the start model have mean 0 and standard deviation 1."""
        weights = fit(compare(labels, np.random.default_rng(seed)))
        rewards = np.round(FEATURES @ weights, 9)  # what is equal stays equal
        mean = (START * rewards).sum() / len(WORDS)
        spread = np.sqrt((START * (rewards - mean) ** 2).sum() / len(WORDS))
        return cls(weights / spread, (rewards - mean) / spread)


class Curve(NamedTuple):
    """Learned reward and true score of best-of-n, exact means for each word and n, (W, n)."""

    learned: np.ndarray
    true: np.ndarray

    @classmethod
    def of(cls, model: Learned) -> "Curve":
        """Sum over all texts."""
        laws = np.stack([best_of_n(START, model.rewards, float(n)) for n in NUMBERS], axis=1)  # (W, n, Y)
        return cls(*((laws * scores[:, None]).sum(axis=2) for scores in (model.rewards, TRUE)))


NUMBERS = 4 ** np.arange(11)  # 1, 4, 16 up to a million

# %% [markdown]
# ## What do you expect?
#
# We fit one reward model to 100 comparisons and one to 3,000, and optimise each by best-of-$n$ with $n$ up to a
# million. Write down:
#
# 1. The learned reward of best-of-$n$ rises with $n$, always. Why?
# 2. What does the *true* score do, with 100 labels and with 3,000?
# 3. What will the text with the very highest reward look like?

# %% tags=["experiment"]
LABELS = (100, 3_000)
models = {labels: [Learned.of(labels, seed) for seed in range(10)] for labels in LABELS}
curves = {labels: [Curve.of(model) for model in group] for labels, group in models.items()}
print(f"{'':24}{'n =':>6}" + "".join(f"{n:>9,}" for n in NUMBERS[:9:2]))
for labels, group in curves.items():
    for name in ("learned", "true"):
        means = np.mean([getattr(curve, name).mean(axis=0) for curve in group], axis=0)
        print(f"{labels:5,} labels, {name:8} reward" + "".join(f"{mean:9.2f}" for mean in means[:9:2]))

# %% [markdown]
# ## Optimising by training
#
# Best-of-$n$ with a million texts is nobody's practice. A policy gradient is, and it puts on as much pressure. We
# train the start model by RLOO (lesson 10) on the learned reward, without a KL penalty, and write down the true
# score of the texts beside it. The policy never sees it.


# %%
class Watched(ScoredConversations):
    """A learned reward of any texts, with their true score as a part that is logged and not paid."""

    name = "watched"

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    def bind(self, task: Task | None) -> "Watched":
        """Return itself: it needs no task."""
        return self

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score texts."""
        pairs = [(example.text, text) for example, text in zip(examples, responses, strict=True)]
        learned = np.array([features_of(*pair) @ self.weights for pair in pairs])
        return Scores(learned, {"true": np.array([right_letters(*pair) for pair in pairs])})


def trained(weights: np.ndarray, seed: int, rollouts: int = 30) -> Any:
    """Train the start model on a learned reward."""
    env = make_vec_env("TextSpell-v0", n_envs=64, seed=seed, model="letters", reward=Watched(weights))
    agent = RLOO.create(env, "letters", seed=seed, learning_rate=3e-3, kl_coef=0.0, group_size=4, n_epochs=4)
    return agent.learn(3 * 64 * rollouts)


# %% tags=["experiment"]
agents = {labels: trained(group[0].weights, seed=0) for labels, group in models.items()}
for labels, agent in agents.items():
    first, last = agent.history[0], agent.history[-1]
    print(
        f"{labels:5,} labels: learned reward {first['reward']:.2f} -> {last['reward']:.2f}, "
        f"true score {first['reward/true']:.2f} -> {last['reward/true']:.2f}, KL {last['kl']:.1f} nats"
    )

# %% [markdown]
# ## The picture
#
# Left and middle: best-of-$n$, with the largest KL that it can have on the horizontal axis. Thin lines are ten sets
# of labels, the thick line is their mean. Right: RLOO on one of the ten, averaged over five rollouts.


# %%
def best_of_n_kl(n: Any) -> Any:
    """Return the largest KL of the best of n to one sample, in nats."""
    return np.log(n) - (n - 1) / n


# %% tags=["experiment"]
COLOURS = {100: "#d55e00", 3_000: "#0072b2"}
figure = blank_figure(width=11.5, height=4.0)
paid, wanted, training = figure.subplots(1, 3)
for labels, colour in COLOURS.items():
    for axes, name in ((paid, "learned"), (wanted, "true")):
        lines = np.array([getattr(curve, name).mean(axis=0) for curve in curves[labels]])
        axes.plot(best_of_n_kl(NUMBERS), lines.T, color=colour, linewidth=0.5, alpha=0.5)
        axes.plot(best_of_n_kl(NUMBERS), lines.mean(axis=0), color=colour, linewidth=2.5, label=f"{labels:,} labels")
    scores = [record["reward/true"] for record in agents[labels].history]
    smooth = np.convolve(scores, np.full(5, 1 / 5), mode="valid")
    training.plot(np.arange(3, 3 + len(smooth)), smooth, color=colour, label=f"{labels:,} labels")
best_of = "largest KL of best-of-n, nats"
paid.set(title="What is optimised", xlabel=best_of, ylabel="learned reward, standard deviations")
wanted.set(title="What is wanted", xlabel=best_of, ylabel="true score", ylim=(0, 1.02))
training.set(title="RLOO", xlabel="rollouts of 64 texts", ylabel="true score", ylim=(0, 1.02))
for axes in (paid, wanted, training):
    axes.legend(fontsize=8)
keep(figure, "09-goodhart")

# %% [markdown]
# On the left both rise all the way. That is certain: a larger $n$ picks from more texts, by this very score. In the
# middle the lines part. With 100 labels the true score rises to its best place at $n$ of about a hundred (4 nats),
# and then it falls, while the learned reward still rises. With 3,000 labels it rises to nearly all letters first,
# and turns a little at the far end. RLOO shows it too: with 100 labels the true score stops rising within ten
# rollouts, while the learned reward goes on. The small fall behind that may be noise: it is one run, and exercise 3
# asks how to tell.
#
# Look at the thin lines too: some sets of labels are luckier than others. And nothing on the left tells you which
# line of the middle you are on.
#
# ## A failure on purpose
#
# Here is what the reward models like most, for some words. Among all favourites these are the rarest.


# %%
def favourites(model: Learned, count: int = 8) -> list[str]:
    """Describe the text with the highest reward for some words, those with the least probability first."""
    best = model.rewards.argmax(axis=1)
    chances = START[np.arange(len(WORDS)), best]
    return [
        f"{WORDS[row]} -> {TEXTS[best[row]]}  reward {model.rewards[row, best[row]]:.1f}, true score "
        f"{TRUE[row, best[row]]:.2f}, one in {1 / chances[row]:,.0f} texts of the start model"
        for row in chances.argsort()[:count]
    ]


# %% tags=["experiment"]
for labels, fitted in models.items():
    print(f"{labels:,} labels:", *favourites(fitted[0], 5), sep="\n    ")

# %% [markdown]
# These are texts that the start model writes once in thousands. Among 100 comparisons there is hardly ever one of
# them. Their reward is put together from parts that were seen elsewhere: a letter that happened to win its few
# comparisons, and a pair of neighbours that happened to be in a good text. An optimiser collects lucky parts. That
# is how a text can have a higher reward than any that people liked. With 3,000 labels the mistakes are fewer, and
# are found among rarer texts still.
#
# **The repair** is more labels, if you can pay for them: the blue curves above. If you cannot, *stop early*. Keep
# some prompts on which you never optimise, let people (here: the true score) judge texts for these now and then,
# and stop where the judgement is best, not the reward. We choose $n$ on half of the words, and measure on the other
# half.


# %%
def stopped(curve: Curve) -> tuple[float, float]:
    """Return the true score of every second word at the largest n, and at the n that is best for the others."""
    judged, others = curve.true[0::2].mean(axis=0), curve.true[1::2].mean(axis=0)
    return float(others[-1]), float(others[judged.argmax()])


# %% tags=["experiment"]
for labels, group in curves.items():
    to_the_end, early = np.mean([stopped(curve) for curve in group], axis=0)
    print(
        f"{labels:5,} labels: true score of the other words {to_the_end:.2f} at the largest n, {early:.2f} stopped early"
    )

# %% [markdown]
# Stopping early loses nothing, and it gets back what was lost behind the turn. It does not get what the labels did
# not say: a better reward model is worth far more than a better stop. Two further repairs are in the library: a KL
# leash (`kl_coef`, lesson 6), which stops early at a KL that you choose in advance, and an ensemble of reward
# models whose disagreement is subtracted from the reward (`textgym reward fit --members 4`, then `--reward
# pessimistic`).
#
# ## What to remember
#
# - The learned reward rises whatever happens. A curve of it is no evidence.
# - A reward model is right where its comparisons are. Optimisation leaves that place, and the KL says how far.
# - The fewer the labels, the earlier the turn and the lower the best place.
# - Judge held-out prompts by something that is not optimised, stop by that, and read the favourites.
# - In the library: environments whose true quality is known log `gold` beside the reward;
#   [reward models](../docs/reward-models.md), [metrics](../docs/metrics.md), [best-of-n](../docs/best_of_n.md).
#
# ## The claims, measured
#
# `python lessons/09_goodhart.py --claims`, or `lesson.check_claims()` in a notebook, measures this. Sets of labels
# differ much, so best-of-$n$ is measured over twelve of them. Of RLOO six sets are averaged, and the interval is
# over words.


# %%
def claims() -> list[Claim]:
    """The learned reward rises; of few labels the true score turns down; a stop by held-out words gets it back."""
    few, many = ([Curve.of(Learned.of(labels, seed)) for seed in range(12)] for labels in (100, 3_000))
    turn = int(np.flatnonzero(NUMBERS == 256)[0])
    ends = {labels: [final_scores(labels, seed) for seed in range(6)] for labels in (100, 3_000)}
    return [
        Claim(
            "100 labels, learned reward of the best of a million minus that of 256:",
            mean_interval([curve.learned[:, -1].mean() - curve.learned[:, turn].mean() for curve in few]),
            above=0.02,
        ),
        Claim(
            "100 labels, true score of the best of a million minus that of 256:",
            mean_interval([curve.true[:, -1].mean() - curve.true[:, turn].mean() for curve in few]),
            below=0,
        ),
        Claim(
            "True score of the best of a million, 3,000 labels minus 100:",
            mean_interval(
                [more.true[:, -1].mean() - less.true[:, -1].mean() for less, more in zip(few, many, strict=True)]
            ),
            above=0.15,
        ),
        Claim(
            "100 labels, true score gained by an early stop:",
            mean_interval([early - end for end, early in map(stopped, few)]),
            above=0,
        ),
        Claim(
            "True score of RLOO, 3,000 labels minus 100, word by word:",
            mean_interval(np.mean(ends[3_000], axis=0) - np.mean(ends[100], axis=0)),
            above=0.1,
        ),
    ]


def final_scores(labels: int, seed: int) -> np.ndarray:
    """Return the true score of what RLOO writes in the end, for each of the words, (W,)."""
    asked = make_evaluation_set("TextSpell-v0", prompts=len(WORDS), split="train", seed=seed)
    agent = trained(Learned.of(labels, seed).weights, seed)
    return evaluate(agent, asked).measures.values["reward"]  # the task's own: the share of right letters


# %% [markdown]
# ## Exercises
#
# Replace `None`, then ask: `python lessons/09_goodhart.py --exercise 1`, or `lesson.check_answer(1)` in a notebook.
#
# **Exercise 1.** You want to stay within 3 nats of the start model, whatever the rewards are. What is the largest
# $n$ for best-of-$n$?

# %%
answer_1: Any = None


def check_1(answer: Any) -> str:
    """Try some n in log n - (n - 1) / n; the logarithm is the natural one."""
    expect(answer, 53, "the largest n")
    return "Best-of-n is a gentle optimiser: its KL grows with log n. RLOO above went farther, to between 4 and 6 nats."


# %% [markdown]
# **Exercise 2.** Write `answer_2(scores, patience)`: `scores` are the judgements of held-out prompts after
# checkpoint 0, 1, 2 and so on. Training ends at the first checkpoint with `patience` checkpoints since the best so
# far, or with the last one. Return the number of the checkpoint to keep. Judgements behind the end were never made:
# do not use them.

# %%
answer_2: Any = None


def check_2(answer: Any) -> str:
    """Walk along the scores and remember the best place; leave when the place is patience behind it."""
    scores = [0.3, 0.4, 0.5, 0.45, 0.55, 0.5, 0.48, 0.4, 0.6]
    for patience, right in ((1, 2), (2, 4), (3, 4), (4, 8)):
        expect(answer(scores, patience), right, f"the checkpoint with patience {patience}")
    return "Too little patience takes noise for the turn, too much pays for checkpoints that nobody will keep."


# %% [markdown]
# **Exercise 3.** Over-optimised, or noise? Write `answer_3(before, after)`: whether the true score has fallen
# beyond doubt, that is, whether the 95 % interval of the mean change lies below 0. Both are arrays with the scores
# of the *same* prompts at two checkpoints. `mean_interval` (imported above) has what you need.

# %%
answer_3: Any = None


def check_3(answer: Any) -> str:
    """The prompts are the same: look at the interval of the differences, not at the two intervals."""
    before = np.array([0.2, 0.9, 0.4, 0.7, 0.1, 0.8, 0.5, 0.6])
    steady = np.array([0.1, 0.08, 0.12, 0.1, 0.09, 0.11, 0.1, 0.1])
    shaky = np.array([0.4, -0.3, 0.3, -0.2, 0.1, -0.05, 0.2, -0.1])
    for name, after, right in (
        ("every prompt fell a little", before - steady, True),
        ("some fell and some rose", before - shaky, False),
        ("every prompt rose", before + steady, False),
    ):
        expect(bool(answer(before, after)), right, f"the verdict where {name}")
    return (
        "In the first case two intervals of the means overlap almost wholly; pairs see the fall, since prompts differ."
    )


# %% [markdown]
# ## Further reading
#
# - Gao, Schulman and Hilton, "Scaling laws for reward model overoptimization" (2022),
#   [arXiv:2210.10760](https://arxiv.org/abs/2210.10760): the same curves for language models, against the
#   root of the KL.
# - Manheim and Garrabrant, "Categorizing variants of Goodhart's law" (2018),
#   [arXiv:1803.04585](https://arxiv.org/abs/1803.04585).
# - Coste et al., "Reward model ensembles help mitigate overoptimization" (2023),
#   [arXiv:2310.02743](https://arxiv.org/abs/2310.02743).
# - Stiennon et al., "Learning to summarize from human feedback" (2020),
#   [arXiv:2009.01325](https://arxiv.org/abs/2009.01325): people judge what an over-optimised policy writes.
# - Beirami et al., "Theoretical guarantees on the best-of-n alignment policy" (2024),
#   [arXiv:2401.01879](https://arxiv.org/abs/2401.01879).
#
# Next: [10. PPO, GRPO, RLOO, DPO, best-of-n on one budget](10_one_budget.py).
