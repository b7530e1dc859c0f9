"""Everything textgym computes with a language model, against the bare Hugging Face model on one unpadded row.

Four rows that grow, end and are replaced pass through every path: padded batches, the prefix cache, ``generate``, a
policy's rollout and its update with shared prefixes and prompts. Deviations are in nats: the largest difference of a
log-probability.
"""

from __future__ import annotations

import contextlib
import copy
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from gymnasium import spaces
from torch import Tensor, nn

from benchmarks.bare_seq2seq import BareSeq2Seq, Seq2SeqPaths
from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.common.observations import read_observation
from textgym.agents.common.policy_record import token_observation_space
from textgym.errors import TextGymError
from textgym.models.batch import pad_rows
from textgym.models.causal_lm import CausalLM
from textgym.models.decoding.generation import generate
from textgym.models.decoding.prefix_cache import PrefixCache
from textgym.models.loading import load_language_model
from textgym.models.seq2seq_lm import Seq2SeqLM

Status = Literal["cached", "uncached", "refused", "failed", "not built"]
Row = tuple[int, ...]
_GROWN = 9  # tokens by which rows grow
_RESPONSE = 6
_FIRST_WORD = 4  # ids below are special tokens


@dataclass(slots=True)
class Comparison:
    """The result of comparing a model with the bare network.

    Attributes:
        status: ``"cached"``: a new token costs one token. ``"uncached"``: it costs the text. ``"refused"``: an error of
            textgym. ``"failed"``: another error. ``"not built"``: this release of transformers cannot.
        deviation: Largest difference of log-probabilities over all paths, in nats.
        paths: Largest difference of each path, in nats, by its name.
        reason: First line of the error.
        warnings: First lines of the warnings.
        signal: Least change by another token or another order, in nats: mistakes smaller than this do not show.
        noise: Change of the bare model's log-probabilities by the layout of the batch, in nats.
        seconds: Duration of the comparison.
    """

    status: Status
    deviation: float | None = None
    paths: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    warnings: list[str] = field(default_factory=list)
    signal: float | None = None
    noise: float | None = None
    seconds: float = 0.0


class BareModel:
    """Log-probabilities (V,) of the token after an unpadded row, by a copy of the network that nobody touches."""

    def __init__(self, network: Any) -> None:
        self.network = copy.deepcopy(network).eval()
        self.vocabulary = int(network.get_output_embeddings().weight.shape[0])
        self._known: dict[Row, Tensor] = {}

    @torch.no_grad()
    def __call__(self, ids: Sequence[int]) -> Tensor:
        """Log-probabilities after one row; remembered."""
        row = tuple(ids)
        if row not in self._known:
            self._known[row] = self._log_probs([row])[0]
        return self._known[row]

    def _log_probs(self, rows: Sequence[Row]) -> Tensor:
        logits = self.network(input_ids=torch.tensor(rows), use_cache=False).logits[:, -1, : self.vocabulary]
        log_probs: Tensor = logits.float().log_softmax(-1)  # (B, V)
        return log_probs

    @torch.no_grad()
    def signal(self) -> float:
        """The least of what a change of one token and a swap of two do to the last log-probabilities."""
        row = list(_words(11, self.vocabulary, 12))
        other, swapped = [*row], [*row]
        other[4] = _FIRST_WORD + (row[4] + 3 - _FIRST_WORD) % (self.vocabulary - _FIRST_WORD)
        swapped[4], swapped[6] = row[6], row[4]
        return min(float((self(row) - self(changed)).abs().max()) for changed in (other, swapped))

    @torch.no_grad()
    def noise(self) -> float:
        """The difference between a row alone and in a batch of rows of its length."""
        rows = [_words(seed, self.vocabulary, 36) for seed in range(8)]
        alone = torch.stack([self(row) for row in rows])
        return float((alone - self._log_probs(rows)).abs().max())


def _words(seed: int, vocabulary: int, count: int) -> Row:
    drawn = torch.randint(_FIRST_WORD, vocabulary, (count,), generator=torch.Generator().manual_seed(seed))
    return tuple(drawn.tolist())


