"""What is asked of large sets takes little memory beside them, and looks at few rows before it refuses."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from importlib import import_module

import numpy as np
import pytest
from numpy.typing import NDArray

import attnmask as am
from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import Runs
from attnmask.compiler.structure import recognise
from attnmask.compiler.structure.padded_bands import band_from_runs
from attnmask.errors import CannotExpressError
from attnmask.formats import FORMATS
from attnmask.formats.frameworks import splash
from attnmask.formats.pytorch import torch_encoder
from attnmask.mask.atoms import bigbird_layout
from attnmask.mask.expression import Mask

TOKENS = 1 << 17
SPANS = np.where(np.arange(TOKENS) // 256 % 8 == 3, np.arange(TOKENS) // 2048, -1)
EVERY = np.arange(0, TOKENS, 16384)
KINDS: dict[str, Callable[[], Mask]] = {
    "heads of global tokens": lambda: am.per_head(
        [
            am.global_tokens(EVERY) | am.window(256, 256) | am.spans(SPANS),
            am.causal() & (am.global_tokens(EVERY) | am.window(256, 256)),
            am.global_tokens(EVERY) | am.window(128, 128),
            am.window(512, 0),
        ]
    ),
    "layout": lambda: am.blocks(bigbird_layout(TOKENS // 512, 3, 2, 3), 512),
    "grid": lambda: am.grid(TOKENS // 512, 512, 3),
    "trees": lambda: am.tree([-1 if n % 64 == 0 else n - 1 - n % 3 if n % 64 > 3 else n - 1 for n in range(TOKENS)]),
    "interleaved documents": lambda: (
        am.causal() & am.documents(ids=np.random.default_rng(0).integers(0, TOKENS // 8, TOKENS))
    ),
}
# A few arrays of int64 for every run, every row and every key.
BYTES_A_RUN, BYTES_A_ROW = 120, 400
# Half a million tokens in all: asked in 0.1 to 0.6 s of the processor; in 2 s to minutes without the care taken.
LONG, SECONDS = 1 << 19, 2
ASKED: dict[str, tuple[Callable[[], Plan], Callable[[Plan], object]]] = {
    "tokens with holes, as bands": (
        lambda: am.compile(am.window(64, 0) & am.padding(attention_mask=np.arange(LONG) % 1024 != 3), q=LONG),
        lambda plan: band_from_runs(plan.runs),
    ),
    "sinks that all see, described": (
        lambda: am.compile(am.window(512, 512) | am.sinks(4), q=LONG),
        lambda plan: str(plan.describe()),
    ),
    "interleaved documents, in slices": (
        lambda: am.compile(am.documents(ids=np.random.default_rng(0).integers(0, LONG // 2, LONG)), q=LONG),
        lambda plan: plan.to("magi"),
    ),
    "items of trees, as a union": (
        lambda: am.compile(am.tree(np.stack([_trees(every) for every in (16, 32, 64, 128)])), q=LONG // 4),
        lambda plan: [*splash.refusals(plan), *torch_encoder.refusals(plan)],
    ),
}


def _trees(every: int) -> NDArray[np.int64]:
    node = np.arange(LONG // 4)
    return np.where(node % every == 0, -1, node - 1 - node % 3 * (node % every > 3))


@pytest.mark.parametrize("name", ASKED)
def test_half_a_million_tokens_are_asked_in_seconds(name: str) -> None:
    pytest.importorskip("torch")  # before the clock runs
    make, ask = ASKED[name]
    plan = make()
    begin = time.process_time()
    assert ask(plan)
    assert time.process_time() - begin < SECONDS


@pytest.fixture(scope="module", params=KINDS)
def plan(request: pytest.FixtureRequest) -> Plan:
    return am.compile(KINDS[request.param](), q=TOKENS)


def _peak(plan: Plan, ask: Callable[[Plan], object]) -> tuple[object, int]:
    # Anew, so that nothing is looked up already.
    runs = plan.runs
    fresh = Plan(Runs(runs.shape, runs.keys, runs.indptr, runs.starts, runs.stops), plan.offset, plan.mask)
    tracemalloc.start()
    try:
        return ask(fresh), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


QUESTIONS: dict[str, Callable[[Plan], object]] = {
    "describe": lambda plan: str(plan.describe()),
    "equal": lambda plan: str(plan.diff(am.compile(am.causal(), q=TOKENS))),
    "refused": lambda plan: plan.formats(),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_large_set_is_asked_in_little_memory(plan: Plan, question: str) -> None:
    answer, peak = _peak(plan, QUESTIONS[question])
    assert answer
    assert peak <= BYTES_A_RUN * len(plan.runs.starts) + BYTES_A_ROW * plan.runs.rows, f"{peak:,} bytes"


def test_forms_of_every_pair_are_not_recommended(plan: Plan) -> None:
    refused = plan.formats()
    assert list(refused) == list(FORMATS)
    for name in ("dense", "dense_torch", "integers", "additive", "hf_4d", "flax"):
        with pytest.raises(CannotExpressError) as error:
            plan.to(name)
        assert list(error.value.reasons) == refused[name] != []


def test_a_refusal_asks_no_other_target(monkeypatch: pytest.MonkeyPatch) -> None:
    other = import_module(FORMATS["flashmask"])
    monkeypatch.setattr(other, "refusals", lambda plan, **options: pytest.fail("another format was asked"))
    with pytest.raises(CannotExpressError, match=r"plan\.formats"):
        am.compile(am.dilated(2), q=8).to("flash_varlen")


def test_a_set_too_large_to_be_named_keeps_the_mask_it_was_compiled_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognise, "MOST_RUNS", 7)
    plan = am.compile(am.causal() & am.full(), q=8)
    assert plan.describe().mask == am.causal() & am.full()
    assert Plan(plan.runs).describe().mask is None
