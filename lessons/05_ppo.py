# %% [markdown]
# # 5. PPO: many steps with one batch
#
# **The question.** Texts are expensive: a model writes them token by token, and somebody scores them. REINFORCE uses
# each of them for one gradient step and throws it away. Why not make 20 steps with the same texts?
#
# You will try, and it goes wrong. Then you will add one line, the clipped probability ratio of PPO (proximal policy
# optimization; Schulman et al., 2017), and it goes well. At the end you train a model of your own with the library's
# PPO, in five lines.
#
# You need: REINFORCE and baselines (lessons 2 and 3), or to know that a policy gradient is the gradient of the
# log-probability of an action times its *advantage*, which says how much better the action was than usual.

# %%
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

import textgym  # noqa: F401  # registers the environments
from textgym.agents import PPO, make_vec_env
from textgym.evaluation import Evaluation, evaluate, make_evaluation_set
from textgym.metrics import mean_interval
from textgym.models import load_language_model
from textgym.plots import blank_figure
from textgym.teaching import Claim, begin, expect, keep
from textgym.types import Interval

lesson = begin(globals())

# %% [markdown]
# ## The idea
#
# A *rollout* is a batch of texts that the policy has just written. After one gradient step the policy is another one,
# and the rollout is no sample of it any more: it is *off-policy*. The remedy has a name, importance sampling. Weigh
# every token by how much likelier it has become since it was written, the *probability ratio*
#
# $$ \rho_t(\theta) = \frac{\pi_\theta(a_t \mid s_t)}{\pi_{\text{old}}(a_t \mid s_t)} $$
#
# $s_t$ is the text so far, $a_t$ the token that was written behind it, $\pi_{\text{old}}$ the policy that wrote the
# rollout, and $\pi_\theta$ the policy as it is now, with the parameters $\theta$. Before the first step every ratio is
# 1. The loss of a token with advantage $A_t$ is then $-\rho_t A_t$, whose gradient at $\rho_t = 1$ is that of
# REINFORCE.
#
# The weight is right on average and says nothing about the size of the step. PPO takes away the reason to go far. With
# a clip range $\varepsilon$, usually 0.2, the loss to minimise is
#
# $$ L_t(\theta) = -\min\bigl(\rho_t A_t, \; \text{clip}(\rho_t, 1 - \varepsilon, 1 + \varepsilon) \, A_t\bigr) $$
#
# A good token ($A_t > 0$) gains nothing any more once its ratio is above $1 + \varepsilon$. A bad one ($A_t < 0$) gains
# nothing below $1 - \varepsilon$. There the loss is flat and its gradient is 0. The minimum sees to it that mistakes
# count in full: a good token that has become *less* likely keeps its gradient.

# %% tags=["core"]
LENGTH = 3  # letters of a word of TextSpell-v0: a text is an episode of at most three steps


def policy(model: Any, observations: dict[str, np.ndarray]) -> torch.distributions.Categorical:
    """Return the distribution of the next token behind every unfinished text; ids are padded on the right."""
    lengths = torch.from_numpy(observations["attention_mask"].sum(axis=1))
    ids = torch.from_numpy(observations["input_ids"])[:, : int(lengths.max())].long()
    logits = model.network(ids).logits[torch.arange(len(ids)), lengths.long() - 1]
    return torch.distributions.Categorical(logits=logits)


class Rollout(NamedTuple):
    """The ``M`` tokens of a batch of texts, (M,) each, and the mean return of the texts."""

    observations: dict[str, np.ndarray]
    tokens: Tensor
    log_probs: Tensor
    advantages: Tensor
    score: float


@torch.no_grad()
def write(model: Any, envs: Any) -> Rollout:
    """Write a text in every environment; what follows a text that has ended early is left out."""
    observations, _ = envs.reset()
    seen, tokens, log_probs, rewards, going_on = [], [], [], [], [torch.ones(envs.num_envs, dtype=torch.bool)]
    for _ in range(LENGTH):
        choice = policy(model, observations)
        seen.append(observations)
        tokens.append(choice.sample())
        log_probs.append(choice.log_prob(tokens[-1]))
        observations, paid, terminated, truncated, _ = envs.step(tokens[-1].numpy())
        rewards.append(torch.from_numpy(paid).float() * going_on[-1])
        going_on.append(going_on[-1] & torch.from_numpy(~(terminated | truncated)))
    returns, written = torch.stack(rewards).sum(dim=0), torch.cat(going_on[:-1])
    advantages = ((returns - returns.mean()) / (returns.std() + 1e-3)).repeat(LENGTH)  # one for all tokens of a text
    stacked = {name: np.concatenate([each[name] for each in seen])[written.numpy()] for name in seen[0]}
    columns = (each[written] for each in (torch.cat(tokens), torch.cat(log_probs), advantages))
    return Rollout(stacked, *columns, float(returns.mean()))


