"""The mask function and the attention function that transformers calls under ``attn_implementation="attnmask"``.

``registration.register`` enters both in the tables of transformers. Once per forward pass and kind of layer,
transformers calls ``model_mask`` with a closure over positions; ``mask_closures`` turns the closure into an expression,
which is compiled to a Plan and returned as a ``model_mask.ModelMask``. The model passes that tensor to its layers, each
of which calls ``attention_forward``; it unpacks the Plan and runs ``attnmask.attention``. Packed rows
(``packing.packed_mask``) and token weights (``weights.layer_weights``) enter in ``model_mask`` too.
"""

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
# Keyword arguments that attention_forward applies, or whose effect is already part of the mask.
HANDLED_ARGUMENTS = {"softcap", "position_bias", "s_aux", "sinks", "sliding_window", KEYS, BLOCKS, "kwargs"} | {
    "module", "query", "key", "value", "attention_mask", "scaling", "dropout", "is_causal"
}  # fmt: skip
# Keyword arguments that eager attention ignores too: flags of the model, and arguments that only flash-attention reads.
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
    """Implement the AttentionMaskInterface of transformers: compile the mask of one kind of layer.

    Args:
        batch_size, q_length, kv_length: lengths B, Q, K.
        q_offset, kv_offset: positions of the first query and of the first key that a cache still holds.
        mask_function: closure over (batch, head, query, key) positions.
        attention_mask: (B, S) of keys, True for a token.
        use_vmap, device: how and where to evaluate an unknown mask function.
        config: config of the model part that calls this.

    Returns:
        The mask that the layers receive as ``attention_mask`` and pass to ``attention_forward``.

    Raises:
        ArgumentError: the attention mask does not have two axes, or does not fit the lengths.
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
    # A packed mask marks its tokens itself: its plan leaves out the padding at the end of a row.
    tokens = None if isinstance(attention_mask, PackedMask) else attention_mask
    if mask is None:
        warnings.warn(UnknownMaskWarning(getattr(mask_function, "__qualname__", repr(mask_function))), stacklevel=2)
        lengths = (batch_size, q_length, kv_length, queries.start, keys.start)
        # By default sdpa_mask may return None for a causal mask, and leave it to the is_causal argument of sdpa.
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
    """Implement the AttentionInterface of transformers with ``attnmask.attention``.

    A layer that changes its scores, for example by a softcap or a bias, runs by ``attention_with_changes``.

    Args:
        module: the attention module, with ``training`` and possibly ``is_causal``.
        query: (B, H, Q, D). key, value: (B, Hkv, K, D).
        attention_mask: the result of ``model_mask``, a user's mask of four axes, or None.
        scaling: factor of the scores. dropout: share of attention weights to drop in training.
        is_causal: overrides ``module.is_causal``.
        kwargs: ``softcap``, ``position_bias``, ``s_aux`` and ``sinks`` change the scores; ``indices`` and
            ``block_indices`` narrow the mask.

    Returns:
        Output (B, Q, H, D), contiguous, and None instead of the attention weights.

    Raises:
        UnsupportedModelError: a paged cache, an unsupported keyword argument, or a request for attention weights.
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
    """Reshape learnt sink logits, per head (H,) or per row (B, H, Q, 1), to (B or 1, H, Q or 1, 1)."""
    return per_row if per_head is None else per_head.view(1, -1, 1, 1)


def layer_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: ModelMask, scaling: float | None, changes: Changes
) -> Tensor:
    """Compute the output (B, H, Q, Dv) of a layer; only layers that change their scores take the slower path."""
    if not changes.any:
        return attention(q, k, v, mask.plan, weights=mask.weights, scale=scaling)
    scale = 1 / math.sqrt(q.shape[-1]) if scaling is None else scaling
    weights = None if mask.weights is None else weights_on_four_axes(mask.weights, q, k, scale)
    return attention_with_changes(q, k, v, mask.plan, weights, scale, changes)


