"""Narrow a mask to the keys that a sparse-attention layer selected, such as the top-k of DeepSeek's sparse attention.

Under "eager" and "sdpa" such a layer narrows its mask itself. To any other attention function it passes the unchanged
mask and the indices of the selected keys, so that ignoring the indices would attend to every key of the mask.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from attnmask.compiler.algebra import intersect
from attnmask.compiler.plan import Plan, plan_from_dense
from attnmask.errors import UnsupportedModelError
from attnmask.hf.implementation.model_mask import USE_EAGER, WHERE, ModelMask

# Names of the keyword arguments with the indices: of keys (B, Q, n), or of blocks of keys (B, groups of heads, Q, n).
# An index of -1 selects nothing.
KEYS, BLOCKS = "indices", "block_indices"


def narrow_to_chosen_keys(module: nn.Module, query: Tensor, mask: ModelMask, kwargs: dict[str, Any]) -> ModelMask:
    """Intersect a mask with the keys that the layer selected; return the mask unchanged if it passes no indices.

    Args:
        module: the attention module. query: (B, H, Q, D). mask: the mask passed to the layer.
        kwargs: the other keyword arguments that the layer passes to its attention function.

    Raises:
        UnsupportedModelError: the indices do not fit the queries or the keys.
    """
    keys, blocks = kwargs.get(KEYS), kwargs.get(BLOCKS)
    if keys is None and blocks is None:
        return mask
    heads, queries = query.shape[1:3]
    chosen = torch.ones((), dtype=torch.bool)
    if keys is not None:
        chosen = chosen & _bools_from_indices(module, keys, queries, mask.plan.K)[:, None]
    if blocks is not None:
        _refuse_empty_rows(module, mask)
        size = _block_size(module)
        kept = _bools_from_indices(module, blocks, queries, -(-mask.plan.K // size))
        # Each group of heads shares its blocks; the last block may reach past the last key.
        by_head = kept.repeat_interleave(heads // kept.shape[1], dim=1)
        chosen = chosen & by_head.repeat_interleave(size, dim=-1)[..., : mask.plan.K]
    runs = plan_from_dense(chosen.cpu().numpy(), mask.plan.offset).runs
    plan = Plan(intersect([mask.plan.runs, runs]), mask.plan.offset)
    return ModelMask.of(plan, mask.weights, len(query), mask.device)


def _refuse_empty_rows(module: nn.Module, mask: ModelMask) -> None:
    """Raise if some queries attend to no key: the states of pads then differ from those of eager attention.

    The layer scores a block by the states of all its keys, pads included, so that it would select other blocks.
    """
    if mask.plan.empty_rows:
        raise UnsupportedModelError(
            "the layer selects blocks of keys by the states of pads too, which differ from those of eager attention",
            where=f"{WHERE}, {type(module).__name__}",
            fix=f"pad on the right, or {USE_EAGER}",
        )


def _bools_from_indices(module: nn.Module, indices: Tensor, queries: int, size: int) -> Tensor:
    """Convert indices (..., Q, n) to bools (..., Q, size) that are True at the indices."""
    if indices.shape[-2] != queries or (indices.numel() and int(indices.max()) >= size):
        raise UnsupportedModelError(
            f"the layer chose keys by indices {tuple(indices.shape)}, for {queries} queries and {size} choices",
            where=f"{WHERE}, {type(module).__name__}",
            fix=USE_EAGER,
        )
    # An index of -1 goes to an extra last column, which is cut off.
    places = indices.long().masked_fill(indices < 0, size)
    return torch.zeros(*indices.shape[:-1], size + 1, dtype=torch.bool, device=indices.device).scatter(
        -1, places, True
    )[..., :size]


def _block_size(module: nn.Module) -> int:
    size = getattr(getattr(module, "indexer", None), "block_size", None)
    if not isinstance(size, int):
        raise UnsupportedModelError(
            "the layer chose blocks of keys and does not say how many keys a block has",
            where=f"{WHERE}, {type(module).__name__}",
            fix=USE_EAGER,
        )
    return size
