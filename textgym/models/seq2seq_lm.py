"""A Hugging Face encoder-decoder: the prompt is encoded, the response decoded."""

from __future__ import annotations

import contextlib
import copy
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedConfig, PreTrainedModel

from textgym.errors import ModelError
from textgym.models.batch import EpisodeBatch, TextBatch, unique_rows
from textgym.models.decoding.cache import DecodingCache
from textgym.models.decoding.encoded_store import Encoded, EncodedStore
from textgym.models.probing.findings import configured_context
from textgym.models.probing.noise import set_mode
from textgym.models.probing.seq2seq import NOTHING, examine, examine_long
from textgym.models.probing.trunk import additive_mask
from textgym.models.text_model import Precision, TextModel
from textgym.models.trainable import HALVES
from textgym.text.tokenizer import Tokenizer
from textgym.values import is_whole


class Seq2SeqLM(TextModel):
    """An encoder-decoder (T5 and BART, for instance): the encoder reads the prompt, the decoder writes the response.

    A text is split where its prompt ends. The decoder starts with :attr:`start_ids`, which nobody samples and nothing
    scores; the state that the first token of a response follows from is the one after them, and stands at the place of
    the prompt's last token. No other token of a prompt has a state. In a conversation, all that was said before a turn
    is its prompt.

    What an architecture can do is found by computing when it is loaded (:attr:`findings`).

    Args:
        network: A Hugging Face ``*ForConditionalGeneration``.
        source: Where it came from (name, folder or Hub id); its tokenizer is read from there, unless it is given.
        precision: ``"fp32"``, or ``"bf16"`` for bfloat16 autocast. Logits are fp32 in both.
        tokenizer: The one that belongs to it.

    Attributes:
        start_ids: Ids that the decoder starts with: ``decoder_start_token_id``, and ``forced_bos_token_id`` if there is
            one, as the generation configuration says, or else the configuration.

    Raises:
        ModelError: If weights are not finite, it names no start token, or padded prompts or the decoder do not compute
            what the network computes.
        ValueError: For another precision.
    """

    encodes_prompts: ClassVar[bool] = True
    wanted: ClassVar[str] = "an encoder-decoder"
    loads: ClassVar[str] = "*ForConditionalGeneration"

    def __init__(
        self,
        network: PreTrainedModel,
        source: str | None = None,
        precision: Precision = "fp32",
        tokenizer: Tokenizer | None = None,
    ) -> None:
        super().__init__(network, source, precision, tokenizer)
        self._encoder_name, self._decoder_name = (_name_of(network, part) for part in ("encoder", "decoder"))
        self.start_ids = _start_ids(network)
        self.findings = NOTHING
        self.findings = examine(self.in_precision("fp32"))
        self._tell_uncached()

    @property
    def config(self) -> PreTrainedConfig:
        """The Hugging Face configuration."""
        config: PreTrainedConfig = self.network.config
        return config

    @property
    def encoder(self) -> nn.Module:
        """The part that reads prompts."""
        encoder: nn.Module = self.network.get_submodule(self._encoder_name)
        return encoder

    @property
    def decoder(self) -> nn.Module:
        """The part that writes responses, without the output head."""
        decoder: nn.Module = self.network.get_submodule(self._decoder_name)
        return decoder

    @property
    def context_length(self) -> int | None:
        """Most tokens of a prompt, and of a response with :attr:`start_ids`; ``None`` where positions have no end."""
        return configured_context(self.config)

    def context_of(self, prompt: int, response: int) -> int:
        """Return the context that a prompt and a response take, which each have their own: that of the longer one."""
        return max(prompt, len(self.start_ids) + response)

    def room_for_prompt(self, response: int) -> float:
        """Return the most tokens of a prompt: the whole context, if the response fits one too."""
        if self.context_length is None:
            return math.inf
        return self.context_length if len(self.start_ids) + response <= self.context_length else 0

    def prepare(self, tokens: int) -> None:
        """Compute with so long a text what was found with short ones, where the configuration names a window."""
        if tokens <= self.findings.reach:
            return
        was_cached = self.findings.cache is not None
        limit = self.context_length
        self.findings = examine_long(self.in_precision("fp32"), tokens if limit is None else min(tokens, limit))
        if was_cached:
            self._tell_uncached()

    def _tell_uncached(self) -> None:
        found = self.findings
        if found.reason:
            warnings.warn(
                f"{found.architecture} is not continued from keys and values: {found.reason}; every generated token "
                "encodes its prompt and reads its response again",
                stacklevel=3,
            )

    def caches(self, tokens: int) -> bool:
        """Return whether responses are continued from keys and values, in texts of up to ``tokens`` tokens."""
        self.prepare(tokens)
        return self.findings.cache is not None

    def new_cache(self, rows: int, width: int) -> DecodingCache:
        """Encoded prompts, and keys and values of responses, of ``rows`` texts of up to ``width`` tokens."""
        if not self.caches(width):
            return super().new_cache(rows, width)
        return EncodedStore(self, rows, self.context_length)

    def train(self, mode: bool = True) -> Self:
        """Switch modes; modules that make noise in training mode stay in evaluation mode."""
        super().train(mode)
        set_mode(self.network, mode and nn.Module not in self.findings.silenced, self.findings.silenced)
        return self

    def constant_buffers(self) -> list[Tensor]:
        """Buffers into which the network did not write while it was probed."""
        written = self.findings.written
        return [buffer for name, buffer in self.network.named_buffers() if name not in written]

    # ---------------------------------------------------------------- computing
    def hidden(self, batch: EpisodeBatch) -> Tensor:
        """States (N, H), fp32, of tokens of whole texts; the prompts that texts share are encoded once."""
        steps = batch.positions - (batch.prompt_lengths - 1)[batch.rows]  # (N,) tokens of the response before each
        if bool((steps < 0).any()):
            raise ModelError(
                "expected positions in responses, got one in a prompt, which an encoder-decoder reads and does not "
                "write; leave prompt_share at 0"
            )
        longest = int(steps.max()) if len(steps) else 0
        texts = TextBatch(batch.input_ids, batch.prompt_lengths + longest, batch.prompt_lengths)
        states = self.decode(self.decoder_ids(texts), self.encode_prompts(texts))  # (E, S + R, H)
        return states[batch.rows, len(self.start_ids) - 1 + steps]

    def encode_prompts(self, texts: TextBatch) -> Encoded:
        """Encode the prompts of texts, equal ones once."""
        ids, _, lengths = texts
        first, which = unique_rows(ids, lengths.tolist())
        encoded = self.encode(ids[first, : max(1, int(lengths.max()))], lengths[first])
        return encoded if len(first) == len(which) else encoded.select(which)

    def encode(self, input_ids: Tensor, lengths: Tensor) -> Encoded:
        """Encode prompts (B, P), right-padded, of ``lengths`` (B,) tokens."""
        if bool((lengths < 1).any()):
            raise ModelError("expected prompts of at least one token, got an empty one; encode an end token")
        visible = torch.arange(input_ids.shape[1], device=lengths.device) < lengths[:, None]  # (B, P)
        input_ids = input_ids.masked_fill(~visible, self.fill_id)
        with self.autocast():
            states: Tensor = self.encoder(input_ids=input_ids, attention_mask=visible.long())[0]
        return Encoded(states, visible)

    def decoder_ids(self, texts: TextBatch) -> Tensor:
        """Return what the decoder reads (B, S + R): the ids that it starts with, and the responses so far."""
        ids, lengths, prompts = texts
        longest = int((lengths - prompts).max()) if len(ids) else 0
        places = prompts[:, None] + torch.arange(longest, device=ids.device)  # (B, R)
        start = torch.tensor([self.start_ids], device=ids.device).expand(len(ids), -1)
        return torch.cat([start, ids.gather(1, places.clamp(max=ids.shape[1] - 1))], 1)

    def decode(
        self,
        input_ids: Tensor,
        encoded: Encoded,
        *,
        visible: Tensor | None = None,
        cache: Cache | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """States (B, T, H), fp32; arguments as in :class:`~textgym.models.decoding.encoded_store.EncoderDecoder`."""
        dtype = torch.bfloat16 if self.precision == "bf16" else next(self.network.parameters()).dtype
        # Some decoders take masks in the form (B, P) alone; the other one is made once, not in every layer.
        prompted = encoded.visible.long() if visible is None else additive_mask(encoded.visible[:, None], dtype)
        given: dict[str, object] = {"use_cache": cache is not None}
        if cache is not None and self.findings.cache is not None:
            given[self.findings.cache] = cache
        if visible is not None:
            given["attention_mask"] = additive_mask(visible, dtype)
        with self.autocast(), self._placed(places), self._keeping(cache):
            states: Tensor = self.decoder(
                input_ids=input_ids, encoder_hidden_states=encoded.states, encoder_attention_mask=prompted, **given
            )[0]
        return states.float() if states.dtype in HALVES else states

    @contextlib.contextmanager
    def _placed(self, places: Tensor | None) -> Iterator[None]:
        """Let the decoder add these vectors (B, T, D) for the places of tokens, instead of its own choice."""
        if places is None:
            yield
            return
        module = self.decoder.get_submodule(self.findings.places)
        handle = module.register_forward_hook(lambda part, given, output: places)
        try:
            yield
        finally:
            handle.remove()

    def place_vectors(self, tokens: int) -> Tensor | None:
        """The vectors (T, D) that the decoder adds for the places of so many tokens; ``None`` where it adds none."""
        if not self.findings.places:
            return None
        seen: list[Tensor] = []
        module = self.decoder.get_submodule(self.findings.places)
        handle = module.register_forward_hook(lambda part, given, output: seen.append(output))
        # Vectors for tokens that are nothing, behind a prompt of one token that is nothing: only places are asked.
        zeros = next(self.network.parameters()).new_zeros(1, tokens, self.hidden_size)
        try:
            with self.autocast():
                self.decoder(inputs_embeds=zeros, encoder_hidden_states=zeros[:, :1], use_cache=False)
        finally:
            handle.remove()
        return seen[0].reshape(tokens, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits over the first :attr:`vocab_size` ids, (..., V), at least fp32 (hidden: (..., H))."""
        head = self.network.get_output_embeddings()
        with self.autocast():
            logits: Tensor = head(hidden.to(head.weight.dtype))
        logits = self.findings.form(logits.float() if logits.dtype != torch.float64 else logits)
        if self.findings.offset:
            logits = logits + getattr(self.network, self.findings.offset).flatten()
        return logits[..., : self.vocab_size]

    def adopt_adapter(self, wrapper: nn.Module) -> None:
        """Take over the adapter that PEFT has put into the layers of the network, to be trained.

        Raises:
            ModelError: PEFT's wrapper computes something else than the network.
        """
        ids = torch.arange(4, device=self.device)[None] % self.vocab_size
        with torch.no_grad():
            ours = self.logits(self.decode(ids, self.encode(ids, torch.tensor([4], device=self.device))))
            theirs = wrapper(input_ids=ids, decoder_input_ids=ids).logits[..., : self.vocab_size].to(ours.dtype)
        tolerance = 0.1 if self.rounds_to_half else 1e-3
        if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance):
            raise ModelError(
                f"expected an adapter that lives in the layers of {type(self.network).__name__}, got another kind, "
                f"{type(wrapper).__name__}; merge it into its model, or train a LoRA adapter instead"
            )
        self.adapter = wrapper

    def save_config(self, folder: Path) -> None:
        """Write the configuration of the network, and that of generation, which names start tokens."""
        super().save_config(folder)
        copy.deepcopy(self.network.generation_config).save_pretrained(folder)


def _name_of(network: PreTrainedModel, part: str) -> str:
    """Return the name of the encoder or decoder among the parts of a network."""
    found = getattr(network, f"get_{part}", lambda: None)()
    names = [name for name, module in network.named_modules() if module is found and module is not network]
    if not names:
        raise ModelError(
            f"expected an encoder-decoder, got {type(network).__name__}, which has no {part}; load a "
            "*ForConditionalGeneration, or use CausalLM"
        )
    return str(names[0])


def _start_ids(network: PreTrainedModel) -> tuple[int, ...]:
    """Return the ids that the decoder starts with."""
    said = [vars(network.generation_config), network.config.to_dict()]
    first, forced = (
        next((each[name] for each in said if each.get(name) is not None), None)
        for name in ("decoder_start_token_id", "forced_bos_token_id")
    )
    if not is_whole(first):
        raise ModelError(
            f"expected one decoder_start_token_id for {type(network).__name__}, got {first!r}; set it in "
            "generation_config.json or config.json"
        )
    return (first, forced) if is_whole(forced) else (first,)
