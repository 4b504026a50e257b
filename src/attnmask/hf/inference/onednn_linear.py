"""Linear layers on oneDNN's product, with weights packed once for many rows of one length.

In an encoder without padding the linear layers are nearly all the work that is left, and rows of a fixed number of
tokens are what a packed weight is made for. The result is that of ``torch.nn.Linear`` to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

# The names under which blocks of transformers hold a linear layer and the activation of its output.
ACTIVATED = {"dense": "intermediate_act_fn", "lin1": "activation"}


def pack_linears(model: nn.Module, tokens: int) -> Callable[[], None]:
    """Let a model's linear layers run on packed weights, a GELU that follows one in the same product, for inference.

    Args:
        model: on a CPU in float32; others are left as they are.
        tokens: rows that the layers will mostly get.

    Returns:
        What to call to have the layers as they were.
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
    # Subclasses may compute something else, and a forward of an instance's own is somebody's patch.
    if type(module) is not nn.Linear or "forward" in vars(module):
        return False
    known = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return known and module.weight.device.type == "cpu" and module.weight.dtype == torch.float32


def _gelus_after(model: nn.Module, layers: list[nn.Linear]) -> dict[nn.Module, nn.Module]:
    """By linear layer the exact GELU that its output, and nothing else, goes through."""
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
    operators: Any = torch.ops.mkldnn
    weight, bias = operators._reorder_linear_weight(layer.weight.detach(), tokens), layer.bias

    def forward(x: Tensor) -> Tensor:
        return operators._linear_pointwise(x, weight, bias, activation, [], "none" if activation == "gelu" else "")

    return forward


def _unchanged(x: Tensor) -> Tensor:
    return x
