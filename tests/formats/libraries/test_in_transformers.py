"""What is lowered goes into tiny models of transformers, which must then attend as the plan says."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel, DynamicCache, GPT2Config, GPT2Model

import attnmask as am
from attnmask.errors import CannotExpressError
from attnmask.formats import lower
from tests.formats.cases import BATCH, HEADS, plans
from tests.formats.meaning import pairs_of, uniform_where_empty, weights

WIDTH = 4
PLANS = {name: plan for name, plan in plans().items() if plan.Q and plan.K}
IDS = torch.arange(BATCH * 6).reshape(BATCH, 6)


@cache
def encoder(attention: str) -> BertModel:
    """One layer, random weights, float64."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=16,
        hidden_size=HEADS * WIDTH,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        intermediate_size=8,
        initializer_range=0.5,
        attn_implementation=attention,
    )
    return BertModel(config).double().eval()


@cache
def decoder() -> GPT2Model:
    """One layer, random weights, float64."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=16,
        n_positions=8,
        n_embd=HEADS * WIDTH,
        n_layer=1,
        n_head=HEADS,
        initializer_range=0.5,
        attn_implementation="eager",
    )
    return GPT2Model(config).double().eval()


def per_head(x: Tensor) -> Tensor:
    """(B, L, H * D) as (B, H, L, D)."""
    return x.unflatten(-1, (HEADS, WIDTH)).transpose(1, 2)


def encoder_weights(plan: am.Plan) -> Tensor:
    """What the layer's weights should be; where a row has no key, eager attention gives every key the same."""
    layer, x = encoder("eager").encoder.layer[0].attention.self, encoder("eager").embeddings(IDS[:, : plan.K])
    attends = pairs_of(plan, BATCH, HEADS)
    return uniform_where_empty(weights(per_head(layer.query(x)), per_head(layer.key(x)), attends), attends)


def decoder_weights(plan: am.Plan) -> Tensor:
    """The same, for queries that are the last of the keys."""
    model, ids = decoder(), IDS[:, : plan.K]
    x = model.h[0].ln_1(model.wte(ids) + model.wpe(torch.arange(plan.K)))
    q, k, _ = (per_head(part) for part in model.h[0].attn.c_attn(x).split(HEADS * WIDTH, dim=-1))
    attends = pairs_of(plan, BATCH, HEADS)
    return uniform_where_empty(weights(q[:, :, plan.K - plan.Q :], k, attends), attends)


def lowered_plans(format: str, **options: object) -> list[tuple[str, am.Plan, Tensor]]:
    """Every plan that the format can express, with what it becomes."""
    found = []
    for name, plan in PLANS.items():
        try:
            found.append((name, plan, lower(plan, format, **options)))
        except CannotExpressError:
            continue
    return found


@torch.no_grad()
@pytest.mark.parametrize("format", ["hf_2d", "hf_4d"])
def test_encoder_attends_as_the_plan_says(format: str) -> None:
    options = {"batch": BATCH} if format == "hf_2d" else {"dtype": "float64"}
    found = [case for case in lowered_plans(format, **options) if case[1].Q == case[1].K]
    for name, plan, mask in found:
        out = encoder("eager")(IDS[:, : plan.K], attention_mask=mask, output_attentions=True)
        expected = encoder_weights(plan)
        torch.testing.assert_close(out.attentions[0], expected, msg=lambda text, name=name: f"{name}: {text}")
    assert len(found) >= 30


@torch.no_grad()
def test_decoder_makes_the_2d_mask_causal_itself() -> None:
    found = [case for case in lowered_plans("hf_2d", causal=True, batch=BATCH)]
    for name, plan, mask in found:
        past, ids = DynamicCache(), IDS[:, : plan.K]
        if plan.Q < plan.K:
            decoder()(ids[:, : -plan.Q], past_key_values=past)
        out = decoder()(ids[:, -plan.Q :], attention_mask=mask, past_key_values=past, output_attentions=True)
        expected = decoder_weights(plan)
        torch.testing.assert_close(out.attentions[0], expected, msg=lambda text, name=name: f"{name}: {text}")
    assert len(found) >= 60
    assert any(plan.Q < plan.K and plan.Q > 1 for _, plan, _ in found)


@torch.no_grad()
def test_eager_adds_what_sdpa_takes_as_bools() -> None:
    for name, plan in PLANS.items():
        if plan.Q == plan.K and not plan.empty_rows:
            ids = IDS[:, : plan.K]
            added = encoder("eager")(ids, attention_mask=lower(plan, "hf_4d", dtype="float64"))
            taken = encoder("sdpa")(ids, attention_mask=lower(plan, "dense_torch"))
            torch.testing.assert_close(
                added.last_hidden_state, taken.last_hidden_state, msg=lambda text, name=name: f"{name}: {text}"
            )


def test_hf_4d_is_what_transformers_makes_itself() -> None:
    from transformers.masking_utils import eager_mask

    made = eager_mask(BATCH, 5, 5, attention_mask=torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]]).bool())
    plan = am.compile(am.causal() & am.padding(attention_mask=[[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]]), q=5)
    assert torch.equal(lower(plan, "hf_4d"), made)
