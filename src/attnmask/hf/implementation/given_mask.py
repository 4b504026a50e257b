"""Check the ``attention_mask`` that a user passes to a model, and read masks of four axes.

Before transformers calls a mask function such as ``interface.model_mask``, it converts every nonzero number of the
attention_mask to True, and cuts or pads a mask of another length. Both errors are then invisible. This module wraps
the transformers function that does so, ``_preprocess_mask_arguments``, and checks the mask first. Under any other
attn_implementation the wrapper calls the original function and nothing else. A mask of four axes reaches the attention
function unchanged; ``interface.mask_for_call`` reads it with ``plan_from_user_mask``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from transformers import masking_utils

from attnmask.compiler.plan import Plan
from attnmask.errors import ArgumentError
from attnmask.formats import lift
from attnmask.hf.implementation.model_mask import NAME, WHERE
from attnmask.hf.implementation.token_mask import read_token_mask
from attnmask.hf.implementation.transformers_patches import replace_attribute
from attnmask.hf.packing.packed_mask import PackedMask

SHAPES = "give (B, K), 1 for a token, or (B, H, Q, K), bools of which True attends"
ENTRIES = "give an entry for each token of this call, and one for each token that a cache holds"


def patch_mask_checks() -> None:
    """Patch transformers so that it checks an attention mask before it converts it to bools."""
    preprocess: Any = masking_utils._preprocess_mask_arguments  # pyright: ignore
    replace_attribute(masking_utils, "_preprocess_mask_arguments", _with_checks(preprocess))


def _with_checks(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def preprocess(
        config: Any,
        inputs_embeds: Tensor,
        attention_mask: Any,
        past_key_values: Any,
        position_ids: Any,
        layer_idx: Any,
        encoder_hidden_states: Tensor | None = None,
    ) -> Any:
        arguments = inputs_embeds, attention_mask, past_key_values, position_ids, layer_idx, encoder_hidden_states
        # In cross-attention the keys are the encoder's, so a packed mask must give the plan across the two texts.
        if isinstance(attention_mask, PackedMask) and encoder_hidden_states is not None:
            return original(config, inputs_embeds, attention_mask.across(), *arguments[2:])
        if config._attn_implementation != NAME or isinstance(attention_mask, PackedMask):
            return original(config, *arguments)
        if attention_mask is not None and not isinstance(attention_mask, Tensor | BlockMask):
            fix = "give a tensor: torch.as_tensor(attention_mask); of a plan, plan.to('hf_4d')"
            raise ArgumentError(f"attention_mask is a {type(attention_mask).__name__}", where=WHERE, fix=fix)
        if not isinstance(attention_mask, Tensor) or attention_mask.ndim != 2:
            return original(config, *arguments)
        _check_outside_graph(attention_mask, len(inputs_embeds))
        found = original(config, *arguments)
        if past_key_values is not None:
            *_, q_length, kv_length, _, kv_offset = found
            minimum = int(past_key_values.get_seq_length(layer_idx)) + q_length
            # A static cache has room for more keys than it holds, and a mask may already cover them.
            static = getattr(past_key_values, "is_compileable", False)
            maximum = None if static else max(minimum, int(kv_offset) + kv_length)
            _check_length(attention_mask.shape[1], minimum, maximum)
        return found

    return preprocess


def check_two_axes(attention_mask: Tensor, items: int) -> None:
    """Raise unless a mask is (B, K) or (1, K) and marks tokens with 1 and padding with 0."""
    read_token_mask(attention_mask, WHERE)
    if len(attention_mask) not in (1, items):
        shape = tuple(attention_mask.shape)
        raise ArgumentError(f"attention_mask has shape {shape}, the batch {items} items", where=WHERE, fix=SHAPES)


# torch.compile cannot trace checks that read the values of a tensor: they run between two compiled graphs.
_check_outside_graph: Callable[..., None] = cast(Any, torch.compiler.disable)(check_two_axes)


def _check_length(length: int, minimum: int, maximum: int | None) -> None:
    if length < minimum or (maximum is not None and length > maximum):
        raise ArgumentError(
            f"attention_mask has {length} entries a text, cache and call together {minimum} tokens",
            where=WHERE,
            fix=ENTRIES,
        )


def check_keys(mask_keys: int, layer_keys: int, where: str) -> None:
    """Raise unless a mask has as many keys as the layer that received it."""
    if mask_keys != layer_keys:
        raise ArgumentError(
            f"the attention_mask is for {mask_keys} keys, the layer has {layer_keys}", where=where, fix=ENTRIES
        )


def plan_from_user_mask(mask: Tensor, sizes: tuple[int, ...], where: str) -> Plan:
    """Convert a user's mask of four axes to a plan.

    Args:
        mask: (B, H, Q, K), bools (True attends) or floats (0 attends, a large negative number masks). B, H or Q may
            be 1.
        sizes: (B, H, Q, K) of the layer. where: the layer, for errors.
    """
    fits = mask.ndim == 4 and mask.shape[3] == sizes[3]
    if not fits or any(own not in (1, size) for own, size in zip(mask.shape, sizes, strict=True)):
        raise ArgumentError(
            f"attention_mask has shape {tuple(mask.shape)}, the layer (B, H, Q, K) = {sizes}", where=where, fix=SHAPES
        )
    try:
        return lift("hf_4d", mask.expand(-1, -1, sizes[2], -1))
    except ArgumentError as error:
        fix = "give bools, True attends: mask.bool() of ones and zeros, mask == 0 of what is added to the scores"
        raise type(error)(error.what, where=where, fix=fix) from None
