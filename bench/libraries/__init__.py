"""Attention of other libraries, one file each: a plan, q, k and v go in as NumPy arrays, the output comes back."""

from __future__ import annotations

from importlib import import_module

from bench.libraries.base import Library as Library

MODULES = ("torch_nn", "torch_flex", "hf_models", "jax_nn", "flax_nn", "splash_kernel", "keras_layers", "onnx_operator")


def libraries() -> list[Library]:
    """All of them; their frameworks load when they first attend."""
    return [library for name in MODULES for library in import_module(f"bench.libraries.{name}").LIBRARIES]
