"""JAX splash attention, its TPU kernel in interpret mode."""

from __future__ import annotations

from typing import Any

import numpy as np

import attnmask as am
from conformance.libraries.base import Array, Library, pairs_of


def interpreted(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    given = plan.to("splash", heads=q.shape[1])
    return _attend(given["mask"], given["segment_ids"], q, k, v)


def of_any(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    """One item after the other, for splash has one mask for all."""
    items = pairs_of(plan, *q.shape[:2])
    parts = [_attend(pairs, None, *(x[None] for x in each)) for pairs, *each in zip(items, q, k, v, strict=True)]
    return np.concatenate(parts)


def _attend(mask: Any, segment_ids: Any, q: Array, k: Array, v: Array) -> Array:
    import jax
    from jax.experimental.pallas.ops.tpu.splash_attention import BlockSizes, make_splash_mha_single_device

    sizes = BlockSizes(block_q=128, block_kv=128, block_kv_compute=128)
    kernel = make_splash_mha_single_device(mask, block_sizes=sizes, interpret=True)
    scaled = q / np.sqrt(np.float32(q.shape[3]))  # splash leaves the scale to its caller
    if segment_ids is None:
        return np.asarray(jax.vmap(kernel)(scaled, k, v))
    ids = type(segment_ids)(*(np.broadcast_to(each, (len(q), each.shape[1])) for each in segment_ids))
    return np.asarray(jax.vmap(kernel)(scaled, k, v, segment_ids=ids))


LIBRARIES = [
    Library(
        "JAX splash attention, interpreted",
        ("jax",),
        interpreted,
        of_any,
        marker="jax",
        shapes={"square": (128, 128, 0), "wide, at the end": (128, 256, 128)},
        kinds=(
            "causal",
            "window",
            "causal documents",
            "padding with holes",
            "chunked",
            "sinks",
            "per head",
            "any pairs",
        ),
    )
]