def reinforce_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor) -> Tensor:
    """REINFORCE: it does not know which policy wrote the tokens; (M,)."""
    return -log_probs * advantages


def ratio_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor) -> Tensor:
    """Importance sampling; (M,)."""
    return -(log_probs - old_log_probs).exp() * advantages


def clipped_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, epsilon: float = 0.2) -> Tensor:
    """PPO: importance sampling which gains nothing beyond the clip range; (M,)."""
    ratio = (log_probs - old_log_probs).exp()
    return -torch.min(ratio * advantages, ratio.clamp(1 - epsilon, 1 + epsilon) * advantages)


# %% [markdown]
# An *epoch* is one pass over the rollout. Here a pass is one gradient step with all of its tokens.

# %%
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Update(NamedTuple):
    """What one rollout was like, and what its epochs did to the policy.

    Attributes:
        score: Mean return of the texts of the rollout.
        kl: How far the policy has moved from the one that wrote them, in nats per token: the mean of
            ratio - 1 - log ratio, which estimates the KL divergence (lesson 6), before the last step.
        entropy: Mean entropy of the next-token distribution then, in nats.
    """

    score: float
    kl: float
    entropy: float


def train(seed: int, loss: Loss, epochs: int, rollouts: int = 16, texts: int = 64) -> tuple[Any, list[Update]]:
    """Write a rollout, make ``epochs`` gradient steps with it, and so on; return the model and every update."""
    torch.manual_seed(seed)
    model: Any = load_language_model("letters")
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    envs = gym.make_vec("TextSpell-v0", texts, model="letters")
    envs.reset(seed=seed)
    history = []
    for _ in range(rollouts):
        rollout = write(model, envs)
        for _ in range(epochs):
            choice = policy(model, rollout.observations)
            log_probs = choice.log_prob(rollout.tokens)
            optimizer.zero_grad()
            loss(log_probs, rollout.log_probs, rollout.advantages).mean().backward()
            optimizer.step()
        log_ratio = log_probs.detach() - rollout.log_probs
        kl = float((log_ratio.expm1() - log_ratio).mean())
        history.append(Update(rollout.score, kl, float(choice.entropy().detach().mean())))
    return model, history


def measured(model: Any, seed: int) -> Evaluation:
    """Let a model or an agent write the 32 training words once more."""
    return evaluate(model, make_evaluation_set("TextSpell-v0", prompts=32, split="train", seed=seed))


# %% [markdown]
# `TextSpell-v0` asks for a word of three letters and pays a third for each letter in its place. The start model has
# about a third of them right.
#
# ## What do you expect?
#
# All four runs below write the same number of texts: 16 rollouts of 64. Write down, in which order they end:
#
# 1. the REINFORCE loss, 1 epoch on each rollout (16 gradient steps in all);
# 2. the REINFORCE loss, 20 epochs (320 steps);
# 3. the ratio without clipping, 20 epochs;
# 4. the clipped ratio, 20 epochs.
#
# And: what will the entropy of the second run be, if that of a policy that chooses among four letters at random is
# $\log 4 = 1.39$ nats?

# %% tags=["experiment"]
RUNS: dict[str, tuple[Loss, int, str, str]] = {
    "REINFORCE loss, 1 epoch": (reinforce_loss, 1, "#56b4e9", ":"),
    "REINFORCE loss, 20 epochs": (reinforce_loss, 20, "#d55e00", "--"),
    "ratio, not clipped, 20 epochs": (ratio_loss, 20, "#cc79a7", "-."),
    "ratio, clipped, 20 epochs": (clipped_loss, 20, "#0072b2", "-"),
}
histories = {}
for name, (loss, epochs, *_) in RUNS.items():
    model, histories[name] = train(0, loss, epochs)
    kl, entropy = np.mean([update.kl for update in histories[name]]), histories[name][-1].entropy
    reward = measured(model, 0).measures.values["reward"].mean()
    print(f"{name:30} return {reward:.2f}, KL of an update {kl:6.3f} nats per token, entropy at the end {entropy:.3f}")

# %% [markdown]
# ## The clipped surrogate, in one picture
#
# On the left the loss with its sign changed (the *surrogate objective*, which rises) of one token, as a function of
# its ratio. On the right the four runs.

