"""Properties of a model found by computing: on itself with a few tokens, on a narrow copy with long texts.

The model reads less than 128 tokens when it is loaded, and only their hidden states are computed; the narrow copy is
probed once per class, configuration and length. Where the two disagree, the copy (fp32, enlarged weights) tells what
the architecture does, and the model whether this one, wrapped, quantized or patched, does it too: both must agree.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from textgym.errors import ModelError
from textgym.models.probing.head import LogitForm, numbers_in, read_network, rows_of
from textgym.models.probing.narrow import build, enlarge_weights, narrow_copy, readable_ids
from textgym.models.probing.noise import gradients_fail, is_quiet, modes_kept, noisy_kinds, random_states_kept
from textgym.models.probing.probe import (
    Cached,
    Deviation,
    Lengths,
    Oracle,
    attempt,
    plain_arguments,
    probe_cache,
    probe_rows,
)
from textgym.models.probing.trunk import BARE_ARGUMENTS, Arguments, Trunk, trunk_candidates
from textgym.values import as_object, attribute_of

_ROW = 7  # tokens of a row on the model itself
_FIRST_REACH = 64  # tokens that a narrow copy reads when a model is loaded
_LONGEST_PROBE = 2048  # tokens beyond which no texts are computed, unless a number in the configuration is found to
_LONGEST_ROW = 8192  # be a switch beyond them: one row of this length is computed then
# transformers maps most architectures' own names for it (n_positions, n_ctx, seq_length) to the first one.
_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_seq_len")
_HINTS = ("window", "chunk", "local", "original", "index")  # what a switch may be called; whether it is one is computed
_SMALL_SWITCH = 16
_SEEDS = 3
_NOISE_ROWS = 4
_NOISE_ROW = 61  # tokens of each: a prime, because some modules take multiples of a number only when they train
_COPIES = 16
_COST = "every generated token reads its whole text again, so a response of n tokens costs n/2 times as much and more"


@dataclass(frozen=True)
class Findings:
    """The properties of a model that reinforcement learning depends on.

    Attributes:
        architecture: Class of the network.
        cached_reach: Longest text, in tokens, that is known to be continued from keys and values; 0 if none is.
        reach: Longest text that was asked for.
        reason: Why texts of up to ``reach`` tokens are not continued from keys and values; empty if they are.
        longest: Longest text whose tokens have the states they had when it was shorter; ``None``: no end was found.
        arguments: Arguments that the trunk is called with.
        form: How logits follow from its head.
        silenced: Kinds of modules that make noise in training mode and stay in evaluation mode; all, if one is
            ``nn.Module``.
        written: Names of the buffers into which the network writes when it computes.
        narrow: Why there is no narrow copy; empty if there is one.
        deviation: Largest difference between cached and uncached states of the model itself; ``None`` if not measured.
    """

    architecture: str
    cached_reach: int
    reach: int
    reason: str
    longest: int | None
    arguments: Arguments
    form: LogitForm
    silenced: tuple[type, ...] = ()
    written: frozenset[str] = frozenset()
    narrow: str = ""
    deviation: Deviation | None = None

    @property
    def is_cacheable(self) -> bool:
        """Return whether past keys and values alone continue a text of up to ``reach`` tokens."""
        return not self.reason

    @property
    def cost(self) -> str:
        """The cost of decoding without a cache, as a sentence; empty if there is a cache."""
        return "" if self.is_cacheable else _COST

    @property
    def is_never_training(self) -> bool:
        """Return whether noise could not be traced, so that the whole trunk stays in evaluation mode."""
        return torch.nn.Module in self.silenced


class Examined(NamedTuple):
    """A network's trunk, by its name in the network, and what was found."""

    trunk: str
    findings: Findings


def configured_context(config: PreTrainedConfig) -> int | None:
    """Most tokens of one text by the configuration; ``None`` where positions have no end."""
    if attribute_of(config, "alibi"):  # a bias by distance, whatever the configuration says besides
        return None
    length = next(filter(None, (attribute_of(config, name) for name in _CONTEXT_NAMES)), None)
    return int(length) if length is not None and length > 0 else None


