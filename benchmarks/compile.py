"""From a description to blocks: ours against torch's create_block_mask, in one run.

``python -m benchmarks.compile`` takes some minutes. Every figure comes from a process of its own.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import attnmask as am
from attnmask.mask.domain import Domain
from attnmask.mask.reference import evaluate
from benchmarks.measured_masks import (
    DENSE_LENGTH,
    KINDS,
    WINDOW,
    dense_mask,
    kinds_without_a_measurement,
    packed,
    training_batch,
)
from benchmarks.process_measure import Measured, measure

SECOND, MB = 1.0, 1e6
LONG, MILLION = 131_072, 1_048_576
COMPOSED = 200
PAIRS = 5
console = Console(width=120)


# Jobs: each prepares, and returns what is timed.


def plan_and_tiles(length: int) -> Callable[[], Any]:
    mask = packed(length)
    return lambda: am.compile(mask, q=length).tiles()


def block_mask(length: int) -> Callable[[], Any]:
    import torch.nn.attention.flex_attention  # noqa: F401  (its import is nobody's compile time)

    mask = packed(length)
    return lambda: _bytes_of(am.compile(mask, q=length).to("flex"))


def block_mask_of_torch(length: int, compiled: bool) -> Callable[[], Any]:
    import torch
    from torch.nn.attention.flex_attention import create_block_mask

    ids = torch.from_numpy(_ids(length))

    def packed_mod(b: Any, h: Any, q: Any, k: Any) -> Any:
        return (q >= k) & (q - k <= WINDOW) & (ids[q] == ids[k])

    return lambda: _bytes_of(create_block_mask(packed_mod, None, None, length, length, "cpu", _compile=compiled))


def kind(name: str, length: int) -> Callable[[], Any]:
    mask = KINDS[name](length)

    def job() -> int:
        plan = am.compile(mask, q=length)
        plan.tiles()
        return len(plan.runs.starts)

    return job


def dense(length: int) -> Callable[[], Any]:
    mask = dense_mask()
    return lambda: am.compile(mask, q=length).tiles()


def batch() -> Callable[[], Any]:
    mask, lengths = training_batch()
    return lambda: am.compile(mask, **lengths)


def decoding_step(keys: int, rows: int) -> Callable[[], Any]:
    pads = np.random.default_rng(0).integers(0, keys // 2, rows)
    mask = am.causal() & am.window(left=WINDOW, right=0) & ~am.prefix(pads)
    return lambda: am.compile(mask, q=1, k=keys, offset=keys - 1)


def slice_of_rows(length: int, rows: int) -> Callable[[], Any]:
    plan = am.compile(packed(length), q=length)
    return lambda: plan[length // 2 : length // 2 + rows]


# The table.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out what takes minutes")
    quick = parser.parse_args().quick
    against_torch(quick)
    every_kind()
    small_things()
    equal_block_masks(20 if quick else COMPOSED)


def against_torch(quick: bool) -> None:
    """Packed documents under a causal window, at growing lengths."""
    table = _table(f"causal & window(left={WINDOW}) & documents: from the mask to blocks of 128")
    lengths = [32_768, 65_536, LONG, MILLION]
    ours = {length: _row(table, "Plan + tiles", length, measure(plan_and_tiles, length)) for length in lengths}
    blocks = {length: _row(table, "BlockMask", length, measure(block_mask, length)) for length in lengths}
    for length, measured in blocks.items():
        own = measured.peak / (measured.answer or 1)
        table.add_row("its peak against the form's own size", f"{length:,}", "", f"{own:.2f}x", "")
    for length, compiled in [(32_768, False), (65_536, True)] if not quick else [(16_384, True)]:
        name = f"create_block_mask, {'compiled' if compiled else 'eager'}"
        peer = _row(table, name, length, measure(block_mask_of_torch, length, compiled, rounds=3 if compiled else 1))
        for what, measured in (("Plan + tiles", ours), ("BlockMask", blocks)):
            if length in measured:
                table.add_row(f"against {what}", "", f"{peer.seconds / measured[length].seconds:,.0f}x", "", "")
    table.add_row(f"{MILLION:,} against {LONG:,}", "", f"{_growth():.1f}x", "", f"median of {PAIRS} pairs")
    console.print(table)


def _growth() -> float:
    """How many times longer Plan + tiles take at the largest length; the two are measured in turn."""
    pairs = [(measure(plan_and_tiles, MILLION), measure(plan_and_tiles, LONG)) for _ in range(PAIRS)]
    return statistics.median(long.seconds / short.seconds for long, short in pairs if long and short)


def every_kind() -> None:
    """Every other kind of mask at one length."""
    assert not kinds_without_a_measurement(), f"no measurement of {kinds_without_a_measurement()}"
    table = _table(f"Every kind: Plan + tiles at {LONG:,} tokens (dense at {DENSE_LENGTH:,})")
    for name in KINDS:
        _row(table, name, LONG, measure(kind, name, LONG, rounds=3))
    _row(table, "dense", DENSE_LENGTH, measure(dense, DENSE_LENGTH, rounds=3))
    console.print(table)


def small_things() -> None:
    """What is done again and again: the batches of a data loader, the steps of decoding, the chunks of a prefill."""
    table = _table("Batches, steps and slices")
    _row(table, "8 x 4,096, causal & documents & padding", 4096, measure(batch, rounds=50))
    for keys in (4096, LONG):
        for rows in (1, 64):
            _row(
                table,
                f"one decoding step, {rows} left-padded rows",
                keys,
                measure(decoding_step, keys, rows, rounds=200),
            )
    for length in (LONG, MILLION):
        _row(table, "plan[512 rows]", length, measure(slice_of_rows, length, 512, rounds=200))
    console.print(table)


def equal_block_masks(composed: int) -> None:
    """Ours and torch's BlockMask, tensor for tensor."""
    found: list[str] = []
    count = 0
    for mask, length in [*_each_kind(), *_compositions(composed)]:
        for size in (64, 128):
            count += 1
            if not _equal_to_torch(mask, length, size):
                found.append(f"{mask} at {length}, blocks of {size}")
    console.print(f"BlockMask equal to create_block_mask: {count - len(found)} of {count} ({composed} compositions)")
    for text in found:
        console.print(f"  differs: {text}")


