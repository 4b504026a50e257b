"""xformers: its own attention biases, as it materializes them, added to the scores; its kernels need a GPU."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

import attnmask as am
from conformance.libraries.base import Array, Library


def bias_of(ours: Any) -> Any:
    """The bias of xformers' own class, from the dataclass of the same name and fields."""
    logging.getLogger("xformers").setLevel(logging.ERROR)  # that its kernels are for another torch
    from xformers.ops.fmha import attn_bias

    infos = {"SeqLenInfo": attn_bias._SeqLenInfo, "PaddedSeqLenInfo": attn_bias._PaddedSeqLenInfo}
    fields = {
        name: infos[type(value).__name__](**vars(value)) if type(value).__name__ in infos else value
        for name, value in vars(ours).items()
    }
    return getattr(attn_bias, type(ours).__name__)(**fields)


def materialized(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    ours = plan.to("xformers", batch=len(q))
    tensors = [torch.from_numpy(x) for x in (q, k, v)]
    if ours is None:
        return scaled_dot_product_attention(*tensors).numpy()
    if not type(ours).__name__.startswith("BlockDiagonal"):
        added = bias_of(ours).materialize((plan.Q, plan.K))
        return scaled_dot_product_attention(*tensors, attn_mask=added).numpy()
    packed = [x.transpose(0, 1).flatten(1, 2)[None] for x in tensors]  # one item after the other
    added = bias_of(ours).materialize((len(q) * plan.Q, len(q) * plan.K))
    out = scaled_dot_product_attention(*packed, attn_mask=added)[0]
    return out.unflatten(1, (len(q), plan.Q)).transpose(0, 1).contiguous().numpy()


LIBRARIES = [
    Library("xformers attn_bias, materialized", ("xformers", "torch"), materialized, marker="peers"),
]
