"""Tokens taken out of padded batches and put back, and layers that run on them in between."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

import attnmask as am
from attnmask.errors import ArgumentError
from tests.hf.packing.test_packed_training import Tokens

MASKS = {
    "right": [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]],
    "left": [[0, 0, 0, 1, 1], [1, 1, 1, 1, 1]],
    "both and a hole": [[0, 1, 0, 1, 0], [1, 0, 0, 0, 1]],
    "a text without a token": [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0]],
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("axes", [(), (3,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_tokens_come_out_text_after_text_and_go_back(name: str, axes: tuple[int, ...], dtype: torch.dtype) -> None:
    mask = torch.tensor(MASKS[name])
    x = torch.randint(1, 100, (2, 5, *axes))
    rows, places = am.hf.unpad(x, mask.to(dtype))
    assert torch.equal(rows, torch.cat([own[keep.bool()] for own, keep in zip(x, mask, strict=True)]))
    assert places.lengths.tolist() == mask.sum(1).tolist()
    assert places.position_ids.tolist() == [at for length in mask.sum(1).tolist() for at in range(length)]
    back = am.hf.repad(rows, places)
    assert torch.equal(back, x * mask.view(2, 5, *[1] * len(axes)))
    assert am.hf.repad(rows.bool(), places).dtype == torch.bool


class Layer(nn.Module):
    """A layer of attention, of somebody's own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.project, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor, mask: am.Plan | Tensor) -> Tensor:
        heads = self.project(x).view(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
        attention = am.attention if isinstance(mask, am.Plan) else scaled_dot_product_attention
        return self.out(attention(*heads, mask).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", ["right", "left", "both and a hole"])
def test_a_layer_gives_what_it_gives_on_the_padded_batch_with_gradients(name: str, causal: bool) -> None:
    mask, layer = torch.tensor(MASKS[name]).bool(), Layer().double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    attends = mask[:, None, None] & torch.ones(5, 5, dtype=torch.bool).tril() if causal else mask[:, None, None]

    def padded(x: Tensor) -> Tensor:
        return layer(x, attends)

    def unpadded(x: Tensor) -> Tensor:
        rows, places = am.hf.unpad(x, mask)
        documents = am.documents(lengths=places.lengths) & am.causal()
        plan = am.compile(documents, q=len(rows)) if causal else places.plan
        return am.hf.repad(layer(rows[None], plan)[0], places)

    found: list[list[Tensor]] = []
    for run in (padded, unpadded):
        leaf = x.clone().requires_grad_()
        out = run(leaf)[mask]
        found.append([out, *torch.autograd.grad(out.pow(3).sum(), [leaf, *layer.parameters()])])
    for want, got in zip(*found, strict=True):
        torch.testing.assert_close(got, want)
    assert found[1][1][~mask].eq(0).all()


def test_gradients_there_and_back() -> None:
    mask = torch.tensor(MASKS["both and a hole"])
    x = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)

    def there_and_back(x: Tensor) -> Tensor:
        rows, places = am.hf.unpad(x, mask)
        return am.hf.repad(rows.square(), places)

    assert torch.autograd.gradcheck(there_and_back, x)


def test_what_stands_at_padding_stays_there() -> None:
    mask = torch.tensor(MASKS["left"])
    x = torch.randn(2, 5, 3)
    x[mask == 0] = torch.nan
    x.requires_grad_()
    rows, places = am.hf.unpad(x, mask)
    out = am.hf.repad(rows, places)
    out.square().sum().backward()
    assert out.isfinite().all()
    assert x.grad is not None
    assert (x.grad[mask == 0] == 0).all()
    torch.testing.assert_close(x.grad[mask == 1], 2 * rows.detach())


def test_texts_of_a_packed_batch_are_its_documents() -> None:
    collate = am.hf.PackingCollator(Tokens(), row_tokens=4, order="arrival")
    packed = collate([{"input_ids": [5, 6]}, {"input_ids": [7]}, {"input_ids": [8, 9, 5]}])
    rows, places = am.hf.unpad(packed["input_ids"], packed["attention_mask"])
    assert rows.tolist() == [5, 6, 7, 8, 9, 5]
    assert places.plan == am.compile(am.documents(lengths=[2, 1, 3]), q=6)
    assert torch.equal(am.hf.repad(places.position_ids, places), packed["position_ids"])


def test_what_does_not_fit_is_refused() -> None:
    mask = torch.tensor(MASKS["right"])
    with pytest.raises(ArgumentError, match=r"x is \(2, 4, 3\) torch.float32, attention_mask \(2, 5\)"):
        am.hf.unpad(torch.zeros(2, 4, 3), mask)
    with pytest.raises(ArgumentError, match=r"attention_mask\[0, 3\] is -10000, neither 1"):
        am.hf.unpad(torch.zeros(2, 5, 3), (1.0 - mask) * -1e4)
    rows, places = am.hf.unpad(torch.zeros(2, 5, 3), mask)
    with pytest.raises(ArgumentError, match=r"rows is \(7, 3\) torch.float32, places has 8 tokens"):
        am.hf.repad(rows[1:], places)
