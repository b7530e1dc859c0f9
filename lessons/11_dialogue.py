# %% [markdown]
# # 11. Dialogue: several turns, masks, delayed reward
#
# **The question.** In a conversation half of the words are not yours, and the reward comes at the end. Which words
# do you learn from, and how does a question in the first turn get its share of a reward in the third?
#
# So far an episode was one text of the agent. Now somebody answers. The whole conversation is still one sequence of
# tokens, and that makes two mistakes easy: to train on the words of the other side, and to pay a turn only for what
# comes with it.
#
# You need: a policy gradient with a baseline (lessons 2 and 3) and discounting (lesson 1).

# %%
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tokenizers
import torch
from tokenizers import models, pre_tokenizers
from torch import Tensor, nn

from textgym.data import InMemoryDataset
from textgym.envs import TokenTextVectorEnv
from textgym.metrics import mean_interval
from textgym.plots import blank_figure
from textgym.tasks import TextTask
from textgym.teaching import Claim, begin, expect, keep
from textgym.types import Dataset, Episode, Example, Interval, Message, Prompt, Split

lesson = begin(globals())

# %% [markdown]
# ## A kiosk
#
# The agent sells drinks. It says one word per turn, in at most three turns. A customer wants tea, milk, juice or
# water, and is shy: asked `what` they want, they name it only if they were made `welcome` before, and else say
# `hm`. Any other word of the agent is taken as its order and ends the conversation. The right drink is paid 1. One
# customer in five wants wine, which is not sold: that one is never paid, whatever the agent does.
#
# Whoever orders at once is right with probability $4/5 \cdot 1/4 = 0.2$. `welcome`, `what` and the drink that was
# named are paid $4/5 = 0.8$ on average. `welcome` alone earns nothing: all its worth is in what it makes possible.
#
# This is a task of several turns as in [docs/dialogue.md](../docs/dialogue.md): `reply` says what the other side
# answers, and `None` ends the episode.

# %%
DRINKS = ("tea", "milk", "juice", "water")
WORDS = ("<pad>", "<end>", "User", "Assistant", ":", "hello", "hi", "hm", "welcome", "what", *DRINKS, "wine")
TURNS = 3


def paid(prompts: Sequence[str], texts: Sequence[str], examples: Sequence[Example]) -> list[float]:
    """The reward of the last turn: 1 for the drink that the customer wants, unless it is wine."""
    return [float(text == each.references[0] != "wine") for each, text in zip(examples, texts, strict=True)]


class Kiosk(TextTask):
    """Find out which drink a shy customer wants."""

    name = "kiosk"
    default_data: ClassVar[str] = "customers"
    max_prompt_tokens, max_new_tokens, max_reply_tokens, max_turns = 8, 1, 8, TURNS
    reward = staticmethod(paid)

    def examples(self, split: Split) -> Dataset:
        """All customers say hello; what they want is hidden in the reference."""
        wanted = (*DRINKS, "wine")
        return InMemoryDataset("kiosk", split, [Example(f"kiosk/{split}/{each}", "hello", (each,)) for each in wanted])

    def prompt(self, example: Example) -> Prompt:
        """A conversation in lines."""
        return Prompt("User: ", example.text, "\nAssistant:")

    def reply(self, episode: Episode, rng: np.random.Generator) -> Sequence[Message] | None:
        """Answer a word of the agent; an order ends the conversation."""
        if episode.text == "welcome":
            episode.state["welcome"] = True
            return [Message("user", "hi")]
        if episode.text == "what":
            return [Message("user", episode.example.references[0] if "welcome" in episode.state else "hm")]
        return None


def write_tokenizer() -> str:
    """Write a tokenizer of these fifteen words into a folder, and return it."""
    folder = Path(tempfile.mkdtemp(prefix="kiosk-"))
    backend = tokenizers.Tokenizer(models.WordLevel({word: id_ for id_, word in enumerate(WORDS)}, unk_token="hm"))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    backend.add_special_tokens(["<pad>", "<end>"])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>", "pad_token": "<pad>"}))
    return str(folder)


FOLDER = write_tokenizer()


