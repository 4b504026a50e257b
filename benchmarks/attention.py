"""Attention under every kind of mask: ours against its peers, round by round in one run.

``python -m benchmarks.attention`` takes about an hour; ``--quick`` some minutes. ``--device cuda`` runs it on a GPU.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import attnmask as am
from attnmask.timing import Problem, compare, problem_from_plan
from attnmask.timing.interleaved import OURS, medians
from attnmask.timing.timed_peers import ours
from benchmarks.attention_masks import CASES
from benchmarks.attention_peers import peers_of
from benchmarks.measured_masks import random_lengths
from benchmarks.process_measure import measure

HEADS = 8
LIMIT_LENGTH = 4096
console = Console(width=150)


@dataclass(frozen=True)
class Setting:
    """What a table is about."""

    length: int
    dtype: torch.dtype
    dim: int
    kv_heads: int
    device: str

    def __str__(self) -> str:
        on = f" on {self.kv_heads} of keys" if self.kv_heads != HEADS else ""
        place = "" if self.device == "cpu" else f", {self.device}"
        return (
            f"{self.length:,} tokens, {str(self.dtype).removeprefix('torch.')}, {HEADS} heads of {self.dim}{on}{place}"
        )

    def problem(self, name: str) -> Problem:
        case = CASES[name](self.length)
        plan = am.compile(case.mask, q=self.length, batch=case.batch)
        return problem_from_plan(plan, HEADS, self.dim, self.kv_heads, self.dtype, self.device, case.mod)


def seconds_per_pair(setting: Setting, backward: bool) -> float:
    """What a pair costs torch's own kernel without a mask: the limit."""
    plan = am.compile(am.full(), q=min(setting.length, LIMIT_LENGTH))
    problem = problem_from_plan(plan, HEADS, setting.dim, setting.kv_heads, setting.dtype, setting.device)
    row = compare(problem, {"sdpa flag": peers_of(CASES["full"](plan.Q))["sdpa flag"]}, backward, seconds=10)
    return (row.backward if backward else row.forward)["sdpa flag"] / plan.pairs


@dataclass(frozen=True)
class Cell:
    """One mask, one way.

    Attributes:
        way: forward, or backward for both. times: seconds by name. share: of what the limit would let us do.
    """

    way: str
    mask: str
    times: dict[str, float]
    share: float

    @property
    def best(self) -> str:
        """The fastest peer; none where all need more memory than there is."""
        return min((name for name in self.times if name != OURS), key=self.times.__getitem__, default="none")

    def over(self, peer: str) -> float:
        """How many times as fast as a peer we are; nan where it did not run."""
        return self.times.get(peer, math.nan) / self.times[OURS]


def cells_of(setting: Setting, names: Iterable[str], seconds: float) -> list[Cell]:
    """Time every mask."""
    limits = {way: seconds_per_pair(setting, way == "backward") for way in ("forward", "backward")}
    cells: list[Cell] = []
    for name in names:
        problem = setting.problem(name)
        row = compare(problem, peers_of(CASES[name](setting.length)), backward=True, seconds=seconds)
        for way, limit in limits.items():
            times: dict[str, float] = getattr(row, way)
            cells.append(Cell(way, name, times, limit * problem.plan.pairs / times[OURS]))
        console.print(f"  {setting}: {name}", style="dim")
    return cells


WAYS = {"forward": "forward", "backward": "forward + backward"}
PEERS_SHOWN = ("sdpa dense", "flex", "hf eager", "hf sdpa")
COLUMNS = (
    "mask",
    "ours ms",
    "best peer",
    "its ms",
    "ratio",
    *(f"over {peer}" for peer in PEERS_SHOWN),
    "share of limit",
)


def lines_of(cells: Iterable[Cell]) -> list[list[str]]:
    """One line a mask, and one of the means; ratios above 1 are in our favour."""
    cells = list(cells)
    lines = [
        [
            cell.mask,
            f"{cell.times[OURS] * 1e3:.1f}",
            cell.best,
            _number(cell.times.get(cell.best, math.nan) * 1e3, 1),
            _number(cell.over(cell.best), 2),
            *(_number(cell.over(peer), 2) for peer in PEERS_SHOWN),
            f"{cell.share:.2f}",
        ]
        for cell in cells
    ]
    means = [_number(geometric_mean(cell.over(peer) for cell in cells), 2) for peer in PEERS_SHOWN]
    least = min((cell.over(cell.best) for cell in cells if cell.best != "none"), default=math.nan)
    shares = [cell.share for cell in cells]
    share = f"{sum(shares) / len(shares):.2f}, least {min(shares):.2f}"
    return [*lines, ["geometric mean", "", "", "", f"least {_number(least, 2)}", *means, share]]


def print_table(title: str, lines: Iterable[list[str]]) -> None:
    """On the terminal."""
    table = Table(title=title, title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("mask", "best peer") else "right")
    for line in lines:
        table.add_row(*line)
    console.print(table)


