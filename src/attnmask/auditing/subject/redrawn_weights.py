"""Draw weights with which a wrong mask changes the outputs."""

from __future__ import annotations

import torch
from torch import nn

# The same steps as lines of a reproduction script, which must draw the same weights as the audit.
REDRAW_LINES = (
    "torch.manual_seed(0)",
    "for name, p in model.named_parameters():",
    "    if p.ndim > 1 or 'sink' in name: torch.nn.init.normal_(p, std={gain} / max(p.shape[-1], 8) ** 0.5)",
    "    elif not p.any() and not name.endswith('bias'): torch.nn.init.constant_(p, 0.5)",
)
GAIN = 1.7


def redraw(model: nn.Module, gain: float = GAIN) -> None:
    """Draw all weights anew: large enough that attention is neither uniform nor one-hot, and gates of 0 half open.

    With initial weights (standard deviation 0.02), all scores are nearly 0 and all keys get equal weights, so that a
    slightly wrong mask changes nothing. Weights that are too large give all the weight to one key.
    """
    torch.manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1 or "sink" in name:
                nn.init.normal_(p, std=gain / max(p.shape[-1], 8) ** 0.5)
            elif not bool(p.any()) and not name.endswith("bias"):
                nn.init.constant_(p, 0.5)
