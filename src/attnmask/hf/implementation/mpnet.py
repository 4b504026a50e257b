"""Patch MPNet to run under ``attn_implementation="attnmask"``; it bypasses the AttentionInterface of transformers.

MPNet adds a bias that depends on the distance of query and key to its scores. Two of its methods are wrapped; under any
other attn_implementation they call the original. A row of packed texts needs the bias only inside each text, so only
the bias of the longest text is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.mpnet import modeling_mpnet

from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import Int64
from attnmask.compiler.structure.facts import document_ids
from attnmask.execute.score_changes import Changes
from attnmask.execute.tiles.rectangles import Slabs
from attnmask.hf.implementation.interface import layer_attention, mask_for_call, refuse_unless_exact
from attnmask.hf.implementation.model_mask import NAME, ModelMask
from attnmask.hf.implementation.transformers_patches import replace_attribute

Attention = Callable[..., Tensor]


class PositionBias:
    """The distance bias of MPNet for all layers of one forward pass, computed on first use.

    Args:
        table: function from a length L to the bias (1, H, L, L).
    """

    def __init__(self, table: Callable[[int], Tensor]) -> None:
        self._table = table
        self._longest: Tensor | None = None
        self._documents: tuple[Plan, list[tuple[int, Int64]] | None] | None = None

    def up_to(self, length: int) -> Tensor:
        """Return the bias (1, H, length, length)."""
        # The bias depends on distances alone, so that of a short text is the corner of that of a longer one.
        if self._longest is None or self._longest.shape[-1] < length:
            self._longest = self._table(length)
        return self._longest[:, :, :length, :length]

    def documents(self, plan: Plan) -> list[tuple[int, Int64]] | None:
        """Return ``documents_by_length`` of a plan, computed once for all layers."""
        if self._documents is None or self._documents[0] is not plan:
            self._documents = plan, documents_by_length(plan)
        return self._documents[1]


def documents_by_length(plan: Plan) -> list[tuple[int, Int64]] | None:
    """Return the document lengths of a plan, longest first, each with the starts of the documents of that length.

    Returns None for a plan that is not one of documents in a single row.
    """
    ids = document_ids(plan.runs) if plan.B == 1 else None
    if ids is None:
        return None
    # -2 differs from every id, -1 for padding included, so that both ends of the row are edges.
    edges = np.flatnonzero(np.diff(ids[0], prepend=-2, append=-2))
    starts, lengths = edges[:-1], np.diff(edges)
    present = ids[0][starts] >= 0
    starts, lengths = starts[present], lengths[present]
    return [(int(length), starts[lengths == length]) for length in np.unique(lengths)[::-1]]


# As for other models: nothing in it can be traced.
@cast(Callable[[Attention], Attention], torch.compiler.disable)
def attention_with_bias(q: Tensor, k: Tensor, v: Tensor, mask: ModelMask, bias: PositionBias) -> Tensor:
    """Compute softmax attention over the pairs of a mask, with a distance bias added to the scores.

    Args:
        q, k, v: (B, H, L, D). mask: of L queries and L keys. bias: the distance bias.

    Returns:
        (B, H, L, D), 0 in rows that attend to nothing.
    """
    documents = bias.documents(mask.plan)
    weights = None if mask.weights is None else mask.weights.expand(q.shape[0], -1).to(q.dtype)
    if documents is None:
        return _dense_attention(q, k, v, torch.from_numpy(mask.plan.runs.to_dense()).to(q.device), weights, bias)
    out = torch.zeros_like(q)
    for length, starts in documents:
        slabs = Slabs(starts, length, q.device)
        own = None if weights is None else slabs.read(weights[:, None])
        slabs.write(out, _sdpa_with_bias(slabs.read(q), slabs.read(k), slabs.read(v), bias.up_to(length), own))
    return out


def _dense_attention(
    q: Tensor, k: Tensor, v: Tensor, attends: Tensor, weights: Tensor | None, bias: PositionBias
) -> Tensor:
    unused_keys = ~attends.any(-2)
    # A kernel multiplies masked values by a weight of 0, and 0 * NaN is NaN.
    k, v = (x.masked_fill(unused_keys[..., None], 0) for x in (k, v))
    own = None if weights is None else weights[:, None]
    return _sdpa_with_bias(q, k, v, bias.up_to(q.shape[2]).masked_fill(~attends, -torch.inf), own)


def _sdpa_with_bias(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, weights: Tensor | None) -> Tensor:
    """Run sdpa with a bias; ``weights`` are key weights (B, 1, L)."""
    if weights is not None:
        # exp(score + log(w)) = w * exp(score): the softmax multiplies each key by its weight.
        bias = bias + weights.log()[:, :, None]
    out = scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype), scale=1 / math.sqrt(q.shape[-1]))
    # Depending on its backend, sdpa gives NaN or 0 in a row whose scores are all -inf.
    return out.masked_fill((bias == -torch.inf).all(-1, keepdim=True), 0)


def patch_mpnet() -> None:
    """Patch MPNet so that it runs under ``attn_implementation="attnmask"``."""
    encoder: Any = modeling_mpnet.MPNetEncoder
    layer: Any = modeling_mpnet.MPNetSelfAttention
    replace_attribute(encoder, "compute_position_bias", _lazy_bias(encoder.compute_position_bias))
    replace_attribute(layer, "forward", _forward_with_lazy_bias(layer.forward))
    # transformers searches the source file for "ALL_ATTENTION_FUNCTIONS.get_interface(", which MPNet does not call.
    can_set = classmethod(lambda cls: True)  # pyright: ignore
    replace_attribute(modeling_mpnet.MPNetPreTrainedModel, "_can_set_attn_implementation", can_set)


def _lazy_bias(original: Callable[..., Tensor]) -> Callable[..., Any]:
    @wraps(original)
    def compute_position_bias(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor | PositionBias:
        if self.config._attn_implementation != NAME:
            return original(self, x, *args, **kwargs)
        return PositionBias(lambda length: original(self, x[:1, :length]))

    return compute_position_bias


def _forward_with_lazy_bias(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def forward(
        self: Any,
        hidden_states: Tensor,
        attention_mask: Any = None,
        position_bias: Any = None,
        output_attentions: bool = False,
        **kwargs: Any,
    ) -> Any:
        if not isinstance(position_bias, PositionBias):
            return original(self, hidden_states, attention_mask, position_bias, output_attentions, **kwargs)
        refuse_unless_exact(self, {"output_attentions": output_attentions})
        shape = (*hidden_states.shape[:-1], -1, self.attention_head_size)
        q, k, v = (linear(hidden_states).view(shape).transpose(1, 2) for linear in (self.q, self.k, self.v))
        mask = mask_for_call(self, q, k, attention_mask, is_causal=False)
        if self.training and self.dropout.p > 0:
            changes = Changes(bias=position_bias.up_to(q.shape[2]), dropout=self.dropout.p)
            out = layer_attention(q, k, v, mask, None, changes)
        else:
            out = attention_with_bias(q, k, v, mask, position_bias)
        return (self.o(out.transpose(1, 2).flatten(2)),)

    return forward