@torch.inference_mode(False)
@torch.no_grad()
def examine(network: PreTrainedModel, config: PreTrainedConfig) -> Examined:
    """Probe a network as it was loaded.

    Args:
        network: A causal LM with an output head.
        config: Its text model's configuration.

    Raises:
        ModelError: It is not causal, its logits do not follow from its head, or padded rows have other states.
    """
    with modes_kept(network), random_states_kept():
        network.eval()
        versions = _versions(network)
        reach = min(_FIRST_REACH, configured_context(config) or _FIRST_REACH)
        ids = _ids(readable_ids(config, _vocabulary(network)), min(_ROW, reach), _device(network))
        trunk, oracle, form = _read(network, config, ids)
        _require_causal(network, oracle.causality)
        if form is None:
            raise ModelError(
                "expected logits = head(last hidden state), scaled or softly capped, got another form in "
                f"{type(network).__name__}; this architecture is not supported"
            )
        trunk = _with_arguments(network, trunk, oracle, ids)
        findings = _combined(network, trunk, oracle, ids, form, reach)
        name = next(name for name, part in network.named_modules() if part is trunk.module)
        now = _versions(network)
        written = frozenset(name for name, version in now.items() if version != versions.get(name))
    return Examined(name, replace(findings, written=written))


@torch.inference_mode(False)
@torch.no_grad()
def reaching(findings: Findings, trunk: Trunk, tokens: int) -> Findings:
    """The findings with texts of up to ``tokens`` tokens probed."""
    if tokens <= findings.reach:
        return findings
    with random_states_kept():
        narrow = narrow_probe(trunk)
    longest = _shortest(findings.longest, narrow.probe.longest(tokens) if narrow.probe is not None else None)
    reason = findings.reason or _reason_at(narrow.probe, trunk.config, min(tokens, longest or tokens))
    cached = findings.cached_reach if reason else tokens
    return replace(findings, reach=tokens, reason=reason, cached_reach=cached, longest=longest)


@torch.inference_mode(False)
@torch.no_grad()
def is_cached(findings: Findings, trunk: Trunk, tokens: int) -> bool:
    """Return whether texts of up to ``tokens`` tokens, which are no more than was asked for, are continued."""
    if findings.is_cacheable or tokens <= findings.cached_reach:
        return True
    return findings.arguments.cache is not None and not _reason_at(narrow_probe(trunk).probe, trunk.config, tokens)


class _Switch(NamedTuple):
    """A change of a model's behaviour with the length of a text.

    Attributes:
        ends_cache: Longer texts are not continued from keys and values.
        ends_texts: The first tokens of longer texts have other states.
        named: Numbers in the configuration that may be the length.
    """

    ends_cache: bool
    ends_texts: bool
    named: str = ""


_UNKNOWN_SWITCH = _Switch(True, True)


