"""What every way of computing attention attends to is seen, and nothing is left behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import attnmask as am
from attnmask.auditing import trace
from attnmask.errors import ArgumentError


@pytest.mark.parametrize("implementation", ["eager", "sdpa", "attnmask"])
def test_layers_are_named_and_their_pairs_seen(implementation: str) -> None:
    model = am.hf.tiny_model("llama").eval()
    if implementation == "attnmask":
        am.hf.register()
    model.set_attn_implementation(implementation)
    mask = torch.tensor([[0, 1, 1, 1]])
    seen = trace(model, {"input_ids": torch.tensor([[5, 6, 7, 8]]), "attention_mask": mask})
    assert [call.layer for call in seen.calls] == ["layers.0.self_attn", "layers.1.self_attn"]
    dense = seen.calls[0].plan.to("dense")[0, 0]
    assert dense[1:].tolist() == [[False, True, False, False], [False, True, True, False], [False, True, True, True]]


def test_torch_attention_is_seen_with_its_inverted_mask() -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(1, 3, 8)
    masked = torch.tensor([[False, False, True]])
    seen = trace(layer, {"query": x, "key": x, "value": x, "key_padding_mask": masked})
    assert seen.calls[0].plan.to("dense")[0, 0, 0].tolist() == [True, True, False]


def test_hooks_are_gone_afterwards() -> None:
    model = am.hf.tiny_model("llama").eval()
    trace(model, {"input_ids": torch.tensor([[5, 6]])})
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_batch_without_tensors_is_refused() -> None:
    with pytest.raises(ArgumentError, match="no tensor"):
        trace(nn.Linear(1, 1), {})
