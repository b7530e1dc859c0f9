# %% [markdown]
# # 12. Islands: learning apart, agreeing together
#
# **The question.** Four agents each see a part of the prompts, and the prompts may not leave their owners. Can all
# four learn to answer all of them?
#
# So far there was one policy and one heap of prompts. In practice prompts lie in several hospitals, firms or
# phones. Then each owner trains an agent of its own, and from time to time neighbours exchange what they have
# learned: weights, never prompts. In this lesson you compute how fast such agents agree, see four islands that know
# nothing of each other, and build the bridges.
#
# You need: PPO (lesson 5). Eigenvalues help, and one is enough.

# %%
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from textgym.agents import ConsensusPPO, make_vec_env
from textgym.agents.common.consensus_peer import joined, trained_parameters, write
from textgym.data import InMemoryDataset
from textgym.evaluation import evaluate, make_evaluation_set
from textgym.metrics import mean_interval
from textgym.models import load_language_model
from textgym.plots import blank_figure
from textgym.teaching import Claim, begin, expect, keep
from textgym.types import Example

lesson = begin(globals())

# %% [markdown]
# ## Four islands
#
# `TextSpell-v0` asks for a word of three letters and pays a third for each letter in its place. Every island has
# the eight words of two letters of the alphabet. So island 0 never sees a c or a d, and island 2 sees nothing else.

# %%
ISLANDS = ("ab", "bc", "cd", "da")
SHARDS = [[x + y + z for x in pair for y in pair for z in pair] for pair in ISLANDS]
DEALT = [word for row in zip(*SHARDS, strict=True) for word in row]  # agent i gets every fourth, from the i-th on
print(*(f"island {number}: {' '.join(words)}" for number, words in enumerate(SHARDS)), sep="\n")

# %% [markdown]
# ## Gossip
#
# Who talks with whom is a *graph*: a list of neighbours for each of $M$ agents. In an exchange, agent $i$ sends its
# parameters $\theta_i$ (a vector with all weights of its network) to its neighbours, and then takes a weighted
# mean:
#
# $$ \theta_i \leftarrow \sum_j W_{ij} \, \theta_j, \qquad W_{ij} = \frac{1}{1 + \max(d_i, d_j)}
# \text{ for neighbours}, \qquad W_{ii} = 1 - \sum_{j \ne i} W_{ij} $$
#
# $d_i$ is the number of neighbours of agent $i$, and $W_{ij} = 0$ for agents that do not talk. $W$ is the *mixing
# matrix*; these are its *Metropolis weights*. Its rows sum to 1, so each agent takes a mean. It is symmetric, so
# its columns sum to 1 too, and the mean of all agents stays what it was.
#
# The *spread* is how far agents are from their mean: $s^2 = \frac{1}{M} \sum_i \|\theta_i - \bar\theta\|^2$. The
# largest eigenvalue of $W$ is 1 and belongs to the mean. All that differs between agents belongs to the other
# eigenvalues, so an exchange multiplies the spread by at most the second largest of them, in absolute value:
#
# $$ s \leftarrow s' \le |\lambda_2| \, s $$
#
# We call it the *contraction factor*. At 0 one exchange makes all equal. At 1 somebody never hears of somebody
# else.
#
# A second way to agree sends the parameters too, but does not mix them. Instead the loss of PPO gets a *consensus
# term*: $\lambda / M$ times the distances between the next-letter probabilities $\pi_j$ of the neighbours and one's
# own.

# %% tags=["core"]
Neighbours = Sequence[Sequence[int]]


def full(agents: int) -> Neighbours:
    """Everybody talks with everybody."""
    return [[j for j in range(agents) if j != i] for i in range(agents)]


def ring(agents: int) -> Neighbours:
    """Everybody talks with the one before and the one behind."""
    return [sorted({(i - 1) % agents, (i + 1) % agents} - {i}) for i in range(agents)]


def star(agents: int) -> Neighbours:
    """Everybody talks with agent 0."""
    return [list(range(1, agents)), *([0] for _ in range(agents - 1))]


