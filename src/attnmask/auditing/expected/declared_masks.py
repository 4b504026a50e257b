"""Read the masks that a transformers config declares for its layers, and compute which tokens reach which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from attnmask.compiler.plan import compile
from attnmask.conventions import BoolArray
from attnmask.mask.atoms import causal, chunked, full, window
from attnmask.mask.expression import Mask, atoms_in

# Number of tokens on which a declared mask is checked for causality.
SAMPLE = 32
# Names of layer types with full attention.
FULL = ("full_attention", "attention", "global", "full", "dense")


def layers_of_config(config: Any, is_causal: bool) -> list[Mask | None]:
    """Return the mask of each layer, without padding; None for a layer without attention or with an unknown mask.

    Args:
        config: config of a transformers model. is_causal: whether a token attends only to tokens before it.
    """
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    base = causal() if is_causal else full()
    kinds = next((kinds for name in _KINDS if (kinds := getattr(text, name, None))), None)
    if kinds is None:
        count = next((getattr(text, name) for name in _COUNTS if isinstance(getattr(text, name, None), int)), 1)
        every = _size(text, "sliding_window_pattern")
        if every is None:
            return [_mask_for_all_layers(text, base)] * count
        kinds = ["sliding_attention" if layer % every else "full_attention" for layer in range(1, count + 1)]
    return [_mask_for_layer(kind, text, base) for kind in kinds]


_KINDS = ("layer_types", "layers_block_type", "attention_layers")
_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


def _mask_for_all_layers(config: Any, base: Mask) -> Mask | None:
    """Return the mask for a config without layer types: a window applies to all layers.

    None if the config has another attribute that limits the window to some layers.
    """
    if any(getattr(config, name, None) for name in ("attention_window", "max_window_layers", "sliding_window_pattern")):
        return None
    return _mask_for_layer("sliding_attention" if _size(config, "sliding_window") else "full_attention", config, base)


def _mask_for_layer(kind: str, config: Any, base: Mask) -> Mask | None:
    if kind in FULL:
        return base
    size = _size(config, "sliding_window") or _size(config, "window_size")
    # The window sizes of transformers include the query's own key.
    if kind in ("sliding_attention", "local") and size and base == causal():
        return window(left=size - 1, right=0)
    size = _size(config, "attention_chunk_size")
    if kind == "chunked_attention" and size and base == causal():
        return base & chunked(size)
    return None


def _size(config: Any, name: str) -> int | None:
    value = getattr(config, name, None)
    return value if isinstance(value, int) and value > 0 else None


def reach_through_layers(
    layers: Sequence[Mask | None] | None, length: int, tokens: Tensor | None = None
) -> BoolArray | None:
    """Compute which token can influence which through all layers: the product of their masks, each plus the identity.

    The identity is the residual connection, by which a token keeps what it has.

    Args:
        layers: masks of the layers. length: number of tokens. tokens: (L,), 1 for a token, 0 for padding.

    Returns:
        bool (L, L), queries x keys; None if the mask of a layer is unknown.

    >>> reach_through_layers([window(left=1, right=0)] * 2, 5)[4].astype(int)
    array([0, 0, 1, 1, 1])
    """
    if layers is None or any(mask is None for mask in layers):
        return None
    reach = np.eye(length, dtype=bool)
    for mask in layers:
        assert mask is not None
        attends = compile(mask, q=length).to("dense").any((0, 1))
        if tokens is not None:
            attends = attends & tokens.bool().cpu().numpy()
        reach = reach | (attends @ reach)
    return reach


def required_length(layers: Sequence[Mask | None] | None) -> int:
    """Return the number of tokens that a declared mask with data of its own needs; 0 if it fits any length.

    >>> from attnmask.mask.atoms import dense
    >>> required_length([causal()]), required_length([causal() & dense([[1, 0], [1, 1]])])
    (0, 2)
    """
    masks = [mask for mask in layers or () if mask is not None]
    sizes = [atom.sizes().get("K") or 0 for mask in masks for atom in atoms_in(mask)]
    return max(sizes, default=0)


def is_causal(mask: Mask) -> bool:
    """Return whether no token attends to a later one."""
    plan = compile(mask, q=required_length([mask]) or SAMPLE)
    return not np.triu(plan.to("dense"), 1).any()


def depends_on_row_start(layers: Sequence[Mask | None] | None, length: int, start: int) -> bool:
    """Return whether a declared mask changes for a text that starts at ``start`` of its row instead of at 0."""
    for mask in layers or ():
        if mask is None or required_length([mask]):
            return mask is not None
        whole, alone = (compile(mask, q=q).to("dense") for q in (length, length - start))
        if not np.array_equal(np.broadcast_to(whole[..., start:, start:], alone.shape), alone):
            return True
    return False
