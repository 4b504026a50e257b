"""The 2-D attention mask of Hugging Face transformers: which keys are tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attnmask.compiler.plan import Plan
from attnmask.compiler.structure.key_tokens import plan_from_tokens, reasons_against_tokens, tokens_of
from attnmask.formats.shared.foreign_arrays import attends_by
from attnmask.formats.shared.writing import batch_items, tensor_from_array
from attnmask.mask.arguments import keep_mask

if TYPE_CHECKING:
    import torch
    from torch import Tensor

name = "hf_2d"
summary = "torch.int64 (B, K), 1 is a token, 0 padding; causal=True for a decoder, which adds causality itself"
WHERE = "lift('hf_2d', attention_mask)"


def refusals(plan: Plan, *, causal: bool = False, **options: Any) -> list[str]:
    """What keeps the set from being padding, or with ``causal`` a causal mask of padding."""
    return reasons_against_tokens(plan, causal)


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
    keys = tokens_of(plan).astype(np.int64)
    return tensor_from_array(np.broadcast_to(keys, (items, plan.K)).copy(), device)


def lift(representation: Any, *, causal: bool = False, q: int | None = None, polarity: str | None = None) -> Plan:
    """Read which keys are tokens.

    Args:
        representation: bools, 0/1 integers or floats of exactly 0.0 and 1.0 (B, K), 1 is a token.
        causal: the model is a decoder, which makes the mask causal itself.
        q: query rows, the last of the keys; as many as keys if left out.
        polarity: "attends" or "masked_out", what a 1 says; needed where the numbers are floats of 0.0 alone.

    Returns:
        A Plan.

    Raises:
        AmbiguousError: floats of 0.0 alone without a polarity.
        ArgumentError: other values, such as an additive mask or token weights; other axes; more queries than keys
            of a decoder.

    Source: as ``lower``.

    >>> lift([[0, 1, 1]], causal=True)
    Plan(B=1, H=1, Q=3, K=3, pairs=3, density=0.333, empty_rows=1)
    """
    ones = keep_mask(representation, "attention_mask", WHERE, dims=(2,), polarity_given=polarity is not None)
    return plan_from_tokens(attends_by(ones, polarity), causal, q, WHERE)
