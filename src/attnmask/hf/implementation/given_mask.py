"""What people give a model as its ``attention_mask``, looked at before transformers makes bools of it.

transformers takes every number but 0 for a token and cuts or fills what has another length, both before it asks any
mask interface. The one function in which it does so is wrapped; under other implementations it does what it did.
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
    """Let transformers' mask functions look at a mask before they convert it."""
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
            # Of the keys that a static cache has room for, a mask may speak before they are there.
            static = getattr(past_key_values, "is_compileable", False)
            maximum = None if static else max(minimum, int(kv_offset) + kv_length)
            _check_length(attention_mask.shape[1], minimum, maximum)
        return found

    return preprocess


def check_two_axes(attention_mask: Tensor, items: int) -> None:
    """Raise unless a mask (B, K) says of each key of the items whether it is a token."""
    read_token_mask(attention_mask, WHERE)
    if len(attention_mask) not in (1, items):
        shape = tuple(attention_mask.shape)
        raise ArgumentError(f"attention_mask has shape {shape}, the batch {items} items", where=WHERE, fix=SHAPES)


_check_outside_graph: Callable[..., None] = cast(Any, torch.compiler.disable)(check_two_axes)


def _check_length(length: int, minimum: int, maximum: int | None) -> None:
    if length < minimum or (maximum is not None and length > maximum):
        raise ArgumentError(
            f"attention_mask has {length} entries a text, cache and call together {minimum} tokens",
            where=WHERE,
            fix=ENTRIES,
        )


def check_keys(mask_keys: int, layer_keys: int, where: str) -> None:
    """Raise unless a mask is for the keys of the layer that it reaches."""
    if mask_keys != layer_keys:
        raise ArgumentError(
            f"the attention_mask is for {mask_keys} keys, the layer has {layer_keys}", where=where, fix=ENTRIES
        )


def plan_from_user_mask(mask: Tensor, sizes: tuple[int, ...], where: str) -> Plan:
    """The plan of a user's mask of four axes.

    Args:
        mask: (B, H, Q, K), bools of which True attends, or floats of which 0 does. B, H or Q may be 1.
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
