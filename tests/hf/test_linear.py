"""Packed linear layers give what torch's give, and are gone afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attnmask.hf.linear import pack_linears


class Doubled(nn.Linear):
    """A linear layer that computes something else."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tokens", [1, 7, 64, 200])
def test_packed_layers_give_what_torchs_give(bias: bool, tokens: int) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(48, 96, bias=bias), torch.randn(1, tokens, 48)
    exact = nn.Linear(48, 96, bias=bias).double()
    exact.load_state_dict(layer.state_dict())
    unpack = pack_linears(nn.Sequential(layer), 64)
    with torch.inference_mode():
        packed = layer(x)
    assert "forward" in vars(layer)
    unpack()
    assert "forward" not in vars(layer)
    expected, plain = exact(x.double()), layer(x)
    # Twice the error that torch's own layer makes, and one rounding.
    budget = 2 * (plain - expected).abs().max() + torch.finfo(torch.float32).eps * expected.abs().max()
    assert (packed - expected).abs().max() <= budget


def test_what_is_no_plain_float32_layer_is_left_alone() -> None:
    patched = nn.Linear(4, 4)
    patched.forward = lambda input: input  # type: ignore[method-assign]
    layers = nn.ModuleList([Doubled(4, 4), nn.Linear(4, 4).double(), nn.Linear(4, 4).bfloat16(), patched])
    before = [vars(layer).get("forward") for layer in layers]
    unpack = pack_linears(layers, 16)
    assert [vars(layer).get("forward") for layer in layers] == before
    unpack()
    assert [vars(layer).get("forward") for layer in layers] == before