def customers(count: int, seed: int) -> TokenTextVectorEnv:
    """Return environments in each of which a customer comes to the kiosk."""
    envs = TokenTextVectorEnv(Kiosk, count, model=FOLDER)
    envs.reset(seed=seed)
    return envs


# %% [markdown]
# ## Which tokens are actions?
#
# The environment shows the whole conversation so far. A token is an *action* if the agent wrote it and an
# *observation* if not: the prompt, the customer's words, and also `User`, `:` and `Assistant`, which the
# environment puts between turns. We note for every token the number of the agent's turn that it belongs to, or -1.
# The *mask* $m_t$ is 1 where that number is not -1:
#
# $$ \log \pi(\text{conversation}) = \sum_t m_t \log \pi_\theta(w_t \mid w_1, \ldots, w_{t-1}) $$
#
# The product of *all* factors would be the probability that the model writes both sides. But the customer's words
# are drawn by the customer. They depend on no parameter $\theta$ of the policy, so they have no part in the policy
# gradient. In Stable-Baselines3 an observation never gets into the loss by accident, since actions have an array of
# their own. Here both stand in the same array of ids, and only the mask tells them apart.
#
# ## What a turn is worth
#
# With $r_j$ for the reward of turn $j$ and $\gamma$ for the discount *per turn*, the return of turn $k$ is
#
# $$ G_k = \sum_{j \ge k} \gamma^{\,j - k} \, r_j $$
#
# At $\gamma = 0$ only the turn's own reward counts. The advantage of a turn is $A_k = G_k - b_k$, with a baseline
# $b_k$, the mean of $G_k$ over all conversations that have a $k$-th turn. All tokens of the turn share it. The loss
# is the masked mean over tokens, where $k(t)$ is the turn of token $t$:
#
# $$ L(\theta) = - \frac{\sum_t m_t \, A_{k(t)} \log \pi_\theta(w_t \mid w_1, \ldots, w_{t-1})}{\sum_t m_t} $$

# %% tags=["core"]


