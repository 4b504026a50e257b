"""Sizes that would fill the memory are refused at once, in words, before any of it is taken."""

from __future__ import annotations

import copy
import json
import pickle
import resource
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

import attnmask as am
from attnmask.mask.atoms import bigbird_layout
from attnmask.mask.expression import DEEPEST, Mask
from attnmask.mask.mask_json import mask_from_json
from attnmask.mask.parse_text import mask_from_text

BILLION, LARGEST, MOST_BYTES, MOST_SECONDS = 10**9, 2**31 - 1, 32 << 20, 2.0
DIGITS = "f" * 5000
ALWAYS = am.predicate(lambda b, h, q, k: k <= q)
CAUSAL = am.compile(am.causal(), q=1_000_000)


def _json(node: str) -> Mask:
    return mask_from_json('{"attnmask": 1, "mask": ' + node + "}")


REFUSED: dict[str, Callable[[], object]] = {
    "queries": lambda: am.compile(am.causal(), q=2_000_000_000),
    "items of a predicate": lambda: am.compile(ALWAYS, q=4, batch=BILLION, heads=BILLION),
    "items of a predicate without queries": lambda: am.compile(ALWAYS, q=0, batch=BILLION, heads=BILLION),
    "keys of a predicate": lambda: am.compile(ALWAYS, q=4, k=LARGEST, offset=0),
    "single keys": lambda: am.compile(am.dilated(2), q=4, k=LARGEST, offset=0),
    "a hexadecimal": lambda: am.sinks(int(DIGITS, 16)),
    "a hexadecimal in a text": lambda: mask_from_text(f"sinks(0x{DIGITS})"),
    "a decimal in a text": lambda: mask_from_text(f"sinks({'9' * 5000})"),
    "a hexadecimal in a list": lambda: mask_from_text(f"prefix([0x{DIGITS}])"),
    "a decimal in JSON": lambda: _json('{"sinks": {"n": ' + "9" * 5000 + "}}"),
    "an id": lambda: am.spans([2**5000]),
    "a shift": lambda: am.causal().shift(2**5000),
    "an offset": lambda: am.compile(am.causal(), q=4, offset=2**5000),
    "a layout": lambda: bigbird_layout(10**6, 3, 1, 1),
    "states of tiles": lambda: am.compile(am.causal(), q=100_000).tiles(1, 1).states(),
    "every pair": lambda: CAUSAL.to("dense"),
    "every pair as floats": lambda: CAUSAL.to("additive"),
    "items to write out": lambda: am.compile(am.causal(), q=4).to("hf_2d", causal=True, batch=BILLION),
    "heads to write out": lambda: am.compile(am.causal(), q=4).to("splash", heads=BILLION),
    "queries to lift": lambda: am.lift("sdpa", {"is_causal": True}, q=2_000_000_000, k=4),
    "keys to lift": lambda: am.lift("sdpa", {"attn_mask": np.ones((1, 1), bool)}, q=LARGEST, k=LARGEST),
    "sequences to lift": lambda: am.lift(
        "flash_varlen",
        {"cu_seqlens_q": [0, LARGEST], "cu_seqlens_k": [0, LARGEST], "max_seqlen_q": LARGEST, "max_seqlen_k": LARGEST},
    ),
    "an array in JSON": lambda: _json('{"dense": {"array": {"bits": "", "shape": [0, ' + "1" + "0" * 40 + "]}}}"),
    "axes in JSON": lambda: _json('{"dense": {"array": {"bits": "", "shape": [0' + ", 1" * 100 + "]}}}"),
    "rows in JSON": lambda: am.Plan.from_json(
        json.dumps(
            {"attnmask": 1, "shape": [1, 1, BILLION], "keys": 4, "offset": 0, "counts": []}
            | {"starts": [], "stops": [], "mask": None}
        )
    ),
    "brackets in JSON": lambda: _json('{"spans": {"ids": ' + "[" * 5000 + "]" * 5000 + "}}"),
    "levels in JSON": lambda: _json('{"not": ' * 5000 + '{"causal": {}}' + "}" * 5000),
    "a long text": lambda: mask_from_text("causal() | " * 11_000 + "full()"),
    "parentheses": lambda: mask_from_text("(" * 5000 + "causal()" + ")" * 5000),
    "complements in a text": lambda: mask_from_text("~" * 9000 + "causal()"),
    "shifts in a text": lambda: mask_from_text("causal()" + ".shift(1)" * 2000),
    "signs in a text": lambda: mask_from_text("sinks(" + "-" * 9000 + "1)"),
    "brackets in a text": lambda: mask_from_text("spans(" + "[" * 90 + "]" * 90 + ")"),
    "more runs than any set may have": lambda: am.compile(
        am.per_head([am.global_tokens(np.arange(0, 131_072, 64)) | am.window(n, n) for n in (1, 2, 3, 4)]), q=131_072
    ),
}


