"""keras.layers.MultiHeadAttention on its torch backend, in a second process: Keras has one backend a process."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any

import attnmask as am
from conformance.libraries.base import Array, Library, by_head, flat


def _choose_torch() -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    import torch

    torch.set_num_threads(1)


@cache
def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_choose_torch)


def _called(arguments: dict[str, Any], with_scores: bool, q: Array, k: Array, v: Array) -> Array:
    """The output of a layer without projections, where Keras runs on torch."""
    import keras
    import torch

    from conformance.libraries.keras_layers import layer_of

    assert keras.backend.backend() == "torch"
    with torch.no_grad():
        out = layer_of(q)(flat(q), flat(v), flat(k), **arguments, return_attention_scores=with_scores)
    return by_head((out[0] if with_scores else out).numpy(), q.shape[1])


def kernel(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    return _process().submit(_called, plan.to("keras"), False, q, k, v).result()


def scores(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    return _process().submit(_called, plan.to("keras"), True, q, k, v).result()


LIBRARIES = [
    Library("Keras MultiHeadAttention on torch", ("keras", "torch"), kernel, marker="keras"),
    Library("Keras MultiHeadAttention on torch, with scores", ("keras", "torch"), scores, marker="keras"),
]