class Talk(NamedTuple):
    """``N`` conversations: ids and the turn of the agent that they belong to, or -1, (N, T); rewards of turns, (N, 3)."""

    ids: Tensor
    turns: Tensor
    rewards: Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens whose mask is 1, (N, T) each."""
    return (values * mask).sum() / mask.sum()


def returns(rewards: Tensor, gamma: float) -> Tensor:
    """Return of every turn, (N, K), discounted per turn."""
    found, after = torch.zeros_like(rewards), torch.zeros(len(rewards))
    for turn in reversed(range(rewards.shape[1])):
        found[:, turn] = after = rewards[:, turn] + gamma * after
    return found


def turn_advantages(talk: Talk, gamma: float) -> Tensor:
    """Return of every turn minus the mean of conversations that have this turn, (N, K); 0 where there is none."""
    exists = torch.arange(talk.rewards.shape[1]) <= talk.turns.amax(dim=1, keepdim=True)
    found = returns(talk.rewards, gamma) * exists
    return (found - found.sum(dim=0) / exists.sum(dim=0).clamp(min=1)) * exists


def policy_loss(log_probs: Tensor, talk: Talk, gamma: float, mask: Tensor) -> Tensor:
    """Loss of the log-probabilities of ids (N, T); a token has the advantage of the last turn that began before it."""
    turns = torch.cummax(talk.turns, dim=1).values.clamp(min=0)
    return -masked_mean(log_probs * turn_advantages(talk, gamma).gather(1, turns), mask)


def train(seed: int, gamma: float = 1.0, *, masked: bool = True) -> "tuple[LastWords, Tensor]":
    """Talk to 64 customers in each of 80 updates; return the model, and its log-probabilities of PROBES, (80, 5, T)."""
    torch.manual_seed(seed)
    model, envs, history = start_model(), customers(64, seed), []
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(80):
        talk = converse(model.next_word, envs)
        mask = talk.turns >= 0 if masked else behind_prompt(talk)
        optimizer.zero_grad()
        policy_loss(model.log_probs(talk.ids), talk, gamma, mask).backward()
        optimizer.step()
        history.append(model.log_probs(PROBES).detach())
    return model, torch.stack(history)


# %% [markdown]
# The model is the smallest one that shares weights between contexts: it adds up one table for each of the last four
# words. (A transformer does the same in a cleverer way.) It starts by imitating a clerk who knows the trade but
# seldom asks; the loss of imitation is the masked mean of $-\log \pi$ over the clerk's words.

# %%
Observations = dict[str, np.ndarray]
Chooser = Callable[[Observations], Tensor]  # logits of the next word in every environment, (N, V)
ID = {word: id_ for id_, word in enumerate(WORDS)}


class LastWords(nn.Module):
    """Logits of the next word: a sum over the last four words."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.Parameter(torch.zeros(4, len(WORDS), len(WORDS)))

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits behind every word, (N, T, V), from ids (N, T)."""
        padded = nn.functional.pad(ids, (3, 0))
        places = range(4)
        return torch.stack([self.tables[back][padded[:, 3 - back : 3 - back + ids.shape[1]]] for back in places]).sum(0)

    def log_probs(self, ids: Tensor) -> Tensor:
        """Return the log-probability of every word behind the words before it, (N, T)."""
        before = nn.functional.pad(ids, (1, 0))[:, :-1]
        return torch.log_softmax(self(before), dim=2).gather(2, ids[:, :, None])[:, :, 0]

    def next_word(self, observations: Observations) -> Tensor:
        """Return logits of the next word, (N, V)."""
        last = torch.from_numpy(observations["attention_mask"].sum(axis=1)).long() - 1
        ids = torch.from_numpy(observations["input_ids"]).long()
        return self(ids)[torch.arange(len(ids)), last]


@torch.no_grad()
def converse(choose: Chooser, envs: TokenTextVectorEnv) -> Talk:
    """Hold a conversation in every environment; a turn has one word."""
    observations, _ = envs.reset()
    ids = torch.zeros(observations["input_ids"].shape, dtype=torch.long)
    turns, rewards = torch.full(ids.shape, -1), torch.zeros(len(ids), TURNS)
    going_on = np.arange(len(ids))
    for turn in range(TURNS):
        words = torch.distributions.Categorical(logits=choose(observations)).sample()
        places = observations["attention_mask"].sum(axis=1)[going_on]
        ids[going_on] = torch.from_numpy(observations["input_ids"]).long()[going_on]
        ids[going_on, places], turns[going_on, places] = words[going_on], turn
        observations, now, terminated, *_ = envs.step(words.numpy())
        rewards[going_on, turn] = torch.from_numpy(now).float()[going_on]
        going_on = going_on[~terminated[going_on]]
    return Talk(ids, turns, rewards)


def behind_prompt(talk: Talk) -> Tensor:
    """Return a mask of all words behind the prompt, whoever said them, (N, T)."""
    return (talk.turns >= 0).cummax(dim=1).values & (talk.ids != ID["<pad>"])


def clerk(observations: Observations) -> Tensor:
    """The logits of a clerk who seldom asks, and mostly listens."""
    orders = dict.fromkeys(DRINKS, 0.15)
    habits = {"hi": {"welcome": 0.1, "what": 0.6, **dict.fromkeys(DRINKS, 0.075)}}
    habits |= {drink: {**dict.fromkeys(DRINKS, 0.05), drink: 0.85} for drink in DRINKS}
    lengths = observations["attention_mask"].sum(axis=1)
    logits = torch.full((len(lengths), len(WORDS)), -20.0)
    for row, length in enumerate(lengths):
        said = WORDS[observations["input_ids"][row, length - 3]]  # "User", ":", this word, "Assistant", ":"
        for word, share in habits.get(said, {"welcome": 0.2, "what": 0.2, **orders}).items():
            logits[row, ID[word]] = float(np.log(share))
    return logits


def imitate(talk: Talk, steps: int = 100) -> LastWords:
    """Make the words of the agent in conversations likely."""
    model, mask = LastWords(), talk.turns >= 0
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        masked_mean(-model.log_probs(talk.ids), mask).backward()
        optimizer.step()
    return model


torch.manual_seed(0)
IMITATED = imitate(converse(clerk, customers(512, seed=0)))


def start_model() -> LastWords:
    """Return a copy of the start model."""
    model = LastWords()
    model.load_state_dict(IMITATED.state_dict())
    return model


PROBES = torch.tensor(
    [
        [ID[word] for word in f"User : hello Assistant : welcome User : hi Assistant : what User : {each}".split()]
        for each in (*DRINKS, "wine")
    ]
)  # conversations up to the answer of each customer


def shown(talk: Talk, row: int) -> str:
    """Return a conversation in two lines: its words, and under each the mask."""
    words = [WORDS[id_] for id_ in talk.ids[row] if id_ != ID["<pad>"]]
    marks = [str(int(turn >= 0)) for turn in talk.turns[row]]
    return "\n".join(" ".join(f"{each:9}" for each in line[: len(words)]).rstrip() for line in (words, marks))


class Result(NamedTuple):
    """What a model did in ``N`` conversations: whether it began with a welcome, return, and number of turns, (N,)."""

    welcome: np.ndarray
    reward: np.ndarray
    turns: np.ndarray

    @classmethod
    def of(cls, model: LastWords, count: int = 300) -> "Result":
        """Let a model talk to customers it has not met."""
        torch.manual_seed(0)
        talk = converse(model.next_word, customers(count, seed=1_000))
        first = (talk.ids * (talk.turns == 0)).sum(dim=1)
        return cls(
            (first == ID["welcome"]).double().numpy(),
            talk.rewards.sum(dim=1).double().numpy(),
            talk.turns.amax(dim=1).numpy() + 1,
        )

    def __str__(self) -> str:
        return f"{self.welcome.mean():.2f} begin with welcome, return {self.reward.mean():.2f}"


print(f"start model: {Result.of(start_model())}")

# %% [markdown]
# ## What do you expect?
#
# We train with $\gamma$ from 0 to 1. Write down:
#
# 1. Which share of conversations begins with `welcome` at $\gamma = 1$, and which at $\gamma = 0$?
# 2. `welcome` is two turns before the reward. From which $\gamma$ on is it worth more than ordering at once?
# 3. If the mask is left out, one word in six behind the prompt is an action. What will the model do that it should
#    not?
#
# First a look at one conversation. The mask stands under each word.

# %% tags=["experiment"]
GAMMAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
trained = {gamma: train(0, gamma) for gamma in GAMMAS}
print(shown(converse(trained[1.0][0].next_word, customers(1, seed=3)), 0))
for gamma, (model, _) in trained.items():
    print(f"gamma {gamma}: {Result.of(model)}")
without, drift = train(0, masked=False)
print(f"gamma 1.0 without the mask: {Result.of(without)}")
for name, found in (("with the mask", trained[1.0][1]), ("without", drift)):
    print(f"{name:14} log-probability of the customer's", end=" ")
    print(", ".join(f"{word} {found[-1, row, -1]:.1f}" for row, word in enumerate((*DRINKS, "wine"))))

# %% [markdown]
# ## What an early question is worth
#
# On the left is the worth of the first turn. Ordering at once is worth 0.2 whatever $\gamma$ is. Asking is worth
# $0.8 \, \gamma^2$ if the agent then does everything right: more than 0.2 from $\gamma = 0.5$ on. But a turn is
# worth what *this* policy makes of it. The start model asks `what` after `hi` in six cases of ten, and mostly
# listens to the answer; for such an agent a welcome is worth about $0.41 \, \gamma^2 + 0.06 \, \gamma$ (the second
# term is orders without the question), which passes 0.2 only beyond $\gamma = 0.6$. That decides in which direction
# learning starts.

# %% tags=["experiment"]
figure = blank_figure(width=9.6, height=4.2)
worth, words = figure.subplots(1, 2)
grid = np.linspace(0, 1, 101)
worth.plot(grid, np.full(101, 0.2), color="#d55e00", label="order at once")
worth.plot(grid, 0.8 * grid**2, color="#0072b2", label="ask, and do it right")
worth.plot(grid, 0.41 * grid**2 + 0.06 * grid, "--", color="#0072b2", label="ask, as the start model does")
for gamma, (model, _) in trained.items():
    found = Result.of(model)
    asks = found.welcome.mean() > 0.5
    worth.plot(
        gamma, (found.reward * gamma ** (found.turns - 1)).mean(), "o" if asks else "s", color="0.2", markersize=8
    )
worth.plot([], [], "o", color="0.2", label="after training: asks")
worth.plot([], [], "s", color="0.2", label="after training: orders at once")
worth.set(title="Worth of the first turn", xlabel="gamma per turn", ylabel="discounted return", ylim=(0, 0.85))
for name, found, line in (("with the mask", trained[1.0][1], "-"), ("without", drift, "--")):
    for row, word, colour in ((4, "wine", "#d55e00"), (0, "tea", "#009e73")):
        words.plot(found[:, row, -1], line, color=colour, label=f"{word}, {name}")
words.set(title="What the customer may answer", xlabel="update", ylabel="log-probability in the model, nats")
worth.legend(fontsize=8)
words.legend(fontsize=8)
keep(figure, "11-dialogue")

# %% [markdown]
# ## Without the mask
#
# On the right is what the model expects the customer to say. Customers who say `wine` are never paid for. That is
# nobody's doing, but without the mask the loss makes their *word* unlikely and makes `tea` likely: the model learns
# to predict what it would like to hear. There is no end to it. A word of its own that is pushed down is written
# less often, and the push stops. The customer goes on saying `wine`, however unlikely the model thinks it.
#
# The return hardly shows it in this small world, so you have to look for it. It shows in every quantity that adds
# up log-probabilities: the KL to the start model is charged for words that the agent never chose, and the ratio of
# a whole conversation (RLOO, lesson 10) can leave the clip range because of them.
#
# ## A failure on purpose
#
# We pay every turn for what comes with it, and only for that: $\gamma = 0$. It looks reasonable, since the last
# turn is the one that earns. The loss runs, the mask is right, and the agent unlearns what it could do:

# %% tags=["experiment"]
for name, model in (("start model", start_model()), ("gamma 0", trained[0.0][0]), ("gamma 1", trained[1.0][0])):
    print(f"{name:11} {Result.of(model)}")

# %% [markdown]
# A welcome has no reward of its own, so its return at $\gamma = 0$ is 0, less than the 0.2 of an order. Its
# advantage is *negative*: the question is not just ignored, it is unlearned. When it is gone, no conversation is
# left that could show what it was good for.
#
# **The repair** is to let the reward reach the turns that made it possible: $\gamma = 1$, which is usual for
# conversations, since they are short. If you discount, do it per turn and not per token, or else a long sentence is
# charged for its length, and a talkative customer makes all earlier turns worth less.
#
# ## Turn or token?
#
# - *One advantage for the conversation*: GRPO and RLOO subtract the mean over whole conversations. At $\gamma = 1$
#   and with one reward at the end the return is the same; only the baseline does not know what happened meanwhile.
# - *One for each turn*, as here: an order is compared with orders at the same stage of a conversation.
# - *One for each token*: PPO has a critic that values every token of the agent (lesson 4). Its steps are the
#   agent's tokens: from the last token of a turn the next step is the first token of the next turn, and no step in
#   between.
#
# ## What to remember
#
# - A conversation is one sequence. The agent's own tokens are actions, all others are observations, template
#   included.
# - The mask belongs to everything that sums log-probabilities: loss, ratio, KL, entropy, imitation.
# - An early turn is worth what the policy makes of it later. Without later reward it is unlearned.
# - In the library: tasks with `reply` and `turn_reward` ([tasks of several turns](../docs/dialogue.md)); what is
#   said to the agent never reaches a loss. `textgym train TextChat-v0` trains in such a task.
#
# ## The claims, measured
#
# `python lessons/11_dialogue.py --claims`, or `lesson.check_claims()` in a notebook, measures this over three
# seeds.


# %%
def claims() -> list[Claim]:
    """With gamma 1 the agent asks; with gamma 0 never; without the mask the customer's words drift."""
    before = Result.of(start_model())
    full, none, bare = ([train(seed, **options) for seed in range(3)] for options in ({}, {"gamma": 0.0}, UNMASKED))
    asking, ordering, unmasked = ([Result.of(model) for model, _ in group] for group in (full, none, bare))
    drifts = [float(wrong[-1, 4, -1] - right[-1, 4, -1]) for (_, right), (_, wrong) in zip(full, bare, strict=True)]
    return [
        Claim("Return, gamma 1 minus start model:", over([each.reward - before.reward for each in asking]), above=0.4),
        Claim(
            "Conversations that begin with a welcome, gamma 1 minus gamma 0:",
            over([a.welcome - b.welcome for a, b in zip(asking, ordering, strict=True)]),
            above=0.8,
        ),
        Claim("The same, gamma 0 minus start model:", over([b.welcome - before.welcome for b in ordering]), below=-0.1),
        Claim("Log-probability of wine, without the mask minus with it, nats:", mean_interval(drifts), below=-10),
        Claim(
            "Return, without the mask minus with it:",
            over([b.reward - a.reward for a, b in zip(asking, unmasked, strict=True)]),
            above=-0.15,
            below=0.15,
        ),
    ]


