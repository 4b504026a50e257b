"""equinox.nn.MultiheadAttention, item by item under jax.vmap."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import attnmask as am
from conformance.libraries.base import Array, Library, by_head, flat, pairs_of


@cache
def _layer(heads: int, width: int) -> Any:
    """A layer whose projections change nothing."""
    import equinox
    import jax

    layer = equinox.nn.MultiheadAttention(heads, heads * width, key=jax.random.key(0))
    projections = ("query_proj", "key_proj", "value_proj", "output_proj")
    eye = np.eye(heads * width, dtype=np.float32)
    return equinox.tree_at(lambda tree: [getattr(tree, name).weight for name in projections], layer, [eye] * 4)


def layer(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    import jax

    attention = _layer(q.shape[1], q.shape[3])
    out = jax.vmap(attention)(flat(q), flat(k), flat(v), pairs_of(plan, *q.shape[:2]))
    return by_head(np.asarray(out), q.shape[1])


LIBRARIES = [Library("equinox.nn.MultiheadAttention", ("equinox", "jax"), layer, marker="peers")]
