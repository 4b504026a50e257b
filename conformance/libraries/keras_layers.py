"""keras.layers.MultiHeadAttention on its JAX backend, by both of its paths."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

import attnmask as am
from conformance.libraries.base import Array, Library, by_head, flat


def layer_of(q: Array, sliding_window: int | None = None) -> Any:
    """A layer without projections."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    heads, width = q.shape[1], q.shape[3]
    layer = keras.layers.MultiHeadAttention(heads, width, use_bias=False, sliding_window=sliding_window)
    shape = (None, None, heads * width)
    layer.build(shape, shape, shape)
    eye = np.eye(heads * width, dtype=np.float32)
    layer.set_weights([eye.reshape(weight.shape) for weight in layer.weights])
    return layer


def kernel(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    out = layer_of(q)(flat(q), flat(v), flat(k), **plan.to("keras"))
    return by_head(np.asarray(out), q.shape[1])


def scores(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    out, _ = layer_of(q)(flat(q), flat(v), flat(k), **plan.to("keras"), return_attention_scores=True)
    return by_head(np.asarray(out), q.shape[1])


LIBRARIES = [
    Library("Keras MultiHeadAttention on JAX", ("keras", "jax"), kernel, marker="keras"),
    Library("Keras MultiHeadAttention on JAX, with scores", ("keras", "jax"), scores, marker="keras"),
]