UNMASKED: dict[str, Any] = {"masked": False}


def over(of_seeds: list[np.ndarray]) -> Interval:
    """Return the mean of numbers (N,) of the same customers with its 95 % interval; the seeds are averaged."""
    return mean_interval(np.mean(of_seeds, axis=0))


# %% [markdown]
# ## Exercises
#
# Replace `None`, then ask: `python lessons/11_dialogue.py --exercise 1`, or `lesson.check_answer(1)` in a notebook.
#
# **Exercise 1.** Write `answer_1(words)`: the mask of a conversation, a list of 0 and 1, from the list of its
# words. Turns begin with `User :` or `Assistant :` and may have any number of words.

# %%
answer_1: Any = None


def check_1(answer: Any) -> str:
    """Remember who speaks. The two words that say so are written by the environment, for both speakers."""
    first = ["User", ":", "hello", "there", "Assistant", ":", "which", "drink", "User", ":", "tea"]
    expect(answer(first), [0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0], "the mask of a conversation with one turn of the agent")
    second = ["Assistant", ":", "welcome", "User", ":", "hi", "Assistant", ":", "hot", "or", "cold"]
    expect(answer(second), [0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1], "the mask of a conversation that the agent begins")
    return "Without it, words of the customer and of the template would be taken for choices of the agent."