def refuse_unless_exact(module: nn.Module, kwargs: dict[str, Any]) -> None:
    """Raise if the layer passes an argument that ``attention_forward`` ignores and that may change the result."""
    where = f"{WHERE}, {type(module).__name__}"
    for name, meaning in REFUSED_ARGUMENTS.items():
        if kwargs.get(name) is not None:
            raise UnsupportedModelError(f"the model has {meaning} ({name})", where=where, fix=USE_EAGER)
    # Only arguments that eager attention reads, or that the layer passes by name, can change the result.
    taken = _arguments_of_eager(type(module).__module__) | _names_in_forward(type(module))
    unknown = [name for name in taken - HANDLED_ARGUMENTS - IGNORED_ARGUMENTS if kwargs.get(name) is not None]
    if unknown:
        raise UnsupportedModelError(
            f"the model passes {', '.join(sorted(unknown))} to its attention, which attnmask does not support",
            where=where,
            fix=USE_EAGER,
        )
    # Some models do not pass output_attentions on, but collect the attention weights with hooks.
    collected = cast(Iterable[str], _active_collector.get() or ())
    if kwargs.get("output_attentions") or any("attentions" in name for name in collected):
        raise UnsupportedModelError(
            "output_attentions=True needs the attention weights, which are never computed", where=where, fix=USE_EAGER
        )


@cache
def _arguments_of_eager(module: str) -> frozenset[str]:
    """Return the argument names of the eager attention function in a model's file: each may change the result."""
    eager = getattr(sys.modules.get(module), "eager_attention_forward", None)
    return frozenset(inspect.signature(eager).parameters) if eager is not None else frozenset()


@cache
def _names_in_forward(kind: type[nn.Module]) -> frozenset[str]:
    """Return the string constants of a layer's ``forward``; they include the keyword names of its attention call.

    All other keyword arguments come from the caller of the model, and eager attention ignores them too.
    """
    # CPython stores the keyword names of a call as a tuple of strings among the constants.
    code = getattr(inspect.unwrap(kind.forward), "__code__", None)
    constants: tuple[Any, ...] = code.co_consts if code else ()
    names: set[Any] = set()
    for value in constants:
        names.update(cast(tuple[Any, ...], value) if isinstance(value, tuple) else (value,))
    return frozenset(name for name in names if isinstance(name, str))


def _refuse_added_bools(module: nn.Module, given: Tensor | None) -> None:
    """Raise for a user's bool mask in a model that may have added numbers to it before this layer."""
    if given is None or isinstance(given, ModelMask) or given.dtype != torch.bool:
        return
    if not _expects_bool_masks(type(module).__module__):
        raise UnsupportedModelError(
            "the model's code adds numbers to its masks, and this mask is of bools",
            where=f"{WHERE}, {type(module).__name__}",
            fix=USE_EAGER,
        )


@cache
def _expects_bool_masks(module: str) -> bool:
    """Return whether the models in a file expect bool masks, as all models with sdpa support do."""
    own = vars(sys.modules[module]).values()
    bases = [x for x in own if isinstance(x, type) and issubclass(x, PreTrainedModel) and x is not PreTrainedModel]
    return all(base._supports_sdpa for base in bases)  # pyright: ignore[reportPrivateUsage]


def mask_for_call(
    module: nn.Module, query: Tensor, key: Tensor, given: Tensor | None, is_causal: bool | None
) -> ModelMask:
    """Return the mask of one attention call: that of ``model_mask``, a user's, or the default for no mask."""
    queries, keys = query.shape[2], key.shape[2]
    where = f"{WHERE}, {type(module).__name__}"
    if isinstance(given, ModelMask):
        check_keys(given.plan.K, keys, where)
        return given
    weights = current_key_weights(range(keys), keys, len(query), getattr(module, "config", None))
    if given is not None:
        return ModelMask.of(plan_from_user_mask(given, (*query.shape[:3], keys), where), weights)
    # As in transformers' sdpa_attention_forward: without a mask, a single query attends to all keys.
    causal_wanted = queries > 1 and (getattr(module, "is_causal", True) if is_causal is None else is_causal)
    if causal_wanted and queries != keys:
        raise UnsupportedModelError(
            f"a causal layer without a mask, of {queries} queries and {keys} keys: nothing says how they line up",
            where=where,
            fix=f"give the model an attention_mask, or {USE_EAGER}",
        )
    return ModelMask.of(compile_cached(causal() if causal_wanted else full(), q=queries, k=keys, offset=0), weights)