class _Paths:
    """The paths, each the deviations of what it computes, with texts of up to ``width`` tokens."""

    def __init__(self, model: CausalLM, bare: BareModel, width: int) -> None:
        self.model, self.bare, self.width = model, bare, width
        self.is_cached = False
        longest = width - _GROWN - 1
        self._starts = (longest, 14, 4, 1)  # tokens of the rows at first
        # At a step, a row that ended, and the tokens of the prompt that follows.
        self._replaced = {3: (0, 12), 5: (1, longest + 1), 7: (3, 2)}
        self._texts = [_words(20 + row, bare.vocabulary, width) for row in range(len(self._starts))]

    def run(self) -> Iterator[tuple[str, float]]:
        """Name and deviation of every path."""
        paths: tuple[tuple[str, Callable[[], Iterator[float]]], ...] = (
            ("padded", self._padded),
            ("cache", self._cache),
            ("generate", self._generate),
            ("policy", self._policy),
        )
        for name, path in paths:
            yield name, _largest(list(path()))

    def _off(self, ours: Tensor, row: Sequence[int]) -> float:
        """Deviation of log-probabilities (V,) after a row."""
        return float((ours.float().log_softmax(-1) - self.bare(row)).abs().max())

    def _padded(self) -> Iterator[float]:
        """A right-padded batch, as updates and rewards read it."""
        rows = [text[: start + _GROWN] for text, start in zip(self._texts, self._starts, strict=True)]
        ids, _ = pad_rows(rows, self.model.fill_id)
        with torch.no_grad():
            logits = self.model.logits(self.model.token_states(ids))
        for row, ours in zip(rows, logits, strict=True):
            yield from (self._off(ours[place], row[: place + 1]) for place in range(len(row) - 1, -1, -3))

    def _batches(self) -> Iterator[list[Row]]:
        """Rows that grow by a token a step; some end, and other prompts follow."""
        lengths, texts = list(self._starts), list(self._texts)
        for step in range(_GROWN):
            if step in self._replaced:
                row, length = self._replaced[step]
                texts[row], lengths[row] = _words(40 + step, self.bare.vocabulary, self.width), length
            yield [text[:length] for text, length in zip(texts, lengths, strict=True)]
            lengths = [length + 1 for length in lengths]

    def _cache(self) -> Iterator[float]:
        """The prefix cache, with a row that waits a step, a batch that comes again, and a foreign one between."""
        cache = PrefixCache(self.model, len(self._starts), self.width)
        batches = list(self._batches())
        foreign = [text[5 : 5 + start] for text, start in zip(self._texts, reversed(self._starts), strict=True)]
        waiting = [batches[4][0], batches[3][1], *batches[4][2:]]
        steps = [*batches[:4], waiting, batches[4], batches[4], *batches[5:6], foreign, *batches[6:]]
        with _TokensRead(self.model.network) as read, torch.no_grad():  # a hook that comes later empties the cache
            for rows in steps:
                states = self._hidden(cache, rows)
                self.is_cached = self.is_cached or read.take() == len(rows)
                logits = self.model.logits(states)
                yield from (self._off(ours, row) for ours, row in zip(logits, rows, strict=True))

    def _hidden(self, cache: PrefixCache, rows: list[Row]) -> Tensor:
        observation = _observation(rows, self.width, [1] * len(rows))  # the prompts stay what they are while texts grow
        return cache.hidden(read_observation(observation)).clone()

    def _generate(self) -> Iterator[float]:
        """``generate``, by all the logits that it computes: those of every text must be among them."""
        prompts = [text[:length] for text, length in zip(self._texts, (self.width - 10, 9, 20, 3), strict=True)]
        prompts.append(self._texts[0][5:22])
        computed: list[Tensor] = []
        logits_of = self.model.logits

        def record(states: Tensor) -> Tensor:
            logits = logits_of(states)
            computed.append(logits.float().log_softmax(-1))
            return logits

        generator = torch.Generator().manual_seed(0)
        end = [3]
        with _replaced(self.model, "logits", record):
            responses = generate(
                self.model, prompts, max_new_tokens=_RESPONSE, eos_ids=end, batch_size=3, generator=generator
            )
        known = torch.cat(computed)
        for prompt, response in zip(prompts, responses, strict=True):
            for length in range(len(response)):
                expected = self.bare((*prompt, *response[:length]))
                yield float((known - expected).abs().amax(1).min())

    def _policy(self) -> Iterator[float]:
        """A rollout that an evaluation interrupts, and the updates on it: shared prefixes, then shared prompts."""
        size = self.bare.vocabulary
        policy = CausalLMPolicy(
            token_observation_space(self.width, size, self.width), spaces.Discrete(size), lambda _: 1e-3, self.model
        )
        policy.set_training_mode(False)
        observed: list[Row] = []
        actions: list[int] = []
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            for step, rows in enumerate(self._batches()):
                for batch in (rows, [row[::-1] for row in rows]) if step == 4 else (rows,):
                    chosen, _, log_probs = policy(_observation(batch, self.width, [1] * len(batch)))
                    yield from self._scored(log_probs, batch, chosen.tolist())
                observed += rows
                actions += [text[len(row)] if text[: len(row)] == row else 5 for text, row in self._owners(rows)]
        policy.set_training_mode(True)
        order = torch.randperm(len(observed), generator=torch.Generator().manual_seed(1)).tolist()
        yield from self._update(policy, [observed[i] for i in order], [actions[i] for i in order])
        prompt = self._texts[0][: self.width - 16]
        shared = [(*prompt, *text[:length]) for text in self._texts for length in range(_RESPONSE)]
        yield from self._update(policy, shared, [5 + i % 7 for i in range(len(shared))])

    def _owners(self, rows: list[Row]) -> list[tuple[Row, Row]]:
        return list(zip(self._texts, rows, strict=True))

    def _update(self, policy: CausalLMPolicy, rows: list[Row], actions: list[int]) -> Iterator[float]:
        _, log_probs, _ = policy.evaluate_actions(_observation(rows, self.width), torch.tensor(actions))
        yield from self._scored(log_probs.detach(), rows, actions)

    def _scored(self, log_probs: Tensor, rows: list[Row], actions: list[int]) -> Iterator[float]:
        for ours, row, action in zip(log_probs.tolist(), rows, actions, strict=True):
            yield abs(ours - float(self.bare(row)[action]))


