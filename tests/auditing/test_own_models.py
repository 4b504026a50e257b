"""Models as people write them themselves, right and wrong."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import attnmask as am
from attnmask.auditing.report.audit_report import Report
from attnmask.auditing.report.verdict import Verdict

WIDTH, HEADS, WORDS = 32, 4, 200


class Layer(nn.Module):
    """Pre-norm attention with one projection for queries, keys and values."""

    def __init__(self, bug: str) -> None:
        super().__init__()
        self.bug, self.norm = bug, nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        attends = mask.bool()[:, None, None, :].expand(-1, HEADS, mask.shape[1], -1)
        if self.bug == "heads before items":
            attends = mask.bool().repeat(HEADS, 1).view(len(x), HEADS, 1, -1).expand_as(attends)
        elif self.bug == "mask of the first item":
            attends = attends[:1].expand_as(attends)
        elif self.bug == "queries for keys":
            attends = attends.mT
        given = attends
        if self.bug == "small constant":
            given = torch.zeros(attends.shape, dtype=q.dtype).masked_fill(~attends, -30.0)
        elif self.bug == "integers added":
            given = attends.to(q.dtype)
        return x + self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=given).transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.ModuleList(Layer(bug) for _ in range(2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x, torch.ones_like(input_ids) if attention_mask is None else attention_mask)
        return x


class Unfolded(nn.Module):
    """A sliding window of three to each side, whose scores are queries x places of the window."""

    def __init__(self, reach: int) -> None:
        super().__init__()
        self.reach, self.embed = reach, nn.Embedding(WORDS, WIDTH)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH) for _ in range(2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        x, n = self.embed(input_ids), self.reach
        for layer in self.layers:
            q, k, v = layer(x).chunk(3, -1)
            near_k, near_v = (F.pad(part, (0, 0, n, n)).unfold(1, 2 * n + 1, 1) for part in (k, v))
            near = F.pad(mask, (n, n)).unfold(1, 2 * n + 1, 1).bool()
            scores = torch.einsum("bld,bldw->blw", q, near_k) / math.sqrt(WIDTH)
            weights = scores.masked_fill(~near, torch.finfo(scores.dtype).min).softmax(-1)
            x = x + torch.einsum("blw,bldw->bld", weights, near_v)
        return x


class OfTorch(nn.Module):
    """nn.TransformerEncoder, which must be given its mask."""

    def __init__(self, causal: bool, inverted: bool = False) -> None:
        super().__init__()
        self.causal, self.inverted, self.embed = causal, inverted, nn.Embedding(WORDS, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=self.inverted)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        length = input_ids.shape[1]
        future = torch.ones(length, length, dtype=torch.bool).triu(1) if self.causal else None
        padding = attention_mask.bool() if self.inverted else ~attention_mask.bool()
        return self.encoder(self.embed(input_ids), mask=future, src_key_padding_mask=padding)


def audit(model: nn.Module, mask: Any = None) -> Report:
    return am.audit(model, mask=am.full() if mask is None else mask, redraw=True)


def test_a_right_encoder_is_clean() -> None:
    assert audit(Encoder()).exit_code == 0


@pytest.mark.parametrize("bug", ["heads before items", "mask of the first item", "queries for keys", "integers added"])
def test_padding_that_arrives_in_another_shape_is_a_leak(bug: str) -> None:
    report = audit(Encoder(bug))
    assert {"padding leak", "padding inequality", "mask of a layer"} <= {found.probe for found in report.bugs}
    assert all(found.since.startswith("layers.0") for found in report.bugs)


def test_a_constant_that_is_too_small_is_told_from_outside_and_from_inside() -> None:
    causes = {found.probe: found.cause for found in audit(Encoder("small constant")).bugs}
    assert causes["mask of a layer"] == "the additive constant -30 is too small to mask"
    assert causes["additive constant"] == "the additive constant is too small"


def test_a_window_whose_attention_is_not_seen_needs_a_mask_for_each_layer() -> None:
    window = am.window(left=3, right=3)
    assert audit(Unfolded(3), window).exit_code == 0
    assert audit(Unfolded(3), [window] * 2).exit_code == 0
    assert {found.probe for found in audit(Unfolded(4), [window] * 2).bugs} == {"reach"}


def test_a_mask_that_must_be_given_is_not_left_out() -> None:
    report = audit(OfTorch(causal=False))
    assert report.exit_code == 0
    assert report.verdicts["ones differ from no mask"] is Verdict.NOT_APPLICABLE


def test_queries_without_a_key_that_spread_nan_are_named_so() -> None:
    report = audit(OfTorch(causal=True), am.causal())
    assert {(found.probe, found.cell["padding"]) for found in report.bugs} == {("padding inequality", "left")}
    assert all("queries in encoder.layers.0" in found.cause for found in report.bugs)


def test_a_model_that_raises_on_a_mask_of_ones_is_told_that_it_may_be_inverted() -> None:
    with pytest.raises(am.AttnMaskError, match="is its mask inverted"):
        audit(OfTorch(causal=False, inverted=True))
