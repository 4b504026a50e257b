"""Weights under which a wrong mask shows."""

from __future__ import annotations

import torch
from torch import nn

# The same lines that a reproduction prints: the weights must be those that the audit saw.
REDRAW_LINES = (
    "torch.manual_seed(0)",
    "for name, p in model.named_parameters():",
    "    if p.ndim > 1 or 'sink' in name: torch.nn.init.normal_(p, std={gain} / max(p.shape[-1], 8) ** 0.5)",
    "    elif not p.any() and not name.endswith('bias'): torch.nn.init.constant_(p, 0.5)",
)
GAIN = 1.7


def redraw(model: nn.Module, gain: float = GAIN) -> None:
    """Draw all weights anew: matrices so large that attention is neither even nor one-hot, closed gates half open.

    Fresh weights (0.02) make all scores nearly 0: every key weighs the same, and a mask that is wrong by a little
    changes nothing. Too large ones give all the weight to one key.
    """
    torch.manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1 or "sink" in name:
                nn.init.normal_(p, std=gain / max(p.shape[-1], 8) ** 0.5)
            elif not bool(p.any()) and not name.endswith("bias"):
                nn.init.constant_(p, 0.5)
