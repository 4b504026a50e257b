"""The 2-D attention mask of Hugging Face transformers: which keys are tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attnmask.compile.algebra import intersect
from attnmask.compile.diff import diff_of
from attnmask.compile.lower import runs_from_mask
from attnmask.compile.plan import Plan
from attnmask.compile.plan import compile as compile_mask
from attnmask.compile.runs import Runs
from attnmask.conventions import Align, BoolArray
from attnmask.errors import AmbiguousError, ArgumentError
from attnmask.mask.arguments import whole_number
from attnmask.mask.atoms import causal as causal_mask
from attnmask.mask.atoms import padding
from attnmask.mask.domain import Domain
from attnmask.targets.read import array_of, first_element
from attnmask.targets.write import batch_items, tensor_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

name = "hf_2d"
summary = "torch.int64 (B, K), 1 is a token, 0 padding; causal=True for a decoder, which adds causality itself"
WHERE = "lift('hf_2d', attention_mask)"


def refusals(plan: Plan, *, causal: bool = False, **options: Any) -> list[str]:
    """What keeps the set from being padding, or with ``causal`` a causal mask of padding."""
    if plan.Q == 0:
        return ["it has no query row to read the keys off"]
    reasons = [f"it differs between its {plan.H} heads"] if plan.H > 1 else []
    if causal and plan.Q > plan.K:
        reasons.append(f"it has {plan.Q} queries and {plan.K} keys: the queries of a decoder are its last keys")
    difference = diff_of(plan.runs, _expected(plan, causal))
    if pair := difference.first_left or difference.first_right:
        reasons.append(_row_reason(plan, pair, attends=difference.first_left is not None, causal=causal))
    return reasons


def lower(plan: Plan, *, causal: bool = False, batch: int | None = None, device: str | torch.device = "cpu") -> Tensor:
    """Say of each key whether it is a token.

    What transformers does with a query row that then sees no key depends on the model's attention: eager gives every
    key the same weight, sdpa gives 0.

    Args:
        plan: the set; its query rows are the last Q of the keys, as when decoding with a cache.
        causal: the model is a decoder, which makes the mask causal itself: the plan is causal() & padding.
        batch: items of the tensors, needed where the plan is the same for all of several items, because
            transformers does not broadcast them.
        device: where the tensor is put.

    Returns:
        torch.int64 (B, K), 1 is a token, 0 padding.

    Raises:
        ArgumentError: another number of items than the plan has.

    Source: the ``attention_mask`` of a Hugging Face tokenizer; transformers.masking_utils.padding_mask_function.

    >>> import attnmask as am
    >>> am.compile(am.padding(lengths=[3, 1]), q=3).to("hf_2d")
    tensor([[1, 1, 1],
            [1, 0, 0]])
    >>> am.compile(am.causal() & am.padding(lengths=2), q=3).to("hf_2d", causal=True, batch=2)
    tensor([[1, 1, 0],
            [1, 1, 0]])
    """
    items = batch_items(plan, batch)
    keys = plan[-1].runs.to_dense()[:, 0, 0].astype(np.int64)
    return tensor_of(np.broadcast_to(keys, (items, plan.K)).copy(), device)


def lift(representation: Any, *, causal: bool = False, q: int | None = None) -> Plan:
    """Read which keys are tokens.

    Args:
        representation: bools or 0/1 integers (B, K), 1 is a token.
        causal: the model is a decoder, which makes the mask causal itself.
        q: query rows, the last of the keys; as many as keys if left out.

    Returns:
        A Plan.

    Raises:
        AmbiguousError: zeros and ones as floats.
        ArgumentError: other values, such as an additive mask or token weights; other axes; more queries than keys
            of a decoder.

    Source: as ``lower``.

    >>> lift([[0, 1, 1]], causal=True)
    Plan(B=1, H=1, Q=3, K=3, pairs=3, density=0.333, empty_rows=1)
    """
    keys = _keys(representation)
    rows = keys.shape[1] if q is None else whole_number(q, "q", "lift")
    tokens = padding(attention_mask=keys)
    if causal and rows > keys.shape[1]:
        raise ArgumentError(
            f"q is {rows}, the mask has {keys.shape[1]} keys", where=WHERE, fix="a decoder's queries are its last keys"
        )
    mask = causal_mask() & tokens if causal else tokens
    return compile_mask(mask, q=rows, k=keys.shape[1], align=Align.END)


def _row_reason(plan: Plan, pair: tuple[int, int, int, int], *, attends: bool, causal: bool) -> str:
    if causal:
        would = "would not attend" if attends else "would attend"
        return f"it is not causal() & padding: with the keys of the last row, (b, h, q, k) = {pair} {would}"
    has, last = ("attends", "does not") if attends else ("does not attend", "does")
    b, h, _, k = pair
    reason = f"query rows see different keys: (b, h, q, k) = {pair} {has}, {(b, h, plan.Q - 1, k)} {last}"
    decoder = "" if refusals(plan, causal=True) else "; causal=True is for a decoder, which adds causality itself"
    return reason + decoder


def _expected(plan: Plan, causal: bool) -> Runs:
    # The last row of a causal mask sees every token too: if the set can be expressed, the keys are that row.
    tokens = plan[-1].runs.broadcast_to(plan.runs.shape)
    domain = Domain(1, 1, plan.Q, plan.K, plan.K - plan.Q)
    return intersect([runs_from_mask(causal_mask(), domain), tokens]) if causal else tokens


def _keys(representation: Any) -> BoolArray:
    array = array_of(representation, "attention_mask")
    if array.ndim != 2 or not len(array):
        raise ArgumentError(
            f"attention_mask has shape {array.shape}",
            where=WHERE,
            fix="give (B, K), B 1 or more; lift (B, H, Q, K) with lift('hf_4d', ...)",
        )
    other = ~((array == 0) | (array == 1))
    if other.any():
        raise ArgumentError(
            f"{first_element(array, other, 'attention_mask')}, neither 0 nor 1",
            where=WHERE,
            fix="transformers takes every number but 0 for a token, of an additive mask and of weights alike: "
            "give 1 for a token, 0 for padding",
        )
    if array.dtype.kind == "f":
        raise AmbiguousError(
            "attention_mask holds 0.0 and 1.0 as floats, which may mean 1 for a token or 0 for a token (additive)",
            where=WHERE,
            fix="give bools or integers, 1 for a token: attention_mask.long()",
        )
    return array.astype(bool)
