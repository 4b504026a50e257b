"""Every mask function that transformers builds is read back as the set that transformers' own sdpa_mask evaluates."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers.masking_utils as hf

import attnmask as am
from attnmask.hf.implementation.interface import model_mask

BATCH, LENGTH = 2, 12
PACKED_POSITIONS = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0, 0, 1, 2, 3], [*range(12)]])
PACKED_IDS = hf.find_packed_sequence_indices(PACKED_POSITIONS)
BLOCKS = torch.tensor([[-1, 0, 0, -1, 1, 1, 1, -1, 0, 0, -1, -1], [2, 2, 2, 2, -1, -1, 3, 3, 3, 3, 3, 3]])
LEFT = torch.tensor([3, 0])
MASK = torch.tensor([[0, 0, 0] + [1] * 9, [1] * 10 + [0, 0]]).bool()

CLOSURES: dict[str, Callable[..., Any]] = {
    "causal": hf.causal_mask_function,
    "bidirectional": hf.bidirectional_mask_function,
    "window before": hf.sliding_window_overlay(3),
    "causal window": hf.sliding_window_causal_mask_function(4),
    "causal window of 1": hf.sliding_window_causal_mask_function(1),
    "window around": hf.sliding_window_bidirectional_mask_function(3),
    "window around, 0": hf.sliding_window_bidirectional_mask_function(0),
    "causal or window": hf.or_masks(hf.causal_mask_function, hf.sliding_window_bidirectional_overlay(2)),
    "chunked": hf.chunked_causal_mask_function(4, LEFT),
    "blockwise": hf.or_masks(hf.causal_mask_function, hf.blockwise_overlay(BLOCKS)),
    "padding": hf.and_masks(hf.causal_mask_function, hf.padding_mask_function(MASK)),
    "packed": hf.packed_sequence_mask_function(PACKED_IDS),
    "packed, negative ids": hf.packed_sequence_mask_function(PACKED_IDS - 2),
    "packed causal": hf.packed_sequence_compatibility_function(hf.causal_mask_function, PACKED_POSITIONS, PACKED_IDS),
    "packed window": hf.packed_sequence_compatibility_function(
        hf.sliding_window_causal_mask_function(2), PACKED_POSITIONS, PACKED_IDS
    ),
    "packed chunked": hf.packed_sequence_compatibility_function(
        hf.chunked_causal_mask_function(2, torch.tensor([0, 1])), PACKED_POSITIONS, PACKED_IDS
    ),
    "packed bidirectional": hf.packed_sequence_compatibility_function(
        hf.bidirectional_mask_function, PACKED_POSITIONS, PACKED_IDS
    ),
}
# (queries, keys): all, the last of a static cache, those after a cache, one token, a sliding cache.
PLACES = [(range(12), range(12)), (range(4), range(12)), (range(7, 12), range(12)), (range(11, 12), range(12)),
          (range(8, 12), range(3, 12)), (range(11, 12), range(5, 12))]  # fmt: skip
UNKNOWN: dict[str, Callable[..., Any]] = {
    "somebody's own": lambda b, h, q, k: (q * k) % 3 == b,
    "one part is unknown": hf.and_masks(hf.causal_mask_function, lambda b, h, q, k: k % 2 == b % 2),
    "positions that jump": hf.packed_sequence_compatibility_function(
        hf.causal_mask_function, PACKED_POSITIONS * 2, PACKED_IDS
    ),
    "documents of remapped positions": hf.packed_sequence_compatibility_function(
        hf.blockwise_overlay(BLOCKS), PACKED_POSITIONS, PACKED_IDS
    ),
    "remapped alone": hf.remap_positions_for_packed_sequence(hf.causal_mask_function, PACKED_POSITIONS),
}


def evaluated(function: Callable[..., Any], queries: range, keys: range, mask: torch.Tensor | None) -> np.ndarray:
    """What transformers makes of it, every pair looked at."""
    lengths = (BATCH, len(queries), len(keys), queries.start, keys.start)
    dense = hf.sdpa_mask(*lengths, function, mask, allow_is_causal_skip=False)
    return np.broadcast_to(dense.numpy(), (BATCH, 1, len(queries), len(keys)))


def read(function: Callable[..., Any], queries: range, keys: range, mask: torch.Tensor | None) -> np.ndarray:
    lengths = (BATCH, len(queries), len(keys), queries.start, keys.start)
    plan = model_mask(*lengths, mask_function=function, attention_mask=mask).plan
    return np.broadcast_to(plan.to("dense"), (BATCH, 1, len(queries), len(keys)))


@pytest.mark.parametrize("name", CLOSURES)
@pytest.mark.parametrize(("queries", "keys"), PLACES)
@pytest.mark.parametrize("mask", [None, MASK, MASK[:, :9], torch.ones(2, 12).bool()], ids=["none", "12", "9", "ones"])
def test_what_transformers_builds_is_read_back(
    name: str, queries: range, keys: range, mask: torch.Tensor | None
) -> None:
    function = CLOSURES[name]
    # Warnings are errors here: a closure that is not recognised fails.
    assert (read(function, queries, keys, mask) == evaluated(function, queries, keys, mask)).all()


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("mask", [None, MASK], ids=["none", "12"])
def test_what_nobody_knows_is_evaluated_with_a_warning(name: str, mask: torch.Tensor | None) -> None:
    function, everything = UNKNOWN[name], range(12)
    with pytest.warns(am.hf.UnknownMaskWarning, match=f"{function.__qualname__} is unknown"):
        ours = read(function, everything, everything, mask)
    assert (ours == evaluated(function, everything, everything, mask)).all()


def test_the_warning_comes_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            read(UNKNOWN["somebody's own"], range(12), range(12), None)
    assert len(caught) == 1


def test_a_known_function_becomes_an_expression() -> None:
    expressions = {
        "causal": "causal()",
        "causal window": "window(left=3, right=None) & causal()",
        "window around": "window(left=3, right=3) & full()",
    }
    for name, expected in expressions.items():
        assert repr(am.hf.mask_from_closure(CLOSURES[name], range(12), range(12))) == expected
    assert am.hf.mask_from_closure(UNKNOWN["somebody's own"], range(12), range(12)) is None


def test_a_function_that_only_bears_the_name_is_unknown() -> None:
    def causal_mask_function(b: Any, h: Any, q: Any, k: Any) -> Any:
        return k >= q

    causal_mask_function.__qualname__ = "causal_mask_function"
    assert am.hf.mask_from_closure(causal_mask_function, range(12), range(12)) is None


def test_no_pair_is_looked_at_for_a_known_function() -> None:
    tokens = 200_000
    plan = model_mask(1, tokens, tokens, mask_function=hf.sliding_window_causal_mask_function(100)).plan
    assert plan.pairs == tokens * 100 - 100 * 99 // 2


def test_an_offset_may_be_a_tensor() -> None:
    plan = model_mask(1, 1, 32, torch.tensor(4), 0, mask_function=hf.causal_mask_function).plan
    assert plan.pairs == 5
