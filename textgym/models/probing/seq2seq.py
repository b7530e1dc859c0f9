"""Properties of an encoder-decoder found by computing, with a few tokens when it is loaded.

What is computed in one way is compared with the same in another: rows that are padded with rows that are not, the
output of the network with what follows from the states of its decoder, tokens one at a time with all at once. Nothing
is computed on a narrow copy. Where the configuration names a window, texts as long as a run's are computed once, with
the model itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from textgym.errors import ModelError
from textgym.models.batch import TextBatch, pad_rows
from textgym.models.decoding.encoded_store import Encoded, EncodedStore, EncoderDecoder
from textgym.models.probing.findings import window_numbers
from textgym.models.probing.head import LogitForm, read_network, rows_of
from textgym.models.probing.narrow import readable_ids
from textgym.models.probing.noise import gradients_fail, is_quiet, modes_kept, noisy_kinds, random_states_kept
from textgym.models.probing.probe import Deviation, Lengths, Oracle, attempt, probe_rows
from textgym.models.probing.trunk import CACHE_NAMES
from textgym.values import attribute_of, is_whole

_ROW = 7  # tokens of a prompt and of a response
_LONGEST_PROBE = 2048


@dataclass(frozen=True)
class Seq2SeqFindings:
    """The properties of an encoder-decoder that reinforcement learning depends on.

    Attributes:
        architecture: Class of the network.
        form: How logits follow from its head.
        offset: Name of the tensor of the network that is added to its logits; empty if none is.
        cache: Argument of the decoder that takes keys and values; ``None`` if they do not continue a response.
        places: Name of the decoder's part that gives a vector for the place of each token; empty if there is none.
        reason: Why responses are not continued from keys and values; empty if they are.
        reach: Longest text that was asked for.
        silenced: Kinds of modules that make noise in training mode and stay in evaluation mode; all, if one is
            ``nn.Module``.
        written: Names of the buffers into which the network writes when it computes.
        deviation: Largest difference between cached and uncached states.
    """

    architecture: str = ""
    form: LogitForm = field(default_factory=LogitForm)
    offset: str = ""
    cache: str | None = None
    places: str = ""
    reason: str = ""
    reach: int = _ROW
    silenced: tuple[type, ...] = ()
    written: frozenset[str] = frozenset()
    deviation: Deviation | None = None


NOTHING = Seq2SeqFindings()


class Probed(EncoderDecoder, Protocol):
    """An encoder-decoder that is probed."""

    network: Any
    fill_id: int
    findings: Seq2SeqFindings

    @property
    def config(self) -> PreTrainedConfig:
        """The Hugging Face configuration."""

    @property
    def decoder(self) -> nn.Module:
        """The part that writes responses."""

    @property
    def context_length(self) -> int | None:
        """Most tokens of a prompt, and of what the decoder reads."""

    def encode(self, input_ids: Tensor, lengths: Tensor) -> Encoded:
        """Encode prompts (B, P), right-padded, of ``lengths`` (B,) tokens."""


class _Rows(NamedTuple):
    """Prompts and responses that are computed with.

    Attributes:
        prompts: Two prompts of different lengths, ids.
        responses: (3, T) decoder inputs, as :func:`~textgym.models.probing.probe.probe_rows` makes them.
        oracle: Expected states of the decoder, for the first prompt.
        alone: (2, T, H) states of the first response, behind each prompt by itself.
    """

    prompts: list[list[int]]
    responses: Tensor
    oracle: Oracle
    alone: Tensor


@torch.inference_mode(False)
@torch.no_grad()
def examine(model: Probed) -> Seq2SeqFindings:
    """Probe a model as it was loaded.

    Raises:
        ModelError: It does not compute what is expected of an encoder-decoder.
    """
    network, name = model.network, type(model.network).__name__
    with modes_kept(network), random_states_kept():
        network.eval()
        versions = {key: buffer._version for key, buffer in network.named_buffers() if not buffer.is_inference()}
        computed = attempt(_rows, model, _ROW)
        if computed.value is None:
            raise ModelError(
                f"expected an encoder-decoder, which reads token ids and masks alone, got {name}, which does not "
                f"({computed.reason}); this architecture is not supported"
            ) from computed.error
        rows = computed.value
        _require_order(model, rows)
        _require_padding(model, rows)
        written = frozenset(key for key, buffer in network.named_buffers() if buffer._version != versions.get(key))
        form, offset = _logits(model, rows)
        found = Seq2SeqFindings(name, form, offset, written=written)
        found = _with_cache(model, found, rows)
        return replace(found, silenced=_silenced(model, rows))


@torch.inference_mode(False)
@torch.no_grad()
def examine_long(model: Probed, tokens: int) -> Seq2SeqFindings:
    """The findings for texts of up to ``tokens`` tokens.

    Raises:
        ModelError: States of padded prompts of this length are others than those of unpadded ones.
    """
    found = replace(model.findings, reach=tokens)
    if not any(True for _ in window_numbers(model.config, 2, tokens)):
        return found
    with modes_kept(model.network), random_states_kept():
        model.network.eval()
        length = min(tokens, _LONGEST_PROBE)
        rows = _rows(model, length)
        _require_padding(model, rows)
        return found if found.cache is None else _with_cache(model, found, rows)


def _rows(model: Probed, length: int) -> _Rows:
    """Rows with responses of so many tokens, and the first prompt as long as what the decoder reads then."""
    vocabulary, start = readable_ids(model.config, min(rows_of(model.network).values())), list(model.start_ids)
    generator = torch.Generator().manual_seed(0)
    width = min(len(start) + length, model.context_length or _LONGEST_PROBE)
    ids = torch.randint(vocabulary.start, vocabulary.stop, (3, width), generator=generator).tolist()
    prompts = [ids[0], ids[1][: max(2, width // 2)]]
    response = torch.tensor([*start, *ids[2]][:width], device=model.device)
    pad = attribute_of(model.config, "pad_token_id")
    if is_whole(pad) and width > len(start) + 2:  # where it may be written: some decoders do not count it as a place
        response[len(start) + 1] = pad
    responses, changed, later = probe_rows(response, Lengths.upto(width), vocabulary)
    first, second = (model.encode(*pad_rows([prompt], 0, model.device)) for prompt in prompts)
    alone = model.decode(responses[:1], first)
    states = model.decode(responses, first.select(torch.zeros(3, dtype=torch.long, device=model.device)))
    both = torch.cat([alone, model.decode(responses[:1], second)])
    return _Rows(prompts, responses, Oracle(states, alone, changed, later), both)


def _require_order(model: Probed, rows: _Rows) -> None:
    if rows.oracle.causality.is_clear:
        raise ModelError(
            f"expected a decoder in which no token sees later ones, got that of {type(model.network).__name__}, whose "
            f"states move by {rows.oracle.causality.size:.2g} when later tokens change; this architecture is not "
            "supported"
        )


def _require_padding(model: Probed, rows: _Rows) -> None:
    """Check that prompts of two lengths in one batch give the states that they give alone."""
    encoded = model.encode(*pad_rows(rows.prompts, model.fill_id, model.device))
    found = rows.oracle.compare(model.decode(rows.responses[[0, 0]], encoded), rows.alone)
    if found.is_clear:
        raise ModelError(
            f"expected states that do not depend on what a prompt is padded with, got others (off by {found.size:.2g}) "
            f"from {type(model.network).__name__}, with prompts of {len(rows.prompts[0])} tokens; this architecture is "
            "not supported"
        )


# ------------------------------------------------------------------------ logits
def _logits(model: Probed, rows: _Rows) -> tuple[LogitForm, str]:
    """Return the form in which logits follow from the decoder's states, and the name of a tensor that is added."""
    network, size = model.network, model.network.get_output_embeddings().weight.shape[0]
    own = [*network.named_parameters(recurse=False), *network.named_buffers(recurse=False)]
    offsets = {name: part for name, part in own if part.numel() == size and part.is_floating_point()}
    for name, part in ({"": None} | offsets).items():
        kept = {each: tensor.clone() for each, tensor in offsets.items()}
        try:
            for tensor in offsets.values():
                tensor.zero_()
            form = _form(model, rows)
            if part is not None:
                part.copy_(torch.linspace(-1.0, 1.0, size).reshape(part.shape))
            elif offsets:
                continue  # what is added is known only once it is not 0
            if form is not None and _is_added(model, rows, form, part):
                return form, name
        finally:
            for each, tensor in offsets.items():
                tensor.copy_(kept[each])
    raise ModelError(
        "expected logits = head(last state of the decoder), scaled or softly capped, with an offset or without, got "
        f"another form in {type(network).__name__}; this architecture is not supported"
    )


