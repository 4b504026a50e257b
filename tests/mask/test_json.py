"""JSON brings every mask and plan back, exactly, and refuses everything else with one clear error."""

from __future__ import annotations

import contextlib
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnmask as am
from attnmask.mask.domain import Domain
from attnmask.mask.expression import Mask
from tests.formats.cases import KINDS
from tests.strategies import cases, plan_of

MANY = settings(max_examples=300, deadline=None)


def without_function(mask: am.Mask) -> bool:
    return "predicate" not in repr(mask)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back(kind: str) -> None:
    mask = KINDS[kind](5, 5)
    if not without_function(mask):
        with pytest.raises(am.AttnMaskError, match="holds a function"):
            mask.to_json()
        return
    assert Mask.from_json(mask.to_json()) == mask
    assert repr(Mask.from_json(mask.to_json())) == repr(mask)


@MANY
@given(cases())
def test_any_composition_comes_back(case: tuple[Domain, am.Mask]) -> None:
    domain, mask = case
    if without_function(mask):
        assert Mask.from_json(mask.to_json()) == mask
    plan = plan_of(mask, domain)
    back = am.Plan.from_json(plan.to_json())
    assert (back, back.offset, hash(back)) == (plan, plan.offset, hash(plan))
    assert back.mask == (plan.mask if without_function(mask) else None)


@MANY
@given(cases())
def test_pickle_brings_plans_back(case: tuple[Domain, am.Mask]) -> None:
    domain, mask = case
    if not without_function(mask):
        return
    plan = plan_of(mask, domain)
    back = pickle.loads(pickle.dumps(plan))
    assert (back, back.offset, back.mask, hash(back)) == (plan, plan.offset, plan.mask, hash(plan))


def test_large_arrays_come_back_too() -> None:
    random = np.random.default_rng(0)
    for mask in (
        am.dense(random.random((2, 3, 50, 41)) < 0.5),
        am.padding(attention_mask=random.random((9, 77)) < 0.5),
        am.documents(ids=random.integers(-1, 90, (3, 500))),
        am.padding(attention_mask=np.zeros((2, 0), dtype=bool)),
    ):
        assert Mask.from_json(mask.to_json()) == mask


def node(**content: Any) -> str:
    return json.dumps({"attnmask": 1, "mask": content})


deep: dict[str, Any] = {"causal": {}}
for _ in range(500):
    deep = {"not": deep}
BAD_MASKS = {
    "no text": 3,
    "no JSON": "{",
    "empty": "",
    "far too deep": "[" * 100_000,
    "too deep": json.dumps({"attnmask": 1, "mask": deep}),
    "a list": "[]",
    "no version": '{"mask": {"causal": {}}}',
    "another version": '{"attnmask": 2, "mask": {"causal": {}}}',
    "more than a mask": '{"attnmask": 1, "mask": {"causal": {}}, "more": 1}',
    "no node": '{"attnmask": 1, "mask": 5}',
    "null": '{"attnmask": 1, "mask": null}',
    "two names": node(causal={}, full={}),
    "unknown atom": node(casual={}),
    "unknown argument": node(window={"left": 1, "rigth": 0}),
    "missing argument": node(chunked={}),
    "arguments of another type": node(causal=[]),
    "negative": node(window={"left": -1, "right": 0}),
    "NaN": '{"attnmask": 1, "mask": {"window": {"left": NaN, "right": 0}}}',
    "a float": node(chunked={"size": 1.5}),
    "an object for an array": node(documents={"ids": {"a": 1}}),
    "no base64": node(dense={"array": {"bits": "?", "shape": [1, 1]}}),
    "bits of another type": node(dense={"array": {"bits": 5, "shape": [1, 1]}}),
    "too few bits": node(dense={"array": {"bits": "", "shape": [1, 1]}}),
    "a bad shape": node(dense={"array": {"bits": "", "shape": [1, -1]}}),
    "a shape of another type": node(dense={"array": {"bits": "", "shape": 7}}),
    "a huge shape": node(dense={"array": {"bits": "", "shape": [2**40, 2**40]}}),
    "one term": '{"attnmask": 1, "mask": {"and": [{"causal": {}}]}}',
    "terms of another type": '{"attnmask": 1, "mask": {"or": 5}}',
    "xor of three": '{"attnmask": 1, "mask": {"xor": [1, 2, 3]}}',
    "shift by text": '{"attnmask": 1, "mask": {"shift": [{"causal": {}}, "1"]}}',
    "heads that are no masks": node(per_head={"masks": [1, 2]}),
    "an unhashable name": node(padding={"lengths": [1], "side": []}),
}


@pytest.mark.parametrize("case", BAD_MASKS)
def test_what_is_no_mask_is_refused(case: str) -> None:
    with pytest.raises(am.AttnMaskError):
        Mask.from_json(BAD_MASKS[case])  # type: ignore[arg-type]


def plan_with(**changes: Any) -> str:
    return json.dumps({**json.loads(am.compile(am.causal(), q=3).to_json()), **changes})


BAD_PLANS = {
    "a mask": am.causal().to_json(),
    "touching": plan_with(counts=[2, 1, 0], starts=[0, 1, 0], stops=[1, 2, 1]),
    "out of order": plan_with(counts=[2, 1, 0], starts=[2, 0, 0], stops=[3, 1, 1]),
    "empty run": plan_with(stops=[0, 2, 3]),
    "too long": plan_with(stops=[1, 2, 4]),
    "negative": plan_with(starts=[-1, 0, 0]),
    "too few": plan_with(starts=[0, 0]),
    "other shape": plan_with(shape=[1, 1, 4]),
    "bad shape": plan_with(shape=[1, 1]),
    "no shape": plan_with(shape="abc"),
    "no items": plan_with(shape=[0, 1, 3]),
    "text": plan_with(counts="abc"),
    "nested": plan_with(counts=[[1, 1, 1]]),
    "a huge shape": plan_with(shape=[2**40, 2**40, 1]),
    "floats": plan_with(starts=[0.5, 0, 0]),
    "bad offset": plan_with(offset=None),
    "positions beyond 2**31": plan_with(offset=2**31 - 1),
    "bad keys": plan_with(keys=-3),
    "bad mask": plan_with(mask={"x": {}}),
}


@pytest.mark.parametrize("case", BAD_PLANS)
def test_what_is_no_plan_is_refused(case: str) -> None:
    with pytest.raises(am.AttnMaskError):
        am.Plan.from_json(BAD_PLANS[case])


NAMES = ["and", "not", "shift", "window", "left", "dense", "array", "bits", "shape", "per_head", "masks", "documents"]
SCALARS = st.none() | st.integers() | st.text(max_size=5) | st.floats()


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=2)


@MANY
@given(st.recursive(SCALARS, containers, max_leaves=8))
def test_any_json_is_read_or_refused(content: Any) -> None:
    with contextlib.suppress(am.AttnMaskError):
        assert isinstance(Mask.from_json(json.dumps({"attnmask": 1, "mask": content})), Mask)