# %% [markdown]
# **Exercise 2.** A larger kiosk has nine drinks, all equally wanted, and still one customer in five who wants wine.
# From which $\gamma$ on is a welcome worth as much as an order, for an agent that does everything right? Give three
# decimals.

# %%
answer_2: Any = None


def check_2(answer: Any) -> str:
    """An order at once is worth 0.8 / 9. The reward of the third turn reaches the first one with gamma squared."""
    expect(answer, 1 / 3, "gamma", tolerance=1e-3)
    return "The less a guess is worth, the longer it pays to ask. The customers who want wine do not matter here."


# %% [markdown]
# **Exercise 3.** Write `answer_3(losses, turns)`: the mean over *turns* of the mean loss of a turn's tokens, from
# two arrays of one conversation: the loss of every token, and the agent's turn that it belongs to, or -1.

# %%
answer_3: Any = None


def check_3(answer: Any) -> str:
    """For each turn number that is not -1, take the mean of its tokens; then the mean of these."""
    losses, turns = np.array([9.0, 4.0, 9.0, 1.0, 1.0, 1.0]), np.array([-1, 0, -1, 1, 1, 1])
    expect(answer(losses, turns), 2.5, "the mean over a turn of one token and one of three")
    expect(answer(losses[:3], turns[:3]), 4.0, "the mean over one turn")
    return "The mean over tokens is 1.75: there a turn counts by its length, here all turns count the same."


# %% [markdown]
# ## Further reading
#
# - Zhou et al., "ArCHer: training language model agents via hierarchical multi-turn RL" (2024),
#   [arXiv:2402.19446](https://arxiv.org/abs/2402.19446): values of turns above a policy over tokens.
# - Abdulhai et al., "LMRL Gym: benchmarks for multi-turn reinforcement learning with language models" (2023),
#   [arXiv:2311.18232](https://arxiv.org/abs/2311.18232).
# - Shani et al., "Multi-turn reinforcement learning from preference human feedback" (2024),
#   [arXiv:2405.14655](https://arxiv.org/abs/2405.14655).
# - Jin et al., "Search-R1" (2025), [arXiv:2503.09516](https://arxiv.org/abs/2503.09516): a mask over what a search
#   engine returned, and training without it.
#
# Next: [12. Islands](12_islands.py).
