"""What is lowered goes into torch's own attention, which must then compute what the plan means."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

import attnmask as am
from attnmask.formats import lift, lower
from tests.formats.cases import BATCH, HEADS, plans
from tests.formats.meaning import pairs_of, weights

PLANS = {name: plan for name, plan in plans().items() if plan.Q and plan.K}
HELD = {name: plan for name, plan in PLANS.items() if not plan.empty_rows}
WIDTH = 8


def heads_of(length: int, seed: int) -> Tensor:
    """Queries, keys or values (B, H, L, D)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, HEADS, length, WIDTH, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION], ids=str)
@pytest.mark.parametrize("form", ["sdpa", "dense_torch", "additive", "additive, least"])
def test_sdpa(form: str, backend: SDPBackend) -> None:
    for name, plan in PLANS.items():
        q, k, v = heads_of(plan.Q, 0), heads_of(plan.K, 1), heads_of(plan.K, 2)
        format, _, least = form.partition(", ")
        options = {"dtype": "float64", "masked": "min" if least else "-inf"} if format == "additive" else {}
        lowered = lower(plan, format, **options)
        arguments = lowered if format == "sdpa" else {"attn_mask": lowered}
        attends = pairs_of(plan, BATCH, HEADS)
        with sdpa_kernel(backend):
            out = scaled_dot_product_attention(q, k, v, **arguments)
        expected = weights(q, k, attends) @ v
        if least:  # the docstring: a row without a key gives every key the same weight
            expected = torch.where(attends.any(-1, keepdim=True), expected, v.mean(2, keepdim=True))
        torch.testing.assert_close(out, expected, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("masked", ["-inf", "min", -1e9, -10000, -1000])
def test_no_constant_leaks_or_overflows(dtype: str, masked: str | float) -> None:
    for plan in HELD.values():
        mask = lower(plan, "additive", dtype=dtype, masked=masked)
        assert masked == "-inf" or torch.isfinite(mask).all()
        q, k = (heads_of(length, 3).to(mask.dtype) for length in (plan.Q, plan.K))
        share = (q @ k.transpose(-1, -2) / WIDTH + mask).softmax(-1)
        assert (share[~pairs_of(plan, BATCH, HEADS)] == 0).all()
        assert torch.isfinite(share).all()


def module_of(dtype: torch.dtype) -> torch.nn.MultiheadAttention:
    """A module whose random weights include the biases."""
    torch.manual_seed(0)
    module = torch.nn.MultiheadAttention(HEADS * WIDTH, HEADS, batch_first=True, dtype=dtype)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def by_definition(module: torch.nn.MultiheadAttention, x: Tensor, y: Tensor, plan: am.Plan) -> tuple[Tensor, Tensor]:
    """Output and weights that the module should give."""
    q, k, v = (
        (part @ w.T + b).unflatten(-1, (HEADS, WIDTH)).transpose(1, 2)
        for part, w, b in zip((x, y, y), module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3), strict=True)
    )
    share = weights(q, k, pairs_of(plan, BATCH, HEADS))
    return module.out_proj((share @ v).transpose(1, 2).flatten(2)), share


def options_of(plan: am.Plan) -> dict[str, int]:
    """The options without which the plan cannot be lowered for BATCH items."""
    per_head = plan.H > 1 and plan.B == 1
    return {"num_heads": HEADS, **({"batch": BATCH} if per_head else {})}


@pytest.mark.parametrize("mode", ["train", "train, need_weights", "eval", "eval, need_weights"])
@pytest.mark.parametrize("written_out", [False, True])
def test_multihead_attention(mode: str, written_out: bool) -> None:
    module = module_of(torch.float64).train(mode.startswith("train"))
    fast = torch.no_grad() if mode.startswith("eval") else torch.enable_grad()
    for name, plan in HELD.items():
        x = heads_of(plan.Q, 4).transpose(1, 2).flatten(2)
        # Self-attention of one tensor takes the fast path in eval.
        y = x if plan.Q == plan.K else heads_of(plan.K, 5).transpose(1, 2).flatten(2)
        options = {"num_heads": HEADS, "batch": BATCH} if written_out else options_of(plan)
        with fast:
            out, share = module(
                x, y, y, need_weights="need" in mode, average_attn_weights=False, **lower(plan, "mha", **options)
            )
        expected, expected_share = by_definition(module, x, y, plan)
        torch.testing.assert_close(out, expected, msg=lambda text, name=name: f"{name}: {text}")
        if share is not None:
            torch.testing.assert_close(share, expected_share)


