"""Layers that choose keys themselves attend to those alone, and arguments that nobody knows are refused."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import attnmask as am
from attnmask.errors import UnsupportedModelError
from attnmask.hf.implementation.chosen_keys import narrow_to_chosen_keys
from attnmask.hf.implementation.interface import attention_forward
from attnmask.hf.implementation.model_mask import ModelMask
from attnmask.hf.models.tiny_models import tiny_inputs, tiny_model
from tests.hf.small_models import error, hidden

# Models of sparse attention, with fewer keys chosen than a text has.
SPARSE: dict[str, dict[str, Any]] = {
    "deepseek_v32": {"index_topk": 4},
    "glm_moe_dsa": {"index_topk": 3},
    "hy_v4": {"index_topk": 5},
    "minimax_m3_vl_text": {
        "layer_types": ["minimax_m3_sparse"] * 2,
        "index_block_size": 3,
        "index_topk_blocks": 2,
        "index_n_heads": 2,
    },
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", SPARSE)
def test_a_model_that_chooses_its_keys_gives_what_it_gives_under_eager(name: str, side: str) -> None:
    model = tiny_model(name, changes=SPARSE[name])
    inputs = next(tiny_inputs(model, side=side))
    if name == "minimax_m3_vl_text" and side == "left":
        with pytest.raises(UnsupportedModelError, match="by the states of pads too"):
            hidden(model, "attnmask", **inputs)
        return
    eager, ours = (hidden(model, implementation, **inputs) for implementation in ("eager", "attnmask"))
    assert error(ours, eager, inputs["attention_mask"]) < 5e-6


@pytest.mark.filterwarnings("ignore")
def test_a_choice_that_is_ignored_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("deepseek_v32", "minimax_m3_vl_text"):
        model = tiny_model(name, changes=SPARSE[name])
        inputs = next(tiny_inputs(model))
        eager = hidden(model, "eager", **inputs)
        with monkeypatch.context() as patched:
            patched.setattr(
                "attnmask.hf.implementation.interface.narrow_to_chosen_keys", lambda module, query, mask, kwargs: mask
            )
            assert error(hidden(model, "attnmask", **inputs), eager, inputs["attention_mask"]) > 1e-2


@pytest.mark.filterwarnings("ignore")
def test_keys_are_chosen_from_a_cache_too() -> None:
    model = tiny_model("deepseek_v32", changes={"index_topk": 4})
    ids = next(tiny_inputs(model, (12, 12)))["input_ids"]
    states: dict[str, list[Tensor]] = {"eager": [], "attnmask": []}
    for implementation, found in states.items():
        model.set_attn_implementation(implementation)
        with torch.no_grad():
            step = model(input_ids=ids[:, :9], use_cache=True)
            found.append(step.last_hidden_state)
            for at in range(9, 12):
                step = model(input_ids=ids[:, at : at + 1], past_key_values=step.past_key_values, use_cache=True)
                found.append(step.last_hidden_state)
    assert error(torch.cat(states["attnmask"], 1), torch.cat(states["eager"], 1)) < 5e-6


def layer_of_blocks(size: int) -> nn.Module:
    layer = nn.Module()
    layer.indexer = types.SimpleNamespace(block_size=size)  # pyright: ignore
    return layer


@pytest.mark.parametrize("seed", range(20))
def test_the_pairs_that_stay_are_those_of_the_mask_whose_key_was_chosen(seed: int) -> None:
    draw = np.random.default_rng(seed)
    batch, queries, more, size = (int(draw.integers(1, high)) for high in (4, 9, 5, 5))
    keys, groups, per_group = queries + more, int(draw.integers(1, 3)), int(draw.integers(1, 4))
    mask = ModelMask.of(am.compile(am.window(left=5, right=2), q=queries, k=keys, offset=more), batch=batch)
    blocks = -(-keys // size)
    by_key = torch.from_numpy(draw.integers(-1, keys, (batch, queries, 4)))
    by_block = torch.from_numpy(draw.integers(-1, blocks, (batch, groups, queries, 2)))
    query = torch.zeros(batch, groups * per_group, queries, 8)
    given = {"indices": by_key, "block_indices": by_block}
    dense = np.broadcast_to(mask.plan.to("dense"), (batch, 1, queries, keys))
    for used in (["indices"], ["block_indices"], ["indices", "block_indices"]):
        plan = narrow_to_chosen_keys(layer_of_blocks(size), query, mask, {name: given[name] for name in used}).plan
        got = np.broadcast_to(plan.to("dense"), (batch, groups * per_group, queries, keys))
        for b, h, q, k in np.ndindex(got.shape):
            wanted = bool(dense[b, 0, q, k])
            wanted &= "indices" not in used or k in by_key[b, q]
            wanted &= "block_indices" not in used or k // size in by_block[b, h // per_group, q]
            assert got[b, h, q, k] == wanted


@pytest.mark.parametrize(
    ("layer", "given"),
    [
        (layer_of_blocks(2), {"indices": torch.zeros(1, 3, 2, dtype=torch.long)}),
        (layer_of_blocks(2), {"indices": torch.full((1, 4, 2), 9)}),
        (layer_of_blocks(2), {"block_indices": torch.full((1, 1, 4, 2), 3)}),
        (nn.Module(), {"block_indices": torch.zeros(1, 1, 4, 2, dtype=torch.long)}),
    ],
    ids=["other queries", "no such key", "no such block", "blocks of no size"],
)
def test_a_choice_that_does_not_fit_is_refused(layer: nn.Module, given: dict[str, Tensor]) -> None:
    mask = ModelMask.of(am.compile(am.causal(), q=4))
    with pytest.raises(UnsupportedModelError, match="the layer chose"):
        narrow_to_chosen_keys(layer, torch.zeros(1, 2, 4, 8), mask, given)


class Layer(nn.Module):
    """Attention of somebody's own, that gives the interface an argument of its own."""

    def forward(self, x: Tensor, mask: ModelMask, distance: float | None, **kwargs: Any) -> Tensor:
        return attention_forward(self, x, x, x, mask, scaling=1.0, distance=distance, **kwargs)[0]


def test_what_a_layer_gives_by_a_name_that_is_not_known_is_refused_and_what_is_handed_through_is_not() -> None:
    x, mask = torch.randn(1, 2, 4, 8), ModelMask.of(am.compile(am.causal(), q=4))
    out = Layer()(x, mask, None, somebodys_own=3, position_ids=torch.arange(4)[None])
    assert torch.equal(out, Layer()(x, mask, None))
    with pytest.raises(UnsupportedModelError, match="passes distance to its attention, which attnmask does not"):
        Layer()(x, mask, 2.0)
