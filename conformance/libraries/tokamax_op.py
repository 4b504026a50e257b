"""tokamax: its attention on XLA under its own Mask, and under the arguments of jax.nn.dot_product_attention."""

from __future__ import annotations

from typing import Any

import numpy as np

import attnmask as am
from conformance.libraries.base import Array, Library


def bounded(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    from tokamax._src.ops.attention.base import DotProductAttention, Mask

    mask = Mask(**vars(plan.to("tokamax")))
    return _by_head(DotProductAttention(), q, k, v, mask=mask)


def dense(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    import tokamax

    return _by_head(tokamax.dot_product_attention, q, k, v, mask=plan.to("dense"), implementation="xla")


def _by_head(attention: Any, q: Array, k: Array, v: Array, **arguments: Any) -> Array:
    import jax.numpy as jnp
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # or tokamax reads the command line of whoever imports it
    given = {name: jnp.asarray(value) if isinstance(value, np.ndarray) else value for name, value in arguments.items()}
    out = attention(*(jnp.asarray(x.swapaxes(1, 2)) for x in (q, k, v)), **given)
    return np.asarray(out).swapaxes(1, 2)


LIBRARIES = [
    Library("tokamax, Mask", ("tokamax", "jax"), bounded, marker="peers"),
    Library("tokamax, bools", ("tokamax", "jax"), dense, marker="peers"),
]