def _form(model: Probed, rows: _Rows) -> LogitForm | None:
    prompts = torch.tensor([rows.prompts[0]] * 3, device=model.device)
    given = {"decoder_input_ids": rows.responses}
    reading = attempt(read_network, model.network, model.decoder, prompts, given).value
    if reading is None or not rows.oracle.compare(reading.states[:1], rows.alone[:1]).is_none:
        return None
    return reading.form


def _is_added(model: Probed, rows: _Rows, form: LogitForm, offset: Tensor | None) -> bool:
    """Return whether the network's logits are those of its states in a form, with an offset."""
    prompt, response = torch.tensor([rows.prompts[0]], device=model.device), rows.responses[:1]
    theirs = attempt(lambda: model.network(input_ids=prompt, decoder_input_ids=response).logits).value
    head = model.network.get_output_embeddings()
    ours = form(head(rows.alone[:1].to(head.weight.dtype)))
    if theirs is None or theirs.shape != ours.shape:
        return False
    ours = ours if offset is None else ours + offset.reshape(-1)
    tolerance = 1e-4 if theirs.dtype in (torch.float32, torch.float64) else 3e-2
    return float((ours - theirs).abs().max()) <= tolerance * max(1e-12, float(theirs.abs().max()))


# ------------------------------------------------------------------------- cache
def _with_cache(model: Probed, found: Seq2SeqFindings, rows: _Rows) -> Seq2SeqFindings:
    """The findings with the way in which responses are continued from keys and values."""
    reasons: list[str] = []
    known = [found.cache] if found.cache is not None else CACHE_NAMES
    for cache in known:
        for places in [*_place_parts(model, rows.responses[:1]), ""]:
            candidate = replace(found, cache=cache, places=places)
            decoded = attempt(_decode, _view(model, candidate), rows)
            if decoded.value is not None and decoded.value.is_none:
                return replace(candidate, deviation=decoded.value, reason="")
            reasons.append(_too_far(decoded.value) if decoded.value is not None else decoded.reason)
    return replace(found, cache=None, places="", reason=max(reasons, key=lambda each: each.startswith("responses")))