def test_multihead_attention_gets_the_smallest_form() -> None:
    shapes = {
        name: {
            key: None if value is None else tuple(value.shape) for key, value in lower(plan, "mha", **options).items()
        }
        for name, plan, options in [
            ("full", am.compile(am.full(), q=5), {}),
            ("causal", am.compile(am.causal(), q=5), {}),
            ("padding", am.compile(am.padding(lengths=[5, 3]), q=4, k=5, align="end"), {}),
            ("one length", am.compile(am.padding(lengths=[3, 3]), q=5), {}),
            ("one length, two items", am.compile(am.padding(lengths=[3, 3]), q=5), {"batch": 2}),
            ("both", am.compile(am.causal() & am.padding(lengths=[5, 3]), q=5), {"num_heads": 3}),
        ]
    }
    assert shapes == {
        "full": {"attn_mask": None, "key_padding_mask": None},
        "causal": {"attn_mask": (5, 5), "key_padding_mask": None},
        "padding": {"attn_mask": None, "key_padding_mask": (2, 5)},
        "one length": {"attn_mask": (5, 5), "key_padding_mask": None},
        "one length, two items": {"attn_mask": None, "key_padding_mask": (2, 5)},
        "both": {"attn_mask": (6, 5, 5), "key_padding_mask": None},
    }


def test_both_masks_of_multihead_attention_are_read_as_torch_reads_them() -> None:
    module = module_of(torch.float64)
    x = heads_of(5, 6).transpose(1, 2).flatten(2)
    given = {
        "attn_mask": torch.ones(5, 5, dtype=torch.bool).triu(1),
        "key_padding_mask": torch.tensor([[False] * 5, [False, True, False, True, True]]),
    }
    plan = am.compile(am.causal() & am.padding(attention_mask=[[1] * 5, [1, 0, 1, 0, 0]]), q=5)
    assert lift("mha", given) == plan
    torch.testing.assert_close(module(x, x, x, **given)[0], by_definition(module, x, x, plan)[0])


@pytest.mark.parametrize("mask", [am.padding(lengths=[5, 0]), am.padding(lengths=[5, 2], side="left") & am.causal()])
def test_why_multihead_attention_is_refused_rows_without_a_key(mask: am.Mask) -> None:
    plan = am.compile(mask, q=5)
    assert any("attend to nothing" in reason for reason in plan.formats()["mha"])
    module = module_of(torch.float32)
    x = heads_of(5, 7).transpose(1, 2).flatten(2).float()
    masked_out = ~pairs_of(plan, BATCH, HEADS).flatten(0, 1)
    out, _ = module(x, x, x, attn_mask=masked_out)
    torch.nan_to_num(out).sum().backward()
    assert torch.equal(torch.isnan(out).any(-1), ~pairs_of(plan, BATCH, 1)[:, 0].any(-1))
    assert torch.isnan(module.in_proj_weight.grad).any(), "one such row spoils every gradient"
    with torch.no_grad():
        assert torch.isnan(module.eval()(x, x, x, attn_mask=masked_out, need_weights=False)[0]).any()


def test_multihead_attention_answers_0_without_weights_off_its_fast_path() -> None:
    module = module_of(torch.float32).train()
    x = heads_of(5, 7).transpose(1, 2).flatten(2).float()
    masked_out = torch.zeros(5, 5, dtype=torch.bool)
    masked_out[2] = True
    out = module(x, x, x, attn_mask=masked_out, need_weights=False)[0]
    torch.testing.assert_close(out[:, 2], module.out_proj.bias.expand(BATCH, -1))
    assert torch.isnan(module(x, x, x, attn_mask=masked_out)[0][:, 2]).all()


def test_why_a_causal_set_is_no_nested_tensor_of_an_encoder() -> None:
    layer = torch.nn.TransformerEncoderLayer(HEADS * WIDTH, HEADS, 8, dropout=0.0, batch_first=True)
    encoder = torch.nn.TransformerEncoder(layer, 1).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that nested tensors are a prototype
        nested = torch.nested.nested_tensor([torch.randn(4, HEADS * WIDTH), torch.randn(2, HEADS * WIDTH)])
        out, causal = (encoder(nested, is_causal=flag).to_padded_tensor(0.0) for flag in (False, True))
    assert torch.equal(out, causal), "the flag counts for nothing"
    plan = am.compile(am.causal() & am.padding(lengths=[4, 2], of="both"), q=4)
    with pytest.raises(am.AttnMaskError, match="takes no mask"):
        lower(plan, "torch_encoder", form="nested")
    with pytest.raises(am.AttnMaskError, match="is_causal"):
        lift("torch_encoder", {"lengths": [4, 2], "is_causal": True})


def test_why_an_encoder_is_refused_rows_without_a_key() -> None:
    layer = torch.nn.TransformerEncoderLayer(HEADS * WIDTH, HEADS, 8, dropout=0.0, batch_first=True)
    encoder = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    x = heads_of(5, 8).transpose(1, 2).flatten(2).float()
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[2] = True
    assert torch.isfinite(encoder(x, mask=mask)).all(), "in training its attention to nothing is 0"
    with torch.no_grad():
        assert torch.isnan(encoder.eval()(x, mask=mask)[:, 2]).all()
