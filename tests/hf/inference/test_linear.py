"""Packed linear layers give what torch's give, and are gone afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoModel, BertConfig, DistilBertConfig

from attnmask.hf.inference.onednn_linear import pack_linears


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


BERT = {"hidden_size": 48, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 96, "vocab_size": 9}
DISTILBERT = {"dim": 48, "n_heads": 2, "n_layers": 1, "hidden_dim": 96, "vocab_size": 9}


def tiny(kind: str, gelu: str) -> nn.Module:
    torch.manual_seed(0)
    config = BertConfig(hidden_act=gelu, **BERT) if kind == "bert" else DistilBertConfig(activation=gelu, **DISTILBERT)
    return AutoModel.from_config(config).eval()


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
@pytest.mark.parametrize(("gelu", "changed"), [("gelu", 1), ("gelu_new", 0), ("gelu_python", 0), ("relu", 0)])
def test_only_the_exact_gelu_runs_inside_the_product_and_all_is_put_back(kind: str, gelu: str, changed: int) -> None:
    model, ids = tiny(kind, gelu), torch.tensor([[1, 2, 3, 4, 5, 6]])
    with torch.inference_mode():
        before = model(ids).last_hidden_state
        unpack = pack_linears(model, 6)
        packed = model(ids).last_hidden_state
    silenced = [module for module in model.modules() if "forward" in vars(module) and not isinstance(module, nn.Linear)]
    assert len(silenced) == changed
    torch.testing.assert_close(packed, before, rtol=0, atol=4e-6)
    unpack()
    assert not any("forward" in vars(module) for module in model.modules())
