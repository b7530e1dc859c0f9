# %% [markdown]
# # 3. Baselines, leave-one-out, critics
#
# **The question.** A text got 2.3 points. Is that good?
#
# You cannot say, unless you know what other texts get for the same prompt. A *baseline* is that comparison: a number
# that is subtracted from the return before it weighs the gradient. This lesson compares four baselines on the same
# texts: none, the mean of the batch, the mean of the *other* answers to the same prompt, and what a second network
# expects.
#
# You need: lesson 2 (REINFORCE), or this much of it: a policy $\pi_\theta$ with parameters $\theta$ writes texts $y$,
# and the gradient of its expected return is estimated by a mean of $R(y) \, \nabla \log \pi_\theta(y)$ over texts,
# where $R(y)$ is the return of a text.

# %%
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

import textgym  # noqa: F401  # registers the environments
from textgym.metrics import mean_interval
from textgym.models import load_language_model
from textgym.plots import blank_figure
from textgym.teaching import Claim, WrongError, begin, expect, keep

lesson = begin(globals())

# %% [markdown]
# ## Two teachers
#
# `TextSpell-v0` shows a prompt such as `bca=` and asks for the word `bca`. Each right letter is paid a third, so that
# a return is between 0 and 1. Here the words are marked by two teachers. The first has the words that begin with a or
# b, and is generous: 2 points more for *any* text. The second has the others, and gives nothing extra. Neither
# changes which text is best. Real rewards are like this: a reward model likes some prompts whatever the answer, and
# some questions are easy.
#
# A model writes 64 texts for an update: 4 texts to each of 16 prompts. Copies of an environment that are reset with
# the same seed show the same prompts, so that four copies with one seed are a *group*. The next two functions are
# those of lesson 2.

# %%
LETTERS = 3  # letters of a word: every text is an episode of three steps
PROMPT = LETTERS + 1  # tokens of a prompt, with its "="
GROUP = 4  # answers to the same prompt
EXTRA = 2.0  # points of the first teacher for any text
A, B, D = 2, 3, 5  # tokens of three of the letters; that of c is between those of b and d


def policy(model: Any, observations: dict[str, np.ndarray]) -> torch.distributions.Categorical:
    """Return the distribution of the next letter behind every unfinished text; ids are padded on the right."""
    lengths = torch.from_numpy(observations["attention_mask"].sum(axis=1))
    ids = torch.from_numpy(observations["input_ids"])[:, : int(lengths.max())].long()
    logits = model.network(ids).logits[torch.arange(len(ids)), lengths.long() - 1]
    return torch.distributions.Categorical(logits=logits[:, A : D + 1])  # letters alone: no text ends before the others


class Texts(NamedTuple):
    """``N`` texts of ``T`` tokens.

    Attributes:
        log_probs: (T, N) log-probabilities of the tokens, with gradients.
        returns: (N,) what the teachers give.
        ids: (N, PROMPT + T) prompt and text.
    """

    log_probs: Tensor
    returns: Tensor
    ids: Tensor


def write(model: Any, envs: Any, observations: dict[str, np.ndarray]) -> tuple[Texts, dict[str, np.ndarray]]:
    """Write a text in every environment; return them, and the next prompts."""
    prompts = torch.from_numpy(observations["input_ids"])[:, :PROMPT].long()
    log_probs, tokens, rewards = [], [], []
    for _ in range(LETTERS):
        choice = policy(model, observations)
        letters = choice.sample()
        observations, paid, *_ = envs.step(letters.numpy() + A)
        log_probs.append(choice.log_prob(letters))
        tokens.append(letters + A)
        rewards.append(torch.from_numpy(paid).float())
    returns = torch.stack(rewards).sum(dim=0) + EXTRA * (prompts[:, 0] <= B)  # the first teacher has a and b
    return Texts(torch.stack(log_probs), returns, torch.cat([prompts, torch.stack(tokens, dim=1)], dim=1)), observations


