"""Small random language models of the architectures that transformers knows, to compare computations on.

The default configuration of each model type is narrowed by the names of its fields (``_SIZES``): four layers of
every kind, width 32, windows and chunks of 8 tokens, so that short texts reach beyond them. ``_SPECIAL`` holds what
an architecture needs besides; ``_variants`` lists settings that are computed differently, and models that are no
causal LMs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

WINDOW = 8  # tokens of every window and chunk
_CONTEXT = 128
_LAYERS, _WIDTH, _HEADS = 4, 32, 4
_MOST_PARAMETERS = 4_000_000
_SPREAD = 0.2  # least standard deviation of a matrix: mistakes of masks and positions do not show in smaller ones

# What every field of these names becomes, where a configuration has it as a number.
_SIZES: tuple[tuple[int, str], ...] = (
    (
        64,
        "vocab_size decoder_vocab_size unpadded_vocab_size vocab_size_per_layer_input pronunciation_vocab_size "
        "shape_vocab_size ngram_vocab_size_base rel_extent mamba_d_ssm",
    ),
    (
        _WIDTH,
        "hidden_size n_embd d_model embedding_size embedding_dim word_embed_proj_dim emb_dim input_embedding_size "
        "output_embedding_size dim hidden_size_global lru_width attention_hidden_size backbone_hidden_size "
        "ple_embed_dim",
    ),
    (
        48,
        "intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim dim_ff dff d_inner ffn_hidden_size hidden_dim "
        "feed_forward_size dense_intermediate_size intermediate_size_mlp n_inner",
    ),
    (
        24,
        "moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size expert_ffn_hidden_size "
        "shared_experts_intermediate_size moe_shared_expert_intermediate_size",
    ),
    (
        16,
        "kv_lora_rank q_lora_rank mamba_d_head mamba_head_dim mamba_headdim attention_head_dim "
        "max_source_positions adapter_rank index_n_heads",
    ),
    (
        12,
        "qk_head_dim",
    ),
    (
        8,
        "head_dim d_head dim_head kv_channels swa_head_dim attention_head_size qk_nope_head_dim v_head_dim "
        "o_lora_rank linear_key_head_dim linear_value_head_dim linear_head_dim mamba_d_state ssm_state_size "
        "state_size index_head_dim hidden_size_per_layer_input block_size pronunciation_embed_dim shape_embed_dim "
        "num_mel_bins hc_lowrank query_pre_attn_scalar",
    ),
    (
        WINDOW,
        "sliding_window sliding_window_size window_size attention_window_size attention_chunk_size local_attention "
        "keep_window_size chunk_size mamba_chunk_size index_topk local_attn_chunk_length lsh_attn_chunk_length",
    ),
    (
        _LAYERS,
        "num_hidden_layers n_layer n_layers num_layers",
    ),
    (
        _HEADS,
        "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads "
        "num_decoder_attention_heads num_encoder_attention_heads attention_heads swa_num_attention_heads "
        "linear_num_heads num_experts n_routed_experts num_local_experts moe_num_experts mamba_n_heads "
        "mamba_num_heads mamba_dt_rank time_step_rank qk_rope_head_dim rotary_dim index_block_size d_rel "
        "laurel_rank gated_norm_rank moe_layer_end_index",
    ),
    (
        2,
        "decoder_layers encoder_layers num_decoder_layers num_encoder_layers num_blocks num_key_value_heads "
        "num_kv_heads swa_num_key_value_heads num_experts_per_tok num_experts_per_token moe_topk moe_k o_groups "
        "linear_num_key_heads linear_num_value_heads n_mamba_heads index_topk_blocks "
        "altup_num_inputs max_window_layers num_layers_per_stack heads_per_ngram n_layers_per_attn_res_block "
        "eos_token_id decoder_start_token_id sep_token_id eod_token_id global_attn_every_n_layers layer_group_size",
    ),
    (
        1,
        "n_group topk_group num_expert_group n_shared_experts num_shared_experts moe_num_shared_experts "
        "zero_expert_num n_groups mamba_n_groups first_k_dense_replace make_ngram_vocab_size_divisible_by "
        "split_ngram_parts bos_token_id cls_token_id num_dense_layers",
    ),
    (
        0,
        "pad_token_id num_kv_shared_layers num_nextn_predict_layers",
    ),
    (
        3,
        "mask_token_id unk_index mask_index",
    ),
    (
        _CONTEXT,
        "max_position_embeddings n_positions n_ctx max_seq_len model_max_length context_length max_target_positions",
    ),
)
_SIZE_OF = {name: size for size, names in _SIZES for name in names.split()}
# Lists with an entry per layer: the kinds in turn.
_PATTERNS = ("layer_types", "mlp_layer_types", "block_types", "layers_block_type", "indexer_types", "no_rope_layers")
_LATENT = {"num_key_value_heads": _HEADS, "head_dim": 4}  # multi-head latent attention (DeepSeek)
_SPECIAL: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1, 3]},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"head_dim": 8, "num_key_value_heads": 2, "num_experts_per_tok": 2, "n_routed_experts": 4},
    "led": {"attention_window": WINDOW},
    "ernie4_5_moe": {"moe_intermediate_size": 24},
    "gemma3n_text": {"intermediate_size": [48] * 4, "activation_sparsity_pattern": [0.0] * 4},
    "gemma4_text": {"per_layer_config": None, "global_head_dim": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "attention_layers": ["global", "local"] * 2},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8, "moe_topk": [2] * 4, "num_shared_expert": [1] * 4},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "ministral": {"head_dim": 8},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "reformer": {
        "is_decoder": True,
        "axial_pos_shape": [8, 16],
        "axial_pos_embds_dim": [16, 16],
        "attn_layers": ["local", "local"],
    },
    "xmod": {"default_language": "en_XX", "is_decoder": True},
    "mamba2": {"num_heads": 8},
    "zamba": {"attention_hidden_size": 64},
    "xlstm": {"qk_dim_factor": 1.0},
    "zamba2": {"attention_hidden_size": 64, "attention_head_dim": 16, "mamba_headdim": 32},
    "zaya": {"num_experts_per_tok": 1},
}
_LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "rope_theta": 10000.0}
_DECODER = {"is_decoder": True}
_DECODERS = (
    "bert bert-generation big_bird camembert data2vec-text electra ernie megatron-bert rembert roberta "
    "roberta-prelayernorm roc_bert roformer xlm-roberta xlm-roberta-xl xmod"
)
_TRANSLATORS = (
    "bart bigbird_pegasus blenderbot blenderbot-small led longt5 m2m_100 marian mbart mt5 mvp nllb-moe pegasus "
    "pegasus_x plbart prophetnet switch_transformers t5 umt5"
)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model to build.

    Attributes:
        name: Label of the row in a table.
        model_type: Model type, as in the configurations of transformers.
        changes: Fields of the configuration that are set after it was narrowed.
        auto_class: Name of the class of transformers that builds it.
        width: Tokens of the longest text to compute with it.
    """

    name: str
    model_type: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    auto_class: str = "AutoModelForCausalLM"
    width: int = 40

    @property
    def is_wrapper(self) -> bool:
        """Return whether its text model is another entry of the mapping."""
        text = _text_config(self.model_type).model_type
        return text != self.model_type and text in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    def build(self, seed: int = 0) -> Any:
        """Build the network with random weights, in evaluation mode.

        Raises:
            ValueError: If it would have millions of parameters: the names of its sizes are not known here.
        """
        config = small_config(self.model_type, self.changes)
        factory = getattr(transformers, self.auto_class)
        with torch.device("meta"):
            parameters = sum(parameter.numel() for parameter in factory.from_config(config).parameters())
        if parameters > _MOST_PARAMETERS:
            raise ValueError(f"expected a small network, got {parameters} parameters; add the names of its sizes")
        torch.manual_seed(seed)
        network = factory.from_config(config)
        enlarge_weights(network)
        if network.config.is_encoder_decoder and network.generation_config.decoder_start_token_id is None:
            network.generation_config.decoder_start_token_id = 2  # published models name one
        return network.eval()