# %% tags=["experiment"]
figure = blank_figure(width=9.6, height=4.0)
surrogate, learning = figure.subplots(1, 2)
ratios = torch.linspace(0.5, 1.6, 111)
for advantage, colour, style in ((1.0, "#0072b2", "-"), (-1.0, "#d55e00", "--")):
    gained = -clipped_loss(ratios.log(), torch.zeros(111), torch.full((111,), advantage))
    surrogate.plot(ratios, gained, color=colour, linestyle=style, linewidth=2, label=f"advantage {advantage:+.0f}")
    surrogate.plot(ratios, ratios * advantage, color=colour, linewidth=1, alpha=0.6)
surrogate.axvspan(0.8, 1.2, color="0.92", zorder=0, label="clip range")
surrogate.axvline(1, color="0.6", linewidth=0.8)
surrogate.set(
    title="One token; thin: not clipped", xlabel="probability ratio, new to old", ylabel="surrogate objective, reward"
)
surrogate.legend(loc="center left", fontsize=8)
for name, (*_, colour, style) in RUNS.items():
    scores = [update.score for update in histories[name]]
    learning.plot(64 * np.arange(16), scores, color=colour, linestyle=style, linewidth=1.8, label=name)
learning.set(title="The same number of texts", xlabel="texts written", ylabel="mean return of a rollout", ylim=(0, 1))
learning.legend(fontsize=8)
keep(figure, "05-clipping")

# %% [markdown]
# ## A failure on purpose
#
# The dashed line on the right is the failure. Look at what its loss asks for. A bad token has a negative advantage, so
# the loss falls as long as $\log \pi$ falls, and that has no end. After 20 steps the policy has moved far away from
# the one that wrote the texts, in a direction that only those 64 texts justify. The next rollout is written by a policy
# that is sure of something accidental, and an entropy of nearly 0 means that it tries nothing else any more: the
# policy has *collapsed*.
#
# The ratio without clipping is better, since $\rho$ cannot fall below 0, so that bad tokens stop counting. But a good
# token whose probability was 0.02 has a ratio of 50 when it is certain, and one lucky text pulls that far. How bad it
# gets differs from seed to seed.
#
# **The repair** is the clipped loss, one line of `clipped_loss`. A token that has moved by 20 % in the direction of its
# advantage has no gradient any more; the others still have theirs. Single ratios do end beyond the clip range, since
# all tokens share their parameters and one of them pushes another. But the policy as a whole moves much less: compare
# the KL of an update in the table above. So the same texts can be used 20 times.
#
# Clipping limits what a *rollout* may do. It does not limit how far the policy moves in the whole training, which is
# what lesson 6 is about.
#
# ## A model of your own
#
# The library's PPO has the same loss, with a *critic* that gives every token an advantage of its own (lesson 3),
# 4 epochs, a KL penalty, and a log of every update. It is an algorithm of Stable-Baselines3, so that `learn`,
# callbacks and loggers are those that you may know.

# %% tags=["experiment"]
env = make_vec_env("TextSpell-v0", n_envs=64, seed=0, model="letters")
agent = PPO.create(env, "letters", seed=0, learning_rate=3e-3, kl_coef=0.01)
agent.learn(10_000)  # tokens
print({name: round(agent.history[-1][name], 3) for name in ("reward", "kl", "entropy")})
print(measured(agent, 0))
print("mean share of clipped tokens:", round(np.mean([update["clip_fraction"] for update in agent.history]), 3))

# %% [markdown]
# `clip_fraction` is the share of tokens whose ratio is beyond the clip range. If it is large, most of the work of an
# update is thrown away, and fewer epochs or a lower learning rate do as well. `agent.plot()` draws the curves. The same
# in a terminal:
#
# ```
# textgym train TextSpell-v0 --agent ppo --steps 10000 --lr 0.003 --kl-coef 0.01
# ```
#
# Change `TextSpell-v0` to `TextSumm-v0` and the model to `tiny`, and you train a model that summarises.
#
# ## What to remember
#
# - A rollout may be used several times if every token is weighed by its probability ratio.
# - Without a limit many steps on one rollout end in a policy that fits accidents. Clipping removes the gradient of
#   tokens that have moved far enough.
# - The minimum in the loss is one-sided: a change for the worse is never clipped.
# - Watch the entropy and the KL of an update: they show a collapse while the return still goes up and down. [The page
#   of PPO](../docs/ppo.md) explains every logged number.
#
# ## The claims, measured
#
# `python lessons/05_ppo.py --claims`, or `lesson.check_claims()` in a notebook, measures this over three seeds.


