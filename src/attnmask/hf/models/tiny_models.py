"""Build tiny models of any transformers architecture, by shrinking every size in its default config."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, MODEL_MAPPING, PreTrainedModel

from attnmask.calls import public
from attnmask.errors import ArgumentError, UnsupportedModelError
from attnmask.hf.models.known_types import known_type
from attnmask.mask.arguments import shown, whole_number

if TYPE_CHECKING:  # releases before 5 call it PretrainedConfig
    from transformers import PreTrainedConfig

WHERE = "tiny_model(model_type=)"
VOCABULARY = 160
WINDOW = 8
HEADS = 4
HEAD_DIM = 8

# Small values, each with the config attributes that get it. Heads x HEAD_DIM must equal the hidden size of 32.
SIZES: tuple[tuple[int, str], ...] = (
    (
        32,
        "hidden_size d_model n_embd dim embed_dim hidden_dim projection_dim out_hidden_size encoder_hidden_size "
        "decoder_hidden_size text_hidden_size vision_hidden_size output_dim embedding_size word_embed_proj_dim "
        "output_hidden_size projector_hidden_size q_lora_rank encoder_hidden_dim decoder_hidden_dim lru_width "
        "hidden_size_per_layer_input text_embed_dim vision_embed_dim cross_hidden_size audio_hidden_size width",
    ),
    (
        64,
        "intermediate_size ffn_dim d_ff encoder_ffn_dim decoder_ffn_dim ffn_hidden_size n_inner mlp_dim "
        "moe_intermediate_size shared_expert_intermediate_size intermediate_size_mlp ff_dim dense_intermediate_size "
        "moe_shared_expert_intermediate_size expert_ffn_hidden_size",
    ),
    (
        HEADS,
        "num_attention_heads n_head num_heads n_heads encoder_attention_heads decoder_attention_heads "
        "num_local_experts num_experts n_routed_experts num_experts_per_layer moe_num_experts num_latents num_queries",
    ),
    (
        2,
        "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers depth num_key_value_heads "
        "num_experts_per_tok moe_topk moe_k num_encoder_layers num_decoder_layers num_kv_heads num_shared_experts "
        "n_shared_experts "
        "n_layers_per_block num_encoder_blocks",
    ),
    (
        HEAD_DIM,
        "head_dim d_kv attention_head_size v_head_dim qk_nope_head_dim qk_rope_head_dim key_value_proj_dim "
        "num_mel_bins",
    ),
    (4, "rotary_dim"),
    (1, "n_group topk_group"),
    (16, "kv_lora_rank global_head_dim qk_head_dim index_head_dim patch_size"),
    (VOCABULARY, "vocab_size text_vocab_size vocab_size_per_layer_input"),
    (64, "codebook_size"),
    (
        128,
        "max_position_embeddings n_positions max_source_positions max_target_positions max_seq_len seq_length "
        "max_sequence_length n_ctx model_max_length index_topk",
    ),
    (WINDOW, "sliding_window attention_window local_attention attention_chunk_size window_size"),
    (48, "image_size"),
    # In hybrid models of two layers, the second layer attends.
    (2, "attn_layer_period"),
    (1, "attn_layer_offset"),
    (4, "mamba_n_heads"),
)
SMALL_SIZES = {name: size for size, names in SIZES for name in names.split()}
# Sizes that are None in some default configs, although the models need a value.
REQUIRED_SIZES = (
    "head_dim", "num_key_value_heads", "vocab_size", "n_routed_experts", "num_experts_per_tok", "n_group", "topk_group",
    "n_shared_experts", "moe_intermediate_size",
)  # fmt: skip
# Values for attributes of single architectures: kinds of layers that fit two layers, and settings without a default.
FIXED_VALUES: dict[str, Any] = {
    "attention_types": [[["global", "local"], 1]],
    "attn_layer_indices": [1],
    "axial_pos_embds": False,
    "block_types": ["recurrent", "attention"],
    "default_language": "en_XX",
}
# Config attributes that describe the saved file, not the architecture.
FILE_FIELDS = ("transformers_version", "model_type", "dtype", "torch_dtype", "_name_or_path", "_attn_implementation")
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


def tiny_config(model_type: str, changes: Mapping[str, Any] | None = None) -> PreTrainedConfig:
    """Return a config with all known sizes shrunk, and with one layer of each kind that the architecture has.

    Args:
        model_type: value of ``config.model_type``, such as "llama".
        changes: config values to use instead; for a sub-config, a mapping under its name.

    Raises:
        ArgumentError: transformers has no such architecture.
    """
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        near = get_close_matches(model_type, list(CONFIG_MAPPING)) if isinstance(model_type, str) else []
        fix = f"give {' or '.join(map(repr, near))}" if near else "give one of transformers, such as 'llama'"
        raise ArgumentError(f"there is no model type {shown(model_type)}", where="tiny_model(model_type=)", fix=fix)
    return _shrink(CONFIG_MAPPING[model_type], changes)


@public
def tiny_model(model_type: str, seed: int = 0, changes: Mapping[str, Any] | None = None) -> PreTrainedModel:
    """Build a tiny model without a head, in evaluation mode and under eager attention, with large random weights.

    With the usual standard deviation of 0.02, all scores are nearly 0 and all keys get the same weight, so that a
    slightly wrong mask would not change the outputs.

    Args:
        model_type: value of ``config.model_type``. seed: seed of the weights. changes: as in ``tiny_config``.

    Raises:
        ArgumentError: transformers has no such architecture. UnsupportedModelError: it has no model without a head.

    Source: attnmask.

    >>> type(tiny_model("llama")).__name__
    'LlamaModel'
    """
    whole_number(seed, "seed", "tiny_model")
    config = tiny_config(model_type, changes)
    config._attn_implementation = "eager"  # pyright: ignore[reportPrivateUsage]
    kind: Any = MODEL_MAPPING.get(type(config), None)
    if kind is None:
        raise UnsupportedModelError(
            f"transformers has no model without a head for {model_type!r}", where=WHERE, fix="give another model_type"
        )
    # fork_rng keeps the caller's random state.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # A few model types map to a tuple of classes.
        made = cast(Any, kind[0] if isinstance(kind, tuple) else kind)(config)
        return _with_large_weights(cast(PreTrainedModel, made))


def tiny_copy(kind: type[PreTrainedModel], config: PreTrainedConfig, seed: int = 0) -> PreTrainedModel:
    """Build a tiny copy of a given model: the same class, with the non-size settings of its config.

    Args:
        kind: class of the model. config: config of the model. seed: seed of the weights.
    """
    small = _shrink(type(config), _switches(config))
    small._attn_implementation = "eager"  # pyright: ignore[reportPrivateUsage]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _with_large_weights(kind(small).float())


def _switches(config: PreTrainedConfig) -> dict[str, Any]:
    """Return the values of a config that differ from the defaults, without sizes."""
    usual = type(config)().to_dict()
    said = {name: value for name, value in config.to_dict().items() if isinstance(value, bool | str | float)}
    return {
        name: value
        for name, value in said.items()
        if name in usual and name not in FILE_FIELDS and value != usual[name]
    }


def _with_large_weights(model: PreTrainedModel) -> PreTrainedModel:
    for name, parameter in model.named_parameters():
        # Vectors keep their values, such as 1 in norms; only sinks, whose default values are nearly 0, are drawn anew.
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
        elif "sinks" in name:
            nn.init.normal_(parameter)
    return model.eval()


def _shrink(kind: type[PreTrainedConfig], changed: Mapping[str, Any] | None = None) -> PreTrainedConfig:
    own = kind()
    changed = changed or {}
    given: dict[str, Any] = {
        name: value for name, value in own.to_dict().items() if name not in ("model_type", "transformers_version")
    }
    sizes: dict[str, Any] = {
        name: _size(name, value) for name, value in given.items() if name in SMALL_SIZES and _is_size(value)
    }
    if given.get("num_key_value_heads") == given.get("num_attention_heads"):
        sizes.pop("num_key_value_heads", None)
        sizes |= {"num_key_value_heads": HEADS} if "num_key_value_heads" in given else {}
    sizes |= {name: SMALL_SIZES[name] for name in REQUIRED_SIZES if given.get(name, 0) is None}
    rope: dict[str, Any] = given.get("rope_parameters") or {}
    if "mrope_section" in {*rope, *getattr(kind, "ignore_keys_at_rope_validation", ())}:
        sizes["rope_parameters"] = {**rope, "mrope_section": _sections(rope.get("partial_rotary_factor", 1.0))}
    types = list(dict.fromkeys(getattr(own, "layer_types", None) or ()))
    if types:
        layers = next(name for name in LAYERS if name in given)
        sizes |= {"layer_types": types if len(types) > 1 else types * 2, layers: max(len(types), 2)}
    tokens = {name: _token(name, value) for name, value in given.items() if name.endswith("_token_id")}
    inner: dict[str, Any] = {name: getattr(own, name, None) for name in cast(dict[str, Any], own.sub_configs)}
    parts = {
        name: _shrink(cast("type[PreTrainedConfig]", type(part)), changed.get(name))
        for name, part in inner.items()
        if part is not None
    }
    changes: dict[str, Any] = sizes | tokens | parts
    if given.get("mask_token_id", 0) is None:  # ESM's own, to which its model compares
        changes |= {"mask_token_id": VOCABULARY - 1, "pad_token_id": 1}
    changes |= {
        name: value
        for name, value in {**FIXED_VALUES, **known_type(kind.model_type).tiny_values}.items()
        if name in given
    }
    changes |= {name: value for name, value in changed.items() if name not in parts}
    return kind(**{name: value for name, value in changes.items() if not _is_derived(kind, name)})


def _is_derived(kind: type[PreTrainedConfig], name: str) -> bool:
    """Return whether a config computes a value from others."""
    return isinstance(getattr(kind, kind.attribute_map.get(name, name), None), property)


def _sections(share: float) -> list[int]:
    """Split the rotary dimensions of multimodal models into the pairs for time, height and width."""
    pairs = int(HEAD_DIM * share) // 2
    return [pairs - 2 * (pairs // 3), pairs // 3, pairs // 3]


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _size(name: str, value: int) -> int:
    return min(SMALL_SIZES[name], value)


def _token(name: str, value: Any) -> Any:
    """Move a special token id into the small vocabulary: to its end, to an id that depends on the name."""
    return value if not isinstance(value, int) or value < VOCABULARY else VOCABULARY - 1 - sum(map(ord, name)) % 40


def tiny_inputs(
    model: PreTrainedModel, lengths: Sequence[int] = (20, 13), side: str = "right", seed: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Yield batches that a tiny model might accept, the likeliest first: texts, texts with images, images, audio.

    Args:
        model: a result of ``tiny_model``. lengths: number of tokens of each text. side: side of the padding.
        seed: seed of the tokens.
    """
    names = inspect.signature(model.forward).parameters
    generator = torch.Generator().manual_seed(seed)
    texts = _texts(lengths, side, generator) if "input_ids" in names else {}
    if "decoder_input_ids" in names:
        texts["decoder_input_ids"] = torch.randint(5, 100, (len(lengths), 12), generator=generator)
    if "bbox" in names:
        boxes = torch.randint(0, 10, (len(lengths), max(lengths), 4), generator=generator)
        texts["bbox"] = boxes.sort(-1).values
    if "input_ids" in texts:
        yield texts
    for name, shape in _media(model.config, len(lengths)):
        if name in names:
            yield texts | {name: torch.randn(*shape, generator=generator)}


def _texts(lengths: Sequence[int], side: str, generator: torch.Generator) -> dict[str, Tensor]:
    most = max(lengths)
    place = torch.arange(most) if side == "right" else torch.arange(most).flip(0)
    mask = (place < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(5, 100, mask.shape, generator=generator)
    return {"input_ids": torch.where(mask == 1, ids, 1), "attention_mask": mask}


def _media(config: PreTrainedConfig, batch: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    own = getattr(config, "vision_config", config)
    size = getattr(own, "image_size", SMALL_SIZES["image_size"])
    sides = cast(Sequence[int], size) if isinstance(size, list | tuple) else (size, size)
    picture: tuple[int, ...] = (getattr(own, "num_channels", 3), *sides)
    yield "pixel_values", (batch, *picture)
    yield "pixel_values", (batch, getattr(own, "num_frames", 4), *picture)
    mels = getattr(config, "num_mel_bins", getattr(config, "feature_size", 80))
    frames = 2 * getattr(config, "max_source_positions", 64)
    yield "input_features", (batch, mels, frames)
    yield "input_features", (batch, 64, mels)
    yield "input_values", (batch, 4000)
    yield "input_values", (batch, 1, 4000)
    yield "input_values", (batch, 64, mels)