def architectures() -> list[Architecture]:
    """All model types of transformers' mapping for causal LMs, and the variants, by name."""
    plain = [Architecture(kind, kind) for kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES]
    return sorted([*plain, *_variants()], key=lambda architecture: architecture.name)


def _variants() -> Iterator[Architecture]:
    for kind in _DECODERS.split():
        yield Architecture(f"{kind} (decoder)", kind, _DECODER)
    for kind in _TRANSLATORS.split():
        yield Architecture(f"{kind} (encoder-decoder)", kind, auto_class="AutoModelForSeq2SeqLM")
    yield Architecture("distilbert (masked)", "distilbert", auto_class="AutoModelForMaskedLM")
    yield Architecture("flaubert (masked)", "flaubert", auto_class="AutoModelForMaskedLM")
    yield Architecture("modernbert (masked)", "modernbert", auto_class="AutoModelForMaskedLM")
    yield Architecture("falcon (ALiBi)", "falcon", {"alibi": True})
    yield Architecture("falcon (new decoder)", "falcon", {"new_decoder_architecture": True})
    yield Architecture(
        "gpt_neo (global)", "gpt_neo", {"attention_types": [[["global"], 4]], "attention_layers": ["global"] * 4}
    )
    yield Architecture("llama (dynamic NTK)", "llama", _rope("dynamic", factor=4.0, max_position_embeddings=24))
    yield Architecture("llama (YaRN)", "llama", _rope("yarn", factor=4.0, original_max_position_embeddings=32))
    yield Architecture("llama (eager)", "llama", {"attn_implementation": "eager"})
    yield Architecture("mistral (no window)", "mistral", {"sliding_window": None})
    yield Architecture("mixtral (router jitter)", "mixtral", {"router_jitter_noise": 0.3})
    yield Architecture("mpt (no ALiBi)", "mpt", {"attn_config": {"alibi": False}})
    long_rope = {"rope_parameters": _LONGROPE, "original_max_position_embeddings": 16, "sliding_window": None}
    yield Architecture("phi3 (longrope exceeded)", "phi3", long_rope)
    within = {"rope_parameters": _LONGROPE, "original_max_position_embeddings": 64, "sliding_window": None}
    yield Architecture("phi3 (longrope within)", "phi3", within)
    yield Architecture("phi3 (no window)", "phi3", {"sliding_window": None})
    yield Architecture("phimoe (router jitter)", "phimoe", {"router_jitter_noise": 0.3, "input_jitter_noise": 0.3})
    # Windows beyond what is probed of short texts.
    yield Architecture("gpt_neo (long window)", "gpt_neo", {"window_size": 80}, width=100)
    yield Architecture("llama4_text (long chunks)", "llama4_text", {"attention_chunk_size": 80}, width=100)
    yield Architecture("mistral (long window)", "mistral", {"sliding_window": 80}, width=100)
    far = {"rope_parameters": _LONGROPE, "original_max_position_embeddings": 80, "sliding_window": None}
    yield Architecture("phi3 (longrope exceeded late)", "phi3", far, width=100)
    windowed = ["full_attention", "sliding_attention"] * 2
    yield Architecture("qwen2 (window)", "qwen2", {"use_sliding_window": True, "layer_types": windowed})
    yield Architecture("qwen3 (window)", "qwen3", {"use_sliding_window": True, "layer_types": windowed})


