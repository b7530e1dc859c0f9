# %% [markdown]
# # 8. From clicks, ratings and comparisons to a reward
#
# **The question.** Nobody can say that a text is worth 0.83. How do we get a reward from what people *can* say?
#
# People can say "this one is better", give three stars out of five, or click. None of these is a reward. Each is a
# noisy trace of one, and each has a bias of its own. In this lesson you fit reward models to all three, see how good
# a reward model can be at best, and see a model of clicks learn a taste that nobody has.
#
# You need: logistic regression, and lesson 1, or this much of it: a model gets a *prompt* and writes a text, and a
# *reward* is a number for that text. Annotators, the people who judge texts, are simulated, so that the truth is
# known and mistakes can be seen.

# %%
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from textgym.evaluation import evaluate, make_evaluation_set
from textgym.metrics import mean_interval
from textgym.models import load_language_model
from textgym.plots import blank_figure
from textgym.teaching import Claim, begin, expect, keep

lesson = begin(globals())

# %% [markdown]
# ## Texts, and what is true about them
#
# In `TextSpell-v0` the prompt is a word of three letters, and the task is to spell it. A small model that ships with
# textgym, the *start model*, writes eight texts for each word; fewer than a third of their letters are right. The
# *true worth* of a text is its share of right letters. The simulated annotators know it, the reward model does not.
# The reward model sees four numbers of a text, its *features*: whether letters 1, 2, 3 are right (1 or 0), and how
# *new* the text is (from 0 for the oldest of the eight to 1 for the newest, in random order). Newness is worth
# nothing. Remember it.


# %%
class Texts(NamedTuple):
    """Features (P, 8, 4) and true worth (P, 8) of eight texts for each of ``P`` prompts."""

    features: np.ndarray
    worth: np.ndarray


def written(split: Any, seed: int) -> Texts:
    """Let the start model write eight texts for every word of a split."""
    model, random = load_language_model("letters"), np.random.default_rng(seed)
    right = []
    for sample in range(8):
        asked = make_evaluation_set("TextSpell-v0", prompts=1000, split=split, seed=100 * seed + sample)
        texts = evaluate(model, asked).texts
        pairs = [(each.prompt, text.ljust(3)[:3]) for each, text in zip(asked.examples, texts, strict=True)]
        right.append(
            [[float(letter == wanted) for letter, wanted in zip(text, word, strict=True)] for word, text in pairs]
        )
    letters = np.array(right).transpose(1, 0, 2)
    newness = np.array([random.permutation(8) for _ in letters]) / 7
    return Texts(np.dstack([letters, newness]), letters.mean(axis=2))


# %% [markdown]
# ## Comparisons
#
# Bradley and Terry (1952): the probability that somebody prefers text $a$ to text $b$, written $a \succ b$, depends
# on the difference of their worths $u_a$ and $u_b$,
#
# $$ P(a \succ b) = \sigma\!\left(\frac{u_a - u_b}{\tau}\right), \qquad \sigma(x) = \frac{1}{1 + e^{-x}} $$
#
# $\tau$ is the noise of the annotator, in units of worth: near 0 the better text always wins, at infinity a coin
# decides. The reward model here is linear: the score $r$ of a text is a sum of its features, each times a weight, so
# there are four weights to find. They are fitted by maximum likelihood: make the choices that were made likely. The
# loss of one choice is
#
# $$ L = -\log \sigma(r_{\text{chosen}} - r_{\text{rejected}}) $$
#
# Only differences enter. So a reward model has no zero: add 5 to all scores and no loss changes (lesson 2 shows what
# such a constant does to REINFORCE). And $r$ stands for $u / \tau$, so its scale depends on the noise.