def _observation(rows: Sequence[Row], width: int, prompts: Sequence[int] | None = None) -> dict[str, Tensor]:
    """Rows as an environment shows them; ``prompts`` are the lengths of their prompts, without it all but an action."""
    ids, _ = pad_rows([[*row, *[0] * (width - len(row))] for row in rows], 0)
    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(width) < lengths[:, None]).to(torch.int8)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "prompt_length": (lengths if prompts is None else torch.tensor(prompts))[:, None],
    }


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    setattr(owner, name, value)
    try:
        yield
    finally:
        delattr(owner, name)


class _TokensRead:
    """Counts the tokens that a network embeds."""

    def __init__(self, network: Any) -> None:
        self._embeddings: nn.Module = network.get_input_embeddings()
        self._tokens = 0

    def __enter__(self) -> _TokensRead:
        self._hook = self._embeddings.register_forward_pre_hook(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def take(self) -> int:
        """Tokens since the last look."""
        tokens, self._tokens = self._tokens, 0
        return tokens

    def _count(self, _: nn.Module, arguments: tuple[Any, ...]) -> None:
        self._tokens += arguments[0].numel() if arguments else 0


def compare(network: Any, width: int = 40) -> Comparison:
    """Compare all paths of textgym with the bare model; an error of any kind is an outcome.

    Args:
        network: A Hugging Face model in fp32; it is changed as loading changes it.
        width: Tokens of the longest text, at least 36.
    """
    start = time.perf_counter()
    outcome = Comparison("failed")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            _compare(network, width, outcome)
        except TextGymError as error:
            outcome.status, outcome.reason = "refused", _first_line(error)
        except Exception as error:  # whatever a library raises: one model must not end a table
            outcome.reason = f"{type(error).__name__}: {_first_line(error)}"
    said = [_first_line(entry.message) for entry in caught if issubclass(entry.category, UserWarning)]
    outcome.warnings = list(dict.fromkeys(said))
    outcome.seconds = round(time.perf_counter() - start, 2)
    return outcome


def _compare(network: Any, width: int, outcome: Comparison) -> None:
    if network.config.is_encoder_decoder:
        network.double()
    untouched = copy.deepcopy(network)
    model = load_language_model(network)
    paths: _Paths | Seq2SeqPaths
    if isinstance(model, Seq2SeqLM):
        translator = BareSeq2Seq(untouched, model.start_ids)
        outcome.signal, paths = translator.signal(), Seq2SeqPaths(model, translator, width)
    else:
        assert isinstance(model, CausalLM)
        bare = BareModel(untouched)
        try:
            outcome.signal, outcome.noise = bare.signal(), bare.noise()
        except Exception:  # of the bare model: nothing can be compared
            outcome.status = "not built"
            raise
        paths = _Paths(model, bare, width)
    for name, deviation in paths.run():
        outcome.paths[name] = deviation
    outcome.deviation = _largest(list(outcome.paths.values()))
    outcome.status = "cached" if paths.is_cached else "uncached"


def _largest(numbers: Sequence[float]) -> float:
    """The largest, or NaN if one of them is (Python's ``max`` may lose it)."""
    return float(torch.tensor(numbers).max())


def _first_line(message: object) -> str:
    return next(iter(str(message).strip().splitlines()), "")