class NarrowProbe:
    """A narrow copy and what was found with it, by length."""

    def __init__(self, trunk: Trunk, vocabulary: range) -> None:
        self.trunk, self.vocabulary = trunk, vocabulary
        self._found: dict[int, Cached] = {}
        self._longest: dict[int, int | None] = {}
        self._switches: dict[str, _Switch] = {}
        # Experts are chosen by a hair while weights are small, and clearly once they are large: noise shows in one.
        noisy = self._noisy()
        enlarge_weights(trunk.module)
        self.noisy: tuple[type, ...] = tuple(dict.fromkeys([*noisy, *self._noisy()]))
        ids = _ids(vocabulary, _ROW, torch.device("cpu"))
        self.causality = self._oracle(ids, Lengths.upto(_ROW)).causality

    def _noisy(self) -> list[type]:
        width = min(_NOISE_ROW, configured_context(self.trunk.config) or _NOISE_ROW)
        rows = _ids(self.vocabulary, _NOISE_ROWS * width, torch.device("cpu")).reshape(_NOISE_ROWS, width)
        return noisy_kinds(self.trunk.module, lambda: self.trunk.bare(rows))

    def cached(self, tokens: int) -> Cached:
        """Return whether keys and values continue texts of ``tokens`` tokens."""
        if (known := self._known(tokens)) is not None:
            return known
        if tokens not in self._found:
            for seed in range(_SEEDS):
                with random_states_kept(seed):
                    self._found[tokens] = self._try(tokens, seed)
                if not self._found[tokens].is_undecided:
                    break
            else:
                self._found[tokens] = Cached(None, "rounding hides whether keys and values continue a text")
            self.trunk = self.trunk.taking(cache=self._found[tokens].name or self.trunk.arguments.cache)
        return self._found[tokens]

    def _known(self, tokens: int) -> Cached | None:
        """Return the known findings: those of a longer text hold for this one, failures of a shorter one too."""
        longer = (found for length, found in self._found.items() if length >= tokens and not found.reason)
        shorter = (found for length, found in self._found.items() if length <= tokens and found.reason)
        return next(longer, None) or next(shorter, None)

    def longest(self, tokens: int) -> int | None:
        """Longest text, below ``tokens``, whose first tokens have the states of a short one; ``None``: all have."""
        if tokens > _LONGEST_PROBE:
            tokens = min(tokens, _LONGEST_ROW if self.switch(tokens).ends_texts else _LONGEST_PROBE)
        if tokens not in self._longest:
            self._longest[tokens] = self._search(tokens)
        return self._longest[tokens]

    def switch(self, tokens: int) -> _Switch:
        """Return the change between the longest probed text and ``tokens`` with a number of the configuration.

        Numbers called like windows are made small in a second copy, to see whether short texts show a switch then: many
        count something else (layers, experts), or are not used. Smaller ones show in the texts that are probed.
        """
        named = list(window_numbers(self.trunk.config, _LONGEST_PROBE, tokens))
        text = ", ".join(f"{path[-1]}={value}" for path, value in named)
        if text not in self._switches:
            found = self._with_small([path for path, _ in named]) if named else _Switch(False, False)
            self._switches[text] = found._replace(named=text)
        return self._switches[text]

    def _with_small(self, paths: list[tuple[str, ...]]) -> _Switch:
        """Return the findings on short texts with small numbers in these places; all, where it cannot be computed."""
        config = copy.deepcopy(self.trunk.config)
        with random_states_kept():
            if any(attempt(_make_small, config, path).error is not None for path in paths):
                return _UNKNOWN_SWITCH
            module = attempt(build, self.trunk, config).value
            if module is None:
                return _UNKNOWN_SWITCH
            trunk = Trunk(module, config, bare_arguments=self.trunk.bare_arguments)
            probe = attempt(NarrowProbe, trunk, self.vocabulary).value
            if probe is None:
                return _UNKNOWN_SWITCH
            return _Switch(bool(probe.cached(_FIRST_REACH).reason), probe.longest(_FIRST_REACH) is not None)

    def _try(self, tokens: int, seed: int) -> Cached:
        lengths = Lengths.upto(tokens)
        ids = _ids(self.vocabulary, tokens, torch.device("cpu"), seed)
        oracle = self._oracle(ids, lengths)
        trunk, deviation = plain_arguments(self.trunk, oracle, ids, lengths.short)
        if deviation is not None and not deviation.is_none:
            return Cached(None, "padded rows have other states than unpadded ones", deviation)
        return probe_cache(trunk, oracle, ids, lengths, thorough=True)

    def _oracle(self, ids: Tensor, lengths: Lengths) -> Oracle:
        rows, changed, later = probe_rows(ids, lengths, self.vocabulary)
        return Oracle(self.trunk.bare(rows), self.trunk.bare(ids[None]), changed, later)

    def _search(self, tokens: int) -> int | None:
        if self._begins_alike(tokens):
            return None
        scans = [self._scan(min(tokens, _FIRST_REACH), seed) for seed in range(_SEEDS)]
        if scanned := [length for length in scans if length is not None]:
            return min(scanned)
        low, high = _FIRST_REACH, tokens  # begins alike up to low, not at high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._begins_alike(middle) else (low, middle)
        return low

    def _scan(self, tokens: int, seed: int) -> int | None:
        """Search as :meth:`longest`, token by token: some selections of keys disagree at a few lengths only."""
        ids = _ids(self.vocabulary, tokens, torch.device("cpu"), seed)
        oracle, before = self._oracle(ids[:_ROW], Lengths.upto(_ROW)), self.trunk.bare(ids[None, :_ROW])[0]
        for length in range(_ROW + 1, tokens + 1):
            states = self.trunk.bare(ids[None, :length])[0]
            if oracle.compare(states[:-1], before).is_clear:
                return length - 1
            before = states
        return None

    def _begins_alike(self, tokens: int) -> bool:
        """Return whether the first tokens of a text have the states they have alone; one of two texts is enough."""
        return any(self._text_begins_alike(_ids(self.vocabulary, tokens, torch.device("cpu"), seed)) for seed in (0, 1))

    def _text_begins_alike(self, ids: Tensor) -> bool:
        oracle, whole = self._oracle(ids[:_ROW], Lengths.upto(_ROW)), self.trunk.bare(ids[None])[0]
        parts = {min(part, len(ids)) for part in (_ROW, len(ids) // 2, len(ids) - 1)}
        return not any(oracle.compare(whole[:part], self.trunk.bare(ids[None, :part])[0]).is_clear for part in parts)


class Narrow(NamedTuple):
    """The narrow copy of a trunk, or why there is none."""

    probe: NarrowProbe | None
    problem: str


_PROBES: dict[tuple[object, ...], Narrow] = {}


def narrow_probe(trunk: Trunk) -> Narrow:
    """The narrow copy of a trunk's class and configuration, or why there is none."""
    kind = type(trunk.module)
    key = (kind, trunk.config.to_json_string(use_diff=False), attribute_of(trunk.config, "_attn_implementation"))
    if key not in _PROBES:
        while len(_PROBES) >= _COPIES:
            del _PROBES[next(iter(_PROBES))]
        with random_states_kept():
            probe = attempt(lambda: NarrowProbe(*narrow_copy(trunk)))
        _PROBES[key] = Narrow(probe.value, probe.reason)
    return _PROBES[key]


def _read(network: PreTrainedModel, config: PreTrainedConfig, ids: Tensor) -> tuple[Trunk, Oracle, LogitForm | None]:
    """The trunk among the network's parts, its states, and the form of the logits."""
    vocabulary = readable_ids(config, _vocabulary(network))
    rows, changed, later = probe_rows(ids, Lengths.upto(len(ids)), vocabulary)
    error: Exception | None = None
    for module, given in product(trunk_candidates(network), BARE_ARGUMENTS):
        reading, error = attempt(read_network, network, module, rows, given)
        if reading is not None:
            trunk = Trunk(module, config, bare_arguments=given)
            return trunk, Oracle(reading.states, trunk.bare(ids[None]), changed, later), reading.form
    if isinstance(error, ModelError):
        raise error
    reason = str(error).partition("\n")[0]
    raise ModelError(
        f"expected a causal LM, which reads token ids alone, got {type(network).__name__}, which does not ({reason}); "
        "load a *ForCausalLM"
    ) from error


def _require_causal(network: PreTrainedModel, causality: Deviation) -> None:
    if not causality.is_clear:
        return
    kind = "an encoder-decoder" if attribute_of(network.config, "is_encoder_decoder") else "a model"
    raise ModelError(
        f"expected a causal LM, got {type(network).__name__}, {kind} in which earlier tokens see later ones "
        f"(their states move by {causality.size:.2g} when later tokens change); load a *ForCausalLM"
    )


def _with_arguments(network: PreTrainedModel, trunk: Trunk, oracle: Oracle, ids: Tensor) -> Trunk:
    found, deviation = plain_arguments(trunk, oracle, ids, Lengths.upto(len(ids)).short)
    if deviation is not None and deviation.is_clear:
        raise ModelError(
            f"expected states that do not depend on what stands behind a text in its row, got others (off by "
            f"{deviation.size:.2g}) from {type(network).__name__}; this architecture is not supported"
        )
    return found


def _combined(
    network: PreTrainedModel, trunk: Trunk, oracle: Oracle, ids: Tensor, form: LogitForm, reach: int
) -> Findings:
    """Findings for short texts; raises if the copy shows what the model's small weights hide."""
    narrow, longest = narrow_probe(trunk), None
    if narrow.probe is not None:
        _require_causal(network, narrow.probe.causality)
        longest = narrow.probe.longest(reach)
    silenced = _silenced(trunk, ids, oracle.alone, narrow.probe)
    if narrow.probe is not None:
        _require_gradients(network, narrow.probe, silenced)
    reason = _reason_at(narrow.probe, trunk.config, min(reach, longest or reach))
    cached = Cached(None, reason)
    if not reason:
        known = trunk if narrow.probe is None else trunk.taking(cache=narrow.probe.trunk.arguments.cache)
        cached = probe_cache(known, oracle, ids, Lengths.upto(len(ids)), thorough=known is trunk)
        reason = cached.reason
        if narrow.probe is None and cached.is_undecided:
            reason = "rounding hides whether keys and values continue a text"
    return Findings(
        architecture=type(network).__name__,
        cached_reach=0 if reason else reach,
        reach=reach,
        reason=reason,
        longest=longest,
        arguments=replace(trunk.arguments, cache=None if reason else cached.name),
        form=form,
        silenced=silenced,
        narrow=narrow.problem,
        deviation=cached.deviation,
    )


def _silenced(trunk: Trunk, ids: Tensor, quiet: Tensor, narrow: NarrowProbe | None) -> tuple[type, ...]:
    """Kinds of modules that must stay in evaluation mode; ``nn.Module`` stands for all.

    ``quiet`` are the states (1, T, H) of ``ids`` in that mode.
    """
    known = narrow.trunk.module.modules() if narrow is not None else ()
    kinds = narrow.noisy if narrow is not None else ()
    # What the architecture does not make noise with, somebody put into this model.
    foreign = {type(part) for part in trunk.module.modules()} - {type(part) for part in known}
    for silenced in (kinds, (*kinds, *foreign)):
        if is_quiet(trunk.module, lambda: trunk.bare(ids[None]), quiet, silenced):
            return silenced
    return (torch.nn.Module,)


def _require_gradients(network: PreTrainedModel, narrow: NarrowProbe, silenced: tuple[type, ...]) -> None:
    """Check that texts of any length have gradients; some modules have them in training mode only, and raise there."""
    trunk, ids = narrow.trunk, _ids(narrow.vocabulary, _ROW, torch.device("cpu"))
    error = gradients_fail(trunk.module, lambda: trunk.bare(ids[None]), silenced)
    if error is None:
        return
    in_training = gradients_fail(trunk.module, lambda: trunk.bare(ids[None]), ()) or error
    reason = str(in_training).partition("\n")[0]
    raise ModelError(
        f"expected a causal LM that can be trained on texts of any length, got {type(network).__name__}, which cannot "
        f"({type(in_training).__name__}: {reason}); this architecture is not supported"
    ) from error


def _reason_at(narrow: NarrowProbe | None, config: PreTrainedConfig, tokens: int) -> str:
    """Return why texts of ``tokens`` tokens cannot be continued from keys and values, as far as is known."""
    if narrow is not None:
        if reason := narrow.cached(min(tokens, _LONGEST_PROBE)).reason:
            return reason
        switch = narrow.switch(tokens)
        named = switch.named if switch.ends_cache or switch.ends_texts else ""
    else:
        named = ", ".join(f"{path[-1]}={value}" for path, value in window_numbers(config, 2, tokens))
    return f"its configuration names {named}, and texts of {tokens} tokens were not probed" if named else ""


def window_numbers(config: PreTrainedConfig, least: int, tokens: int) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield the numbers from ``least`` to below ``tokens`` that are called like windows, and where they stand."""
    for name, value in config.to_dict().items():
        within: dict[tuple[str, ...], object] = {(str(name), str(key)): part for key, part in as_object(value).items()}
        for path, inner in (within or {(str(name),): value}).items():
            if any(hint in path[-1] for hint in _HINTS) and any(least <= each < tokens for each in numbers_in(inner)):
                yield path, inner


def _make_small(config: PreTrainedConfig, path: tuple[str, ...]) -> None:
    """Put a small number, or several, into a place of a configuration."""
    first, *rest = path
    found = getattr(config, first)
    match found, rest:
        case _, []:
            setattr(config, first, _smaller(found))
        case dict(), [name]:
            found[name] = _smaller(found[name])
        case _:
            _make_small(found, tuple(rest))


def _smaller(value: object) -> object:
    match value:
        case list() | tuple():
            return type(value)(map(_smaller, value))
        case int() | float():
            return min(value, _SMALL_SWITCH)
    return value


def _versions(network: PreTrainedModel) -> dict[str, int]:
    """Return how often each buffer was written; nobody counts that of those that were made in inference mode."""
    return {name: buffer._version for name, buffer in network.named_buffers() if not buffer.is_inference()}


def _ids(vocabulary: range, tokens: int, device: torch.device, seed: int = 0) -> Tensor:
    """Random ids (T,) of a vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocabulary.start, vocabulary.stop, (tokens,), generator=generator).to(device)


def _vocabulary(network: PreTrainedModel) -> int:
    return min(rows_of(network).values())


def _device(network: PreTrainedModel) -> torch.device:
    device: torch.device = next(network.parameters()).device
    return device


def _shortest(first: int | None, second: int | None) -> int | None:
    known = [length for length in (first, second) if length is not None]
    return min(known) if known else None
