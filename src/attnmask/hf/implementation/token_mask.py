"""An attention mask on two axes, read without a guess: which positions are tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attnmask.hf.packing.packed_mask import PackedMask
from attnmask.mask.arguments import keep_mask


def described(value: Any) -> str:
    """What was given in place of a tensor that fits, such as ``(2, 3) torch.int64``."""
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__


def read_token_mask(attention_mask: Any, where: str, name: str = "attention_mask") -> Tensor:
    """Which positions are tokens, bool (B, L), on the mask's own device.

    Args:
        attention_mask: (B, L), what ``keep_mask`` reads; or a PackedMask.
        where: who asks, for errors. name: of the argument.

    Raises:
        ArgumentError: other axes, or values other than 0 and 1.
        AmbiguousError: floats of 0 alone.
    """
    if isinstance(attention_mask, PackedMask):
        return torch.from_numpy(attention_mask.documents.ids() >= 0).to(attention_mask.device)
    tokens = torch.from_numpy(keep_mask(attention_mask, name, where, dims=(2,)))
    return tokens.to(attention_mask.device) if isinstance(attention_mask, Tensor) else tokens
