"""Long contexts: memory grows with rows and runs, never with pairs."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest

import attnmask as am
from attnmask.compiler.structure import facts
from attnmask.mask.domain import Domain
from attnmask.mask.reference import evaluate

LENGTH = 1 << 20


def documents_of_about_1000() -> np.ndarray:
    return np.random.default_rng(0).multinomial(LENGTH, np.ones(1000) / 1000)


@pytest.fixture(scope="module")
def peak_of_a_million() -> tuple[am.Plan, int]:
    mask = am.causal() & am.window(left=1023, right=0) & am.documents(lengths=documents_of_about_1000())
    tracemalloc.start()
    plan = am.compile(mask, q=LENGTH)
    plan.tiles(128, 128)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return plan, peak


def test_a_million_tokens_compile_and_tile_in_less_than_200_mb(peak_of_a_million: tuple[am.Plan, int]) -> None:
    plan, peak = peak_of_a_million
    assert plan.shape == (1, 1, LENGTH, LENGTH)
    assert peak < 200e6, f"{peak / 1e6:.0f} MB"


def test_the_pairs_of_a_million_tokens_are_counted_exactly(peak_of_a_million: tuple[am.Plan, int]) -> None:
    plan, _ = peak_of_a_million
    lengths = documents_of_about_1000()
    # A document of n tokens has 1 + 2 + ... pairs until the window of 1024 is full, then 1024 a row.
    ramp = np.minimum(lengths, 1024)
    assert plan.pairs == int((ramp * (ramp + 1) // 2 + (lengths - ramp) * 1024).sum())


def test_pairs_beyond_32_bits_are_counted() -> None:
    assert am.compile(am.full(), q=1 << 17).pairs == 1 << 34
    assert am.compile(am.causal(), q=LENGTH).pairs == LENGTH * (LENGTH + 1) // 2


def test_facts_of_a_million_tokens_are_found() -> None:
    assert facts.causal_offset(am.compile(am.causal(), q=LENGTH).runs) == 0
    assert facts.window_sides(am.compile(am.window(left=9, right=0), q=LENGTH).runs, 0) == (9, 0)


TOKENS = np.arange(1 << 16) % 40_000 > 0


@pytest.mark.parametrize("of", ["keys", "queries", "both"])
def test_padding_by_a_mask_is_never_written_out_pair_by_pair(of: str) -> None:
    tracemalloc.start()
    plan = am.compile(am.causal() & am.padding(attention_mask=[TOKENS, np.sort(TOKENS)], of=of), q=len(TOKENS))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert plan.shape == (2, 1, len(TOKENS), len(TOKENS))
    assert peak < 50e6, f"{peak / 1e6:.0f} MB"


def test_documents_that_come_back_are_looked_for_only_where_a_window_leaves_keys() -> None:
    tracemalloc.start()
    plan = am.compile(am.documents(ids=np.arange(1 << 15) % 3) & am.window(left=8, right=0), q=1 << 15)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert plan == am.compile(am.dilated(3) & am.window(left=8, right=0), q=1 << 15)
    assert peak < 50e6, f"{peak / 1e6:.0f} MB"


MANY = {
    "padding with holes": lambda n: am.padding(attention_mask=np.arange(n) % 2),
    "padding of both": lambda n: am.padding(attention_mask=np.arange(n) % 2, of="both"),
    "global tokens": lambda n: am.global_tokens(np.arange(0, n, 2)) - am.global_tokens([0]),
    "blocks": lambda n: am.blocks(np.arange(n // 64) % 2 == np.arange(n // 64)[:, None] % 2, 64),
}


@pytest.mark.parametrize("name", MANY)
def test_of_many_runs_only_those_in_a_window_are_made(name: str) -> None:
    n, mask = 65_536, MANY[name]
    assert 3 * n < am.compile(mask(n) & am.window(15, 0), q=n).pairs < 17 * n
    small = mask(512) & am.window(15, 0)
    assert (am.compile(small, q=512).to("dense")[0, 0] == evaluate(small, Domain(1, 1, 512, 512, 0))[0, 0]).all()


@pytest.mark.parametrize("name", MANY)
def test_tables_for_looking_up_are_not_pickled(name: str) -> None:
    mask = MANY[name](4096)
    before = len(pickle.dumps(mask))
    am.compile(mask & am.window(15, 0), q=4096)
    assert len(pickle.dumps(mask)) == before