def write_section(page: Path, title: str, lines: Iterable[list[str]]) -> None:
    """On a Markdown page: in the place of the section of that title, or at the end."""
    rows = [COLUMNS, ["---"] * len(COLUMNS), *lines]
    section = f"### {title}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    before, found, after = page.read_text().partition(f"### {title}\n")
    rest = after.partition("\n### ")[2] if found else ""
    page.write_text(f"{before.rstrip()}\n\n{section}" + (f"\n### {rest}" if rest else ""))


def geometric_mean(values: Iterable[float]) -> float:
    """Of those that are numbers."""
    logs = [math.log(value) for value in values if not math.isnan(value)]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


# Memory.

LONG = 131_072


def trained(kind: str, dtype: str) -> Callable[[], Any]:
    """One forward and backward at 131,072 tokens."""
    mask = {
        "window": am.causal() & am.window(left=1023, right=0),
        "documents": am.causal() & am.documents(lengths=random_lengths(LONG, 1000)),
    }[kind]
    problem = problem_from_plan(am.compile(mask, q=LONG), HEADS, dtype=getattr(torch, dtype))
    run = ours(problem)
    return lambda: torch.autograd.grad(run(), (problem.q, problem.k, problem.v), problem.grad)


def print_memory() -> None:
    """Peak of a process of its own above what it held before, in units of q + k + v + out."""
    table = Table(title=f"forward + backward at {LONG:,} tokens, H={HEADS} D=64", title_justify="left")
    for column in ("mask", "dtype", "s", "peak MB", "over q + k + v + out"):
        table.add_column(column, justify="right")
    for kind in ("window", "documents"):
        for dtype in ("float32", "bfloat16"):
            found = measure(trained, kind, dtype, rounds=1)
            assert found is not None
            own = 4 * HEADS * LONG * 64 * getattr(torch, dtype).itemsize
            table.add_row(kind, dtype, f"{found.seconds:.2f}", f"{found.peak / 1e6:.0f}", f"{found.peak / own:.2f}")
    console.print(table)


# Decoding.


def print_decoding(keys: int = 4096, batch: int = 8) -> None:
    """One query against a cache of a left-padded batch: what the mask costs of a step, compiled anew and sliced."""
    pads = torch.randint(0, keys // 2, (batch,), generator=torch.Generator().manual_seed(0)).numpy()
    mask = am.causal() & am.padding(lengths=keys - pads, side="left")
    whole, step = am.compile(mask, q=keys), {"q": 1, "k": keys, "offset": keys - 1}
    table = Table(title=f"one decoding step, {keys:,} keys, B={batch} H={HEADS} D=64", title_justify="left")
    for column in ("dtype", "compile ms", "plan[row] ms", "attention ms", "sdpa dense ms", "plan[row] / attention"):
        table.add_column(column, justify="right")
    for dtype in (torch.float32, torch.bfloat16):
        problem = problem_from_plan(am.compile(mask, **step), HEADS, dtype=dtype)
        dense = peers_of(CASES["full"](1))["sdpa dense"](problem)
        assert dense is not None
        runs = {
            "compile": lambda: am.compile(mask, **step),
            "slice": lambda: whole[keys - 1 :],
            OURS: ours(problem),
            "dense": dense,
        }
        with torch.no_grad():
            times = medians(runs, rounds=200, seconds=20)
        own = [f"{times[each] * 1e3:.3f}" for each in ("compile", "slice", OURS, "dense")]
        table.add_row(str(dtype).removeprefix("torch."), *own, f"{times['slice'] / times[OURS]:.1%}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="4,096 tokens, D=64, both dtypes")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, 16_384, 32_768])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--kv-heads", type=int, nargs="+", default=[HEADS, 2])
    parser.add_argument("--masks", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--seconds", type=float, default=10.0, help="after which a mask begins no new round")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--page", type=Path, help="a Markdown page whose tables are written anew")
    given = parser.parse_args()
    if given.quick:
        given.lengths, given.dims, given.kv_heads = [4096], [64], [HEADS]
    console.print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {given.device}")
    for length in given.lengths:
        for dim in given.dims:
            # Grouped queries are timed at one width, and the other way round.
            for kv_heads in given.kv_heads if dim == given.dims[0] else given.kv_heads[:1]:
                for dtype in given.dtypes:
                    setting = Setting(length, getattr(torch, dtype), dim, kv_heads, given.device)
                    cells = cells_of(setting, given.masks, given.seconds)
                    for way, name in WAYS.items():
                        title, lines = f"{name}, {setting}", lines_of(cell for cell in cells if cell.way == way)
                        print_table(title, lines)
                        if given.page:
                            write_section(given.page, title, lines)
    if given.device == "cpu":
        print_memory()
        print_decoding()


if __name__ == "__main__":
    main()