# %% tags=["core"]
def compare_texts(texts: Texts, count: int, noise: float, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Let an annotator compare two texts of a prompt ``count`` times; return features (count, 4) of chosen and rejected."""
    prompts = random.integers(len(texts.worth), size=count)
    pairs = np.array([random.choice(texts.worth.shape[1], size=2, replace=False) for _ in range(count)])
    first, second = (texts.worth[prompts, pairs[:, side]] for side in (0, 1))
    takes_first = random.random(count) < 1 / (1 + np.exp((second - first) / noise))
    order = np.where(takes_first[:, None], pairs, pairs[:, ::-1])
    chosen, rejected = (torch.tensor(texts.features[prompts, order[:, side]]) for side in (0, 1))
    return chosen, rejected


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Mean negative log-likelihood of choices, from the scores (N,) of chosen and rejected texts."""
    return -logsigmoid(chosen - rejected).mean()


def fit_choices(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return the weights (4,) of the features that make the choices likeliest; a little decay keeps them finite."""
    weights = torch.zeros(chosen.shape[1], dtype=chosen.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = bradley_terry_loss(chosen @ weights, rejected @ weights) + 1e-3 * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach()


# %% [markdown]
# ## What do you expect?
#
# Two annotators, one careful ($\tau = 0.1$), one in a hurry ($\tau = 0.5$). The reward model is measured by its
# *accuracy*: the share of new choices of the same annotator, on other words, that it predicts. A coin has 0.5. Write
# down:
#
# 1. How many comparisons does it take to get four weights about right: 10, 100 or 1,000?
# 2. Which accuracy does the reward model of the hurried annotator reach, with as many comparisons as you like?
#
# ## How good can a reward model be?


# %%
def accuracy(weights: Tensor, choices: tuple[Tensor, Tensor]) -> float:
    """Return the share of choices that a reward model predicts; equal scores count half."""
    gap = (choices[0] - choices[1]) @ weights
    return float(((gap > 1e-9).double() + 0.5 * (gap.abs() <= 1e-9).double()).mean())


TRUTH = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64) / 3


def learning_curve(noise: float, sizes: list[int], seed: int) -> tuple[list[float], float]:
    """Return held-out accuracies of reward models by the number of comparisons, and that of the true worth."""
    random = np.random.default_rng(seed)
    training, test = written("train", seed), written("test", seed)
    asked = compare_texts(test, 4_000, noise, random)
    models = [fit_choices(*compare_texts(training, size, noise, random)) for size in sizes]
    return [accuracy(weights, asked) for weights in models], accuracy(TRUTH, asked)


# %% tags=["experiment"]
SIZES = [5, 10, 20, 50, 100, 300, 1_000, 3_000]
figure = blank_figure(width=6.4, height=4.2)
axes = figure.subplots()
for noise, colour, who in (
    (0.1, "#0072b2", "careful annotator, tau 0.1"),
    (0.5, "#d55e00", "hurried annotator, tau 0.5"),
):
    curves = [learning_curve(noise, SIZES, seed) for seed in range(3)]
    found, ceiling = np.mean([each for each, _ in curves], axis=0), np.mean([each for _, each in curves])
    axes.plot(SIZES, found, color=colour, marker="o", label=who)
    axes.axhline(ceiling, color=colour, linestyle="--", linewidth=1.2)
    axes.text(SIZES[0], ceiling + 0.006, "the true worth", color=colour, fontsize=9)
    print(f"tau {noise}: accuracy {found[-1]:.3f} of 3,000 comparisons; the true worth itself has {ceiling:.3f}")
axes.set(xscale="log", xlabel="comparisons", ylabel="accuracy on choices it has not seen", ylim=(0.5, 0.95))
axes.legend(loc="lower right")
keep(figure, "08-ceiling")

# %% [markdown]
# A hundred comparisons come close to the dashed lines, and more hardly help: there are only four weights. The dashed
# lines are *ceilings*: the accuracy of somebody who knows the true worth. A model can land a little above by luck,
# since 4,000 test choices are a sample, and of two texts with equal worth a coin chooses one.
#
# So 0.7 can be perfect and 0.9 mediocre. An accuracy without its ceiling says nothing. To estimate it, ask two people
# the same question: if each chooses $a$ with probability $p \ge 1/2$, the ceiling of this question is $p$, and they
# agree with probability $p^2 + (1 - p)^2$, which is at most $p$.
#
# ## Ratings
#
# Next, stars. Annotators give one to five, but some are strict. Nothing is wrong with that, unless strict ones see
# other texts than mild ones. Here two annotators share the work by date: the mild one rated the older half of the
# texts, and the strict one, who gives 1.5 stars less, rates the newer half.


# %% tags=["core"]
def rate(texts: Texts, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return stars and who gave them (1 is strict), (P, 8) each."""
    strict = texts.features[:, :, 3] > 0.5
    opinions = 2.5 + 2.5 * texts.worth - 1.5 * strict + random.normal(0, 0.5, texts.worth.shape)
    return np.clip(np.round(opinions), 1, 5), strict


def choices_of(texts: Texts, stars: np.ndarray, annotators: np.ndarray) -> tuple[Tensor, Tensor]:
    """Turn ratings into choices: of two texts of a prompt that the same annotator rated, the one with more stars."""
    chosen, rejected = [], []
    for seen, given, by in zip(texts.features, stars, annotators, strict=True):
        better, worse = np.nonzero((given[:, None] > given[None, :]) & (by[:, None] == by[None, :]))
        chosen.append(seen[better])
        rejected.append(seen[worse])
    return torch.tensor(np.concatenate(chosen)), torch.tensor(np.concatenate(rejected))


def fit_stars(texts: Texts, stars: np.ndarray) -> Tensor:
    """Return the weights (4,) that predict the stars best, as if all annotators meant the same by them."""
    seen = texts.features.reshape(-1, 4)
    return torch.tensor(np.linalg.lstsq(np.c_[seen, np.ones(len(seen))], stars.ravel(), rcond=None)[0][:4])


# %%
def rated_accuracies(seed: int) -> tuple[float, float]:
    """Return accuracies on careful choices of the model of stars, and of that of choices made from stars."""
    random = np.random.default_rng(seed)
    training, test = written("train", seed), written("test", seed)
    stars, annotators = rate(training, random)
    asked = compare_texts(test, 4_000, 0.02, random)  # hardly any noise, but equal worth is still a coin toss
    as_choices = fit_choices(*choices_of(training, stars, annotators))
    return accuracy(fit_stars(training, stars), asked), accuracy(as_choices, asked)


# %% tags=["experiment"]
as_they_are, as_choices = rated_accuracies(seed=0)
print(
    f"accuracy on careful choices: {as_they_are:.3f} with stars as they are, {as_choices:.3f} with the choices that they imply"
)

# %% [markdown]
# The first model has learned that new texts are bad, because the strict annotator saw them: print what `fit_stars`
# returns, and the last weight is negative and larger in size than the others. Within one annotator, the order of
# stars can be trusted; between two, it cannot. Turning the ratings of each annotator into choices throws the scale
# away and keeps the order. (The ceiling is about 0.8 here, not 1: many pairs have equal worth.)
#
# ## A failure on purpose
#
# Clicks cost nothing and come in millions. A page shows four texts of a prompt, the newest first. A reader looks at
# place $k$ (1 is the top) with probability $1 / k$, and clicks what they look at with a probability equal to its
# worth. We fit a linear model to the clicks (1 or 0) by least squares. Right would be a weight of 1/3 for each letter
# and 0 for newness. The second line of the output is the repair, which is explained below it.


# %% tags=["core"]
def click(texts: Texts, visits: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Show four texts of a prompt in every visit; return features (N, 4), places from 1 (N,) and clicks (N,)."""
    prompts = np.repeat(random.integers(len(texts.worth), size=visits), 4)
    shown = np.concatenate([random.choice(texts.worth.shape[1], size=4, replace=False) for _ in range(visits)])
    seen, worth = texts.features[prompts, shown].reshape(visits, 4, 4), texts.worth[prompts, shown].reshape(visits, 4)
    order = np.argsort(-seen[:, :, 3], axis=1, kind="stable")  # the newest first
    seen, worth = np.take_along_axis(seen, order[:, :, None], 1), np.take_along_axis(worth, order, 1)
    places = np.tile(np.arange(1, 5), (visits, 1))
    clicks = (random.random(worth.shape) < 1 / places) & (random.random(worth.shape) < worth)
    return seen.reshape(-1, 4), places.ravel(), clicks.ravel().astype(float)


def fit_clicks(seen: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the weights (4,) of the features that predict the targets best, by least squares."""
    return np.linalg.lstsq(np.c_[seen, np.ones(len(seen))], targets, rcond=None)[0][:4]


# %% tags=["experiment"]
seen, places, clicks = click(written("train", 0), 5_000, np.random.default_rng(0))
for name, targets in (("clicks as they are", clicks), ("clicks times place", clicks * places)):
    weights = fit_clicks(seen, targets)
    print(f"{name}: letters {weights[:3].round(2)}, newness {weights[3]:+.2f}")

# %% [markdown]
# The first model believes that to be the newest is worth as much as a right letter. It is not: new texts were *shown
# first*, and what nobody looks at nobody clicks. A page that is sorted by this reward shows new texts first again,
# and the next clicks seem to confirm it.
#
# **The repair** is to count a click at place 3, which is seen in one of three visits, three times. Divide each click
# by the probability $p_k$ that its place was looked at, its *propensity*: here $1 / k$, so that a click is multiplied
# by its place. The expectation of $\text{click} / p_k$ is $p_k u / p_k = u$, the worth itself, wherever the text was
# shown. It costs variance: rare clicks with large weights. On a real page $p_k$ has to be estimated, for example from
# visits in which two places were swapped at random (Joachims et al., 2017).
#
# ## What to remember
#
# - Comparisons give differences; a reward model is logistic regression on them. It has no zero and a scale that
#   depends on the noise.
# - Report accuracy with its ceiling.
# - Trust order within an annotator, not levels between annotators.
# - Behaviour shows what was *looked at and* liked. Without the propensity, position becomes taste.
# - In the library: `textgym reward fit`, records of all these kinds, and a web page to collect them
#   ([feedback](../docs/feedback.md), [reward models](../docs/reward-models.md)).
#
# ## The claims, measured
#
# `python lessons/08_human_feedback.py --claims`, or `lesson.check_claims()` in a notebook, measures this over eight
# seeds.


# %%
def claims() -> list[Claim]:
    """A thousand comparisons come close to the ceiling; stars mislead; clicks learn the position."""
    curves = [learning_curve(0.5, [1_000], seed) for seed in range(8)]
    gaps = [ceiling - accuracies[0] for accuracies, ceiling in curves]
    ratings = [rated_accuracies(seed) for seed in range(8)]
    found = [click(written("train", seed), 5_000, np.random.default_rng(seed)) for seed in range(8)]
    naive = [fit_clicks(seen, clicks)[3] for seen, _, clicks in found]
    repaired = [fit_clicks(seen, clicks * places)[3] for seen, places, clicks in found]
    return [
        Claim("Accuracy that 1,000 comparisons leave to the ceiling:", mean_interval(gaps), below=0.05),
        Claim(
            "Accuracy gained by taking ratings as choices:", mean_interval([new - old for old, new in ratings]), above=0
        ),
        Claim("Weight of newness by clicks as they are:", mean_interval(naive), above=0.1),
        Claim("The same by clicks over their propensity:", mean_interval(repaired), above=-0.1, below=0.1),
    ]


# %% [markdown]
# ## Exercises
#
# Put a value, or a function of the same name, in place of the line with `None`, then ask:
# `python lessons/08_human_feedback.py --exercise 1`, or `lesson.check_answer(1)` in a notebook.
#
# **Exercise 1.** Some annotators say "equal". Write `answer_1(score_a, score_b, label)` for three tensors (N,): the
# mean loss of N choices whose label is 1 if a was preferred, 0 if b, and 0.5 for "equal", which counts as half a
# choice each way. `logsigmoid` is imported above.

# %%
answer_1: Any = None


def check_1(answer: Any) -> str:
    """Weigh the loss of "a preferred" by the label and that of "b preferred" by one minus the label."""
    scores = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.0, 0.0, 0.0])
    expect(answer(*scores, torch.tensor([1.0, 1.0, 1.0])), 0.3777796, "the mean loss of three choices of a")
    expect(
        answer(*scores, torch.tensor([0.0, 0.5, 1.0])),
        0.7111129,
        "the mean loss of a choice of b, a tie, a choice of a",
    )
    return "A tie pulls the scores together: its loss is smallest, log 2, where they are equal."


# %% [markdown]
# **Exercise 2.** For one pair, the worths differ by 0.4 and $\tau$ is 0.4. What is the ceiling of the accuracy on
# repeated choices of this pair? Give a number with three decimals.

# %%
answer_2: Any = None


def check_2(answer: Any) -> str:
    """Whoever knows the truth says "a" every time, and is right as often as the annotator chooses a."""
    expect(answer, 1 / (1 + np.exp(-1.0)), "the ceiling", tolerance=1e-3)
    return "No model predicts the noise: 0.731 is all there is."


# %% [markdown]
# **Exercise 3.** Write `answer_3(clicks, propensities)` for two NumPy arrays (N,): an unbiased estimate, one number,
# of the mean worth of N texts that were shown, from their clicks (0 or 1) and the probabilities that they were looked
# at.

# %%
answer_3: Any = None


def check_3(answer: Any) -> str:
    """Divide each click by its propensity; divide the sum by the number of texts that were shown."""
    clicks, propensities = np.array([1.0, 0.0, 1.0, 0.0]), np.array([1.0, 0.5, 0.25, 0.2])
    expect(answer(clicks, propensities), 1.25, "the estimate from four texts")
    expect(answer(clicks[:2], propensities[:2]), 0.5, "the estimate from two texts")
    return "It may exceed 1: without bias does not mean without noise."


# %% [markdown]
# ## Further reading
#
# - Bradley and Terry, "Rank analysis of incomplete block designs" (1952),
#   [doi:10.2307/2334029](https://doi.org/10.2307/2334029).
# - Christiano et al., "Deep reinforcement learning from human preferences" (2017),
#   [arXiv:1706.03741](https://arxiv.org/abs/1706.03741).
# - Stiennon et al., "Learning to summarize from human feedback" (2020),
#   [arXiv:2009.01325](https://arxiv.org/abs/2009.01325).
# - Joachims, Swaminathan and Schnabel, "Unbiased learning-to-rank with biased feedback" (2017),
#   [arXiv:1608.04468](https://arxiv.org/abs/1608.04468).
#
# Next: [9. Goodhart: when the measure becomes the target](09_goodhart.py).
