"""Times of one mask over several lengths, as a table and as a plot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from attnmask.bench.compare import OURS, Row, compare
from attnmask.bench.problem import Problem, problem_of
from attnmask.compile.plan import Plan, compile
from attnmask.errors import ArgumentError, AttnMaskError
from attnmask.mask.expr import Mask

if TYPE_CHECKING:
    from rich.table import Table

SHORTER = (8, 4, 2, 1)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def problems_of(
    mask: Mask, q: int, heads: int, dim: int, kv_heads: int | None, dtype: str, device: str
) -> Iterator[Problem]:
    """Problems of an eighth, a quarter, half of the length and all of it; of fewer where the mask fits only some.

    Args:
        mask: an expression. q: tokens. heads, kv_heads, dim: sizes; the mask's own heads count. dtype: by name.
        device: where to run.

    Raises:
        ArgumentError: there is no such dtype, or the mask does not fit ``q`` tokens.
    """
    if dtype not in DTYPES:
        raise ArgumentError(f"dtype is {dtype!r}", where="bench", fix=f"give one of {', '.join(DTYPES)}")
    compile(mask, q=q)
    for part in SHORTER:
        plan = _plan_of(mask, q // part)
        if plan is not None and plan.pairs:
            own = plan.H if plan.H > 1 else heads
            yield problem_of(plan, own, dim, kv_heads, DTYPES[dtype], device)


def _plan_of(mask: Mask, length: int) -> Plan | None:
    try:
        return compile(mask, q=length) if length else None
    except AttnMaskError:
        return None  # its data are of another length


def times_of(problems: Iterator[Problem], backward: bool) -> Iterator[tuple[Plan, dict[str, float]]]:
    """Seconds by name for each problem."""
    for problem in problems:
        row: Row = compare(problem, backward=backward)
        yield problem.plan, row.backward if backward else row.forward


def table_of(times: Mapping[Plan, Mapping[str, float]], title: str) -> Table:
    """One line a length: milliseconds of each, and how many times as long as ours the others take."""
    from rich.table import Table

    names = list(dict.fromkeys(name for row in times.values() for name in row))
    table = Table(title=title, title_justify="left")
    for column in ("tokens", "pairs", *(f"{name} ms" for name in names)):
        table.add_column(column, justify="right")
    for plan, row in times.items():
        table.add_row(f"{plan.Q:,}", f"{plan.density:.1%}", *(_cell(name, row) for name in names))
    return table


def _cell(name: str, row: Mapping[str, float]) -> str:
    if name not in row:
        return ""
    own = f"{row[name] * 1e3:.2f}"
    return own if name == OURS else f"{own} ({row[name] / row[OURS]:.1f}x)"


def save_plot(times: Mapping[Plan, Mapping[str, float]], title: str, path: Path) -> None:
    """Time against length, both in powers, as a PNG, SVG or PDF.

    Raises:
        AttnMaskError: matplotlib is missing, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise AttnMaskError("pictures need matplotlib", fix="pip install 'attnmask[draw]'") from error
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name in dict.fromkeys(name for row in times.values() for name in row):
        lengths = [plan.Q for plan, row in times.items() if name in row]
        own = [row[name] * 1e3 for row in times.values() if name in row]
        axes.plot(lengths, own, marker="o", label=name, linewidth=2.4 if name == OURS else 1.2)
    ticks = [plan.Q for plan in times]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks], minor=False)
    axes.set(xlabel="tokens", ylabel="ms", xlim=(ticks[0] / math.sqrt(2), ticks[-1] * math.sqrt(2)))
    axes.set_title(title, fontsize=9, loc="left")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    try:
        figure.savefig(path, dpi=200)
    except (OSError, ValueError) as error:
        raise AttnMaskError(
            f"{path} cannot be written: {error}", where="bench --out", fix="give a .png file"
        ) from error
