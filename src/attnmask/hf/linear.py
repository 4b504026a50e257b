"""Linear layers on oneDNN's product, with weights packed once for many rows of one length.

In an encoder without padding the linear layers are nearly all the work that is left, and rows of a fixed number of
tokens are what a packed weight is made for. The result is that of ``torch.nn.Linear`` to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def pack_linears(model: nn.Module, tokens: int) -> Callable[[], None]:
    """Let a model's linear layers run on packed weights, for inference.

    Args:
        model: on a CPU in float32; others are left as they are.
        tokens: rows that the layers will mostly get.

    Returns:
        What to call to have the layers as they were.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear) and _can_pack(module)]
    with torch.inference_mode():
        for layer in layers:
            layer.forward = _packed_forward(layer, tokens)  # pyright: ignore[reportAttributeAccessIssue]

    def unpack() -> None:
        for layer in layers:
            del layer.forward

    return unpack


def _can_pack(module: nn.Linear) -> bool:
    # Subclasses may compute something else, and a forward of an instance's own is somebody's patch.
    if type(module) is not nn.Linear or "forward" in vars(module):
        return False
    known = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return known and module.weight.device.type == "cpu" and module.weight.dtype == torch.float32


def _packed_forward(layer: nn.Linear, tokens: int) -> Callable[[Tensor], Tensor]:
    operators: Any = torch.ops.mkldnn
    weight, bias = operators._reorder_linear_weight(layer.weight.detach(), tokens), layer.bias

    def forward(x: Tensor) -> Tensor:
        return operators._linear_pointwise(x, weight, bias, "none", [], "")

    return forward