def mixing_matrix(graph: Neighbours) -> np.ndarray:
    """Metropolis weights, (M, M)."""
    weights = np.zeros((len(graph), len(graph)))
    for i, others in enumerate(graph):
        for j in others:
            weights[i, j] = 1 / (1 + max(len(others), len(graph[j])))
        weights[i, i] = 1 - weights[i].sum()
    return weights


def contraction(weights: np.ndarray) -> float:
    """The factor by which an exchange shrinks the spread, at least: the second largest absolute eigenvalue."""
    return float(np.sort(np.abs(np.linalg.eigvalsh(weights)))[-2])


def exchanged(parameters: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Parameters (M, P) of M agents after an exchange."""
    return np.asarray(weights @ parameters)


def spread(parameters: np.ndarray) -> float:
    """Root mean square distance of agents, (M, P), to their mean."""
    return float(np.sqrt(((parameters - parameters.mean(axis=0)) ** 2).sum(axis=1).mean()))


def bytes_of_exchange(graph: Neighbours, numbers: int) -> int:
    """Everybody sends so many numbers of four bytes to each of its neighbours."""
    return 4 * numbers * sum(len(others) for others in graph)


def consensus_term(log_probs: Tensor, others: Sequence[Tensor], agents: int) -> Tensor:
    """Mean distance to the next-letter log-probabilities (N, V) of neighbours, summed over them and divided by M."""
    distances = [(other.exp() - log_probs.exp()).abs().sum(dim=1) for other in others]
    return torch.stack(distances).sum(dim=0).mean() / agents


# %% [markdown]
# ## What do you expect?
#
# Write down:
#
# 1. A ring of four and a star of four: which agrees faster? The ring has four edges, the star three.
# 2. Island 0 learns its eight words alone. How many letters of the words of island 2 does it get right?
# 3. Does the mean of the weights of four networks know what each of them knew?

# %% tags=["experiment"]
GRAPHS = {"full": full, "ring": ring, "star": star}
for name, graph in GRAPHS.items():
    factors = ", ".join(f"{contraction(mixing_matrix(graph(agents))):.3f} of {agents}" for agents in (4, 8, 16))
    print(f"contraction factor of {name}: {factors} agents")
bridgeless = [[1], [0], [3], [2]]
print(f"of two pairs that do not know each other: {contraction(mixing_matrix(bridgeless)):.3f}")

# %% [markdown]
# The spread of a large ring shrinks slowly: news travels one agent per exchange. The graph of two pairs is
# *disconnected*, and its factor is 1. Within each pair there is peace after one exchange, and the pairs never meet.
#
# ## Training
#
# Each agent runs PPO on its own words. After each of its updates, neighbours exchange weights. The library has all
# of it in `ConsensusPPO`; we choose `graph`, or no exchange at all.


# %%
class Trained(NamedTuple):
    """A group, its mean score on all words after each stage, and scores of agents (rows) on shards, (4, 4)."""

    group: ConsensusPPO
    scores: list[float]
    table: np.ndarray


def parameters_of(group: ConsensusPPO) -> np.ndarray:
    """Return the parameters of all agents, (M, P)."""
    return np.stack([joined(trained_parameters(peer.policy)).double().numpy() for peer in group.peers.values()])


def scores_of(models: Sequence[Any], env: Any) -> np.ndarray:
    """Return the share of right letters of models on the shards of all islands, (M, 4); the likeliest texts count."""
    asked = make_evaluation_set(env.get_attr("task")[0], prompts=len(DEALT), temperature=0.0)
    words = [example.text for example in asked.examples]
    found = [dict(zip(words, evaluate(model, asked).measures.values["reward"], strict=True)) for model in models]
    return np.array([[np.mean([scores[word] for word in shard]) for shard in SHARDS] for scores in found])


STAGES = 4
TOKENS = 2_304  # of all agents together, in a stage


def train(graph: str, seed: int, stages: int = STAGES, tokens: int = TOKENS) -> Trained:
    """Train four agents, ``graph`` being ``"none"``, ``"ring"`` or ``"full"``, and measure them after each stage."""
    env = make_vec_env("TextSpell-v0", n_envs=64, seed=seed, model="letters")
    examples = [Example(f"islands/{number}", word, (word,)) for number, word in enumerate(DEALT)]
    env.get_attr("task")[0].dataset = InMemoryDataset("islands", "train", examples)  # in place of the built-in words
    exchange = {"exchange": "none"} if graph == "none" else {"exchange": "average", "graph": graph}
    group = ConsensusPPO.create(
        env, "letters", seed=seed, agents=4, n_steps=12, learning_rate=5e-3, kl_coef=0.003, **exchange
    )
    tables = [scores_of([load_language_model("letters")], env)]
    for _ in range(stages):
        group.learn(tokens, reset_num_timesteps=False)
        tables.append(scores_of(list(group.peers.values()), env))
    return Trained(group, [float(table.mean()) for table in tables], tables[-1])


# %% tags=["experiment"]
groups = {graph: train(graph, seed=0) for graph in ("none", "ring", "full")}
for exchange, (group, scores, _) in groups.items():
    print(
        f"{exchange:4} exchange: score of all agents on all words {scores[0]:.2f} -> {scores[-1]:.2f}, "
        f"spread {spread(parameters_of(group)):6.3f}, {group.bytes_sent / 1e6:5.1f} MB sent"
    )

numbers = parameters_of(groups["ring"].group).shape[1]
print(f"a network has {numbers:,} numbers; an exchange sends, in bytes:", end=" ")
print(*(f"{name} {bytes_of_exchange(graph(4), numbers):,}" for name, graph in GRAPHS.items()), sep=", ")

# %% [markdown]
# The picture shows what each agent can do on each island's words (right), and how the mean of it grew (left).

# %% tags=["experiment"]
figure = blank_figure(width=11.0, height=3.8)
growth, *maps = figure.subplots(1, 4, width_ratios=(1.5, 1, 1, 1))
for exchange, colour in (("full", "#009e73"), ("ring", "#0072b2"), ("none", "#d55e00")):
    growth.plot(TOKENS * np.arange(STAGES + 1), groups[exchange].scores, "o-", color=colour, label=exchange)
growth.set(xlabel="tokens of all agents", ylabel="right letters, all agents on all words", ylim=(0, 1.02))
growth.legend(title="exchange", loc="lower right", fontsize=8)
for axes, (exchange, trained) in zip(maps, groups.items(), strict=True):
    axes.imshow(trained.table, vmin=0, vmax=1, cmap="viridis")
    for row, column in np.ndindex(4, 4):
        score = trained.table[row, column]
        axes.text(column, row, f"{score:.2f}", ha="center", va="center", color="white" if score < 0.6 else "black")
    axes.set(title=f"exchange: {exchange}", xlabel="words of", ylabel="agent", xticks=range(4), yticks=range(4))
    axes.set_xticklabels(ISLANDS)
keep(figure, "12-islands")

# %% [markdown]
# ## A failure on purpose
#
# Look at the table of the islands without exchange. On the diagonal are an agent's own words: it has learned them.
# Its neighbours on the ring share one letter with it. The island across shares none, and there it gets hardly a
# letter right, fewer than the start model did: what is not asked is forgotten. Its own reward looks as good as that
# of the others meanwhile. Nothing in its own log tells it that it is an expert for two letters.
#
# What is lost, and what is not? We let the trained islands gossip without further training, and measure the one
# network that they agree on.


# %%
def gossip(parameters: np.ndarray, graph: Neighbours, times: int) -> list[float]:
    """Return the spread before and after each of so many exchanges without training."""
    spreads, weights = [spread(parameters)], mixing_matrix(graph)
    for _ in range(times):
        parameters = exchanged(parameters, weights)
        spreads.append(spread(parameters))
    return spreads


def score_of_mean(group: ConsensusPPO) -> float:
    """Give the first agent the mean of all parameters, return its score on all words, and give it its own back."""
    parameters, first = parameters_of(group), group.peers[0]
    write(trained_parameters(first.policy), torch.from_numpy(parameters.mean(axis=0)).float())
    score = float(scores_of([first], group.get_env()).mean())
    write(trained_parameters(first.policy), torch.from_numpy(parameters[0]).float())
    return score


# %% tags=["experiment"]
for name, edges in (("ring", ring(4)), ("star", star(4)), ("two pairs", bridgeless)):
    spreads = gossip(parameters_of(groups["none"].group), edges, times=5)
    print(f"{name:9} spread by exchange: {'  '.join(f'{each:.4f}' for each in spreads)}")
print(f"score of the mean of the islands' weights on all words: {score_of_mean(groups['none'].group):.2f}")

# %% [markdown]
# The ring shrinks the spread to exactly a third each time, as computed: all its eigenvalues but the first are 1/3
# or -1/3. The star needs longer. Two pairs stop halfway: within a pair all is said, and the pairs never meet.
#
# And the mean of four experts, who know a quarter each, knows most of it. That is no matter of course. McMahan et
# al. (below) found that means of weights work where networks share their start, and fail where each had a start of
# its own. Ours share it, and have not gone far.
#
# **The repair** is to exchange, and to do it while learning, after every update. Then nobody goes far, and each
# agent learns from a start that its neighbours have improved already. The tables of ring and full show it: every
# agent can answer everybody's words, and no prompt has left its island. A ring of four is as good as the full graph
# here, and sends two thirds of the bytes. (The other repair, `exchange="penalty"`, is the consensus term. It keeps
# four different networks, and draws together what they would write for one's own prompts.)
#
# ## Several processes
#
# Above, four agents took turns in one process. On four machines each agent is a process of its own. PyTorch's
# launcher starts them, and textgym finds out which one it is: `torchrun --nproc_per_node 4 $(which textgym) train
# TextSpell-v0 --agent consensus_ppo --agents 4 --graph ring`. The result is the same bit for bit. What travels are
# the trained weights only: with adapters (`--lora-rank`) a small part of the network.
#
# `DecentralizedPO` is another way of having several agents: they write one text together for one reward, and
# exchange nothing but the text.
#
# ## What to remember
#
# - Weights travel, prompts stay. The mean is kept because rows and columns of the mixing matrix sum to 1.
# - The second eigenvalue says how fast agents agree. In a disconnected graph it is 1.
# - Weights with a common start can be averaged while they are close. Exchange early and often keeps them close.
# - Measure each agent on prompts of the others. Its own reward does not show what it is missing.
# - In the library: [consensus PPO](../docs/consensus_ppo.md), [decentralized PO](../docs/decentralized_po.md),
#   [several processes](../docs/several-processes.md).
#
# ## The claims, measured
#
# `python lessons/12_islands.py --claims`, or `lesson.check_claims()` in a notebook, measures this over three seeds.


# %%
def claims() -> list[Claim]:
    """Gossip contracts as computed; islands alone know their own words; a ring teaches all of them to all."""
    alone, together = (
        [train(graph, seed, stages=1, tokens=STAGES * TOKENS) for seed in range(3)] for graph in ("none", "ring")
    )
    shrinks = [gossip(parameters_of(each.group), ring(4), 1) for each in alone]
    across = [np.mean([each.table[i, (i + 2) % 4] for i in range(4)]) for each in alone]
    own = [np.mean(np.diag(each.table)) for each in alone]
    means = [score_of_mean(each.group) for each in alone]
    all_words = [each.scores[-1] for each in together]
    return [
        Claim(
            "An exchange on a ring of four multiplies the spread by",
            mean_interval([after / before for before, after in shrinks]),
            above=1 / 3 - 1e-6,
            below=1 / 3 + 1e-6,
        ),
        Claim(
            "Islands alone, right letters on their own words minus on those across:",
            mean_interval([near - far for near, far in zip(own, across, strict=True)]),
            above=0.2,
        ),
        Claim(
            "Right letters on all words, ring minus no exchange:",
            mean_interval([score - each.scores[-1] for score, each in zip(all_words, alone, strict=True)]),
            above=0.05,
        ),
        Claim(
            "Right letters on all words, mean of the islands' weights minus islands:",
            mean_interval([mean - each.scores[-1] for mean, each in zip(means, alone, strict=True)]),
            above=0.05,
        ),
    ]


# %% [markdown]
# ## Exercises
#
# Replace `None`, then ask: `python lessons/12_islands.py --exercise 1`, or `lesson.check_answer(1)` in a notebook.
#
# **Exercise 1.** Four agents stand in a line: 0 talks with 1, 1 with 2, 2 with 3. Write down their mixing matrix
# with Metropolis weights, as a list of four rows.

# %%
answer_1: Any = None


def check_1(answer: Any) -> str:
    """Degrees are 1, 2, 2, 1. A weight depends on the larger degree of the two; the diagonal takes what is left of 1."""
    third = 1 / 3
    right = [[2 * third, third, 0, 0], [third, third, third, 0], [0, third, third, third], [0, 0, third, 2 * third]]
    expect(answer, right, "the mixing matrix", tolerance=1e-4)
    return "If agent 0 took half of agent 1, columns would not sum to 1, and the mean of all would move."


# %% [markdown]
# **Exercise 2.** Write `answer_2(agents)`: the contraction factor of a star of so many agents (three or more), as a
# formula.

# %%
answer_2: Any = None


def check_2(answer: Any) -> str:
    """Let one leaf be at +1, another one at -1 and all others at 0. What does an exchange make of that?"""
    for agents in (3, 4, 10):
        expect(answer(agents), contraction(mixing_matrix(star(agents))), f"the factor of a star of {agents}")
    return "The hub has the degree M - 1, so a leaf moves by a share of 1 / M only. Many leaves agree slowly."


# %% [markdown]
# **Exercise 3.** Eight agents want to shrink their spread to at most a hundredth, whatever it looks like. In a full
# graph one exchange is enough: 56 messages (each of eight sends to seven). How many messages does a ring of eight
# need? The factor of a ring of $M \ge 4$ agents is $\frac{1}{3} (1 + 2 \cos \frac{2 \pi}{M})$.

# %%
answer_3: Any = None


def check_3(answer: Any) -> str:
    """Find the first whole number of exchanges t with factor to the power t at most 0.01; each has 16 messages."""
    expect(answer, 16 * int(np.ceil(np.log(0.01) / np.log(contraction(mixing_matrix(ring(8)))))), "the messages")
    return "A ring is cheap per exchange and dear per agreement. In training, full agreement is not needed."


# %% [markdown]
# ## Further reading
#
# - Xiao, Boyd and Lall, "A scheme for robust distributed sensor fusion based on average consensus" (2005),
#   [doi:10.1109/IPSN.2005.1440896](https://doi.org/10.1109/IPSN.2005.1440896): Metropolis weights.
# - Boyd, Ghosh, Prabhakar and Shah, "Randomized gossip algorithms" (2006),
#   [doi:10.1109/TIT.2006.874516](https://doi.org/10.1109/TIT.2006.874516).
# - McMahan et al., "Communication-efficient learning of deep networks from decentralized data" (2017),
#   [arXiv:1602.05629](https://arxiv.org/abs/1602.05629): averaging weights, and why all start from the same ones.
# - Lian et al., "Can decentralized algorithms outperform centralized algorithms?" (2017),
#   [arXiv:1705.09056](https://arxiv.org/abs/1705.09056): stochastic gradients on a graph.
# - Su and Lu, "Decentralized policy optimization" (2022), [arXiv:2211.03032](https://arxiv.org/abs/2211.03032).
#
# This was the last lesson. Now take a task of your own: [your data](../docs/your-data.md).
