"""The formats by name, by the type of what they make, and the module of each below ``attnmask.formats``."""

from __future__ import annotations

from typing import Literal, TypeAlias

TensorFormat: TypeAlias = Literal["dense_torch", "additive", "hf_2d", "hf_4d"]
ArgumentsFormat: TypeAlias = Literal[
    "sdpa", "mha", "torch_encoder", "hf_position_ids", "hf_sliding_window", "flashmask", "flashinfer",
    "transformer_engine", "cudnn", "magi", "jax", "keras", "onnx", "splash",
]  # fmt: skip
ObjectFormat: TypeAlias = Literal["flash_varlen", "xformers", "tokamax"]
FormatName: TypeAlias = (
    Literal["dense", "flax", "integers", "lists", "flex"] | TensorFormat | ArgumentsFormat | ObjectFormat
)

MODULES: dict[FormatName, str] = {
    "dense": "arrays.dense_numpy",
    "dense_torch": "arrays.dense_torch",
    "integers": "arrays.integers",
    "additive": "arrays.additive",
    "hf_2d": "huggingface.hf_2d",
    "hf_4d": "huggingface.hf_4d",
    "sdpa": "pytorch.sdpa",
    "mha": "pytorch.mha",
    "flex": "pytorch.flex",
    "flash_varlen": "kernels.flash_varlen",
    "hf_position_ids": "huggingface.hf_position_ids",
    "hf_sliding_window": "huggingface.hf_sliding_window",
    "flashmask": "kernels.flashmask",
    "xformers": "kernels.xformers",
    "flashinfer": "kernels.flashinfer",
    "transformer_engine": "kernels.transformer_engine",
    "cudnn": "kernels.cudnn",
    "magi": "kernels.magi",
    "torch_encoder": "pytorch.torch_encoder",
    "lists": "arrays.lists",
    "jax": "frameworks.jax",
    "flax": "frameworks.flax",
    "keras": "frameworks.keras",
    "onnx": "frameworks.onnx",
    "splash": "frameworks.splash",
    "tokamax": "frameworks.tokamax",
}