def _rope(kind: str, **parameters: Any) -> dict[str, Any]:
    context = parameters.pop("max_position_embeddings", _CONTEXT)
    rope = {"rope_type": kind, "rope_theta": 10000.0, **parameters}
    return {"rope_parameters": rope, "max_position_embeddings": context}


def small_config(model_type: str, changes: Mapping[str, Any]) -> Any:
    """The narrowed configuration of the text part of a model type, with ``changes``."""
    text = _text_config(model_type)
    settings = {**_narrowed(text.to_dict()), **_SPECIAL.get(text.model_type, {}), **changes}
    attention = settings.pop("attn_implementation", None)
    return type(text)(**settings, **({"attn_implementation": attention} if attention else {}))


def _text_config(model_type: str) -> Any:
    return transformers.CONFIG_MAPPING[model_type]().get_text_config()


def _narrowed(fields: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {name: size for name, size in _SIZE_OF.items() if type(fields.get(name)) is int}
    if "kv_lora_rank" in fields:
        settings.update({name: value for name, value in _LATENT.items() if name in fields})
    for name in _PATTERNS:
        pattern = fields.get(name)
        if isinstance(pattern, list) and pattern:
            kinds = list(dict.fromkeys(pattern))
            layers = max(_LAYERS, len(kinds))
            settings[name] = [kinds[layer % len(kinds)] for layer in range(layers)]
            if "num_hidden_layers" in settings:
                settings["num_hidden_layers"] = layers
    return settings


@torch.no_grad()
def enlarge_weights(network: nn.Module) -> None:
    """Scale small matrices up, fill zeros: what is multiplied by nearly nothing shows no mistake."""
    for parameter in network.parameters():
        if not parameter.is_floating_point() or parameter.numel() < 2:
            continue
        spread = float(parameter.float().std())
        if spread == 0.0 and float(parameter.abs().max()) == 0.0:
            parameter.normal_(0.0, _SPREAD)
        elif parameter.ndim > 1 and 0.0 < spread < _SPREAD:
            parameter.mul_(_SPREAD / spread)