@pytest.mark.parametrize("act", REFUSED.values(), ids=REFUSED)
def test_a_size_is_refused_before_memory_is_taken(act: Callable[[], object]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    tracemalloc.start()
    try:
        with pytest.raises(am.AttnMaskError) as error:
            act()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES, f"{peak:,} bytes"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < MOST_SECONDS
    assert error.value.fix
    assert len(str(error.value)) < 2000


NESTINGS: dict[str, Callable[[Mask], Mask]] = {
    "not": lambda mask: ~mask,
    "xor": lambda mask: mask ^ am.full(),
    "shift": lambda mask: mask.shift(1),
    "and, or": lambda mask: am.causal() | mask if type(mask).__name__ == "And" else am.full() & mask,
    "per_head": lambda mask: am.per_head([mask]),
}


def _nested(nest: Callable[[Mask], Mask], levels: int) -> Mask:
    mask = am.causal()
    for _ in range(levels - 1):
        mask = nest(mask)
    return mask


@pytest.mark.parametrize("kind", NESTINGS)
def test_a_mask_of_as_many_levels_as_there_may_be_is_usable(kind: str) -> None:
    mask = _nested(NESTINGS[kind], DEEPEST)
    assert mask == _nested(NESTINGS[kind], DEEPEST)
    assert hash(mask) == hash(_nested(NESTINGS[kind], DEEPEST))
    assert pickle.loads(pickle.dumps(mask)) == copy.deepcopy(mask) == copy.copy(mask) == mask
    assert mask_from_json(mask.to_json()) == mask
    plan = am.compile(mask, q=4)
    assert plan.explain(0, 0, 0, 0).attends == bool(plan.to("dense")[0, 0, 0, 0])
    assert str(plan.describe())
    loaded = am.Plan.from_json(plan.to_json())
    assert (loaded, loaded.mask) == (plan, mask)
    if kind != "per_head":  # read level by level, each through several of Python's own
        assert mask_from_text(repr(mask)) == mask


@pytest.mark.parametrize("kind", NESTINGS)
@pytest.mark.parametrize("levels", [DEEPEST + 1, 500, 5000])
def test_a_mask_of_more_levels_is_refused_where_it_is_made(kind: str, levels: int) -> None:
    with pytest.raises(am.AttnMaskError, match="levels deep"):
        _nested(NESTINGS[kind], levels)


def test_a_mask_that_doubles_is_refused_before_it_is_walked_through() -> None:
    def doubled() -> Mask:
        mask = am.causal()
        for _ in range(64):
            mask = mask ^ mask.shift(1)
        return mask

    with pytest.raises(am.AttnMaskError, match="parts"):
        doubled()


def _changed(**other: object) -> str:
    return json.dumps(json.loads(am.compile(am.causal(), q=4).to_json()) | other)


BAD_PLANS = {
    "another mask": _changed(mask={"full": {}}),
    "another offset": _changed(offset=1),
    "a version that is true": _changed(attnmask=True),
    "a version that is a float": _changed(attnmask=1.0),
    "a name given twice": _changed()[:-1] + ', "mask": null}',
    "a name given twice inside": _changed().replace('{"causal": {}}', '{"causal": {}, "causal": {}}'),
    "another name": _changed(more=1),
    "counts that are floats": _changed(counts=[1.0, 1.0, 1.0, 1.0]),
    "keys that are a float": _changed(keys=4.0),
    "counts that are bools": _changed(counts=[True, True, True, True]),
    "a shape of bools": _changed(shape=[True, True, 4]),
    "an offset that is NaN": _changed(offset=float("nan")),
    "counts that are text": _changed(counts="1111"),
    "counts that are nested": _changed(counts=[[1, 1, 1, 1]]),
    "a start that is null": _changed(starts=[0, 0, 0, None]),
    "a mask that does not fit": _changed(mask={"padding": {"lengths": [1, 2]}}),
    "a mask of another length": _changed(mask={"dense": {"array": [[1, 0], [1, 1]]}}),
    "a list": "[]",
    "a number": "3",
    "nothing": "",
}


@pytest.mark.parametrize("text", BAD_PLANS.values(), ids=BAD_PLANS)
def test_a_plan_in_json_that_is_not_what_was_written_is_refused(text: str) -> None:
    with pytest.raises(am.AttnMaskError):
        am.Plan.from_json(text)
