"""Read an attention mask of two axes as bools, True for a token; refuse values that are ambiguous."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attnmask.hf.packing.packed_mask import PackedMask
from attnmask.mask.arguments import keep_mask


def described(value: Any) -> str:
    """Describe a value in an error message, such as ``(2, 3) torch.int64``."""
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__


def read_token_mask(attention_mask: Any, where: str, name: str = "attention_mask") -> Tensor:
    """Return which positions are tokens, bool (B, L), on the device of the mask.

    Args:
        attention_mask: (B, L) in any form that ``keep_mask`` reads, or a PackedMask.
        where: the calling function, for errors. name: name of the argument, for errors.

    Raises:
        ArgumentError: not two axes, or values other than 0 and 1.
        AmbiguousError: floats that are all 0.
    """
    if isinstance(attention_mask, PackedMask):
        return torch.from_numpy(attention_mask.documents.ids() >= 0).to(attention_mask.device)
    tokens = torch.from_numpy(keep_mask(attention_mask, name, where, dims=(2,)))
    return tokens.to(attention_mask.device) if isinstance(attention_mask, Tensor) else tokens