def _each_kind() -> Iterator[tuple[am.Mask, int]]:
    for length in (1000, 2048, 4096):
        for make in KINDS.values():
            yield make(length), length


def _compositions(count: int) -> Iterator[tuple[am.Mask, int]]:
    chance = random.Random(0)
    operators: list[Callable[[am.Mask, am.Mask], am.Mask]] = [
        lambda a, b: a & b,
        lambda a, b: a | b,
        lambda a, b: a - b,
        lambda a, b: a ^ b,
    ]
    for _ in range(count):
        length = chance.choice([200, 777, 1000, 1024, 1500, 2048, 3000])
        mask = KINDS[chance.choice(list(KINDS))](length)
        for _ in range(chance.choice([1, 2, 3])):
            mask = chance.choice(operators)(mask, KINDS[chance.choice(list(KINDS))](length))
            mask = chance.choice([lambda m: m, lambda m: ~m, lambda m: m.shift(5)])(mask)
        yield mask, length


def _equal_to_torch(mask: am.Mask, length: int, size: int) -> bool:
    import torch
    from torch.nn.attention.flex_attention import create_block_mask

    plan = am.compile(mask, q=length)
    domain = Domain(plan.B, plan.H, length, length)
    pairs = torch.from_numpy(evaluate(mask, domain))
    theirs = create_block_mask(lambda b, h, q, k: pairs[b, h, q, k], plan.B, plan.H, length, length, "cpu", size)
    ours = plan.to("flex", block_size=size)
    return all(_same(getattr(ours, name), getattr(theirs, name)) for name in BLOCK_LISTS)


BLOCK_LISTS = [
    f"{full}{side}_{what}" for full in ("", "full_") for side in ("kv", "q") for what in ("num_blocks", "indices")
]


def _same(ours: Any, theirs: Any) -> bool:
    return bool((ours == theirs).all()) if ours is not None and theirs is not None else ours is theirs


def _bytes_of(block_mask: Any) -> int:
    tensors = [getattr(block_mask, name) for name in BLOCK_LISTS]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)


def _ids(length: int) -> Any:
    from benchmarks.measured_masks import document_lengths

    lengths = document_lengths(length)
    return np.repeat(np.arange(len(lengths)), lengths)


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("", "tokens", "time", "peak memory", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    return table


def _row(table: Table, name: str, length: int, measured: Measured | None) -> Measured:
    assert measured is not None, f"{name} at {length} ran out of memory"
    seconds = measured.seconds
    shown = f"{seconds:.2f} s" if seconds >= SECOND else f"{seconds * 1e3:.2f} ms"
    table.add_row(name, f"{length:,}", shown, f"{measured.peak / MB:,.1f} MB", "")
    return measured


if __name__ == "__main__":
    main()
