"""Flax, linen and nnx."""

from __future__ import annotations

from typing import Any

import numpy as np

import attnmask as am
from conformance.libraries.base import Array, Library


def linen(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    from flax.linen import dot_product_attention

    return _attend(dot_product_attention, plan, q, k, v)


def nnx(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    from flax.nnx import dot_product_attention

    return _attend(dot_product_attention, plan, q, k, v)


def _attend(attention: Any, plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    out = attention(*(x.swapaxes(1, 2) for x in (q, k, v)), mask=plan.to("flax"))
    return np.asarray(out).swapaxes(1, 2)


LIBRARIES = [
    Library("flax.linen.dot_product_attention", ("flax", "jax"), linen, marker="jax"),
    Library("flax.nnx.dot_product_attention", ("flax", "jax"), nnx, marker="jax"),
]