# %%
def claims() -> list[Claim]:
    """On the same texts, clipping with 20 epochs beats one epoch, and 20 epochs without it."""
    clipped = [measured(train(seed, clipped_loss, 20)[0], seed) for seed in range(3)]
    single = [measured(train(seed, reinforce_loss, 1)[0], seed) for seed in range(3)]
    spoilt = [train(seed, reinforce_loss, 20) for seed in range(3)]
    return [
        Claim(
            "Return of the 32 words, clipped ratio with 20 epochs minus REINFORCE with 20:",
            gain([measured(model, seed) for seed, (model, _) in enumerate(spoilt)], clipped),
            above=0.2,
        ),
        Claim("Clipped ratio with 20 epochs minus REINFORCE with 1:", gain(single, clipped), above=0.05),
        Claim(
            "Entropy after REINFORCE with 20 epochs, nats:",
            mean_interval([history[-1].entropy for _, history in spoilt]),
            below=0.1,
        ),
    ]


def gain(before: list[Evaluation], after: list[Evaluation]) -> Interval:
    """Return the mean difference of returns of the same prompts, with its 95 % interval; the seeds are averaged."""
    rewards = [np.mean([each.measures.values["reward"] for each in group], axis=0) for group in (before, after)]
    return mean_interval(rewards[1] - rewards[0])


# %% [markdown]
# ## Exercises
#
# Replace `None`, then ask: `python lessons/05_ppo.py --exercise 1`, or `lesson.check_answer(1)` in a notebook.
#
# **Exercise 1.** Write `answer_1(ratio, advantage, epsilon)`, of three numbers: the derivative of the clipped loss of
# a token with respect to its ratio.

# %%
answer_1: Any = None


def check_1(answer: Any) -> str:
    """It is minus the advantage or 0. On which side of 1 is a token of either sign clipped? On one side, not on two."""
    for ratio, advantage in ((1.0, 2.0), (1.5, 2.0), (0.5, 2.0), (1.5, -2.0), (0.5, -2.0), (1.1, -1.0)):
        value = torch.tensor([ratio], requires_grad=True)
        clipped_loss(value.log(), torch.zeros(1), torch.tensor([advantage])).sum().backward()
        expect(
            answer(ratio, advantage, 0.2),
            float(value.grad),
            f"the derivative at ratio {ratio} and advantage {advantage}",
        )
    expect(answer(1.3, 1.0, 0.4), -1.0, "the derivative at ratio 1.3, advantage 1 and a clip range of 0.4")
    return "Clipping stops progress, never a correction."


# %% [markdown]
# **Exercise 2.** A token has probability 0.01 and is always good. Suppose that every rollout raises its probability to
# the end of the clip range, $\varepsilon = 0.2$, and no further. How many rollouts does it take until the probability
# is at least 0.5?

# %%
answer_2: Any = None


def check_2(answer: Any) -> str:
    """Each rollout multiplies the probability by 1.2. Solve 0.01 times 1.2 to the power of n for n, and round up."""
    expect(answer, 22, "the number of rollouts")
    return "Rare tokens are slow to rise; a larger range above 1 than below ('clip-higher' of DAPO) is for them."


# %% [markdown]
# **Exercise 3.** Some methods take a whole text as one action (RLOO in lesson 10). Write
# `answer_3(log_probs, old_log_probs)`: the probability ratios (N,) of `N` texts, from the log-probabilities of their
# tokens (T, N).

# %%
answer_3: Any = None


def check_3(answer: Any) -> str:
    """The probability of a text is the product of those of its tokens, so that log-probabilities are added."""
    old = torch.tensor([[0.5, 0.2], [0.5, 0.4], [0.5, 0.1]]).log()
    new = old + torch.tensor([[1.15, 2.0], [1.15, 0.5], [1.15, 1.0]]).log()
    expect(answer(new, old), [1.15**3, 1.0], "the ratio of two texts, with token ratios of 1.15 and of 2, 0.5 and 1,")
    expect(answer(old, old), [1.0, 1.0], "the ratio before the first step")
    return "Three tokens inside the clip range make a text outside of it: 1.15 cubed is 1.52. Long texts clip early."


# %% [markdown]
# ## Further reading
#
# - Schulman et al., "Proximal policy optimization algorithms" (2017),
#   [arXiv:1707.06347](https://arxiv.org/abs/1707.06347).
# - Schulman et al., "Trust region policy optimization" (2015),
#   [arXiv:1502.05477](https://arxiv.org/abs/1502.05477): where the surrogate comes from, with a limit on the KL
#   divergence in place of clipping.
# - Engstrom et al., "Implementation matters in deep policy gradients" (2020),
#   [arXiv:2005.12729](https://arxiv.org/abs/2005.12729): how much of PPO is clipping, and how much the rest.
# - Yu et al., "DAPO: An open-source LLM reinforcement learning system at scale" (2025),
#   [arXiv:2503.14476](https://arxiv.org/abs/2503.14476): a larger clip range above 1.
#
# Next: [6. The KL leash](06_kl.py).
