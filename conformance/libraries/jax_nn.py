"""jax.nn.dot_product_attention."""

from __future__ import annotations

import numpy as np

import attnmask as am
from conformance.libraries.base import Array, Library


def structured(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    import jax

    arguments = plan.to("jax", batch=len(q))
    out = jax.nn.dot_product_attention(*(x.swapaxes(1, 2) for x in (q, k, v)), **arguments)
    return np.asarray(out).swapaxes(1, 2)


def dense(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    import jax

    out = jax.nn.dot_product_attention(*(x.swapaxes(1, 2) for x in (q, k, v)), mask=plan.to("dense"))
    return np.asarray(out).swapaxes(1, 2)


LIBRARIES = [
    Library("jax.nn.dot_product_attention, lengths and windows", ("jax",), structured, marker="jax"),
    Library("jax.nn.dot_product_attention, mask", ("jax",), dense, marker="jax"),
]
