"""Attention whose scores are changed as models do it: ours, by blocks of rows, and torch's with what it can do of it.

``python -m benchmarks.attention_changes`` takes a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import attnmask as am
from attnmask.execute.score_changes import Changes, attention_by_scores, attention_with_changes
from attnmask.timing.interleaved import OURS, medians

LENGTH, HEADS, DIM = 2048, 8, 64
MASKS = {
    "causal": am.causal(),
    "window 512": am.causal() & am.window(left=511, right=0),
    "documents 64": am.documents(lengths=[64] * (LENGTH // 64)),
}
COLUMNS = ("mask", "change", "ours ms", "by rows ms", "sdpa ms", "sdpa / ours")


def changes() -> dict[str, Changes]:
    """What models of transformers do: BERT's dropout, Gemma 2's cap, T5's bias, gpt-oss's sinks."""
    generator = torch.Generator().manual_seed(0)
    bias = torch.randn(1, HEADS, LENGTH, LENGTH, generator=generator)
    sinks = torch.randn(1, HEADS, 1, 1, generator=generator)
    return {
        "dropout 0.1": Changes(dropout=0.1),
        "softcap 50": Changes(softcap=50.0),
        "bias": Changes(bias=bias.requires_grad_()),
        "sinks": Changes(sinks=sinks.requires_grad_()),
    }


def sdpa(q: Tensor, k: Tensor, v: Tensor, plan: am.Plan, change: Changes) -> Tensor:
    """torch's attention under the dense mask, with dropout and bias; it has neither caps nor sinks."""
    mask: Any = torch.from_numpy(plan.to("dense"))
    if change.bias is not None:
        mask = change.bias.masked_fill(~mask, -torch.inf)
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=change.dropout)


def times_of(plan: am.Plan, change: Changes) -> dict[str, float]:
    """Seconds of forward and backward, by name."""
    generator = torch.Generator().manual_seed(1)
    q, k, v, grad = (torch.randn(1, HEADS, LENGTH, DIM, generator=generator) for _ in range(4))
    leaves = [x.requires_grad_() for x in (q, k, v)]
    arguments = plan, None, DIM**-0.5, change
    runs: dict[str, Callable[[], Tensor]] = {
        OURS: partial(attention_with_changes, *leaves, *arguments),
        "by rows": partial(attention_by_scores, *leaves, *arguments),
    }
    if change.softcap is None and change.sinks is None:
        runs["sdpa"] = partial(sdpa, *leaves, plan, change)
    learnt = [x for x in (*leaves, change.bias, change.sinks) if x is not None]
    both = {name: lambda run=run: torch.autograd.grad(run(), learnt, grad) for name, run in runs.items()}
    return medians(both, rounds=5, seconds=20)


def main() -> None:
    table = Table(title=f"forward + backward, {LENGTH:,} tokens, float32, {HEADS} heads of {DIM}", title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in COLUMNS[:2] else "right")
    for mask, expression in MASKS.items():
        plan = am.compile(expression, q=LENGTH)
        for name, change in changes().items():
            times = times_of(plan, change)
            peer = [f"{times['sdpa'] * 1e3:.1f}", f"{times['sdpa'] / times[OURS]:.1f}"] if "sdpa" in times else ["", ""]
            table.add_row(mask, name, f"{times[OURS] * 1e3:.1f}", f"{times['by rows'] * 1e3:.1f}", *peer)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