def groups_of(texts: int, seed: int) -> tuple[Any, dict[str, np.ndarray]]:
    """Return environments in groups of the same prompts, and their first prompts."""
    envs = gym.make_vec("TextSpell-v0", texts, model="letters")
    return envs, envs.reset(seed=[1000 * seed + copy // GROUP for copy in range(texts)])[0]


# %% [markdown]
# ## The idea
#
# Subtract a number $b$, the baseline, from every return:
#
# $$ \nabla J \approx \frac{1}{N} \sum_{i=1}^{N} (R(y_i) - b_i) \, \nabla \log \pi_\theta(y_i) $$
#
# $J$ is the expected return, $N$ the number of texts, $y_i$ text $i$. The difference $A_i = R(y_i) - b_i$ is called
# the *advantage* of the text. Which $b_i$ are allowed? Any that does not depend on the text $y_i$ itself, since then
#
# $$ \mathbb{E}_{y \sim \pi_\theta}\,[b \, \nabla \log \pi_\theta(y)] = b \sum_y \pi_\theta(y) \frac{\nabla
# \pi_\theta(y)}{\pi_\theta(y)} = b \, \nabla \sum_y \pi_\theta(y) = b \, \nabla 1 = 0. $$
#
# The expected gradient stays as it is (the estimate stays *unbiased*), while its variance may fall. Four baselines:
#
# | name | $b_i$ |
# |---|---|
# | none | 0 |
# | mean | the mean return of all $N$ texts |
# | others | the mean return of the other $k - 1$ answers to the same prompt: *leave-one-out*, as in RLOO |
# | critic | $V(x_i)$, what a second network, the *critic*, expects for the prompt $x_i$ |
#
# The critic is fitted by least squares: its loss is the mean of $(V(x_i) - R(y_i))^2$. The best it can do is to
# predict the mean return of a prompt, which is the baseline that we want.


# %% tags=["core"]
def leave_one_out(returns: Tensor) -> Tensor:
    """Mean return of the other answers to the same prompt, (N,); the answers to a prompt stand side by side."""
    groups = returns.view(-1, GROUP)
    return ((groups.sum(dim=1, keepdim=True) - groups) / (GROUP - 1)).flatten()


class Critic(nn.Module):
    """A small network that reads the first ids of a text, and says which return it expects."""

    def __init__(self, reads: int = PROMPT, vocabulary: int = 9, width: int = 64) -> None:
        super().__init__()
        self.reads = reads
        self.layers = nn.Sequential(
            nn.Embedding(vocabulary, 16), nn.Flatten(), nn.Linear(16 * reads, width), nn.ReLU(), nn.Linear(width, 1)
        )
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-2)

    def forward(self, ids: Tensor) -> Tensor:
        """Expected returns (N,) of texts (N, PROMPT + T)."""
        return self.layers(ids[:, : self.reads]).squeeze(1)

    def fit(self, ids: Tensor, returns: Tensor, steps: int = 10) -> None:
        """Take some steps towards the returns (N,) of texts."""
        for _ in range(steps):
            self.optimizer.zero_grad()
            value_loss(self(ids), returns).backward()
            self.optimizer.step()


def value_loss(values: Tensor, returns: Tensor) -> Tensor:
    """Mean squared error of the values (N,)."""
    return ((values - returns) ** 2).mean()


def policy_loss(log_probs: Tensor, advantages: Tensor) -> Tensor:
    """Mean over texts of minus the advantage (N,) times the log-probability of the text, the sum of those of tokens (T, N)."""
    return -(log_probs.sum(dim=0) * advantages).mean()


def baselines(texts: Texts, critic: Critic) -> dict[str, Tensor]:
    """Return the baselines (N,) of texts, by name."""
    returns, values = texts.returns, critic(texts.ids).detach()
    nothing = torch.zeros_like(returns)
    return {"none": nothing, "mean": nothing + returns.mean(), "others": leave_one_out(returns), "critic": values}


def train(seed: int, name: str, updates: int = 60, *, reads: int = PROMPT) -> tuple[Any, list[float]]:
    """Train on 64 texts an update; return the model and the share of right letters of every update."""
    torch.manual_seed(seed)
    model: Any = load_language_model("letters")
    critic, optimizer = Critic(reads), torch.optim.Adam(model.parameters(), lr=3e-3)
    envs, observations = groups_of(64, seed)
    history = []
    for _ in range(updates):
        texts, observations = write(model, envs, observations)
        optimizer.zero_grad()
        policy_loss(texts.log_probs, texts.returns - baselines(texts, critic)[name]).backward()
        optimizer.step()
        critic.fit(texts.ids, texts.returns)  # after its use: it has not seen the returns that it is compared with
        history.append(float((texts.ids[:, :LETTERS] == texts.ids[:, PROMPT:]).float().mean()))
    return model, history


# %% [markdown]
# ## What do you expect?
#
# At the start a text has about one right letter in three. Write down:
#
# 1. By which factor does each of the three baselines lower the variance of the gradient of 64 texts?
# 2. Which one will the model learn best with, and will any of them learn something *else*?
# 3. A critic that reads the whole text before it says what it expects would be nearly always right. Is it the best
#    baseline of all?
#
# ## Exact numbers to compare with
#
# A word has only 64 texts, so the expected return of a policy, and its gradient, can be computed by adding all of them
# up. No sampling is left in what we measure a model by.


# %%
def expected_returns(model: Any) -> Tensor:
    """Expected share of right letters of each of the 32 training words, (32,), with gradients."""
    task = gym.make("TextSpell-v0").unwrapped.task
    words = torch.tensor([model.tokenizer.encode(task.dataset[place].text + "=") for place in range(len(task.dataset))])
    texts = torch.cartesian_prod(*[torch.arange(A, D + 1)] * LETTERS)  # (64, 3)
    ids = torch.cat([words.repeat_interleave(len(texts), dim=0), texts.repeat(len(words), 1)], dim=1)
    logits = model.network(ids).logits[:, LETTERS:-1, A : D + 1]  # behind the prompt, one letter, two letters
    log_probs = logits.log_softmax(-1).gather(2, ids[:, PROMPT:, None] - A).sum(dim=(1, 2))
    right = (ids[:, :LETTERS] == ids[:, PROMPT:]).float().mean(dim=1)
    return (log_probs.exp() * right).view(len(words), -1).sum(dim=1)


def flat(gradients: Any) -> np.ndarray:
    """Return gradients of parameters as one vector."""
    return torch.cat([each.flatten() for each in gradients]).numpy()


class Measured(NamedTuple):
    """Gradients of the loss at the start model.

    Attributes:
        exact: (P,) minus the gradient of the expected return.
        estimates: (batches, P) estimates from 64 texts each, by the name of the baseline.
        texts: The last texts.
        advantages: (64,) those of these texts, by the name of the baseline.
    """

    exact: np.ndarray
    estimates: dict[str, np.ndarray]
    texts: Texts
    advantages: dict[str, Tensor]

    def variance(self, name: str) -> float:
        """Mean squared distance of the estimates from their mean."""
        of = self.estimates[name]
        return float(((of - of.mean(axis=0)) ** 2).sum(axis=1).mean() * len(of) / (len(of) - 1))

    def share(self, name: str) -> np.ndarray:
        """Length of the estimates along the exact gradient, as a share of its own, (batches,)."""
        return self.estimates[name] @ self.exact / (self.exact @ self.exact)


def measure_gradients(seed: int, batches: int = 40) -> Measured:
    """Estimate the gradient at the start model with every baseline, from the same texts."""
    torch.manual_seed(seed)
    model: Any = load_language_model("letters")
    parameters = list(model.parameters())
    envs, observations = groups_of(64, seed)
    critic, reader = Critic(), Critic(reads=PROMPT + LETTERS)
    for _ in range(batches):  # other texts than those below
        with torch.no_grad():
            texts, observations = write(model, envs, observations)
        critic.fit(texts.ids, texts.returns)
        reader.fit(texts.ids, texts.returns)
    found: dict[str, list[np.ndarray]] = {}
    for _ in range(batches):
        texts, observations = write(model, envs, observations)
        named = {**baselines(texts, critic), "reads the text": reader(texts.ids).detach()}
        for name, baseline in named.items():
            loss = policy_loss(texts.log_probs, texts.returns - baseline)
            found.setdefault(name, []).append(flat(torch.autograd.grad(loss, parameters, retain_graph=True)))
    exact = flat(torch.autograd.grad(-expected_returns(model).mean(), parameters))
    advantages = {name: texts.returns - baseline for name, baseline in named.items()}
    return Measured(exact, {name: np.stack(each) for name, each in found.items()}, texts, advantages)


# %% tags=["experiment"]
gradients = measure_gradients(seed=0)
for name in gradients.estimates:
    share = mean_interval(gradients.share(name))
    print(
        f"{name:14}: variance {gradients.variance(name):6.2f}, "
        f"along the exact gradient {share.mean:5.2f} [{share.low:.2f}, {share.high:.2f}] of it"
    )

# %% [markdown]
# ## Four baselines, in one picture
#
# On the left, the 64 texts of one update, and the weight $R(y_i) - b_i$ that each of them gets. A text is blue if it
# has more right letters than the model has on average for this word, and orange if it has fewer. A good baseline puts
# the blue ones above 0 and the orange ones below. On the right, what comes of it.

# %% tags=["experiment"]
COLOURS = {"none": "0.45", "mean": "#cc79a7", "others": "#0072b2", "critic": "#009e73", "reads the text": "#d55e00"}
START = expected_returns(load_language_model("letters")).detach()
curves = {}
for name in ("none", "mean", "others", "critic"):
    model, curves[name] = train(seed=0, name=name)
    print(f"{name:7} {START.mean():.2f} -> {expected_returns(model).mean():.2f}")

figure = blank_figure(width=10.4, height=4.4)
weights, learning = figure.subplots(1, 2, width_ratios=(1.25, 1))
texts = gradients.texts
right = (texts.ids[:, :LETTERS] == texts.ids[:, PROMPT:]).float().mean(dim=1)
place = gym.make("TextSpell-v0").unwrapped.task.dataset
usual = {place[at].text: float(START[at]) for at in range(len(place))}
tokenizer = load_language_model("letters").tokenizer
better = np.array(
    [
        float(score) > usual[tokenizer.decode(ids[:LETTERS])]
        for score, ids in zip(right, texts.ids.tolist(), strict=True)
    ]
)
spread = np.random.default_rng(0).uniform(-0.28, 0.28, len(better))
for column, name in enumerate(curves):
    for which, colour, marker, label in (
        (better, "#0072b2", "o", "better than usual for its word"),
        (~better, "#e69f00", "x", "worse"),
    ):
        weights.scatter(
            column + spread[which],
            gradients.advantages[name].numpy()[which],
            color=colour,
            marker=marker,
            s=20,
            label=label if column == 0 else None,
        )
weights.axhline(0, color="0.5", zorder=0, linewidth=1)
weights.set(
    title="Weights of the same 64 texts",
    ylabel="return minus baseline, points",
    xticks=range(len(curves)),
    xticklabels=[f"{name}\nvariance {gradients.variance(name):.1f}" for name in curves],
)
weights.legend(loc="upper right")
for name, curve in curves.items():
    smooth = np.convolve(np.pad(curve, 4, mode="edge"), np.full(9, 1 / 9), mode="valid")
    learning.plot(64 * np.arange(1, len(curve) + 1), smooth, color=COLOURS[name])
    beside = {"critic": "bottom", "others": "top"}.get(name, "center")
    learning.text(64 * len(curve) + 40, smooth[-1], name, color=COLOURS[name], va=beside)
learning.set(title="What comes of it", xlabel="texts", ylabel="share of right letters", ylim=(0, 1), xlim=(0, 4_700))
keep(figure, "03-weights")

# %% [markdown]
# Without a baseline the texts of the generous teacher become likelier by two points whatever is in them. The mean of
# the batch is no better at telling right from wrong: it pays for being asked an easy question. (Its gradient is right
# on average, up to a factor of 63/64, so that it learns, but slowly.) The other answers to the same prompt know how
# generous the teacher is, and so does the critic after some texts. Both bring blue above orange, and bring the
# variance down to about a tenth of that with the mean.
#
# Leave-one-out needs several answers to each prompt, and no second network. A critic needs one answer, and must be
# learned first. With $k$ answers the mean of the others is itself noisy: the variance of $R_i - b_i$ is
# $\sigma^2 (1 + \frac{1}{k-1})$, where $\sigma^2$ is the variance of the returns of the prompt. With $k = 2$ it is
# twice that of a perfect critic, with $k = 4$ a third more.
#
# **Why not the mean of all $k$ answers?** Because a text would be compared with itself, too. But look at the
# algebra, with $\bar R$ for the mean of all $k$:
#
# $$ R_i - \frac{1}{k-1} \sum_{j \neq i} R_j = \frac{k}{k-1} \, (R_i - \bar R). $$
#
# So the mean of all gives $\frac{k-1}{k}$ of the leave-one-out advantage: a shorter step in the same direction. Dr.
# GRPO uses it, RLOO the other. With $k = 4$ and Adam, which scales steps anyway, the difference is small.
#
# ## A failure on purpose
#
# The lower the variance, the better? Let the critic read the text too, and not only the prompt. Its predictions become
# nearly perfect.

# %% tags=["experiment"]
model, history = train(seed=0, name="critic", reads=PROMPT + LETTERS)
print(f"critic of the text {START.mean():.2f} -> {expected_returns(model).mean():.2f}")

# %% [markdown]
# The variance fell once more, by a factor of six, and the model learns next to nothing. Above, the estimates of
# "reads the text" have no length left along the exact gradient. If the critic knows what a text is worth, $R(y) -
# b(y)$ is 0 for good texts and for bad ones: it has subtracted the very thing that the policy is to learn from. In
# the formula, $b$ depends on $y$, and may not be taken out of the sum.
#
# **The repair**: a baseline may read all that stands *before* the action, and nothing behind it. In code this is an
# off-by-one error that is easy to make with tokens: the value of the text *with* the token in place of the text
# *before* it. Low variance alone proves nothing. Compare with a baseline that you trust, such as leave-one-out.
#
# ## What to remember
#
# | baseline | reads | needs | in this package |
# |---|---|---|---|
# | mean of the batch | all returns | nothing | `--agent reinforce --baseline mean` |
# | leave-one-out | the other answers | $k \ge 2$ answers to a prompt | `--agent rloo --group-size 4` |
# | critic | the text before the action | a second network | `--agent reinforce --baseline learned`, `--agent ppo` |
#
# - A baseline leaves the expected gradient as it is, if it does not depend on the action.
# - The best ones are near the expected return of the *prompt*. The mean of the batch is not, if prompts differ.
# - Dividing by the standard deviation of a group as well, as GRPO does, is a change of the goal: lesson 10.
#
# Pages: [REINFORCE](../docs/reinforce.md), [RLOO](../docs/rloo.md), [GRPO](../docs/grpo.md).
#
# ## The claims, measured
#
# `python lessons/03_baselines.py --claims`, or `lesson.check_claims()` in a notebook, measures this over three seeds.


# %%
def claims() -> list[Claim]:
    """Comparing with the same prompt lowers the variance and learns faster; a critic of the text learns nothing."""
    seeds = range(3)
    found = [measure_gradients(seed) for seed in seeds]
    after = {name: [train(seed, name)[0] for seed in seeds] for name in ("mean", "others", "critic")}
    peeping = [train(seed, "critic", reads=PROMPT + LETTERS)[0] for seed in seeds]
    ratios = {name: [each.variance("mean") / each.variance(name) for each in found] for name in ("others", "critic")}
    left = np.concatenate([each.share("reads the text") for each in found])
    return [
        Claim("Variance with the mean over that with leave-one-out:", mean_interval(ratios["others"]), above=3),
        Claim("Variance with the mean over that with a critic:", mean_interval(ratios["critic"]), above=3),
        Claim("Right letters, leave-one-out minus mean:", gain(after["mean"], after["others"]), above=0.05),
        Claim("Right letters, critic minus mean:", gain(after["mean"], after["critic"]), above=0.05),
        Claim("Share of the gradient that a critic of the text leaves:", mean_interval(left), above=-0.3, below=0.3),
        Claim("Right letters, critic of the text minus of the prompt:", gain(after["critic"], peeping), below=-0.2),
    ]


def gain(before: list[Any], after: list[Any]) -> Any:
    """Return the mean difference of expected returns of the same words, with its 95 % interval; seeds are averaged."""
    means = [
        torch.stack([expected_returns(model).detach() for model in group]).mean(dim=0) for group in (before, after)
    ]
    return mean_interval((means[1] - means[0]).numpy())


# %% [markdown]
# ## Exercises
#
# Replace `None`, then ask: `python lessons/03_baselines.py --exercise 1`, or `lesson.check_answer(1)` in a notebook.
#
# **Exercise 1.** Write `answer_1(returns)` for `returns` of shape (prompts, answers), as a tensor: the advantages with
# leave-one-out, of the same shape. Any number of answers from 2 on.

# %%
answer_1: Any = None


def check_1(answer: Any) -> str:
    """The mean of the others is the sum of a row, minus the return itself, divided by one less than its length."""
    expect(answer(torch.tensor([[1.0, 0.0]])), [[1.0, -1.0]], "the advantages of returns 1 and 0")
    rows = torch.tensor([[3.0, 0.0, 0.0], [5.0, 6.0, 7.0]])
    expect(answer(rows), [[3.0, -1.5, -1.5], [-1.5, 0.0, 1.5]], "the advantages of two prompts", tolerance=1e-5)
    return "They add up to 0 for every prompt: what one text gains, the others lose."


# %% [markdown]
# **Exercise 2.** A policy chooses between two texts, with logits $z_1$ and $z_2$. The first has probability $p$ and
# return $r_1$, the second return $r_2$. Write `answer_2(p, r_1, r_2)`: the constant baseline with which the estimate
# of $\partial J / \partial z_1$ from one text has the least variance. ($\partial \log \pi / \partial z_1$ is $1 - p$
# for the first text, $-p$ for the second.)

# %%
answer_2: Any = None


def check_2(answer: Any) -> str:
    """Least variance means least mean square: weigh each return by its probability and the square of its derivative."""
    for p, first, second in ((0.5, 1.0, 0.0), (0.9, 1.0, 0.0), (0.2, 3.0, 1.0)):
        right = (1 - p) * first + p * second
        expect(answer(p, first, second), right, f"the baseline for p={p} and returns {first} and {second}")
    return "It is not the mean return: the rare text has the larger derivative, and counts more. With it the variance is 0."


# %% [markdown]
# **Exercise 3.** Which of these may be a baseline of a text $y$ that answers the prompt $x$, if the gradient is to
# stay unbiased? Give the letters, such as `"ab"`.
#
# - a: the mean return of the last 1,000 texts, which were written before
# - b: the length of the prompt
# - c: the length of the text
# - d: the best return of all answers to $x$, $y$ included
# - e: the return of the most likely text for $x$
# - f: what a critic expects after the first token of the text

# %%
answer_3: Any = None


def check_3(answer: Any) -> str:
    """Exchange the text for another one to the same prompt. A baseline that changes with it is none."""
    reasons = {
        "a": "a was known before the text was written",
        "b": "b is known before the text is written",
        "c": "c changes with the text",
        "d": "d changes with the text, if it is the best one",
        "e": "e does not change with the text that was drawn: another text is the most likely one, whatever you draw",
        "f": "f depends on the first token, which is an action",
    }
    if not isinstance(answer, str) or not set(answer) <= set(reasons):
        raise WrongError(f"Expected letters from a to f, got {answer!r}")
    wrong = sorted(set(answer) ^ set("abe"))
    if wrong:
        raise WrongError(f"Look again at one of the letters: {reasons[wrong[0]]}")
    return "Letter e is the baseline of ReMax (Li et al., 2024), which needs one more text for each prompt."


# %% [markdown]
# ## Further reading
#
# - Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning" (1992),
#   [doi:10.1007/BF00992696](https://doi.org/10.1007/BF00992696): REINFORCE with a baseline.
# - Kool, van Hoof and Welling, "Buy 4 REINFORCE samples, get a baseline for free!" (2019),
#   [openreview r1lgTGL5DE](https://openreview.net/forum?id=r1lgTGL5DE): leave-one-out.
# - Ahmadian et al., "Back to basics: revisiting REINFORCE style optimization for learning from human feedback in LLMs"
#   (2024), [arXiv:2402.14740](https://arxiv.org/abs/2402.14740): RLOO.
# - Greensmith, Bartlett and Baxter, "Variance reduction techniques for gradient estimates in reinforcement learning"
#   (2004), [JMLR 5](https://jmlr.org/papers/v5/greensmith04a.html): which baseline is best.
# - Li et al., "ReMax: a simple, effective, and efficient reinforcement learning method for aligning large language
#   models" (2024), [arXiv:2310.10505](https://arxiv.org/abs/2310.10505).
#
# Next: [4. Which token earned it?](04_credit.py) asks the same of the tokens of a text.
