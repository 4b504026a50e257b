"""Attention of other libraries, one file each: a plan, q, k and v go in as NumPy arrays, the output comes back."""

from __future__ import annotations

from importlib import import_module

from conformance.libraries.base import Library as Library
from conformance.libraries.base import Model as Model

MODULES = (
    "torch_nn",
    "torch_flex",
    "hf_models",
    "jax_nn",
    "flax_nn",
    "splash_kernel",
    "keras_layers",
    "keras_on_torch",
    "onnx_operator",
    "xformers_bias",
    "tokamax_op",
    "equinox_nn",
    "x_transformers_attend",
)
WHOLE = ("torch_encoders", "whole_models")


def libraries() -> list[Library]:
    """All of them; their frameworks load when they first attend."""
    return [library for name in MODULES for library in import_module(f"conformance.libraries.{name}").LIBRARIES]


def models() -> list[Model]:
    """All whole models."""
    return [model for name in WHOLE for model in import_module(f"conformance.libraries.{name}").MODELS]