def _too_far(found: Deviation) -> str:
    return (
        f"responses continued from keys and values end in other states (off by {found.size:.2g}, where one changed "
        f"token makes {found.signal:.2g})"
    )


def _view(model: Probed, findings: Seq2SeqFindings) -> Probed:
    view = copy.copy(model)
    view.findings = findings
    return view


def _place_parts(model: Probed, ids: Tensor) -> list[str]:
    """Return the names of parts of the decoder whose output tells places of tokens, and nothing of the tokens."""
    one, other = (_outputs(model, given) for given in (ids, ids.flip(1)))
    found = []
    for name, output in one.items():
        vectors = output.ndim > 1 and output.numel() == ids.shape[1] * output.shape[-1]
        if vectors and output.shape[-2] == ids.shape[1] and name in other and torch.equal(output, other[name]):
            found.append(name)
    return found


def _outputs(model: Probed, ids: Tensor) -> dict[str, Tensor]:
    """Return what the parts of the decoder, called on ids (1, T), give first."""
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, Tensor):
                seen.setdefault(name, output.clone())

        return hook

    parts = [(name, part) for name, part in model.decoder.named_modules() if name]
    handles = [part.register_forward_hook(note(name)) for name, part in parts]
    try:
        model.decode(ids, model.encode(ids[:, :2], torch.tensor([2], device=ids.device)))
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _decode(model: Probed, rows: _Rows) -> Deviation:
    """The largest deviation of rows that begin and go on at different times, as rollouts do it."""
    response = rows.responses[0, len(model.start_ids) :]
    longest = len(response) - 3
    texts = [_Text(0, longest), _Text(1, 0), _Text(0, longest // 2)]
    store = EncodedStore(model, 3, model.context_length)
    worst = [_compare(model, rows, _prefill(model, store, rows, [0, 1, 2], texts), texts)]
    for step in range(3):
        if step == 2:  # a row begins again, with the other prompt
            texts[2] = _Text(1, 1)
            worst.append(_compare(model, rows, _prefill(model, store, rows, [2], texts[2:]), texts[2:]))
        states = store.extend(response[[text.size for text in texts]])
        texts = [text._replace(size=text.size + 1) for text in texts]
        worst.append(_compare(model, rows, states, texts))
    return max(worst)


class _Text(NamedTuple):
    """One of the prompts, by number, and how many tokens of the response follow it."""

    prompt: int
    size: int


def _prefill(model: Probed, store: EncodedStore, rows: _Rows, places: list[int], texts: list[_Text]) -> Tensor:
    response = rows.responses[0, len(model.start_ids) :].tolist()
    ids, lengths = pad_rows(
        [[*rows.prompts[text.prompt], *response[: text.size]] for text in texts], model.fill_id, model.device
    )
    prompts = torch.tensor([len(rows.prompts[text.prompt]) for text in texts], device=model.device)
    return store.prefill(torch.tensor(places), TextBatch(ids, lengths, prompts))


def _compare(model: Probed, rows: _Rows, states: Tensor, texts: list[_Text]) -> Deviation:
    """Return how far states (B, H) are from those that whole responses end with."""
    numbers, places = [text.prompt for text in texts], [len(model.start_ids) - 1 + text.size for text in texts]
    return rows.oracle.compare(states, rows.alone[numbers, places])


# ------------------------------------------------------------------------- noise
def _silenced(model: Probed, rows: _Rows) -> tuple[type, ...]:
    """Kinds of modules that must stay in evaluation mode; ``nn.Module`` stands for all.

    Raises:
        ModelError: There are no gradients to train by.
    """
    network = model.network

    def compute() -> Tensor:
        return model.decode(rows.responses[:1], model.encode(*pad_rows(rows.prompts[:1], 0, model.device)))

    silenced = tuple(noisy_kinds(network, compute))
    if not is_quiet(network, compute, rows.alone[:1], silenced):
        silenced = (nn.Module,)
    if (error := gradients_fail(network, compute, silenced)) is not None:
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"expected an encoder-decoder that can be trained, got {type(network).__name__}, which cannot "
            f"({type(error).__name__}: {reason}); this architecture is not supported"
        ) from error
    return silenced
