"""The mask function and the attention function that transformers calls under ``attn_implementation="attnmask"``."""

from __future__ import annotations

import inspect
import math
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import (
    sdpa_mask,  # pyright: ignore[reportUnknownVariableType]
)
from transformers.utils.generic import TransformersKwargs
from transformers.utils.output_capturing import (
    _active_collector,  # pyright: ignore[reportPrivateUsage]
)

from attnmask.errors import ArgumentError, UnsupportedModelError
from attnmask.execute.dispatch import compile_cached
from attnmask.execute.entry import attention
from attnmask.execute.score_changes import Changes, attention_with_changes
from attnmask.execute.tensor_checks import weights_on_four_axes
from attnmask.formats import lift
from attnmask.hf.implementation.chosen_keys import BLOCKS, KEYS, narrow_to_chosen_keys
from attnmask.hf.implementation.given_mask import SHAPES, check_keys, plan_from_user_mask
from attnmask.hf.implementation.mask_closures import mask_from_closure, slice_of_keys
from attnmask.hf.implementation.model_mask import USE_EAGER, WHERE, ModelMask
from attnmask.hf.packing.encoder_decoders import check_prepared
from attnmask.hf.packing.packed_calls import current_packing, intersect_with_layer_mask, refuse_mixing
from attnmask.hf.packing.packed_mask import PackedMask
from attnmask.hf.warnings_issued import UnknownMaskWarning
from attnmask.hf.weights.layer_weights import current_key_weights
from attnmask.mask.atoms import causal, full, padding

REFUSED_ARGUMENTS = {"cache": "a paged cache", "weights": "weights in its batch without attnmask.hf.accept_weights"}
# Arguments that are followed, or that the mask has said before.
HANDLED_ARGUMENTS = {"softcap", "position_bias", "s_aux", "sinks", "sliding_window", KEYS, BLOCKS, "kwargs"} | {
    "module", "query", "key", "value", "attention_mask", "scaling", "dropout", "is_causal"
}  # fmt: skip
# Arguments that say nothing which the mask does not, or that no attention but flash-attention reads.
IGNORED_ARGUMENTS = {*TransformersKwargs.__annotations__, "use_cache", "deterministic"}


def model_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor = 0,
    kv_offset: int | Tensor = 0,
    *,
    mask_function: Callable[..., Any],
    attention_mask: Tensor | None = None,
    use_vmap: bool = False,
    device: torch.device | str = "cpu",
    config: Any = None,
    **_: Any,
) -> ModelMask:
    """The mask interface of transformers: what its masks mean on these lengths, for the layers to attend under.

    Args:
        batch_size, q_length, kv_length: lengths B, Q, K.
        q_offset, kv_offset: positions of the first query and of the first key that a cache still holds.
        mask_function: closure over (batch, head, query, key) positions.
        attention_mask: (B, S) of keys, True for a token.
        use_vmap, device: how and where to evaluate a mask function that nobody knows.
        config: of the part of the model that asks.

    Returns:
        What the attention function below gets as its ``attention_mask``, untouched by the model.

    Raises:
        ArgumentError: the attention mask has other axes, or does not fit the lengths.
    """
    if attention_mask is not None and attention_mask.ndim != 2:
        raise ArgumentError(
            f"attention_mask has shape {tuple(attention_mask.shape)}",
            where=WHERE,
            fix=SHAPES,
        )
    packing = attention_mask if isinstance(attention_mask, PackedMask) else current_packing()
    queries = range(int(q_offset), int(q_offset) + q_length)
    keys = range(int(kv_offset), int(kv_offset) + kv_length)
    mask = mask_from_closure(mask_function, queries, keys)
    tokens = None if isinstance(attention_mask, PackedMask) else attention_mask
    if mask is None:
        warnings.warn(UnknownMaskWarning(getattr(mask_function, "__qualname__", repr(mask_function))), stacklevel=2)
        lengths = (batch_size, q_length, kv_length, queries.start, keys.start)
        options: dict[str, Any] = {"allow_is_causal_skip": False, "use_vmap": use_vmap, "device": device}
        plan = lift("hf_4d", sdpa_mask(*lengths, mask_function, tokens, **options))
    else:
        if tokens is not None:
            mask = mask & padding(attention_mask=slice_of_keys(tokens, keys))
        offset = queries.start - keys.start
        plan = compile_cached(mask, q=q_length, k=kv_length, batch=batch_size, offset=offset)
    if packing is None:
        weights = current_key_weights(keys, queries.stop, batch_size, config)
        return ModelMask.of(plan, weights, batch_size, device)
    refuse_mixing(getattr(config, "model_type", ""))
    if isinstance(packing, PackedMask):
        check_prepared(packing, config)
    return ModelMask.of(intersect_with_layer_mask(packing.plan, plan), packing.weights, batch_size, device)


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention interface of transformers, by ``attnmask.attention``; by rows where the scores are changed.

    Args:
        module: the layer's attention, with ``training`` and maybe ``is_causal``.
        query: (B, H, Q, D). key, value: (B, Hkv, K, D).
        attention_mask: what ``model_mask`` returned, or a user's 4-D mask; None for none.
        scaling: factor of the scores. dropout: share of attention weights to drop in training.
        is_causal: overrides the module's.
        kwargs: of these, ``softcap``, ``position_bias``, ``s_aux`` and ``sinks`` change the scores, ``indices`` and
            ``block_indices`` narrow the mask.

    Returns:
        Output (B, Q, H, D), contiguous, and None in the place of the attention weights.

    Raises:
        UnsupportedModelError: a paged cache, an argument that is not known here, or attention weights are asked for.
    """
    refuse_unless_exact(module, kwargs)
    _refuse_added_bools(module, attention_mask)
    mask = mask_for_call(module, query, key, attention_mask, is_causal)
    mask = narrow_to_chosen_keys(module, query, mask, kwargs)
    changes = Changes(
        softcap=kwargs.get("softcap"),
        bias=kwargs.get("position_bias"),
        sinks=_sink_logits(kwargs.get("s_aux"), kwargs.get("sinks")),
        dropout=dropout if module.training else 0.0,
    )
    out = layer_attention(query, key, value, mask, scaling, changes)
    return out.transpose(1, 2).contiguous(), None


def _sink_logits(per_head: Tensor | None, per_row: Tensor | None) -> Tensor | None:
    """Learnt logits, given by head (H,) or by row (B, H, Q, 1), as (B or 1, H, Q or 1, 1)."""
    return per_row if per_head is None else per_head.view(1, -1, 1, 1)


def layer_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: ModelMask, scaling: float | None, changes: Changes
) -> Tensor:
    """Output (B, H, Q, Dv) under a model's mask, by the fastest way that its scores allow."""
    if not changes.any:
        return attention(q, k, v, mask.plan, weights=mask.weights, scale=scaling)
    scale = 1 / math.sqrt(q.shape[-1]) if scaling is None else scaling
    weights = None if mask.weights is None else weights_on_four_axes(mask.weights, q, k, scale)
    return attention_with_changes(q, k, v, mask.plan, weights, scale, changes)


