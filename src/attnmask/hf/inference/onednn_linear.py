"""Run linear layers on oneDNN's matrix product with prepacked weights, for many rows of one length.

In an encoder without padding, the linear layers are most of the remaining work, and oneDNN packs a weight for a given
number of rows. The result equals that of ``torch.nn.Linear`` up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

# Attribute names in transformers: linear layer -> activation that is applied to its output.
ACTIVATED = {"dense": "intermediate_act_fn", "lin1": "activation"}


def pack_linears(model: nn.Module, tokens: int) -> Callable[[], None]:
    """Make a model's linear layers use packed weights for inference, and fuse a GELU that follows a linear layer.

    Args:
        model: only layers on a CPU in float32 are changed.
        tokens: the usual number of rows in the input of the layers.

    Returns:
        A function that restores the layers.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear) and _can_pack(module)]
    gelus = _gelus_after(model, layers)
    with torch.inference_mode():
        for layer in layers:
            _set_forward(layer, _packed_forward(layer, tokens, "gelu" if layer in gelus else "none"))
    for gelu in gelus.values():
        _set_forward(gelu, _unchanged)

    def unpack() -> None:
        for module in (*layers, *gelus.values()):
            del module.forward

    return unpack


def _can_pack(module: nn.Linear) -> bool:
    # A subclass may compute something else, and an instance with its own forward has been patched by other code.
    if type(module) is not nn.Linear or "forward" in vars(module):
        return False
    known = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return known and module.weight.device.type == "cpu" and module.weight.dtype == torch.float32


def _gelus_after(model: nn.Module, layers: list[nn.Linear]) -> dict[nn.Module, nn.Module]:
    """Return the exact GELU module that follows each linear layer, for layers that are followed by one."""
    blocks = [dict(block.named_children()) for block in model.modules()]
    pairs = [(block.get(layer), block.get(after)) for block in blocks for layer, after in ACTIVATED.items()]
    return {layer: after for layer, after in pairs if layer in layers and after is not None and _is_gelu(after)}


def _is_gelu(module: nn.Module) -> bool:
    from transformers.activations import GELUActivation

    plain = type(module) is GELUActivation and "forward" not in vars(module)
    return plain and module.act is nn.functional.gelu


def _set_forward(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
    module.forward = forward


def _packed_forward(layer: nn.Linear, tokens: int, activation: str) -> Callable[[Tensor], Tensor]:
    # The operators that torch.compile uses on CPUs; the reorder packs the weight for inputs of ``tokens`` rows.
    operators: Any = torch.ops.mkldnn
    weight, bias = operators._reorder_linear_weight(layer.weight.detach(), tokens), layer.bias

    def forward(x: Tensor) -> Tensor:
        return operators._linear_pointwise(x, weight, bias, activation, [], "none" if activation == "gelu" else "")

    return forward


# Replaces the forward of a GELU that is already part of the product.
def _unchanged(x: Tensor) -> Tensor:
    return x
