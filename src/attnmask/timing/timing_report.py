"""Times of one mask over several lengths, as a table and as a plot."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from attnmask.compiler.plan import Plan, compile
from attnmask.errors import ArgumentError, AttnMaskError
from attnmask.escapes import escaped
from attnmask.files import import_figure, picture_suffix, whole_file
from attnmask.mask.expression import Mask
from attnmask.timing.interleaved import OURS, Row, compare
from attnmask.timing.problem import Problem, problem_from_plan

if TYPE_CHECKING:
    from rich.table import Table

SHORTER = (8, 4, 2, 1)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def problems_from_mask(
    mask: Mask, q: int, heads: int, dim: int, kv_heads: int | None, dtype: str, device: str
) -> Iterator[Problem]:
    """Problems of an eighth, a quarter, half of the length and all of it; of fewer where the mask fits only some.

    Args:
        mask: an expression. q: tokens. heads, kv_heads, dim: sizes; the mask's own heads count. dtype: by name.
        device: where to run.

    Raises:
        ArgumentError: a size, dtype or device that cannot be, or the mask does not fit ``q`` tokens.
    """
    if dtype not in DTYPES:
        raise ArgumentError(f"dtype is {dtype!r}", where="bench", fix=f"give one of {', '.join(DTYPES)}")
    _check_device(device)
    plan = compile(mask, q=q)
    own = plan.H if plan.H > 1 else heads
    _check_sizes(plan, own, dim, kv_heads or own, DTYPES[dtype])
    return _problems(mask, q, own, dim, kv_heads, DTYPES[dtype], device)


def _problems(
    mask: Mask, q: int, heads: int, dim: int, kv_heads: int | None, dtype: torch.dtype, device: str
) -> Iterator[Problem]:
    for part in SHORTER:
        plan = _plan_of(mask, q // part)
        if plan is not None and plan.pairs:
            yield problem_from_plan(plan, heads, dim, kv_heads, dtype, device)


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # no such device, or torch was built without it
        why = str(error).splitlines()[0]
        raise ArgumentError(
            f"device is {device!r}: {why}", where="bench", fix="give cpu, or cuda with a GPU"
        ) from error


def _check_sizes(plan: Plan, heads: int, dim: int, kv_heads: int, dtype: torch.dtype) -> None:
    if plan.pairs == 0:
        what = f"no pair of {plan.Q} tokens attends: there is nothing to time"
        raise ArgumentError(what, where="bench", fix="give more tokens or another mask")
    for name, number in (("heads", heads), ("dim", dim), ("kv_heads", kv_heads)):
        if number < 1:
            raise ArgumentError(f"{name} is {number}", where="bench", fix="give 1 or more")
    if heads % kv_heads:
        raise ArgumentError(
            f"{heads} heads cannot share {kv_heads} heads of keys", where="bench", fix="divide them evenly"
        )
    # q, k, v, out, and the gradient of each, of which four are made in float32 first.
    needed = 8 * plan.B * heads * max(plan.Q, plan.K) * dim * max(dtype.itemsize, 4)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        what = f"the tensors take {needed / 2**30:,.0f} GiB, and the machine has {memory / 2**30:,.0f}"
        raise ArgumentError(what, where="bench", fix="take fewer tokens or heads")


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
    from rich.text import Text

    names = list(dict.fromkeys(name for row in times.values() for name in row))
    table = Table(title=Text(escaped(title)), title_justify="left")
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
    suffix = picture_suffix(path)
    figure = import_figure()(figsize=(6.4, 4.2), layout="constrained")
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
    axes.set_title(title, fontsize=9, loc="left", parse_math=False)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    try:
        with whole_file(path) as file:
            figure.savefig(file, dpi=200, format=suffix[1:])
    except OSError as error:
        why = f"cannot be written: {error.strerror or error}"
        raise ArgumentError(
            why, where=escaped(str(path)), fix="name a file in a folder that can be written to"
        ) from error