def refuse_unless_exact(module: nn.Module, kwargs: dict[str, Any]) -> None:
    """Raise where leaving something out of the computation would change the result."""
    where = f"{WHERE}, {type(module).__name__}"
    for name, meaning in REFUSED_ARGUMENTS.items():
        if kwargs.get(name) is not None:
            raise UnsupportedModelError(f"the model has {meaning} ({name})", where=where, fix=USE_EAGER)
    taken = _arguments_of_eager(type(module).__module__) | _names_in_forward(type(module))
    unknown = [name for name in taken - HANDLED_ARGUMENTS - IGNORED_ARGUMENTS if kwargs.get(name) is not None]
    if unknown:
        raise UnsupportedModelError(
            f"the model gives its attention {', '.join(sorted(unknown))}, which is not known here",
            where=where,
            fix=USE_EAGER,
        )
    # Some models keep the argument to themselves and collect the weights by hooks.
    collected = cast(Iterable[str], _active_collector.get() or ())
    if kwargs.get("output_attentions") or any("attentions" in name for name in collected):
        raise UnsupportedModelError(
            "output_attentions=True asks for attention weights, which are never formed", where=where, fix=USE_EAGER
        )


@cache
def _arguments_of_eager(module: str) -> frozenset[str]:
    """What the eager attention of a model's file takes: any of it may change the result."""
    eager = getattr(sys.modules.get(module), "eager_attention_forward", None)
    return frozenset(inspect.signature(eager).parameters) if eager is not None else frozenset()


@cache
def _names_in_forward(kind: type[nn.Module]) -> frozenset[str]:
    """The names in a layer's own code, among them all arguments that it gives its attention by name.

    What else arrives was handed through from the caller of the model, and eager attention does not read it either.
    """
    code = getattr(inspect.unwrap(kind.forward), "__code__", None)
    constants: tuple[Any, ...] = code.co_consts if code else ()
    names: set[Any] = set()
    for value in constants:
        names.update(cast(tuple[Any, ...], value) if isinstance(value, tuple) else (value,))
    return frozenset(name for name in names if isinstance(name, str))


def _refuse_added_bools(module: nn.Module, given: Tensor | None) -> None:
    """Raise for a user's mask of bools in a model that may have added something to it on the way."""
    if given is None or isinstance(given, ModelMask) or given.dtype != torch.bool:
        return
    if not _expects_bool_masks(type(module).__module__):
        raise UnsupportedModelError(
            "the model's code adds to its masks, and this one is of bools",
            where=f"{WHERE}, {type(module).__name__}",
            fix=USE_EAGER,
        )


@cache
def _expects_bool_masks(module: str) -> bool:
    """Whether the models of a file are written for masks of bools: those that run under sdpa are."""
    own = vars(sys.modules[module]).values()
    bases = [x for x in own if isinstance(x, type) and issubclass(x, PreTrainedModel) and x is not PreTrainedModel]
    return all(base._supports_sdpa for base in bases)  # pyright: ignore[reportPrivateUsage]


def mask_for_call(
    module: nn.Module, query: Tensor, key: Tensor, given: Tensor | None, is_causal: bool | None
) -> ModelMask:
    """The mask of one call of attention, whoever made it."""
    queries, keys = query.shape[2], key.shape[2]
    where = f"{WHERE}, {type(module).__name__}"
    if isinstance(given, ModelMask):
        check_keys(given.plan.K, keys, where)
        return given
    weights = current_key_weights(range(keys), keys, len(query), getattr(module, "config", None))
    if given is not None:
        return ModelMask.of(plan_from_user_mask(given, (*query.shape[:3], keys), where), weights)
    # As transformers' sdpa attention reads an absent mask: one query sees all keys, whatever the module says.
    causal_wanted = queries > 1 and (getattr(module, "is_causal", True) if is_causal is None else is_causal)
    if causal_wanted and queries != keys:
        raise UnsupportedModelError(
            f"a causal layer without a mask, of {queries} queries and {keys} keys: nothing says how they line up",
            where=where,
            fix=f"give the model an attention_mask, or {USE_EAGER}",
        )
    return ModelMask.of(compile_cached(causal() if causal_wanted else full(), q=queries, k=keys, offset=0), weights)
