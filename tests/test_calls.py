"""Calls whose arguments do not fit the signature: one error that shows the signature."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

import attnmask as am
from attnmask.calls import public

CAUSAL = am.compile(am.causal(), q=3)
WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "documents": (lambda: am.documents([5, 7]), r"too many positional(.|\n)*documents\(\*, lengths=None"),
    "padding": (lambda: am.padding([3]), r"too many positional(.|\n)*are given by name"),
    "per_head": (lambda: am.per_head(am.causal(), am.full()), r"too many positional(.|\n)*per_head\(masks\)"),
    "compile": (lambda: am.compile(am.causal(), 12), r"too many positional(.|\n)*compile\(mask, \*, q, k=None"),
    "window": (lambda: am.window(), r"missing a required argument: 'left'"),
    "keyword": (lambda: am.causal(offset=3), r"unexpected keyword argument 'offset'"),
    "plan.to": (lambda: CAUSAL.to(), r"missing a required argument: 'format'(.|\n)*Plan.to\(format, \*\*options\)"),
    "plan.to list": (lambda: CAUSAL.to(["dense"]), r"there is no format \['dense'\]"),
    "lift list": (lambda: am.lift(["x"], 1), r"there is no format \['x'\]"),
    "lift three": (lambda: am.lift("dense", [[1]], 3), r"too many positional"),
    "option": (lambda: CAUSAL.to("dense", dtype="int8"), r"there is no option 'dtype'"),
    "no bool": (lambda: CAUSAL.to("hf_2d", causal="False"), r"causal is 'False'(.|\n)*give True or False"),
    "formats": (lambda: CAUSAL.formats("sdpa"), r"positional argument(.|\n)*Plan.formats\(\)"),
    "audit mask": (lambda: am.audit(torch.nn.Linear(2, 2), mask="causal()"), r"mask is 'causal\(\)'"),
    "audit mode": (lambda: am.audit(torch.nn.Linear(2, 2), mode="causal"), r"mode is 'causal', and a model is given"),
    "audit of a mask": (lambda: am.audit(am.causal()), r"Causal is no torch module"),
    "tiny_model": (lambda: am.hf.tiny_model("nope"), r"there is no model type 'nope'"),
    "tiny_model near": (lambda: am.hf.tiny_model("lama"), r"give 'llama'|'llama'"),
    "weighted": (lambda: am.hf.weighted(None, torch.ones(3)).__enter__(), r"NoneType is no model of transformers"),
    "weighted wrong": (lambda: am.hf.weighted(), r"missing a required argument: 'model'"),
}


@pytest.mark.parametrize("call", WRONG)
def test_a_wrong_call_names_what_the_function_takes(call: str) -> None:
    act, text = WRONG[call]
    with pytest.raises(am.AttnMaskError, match=text) as caught:
        act()
    assert caught.value.where
    assert caught.value.fix


def test_a_type_error_from_inside_is_left_as_it_is() -> None:
    @public
    def inside(n: int) -> None:
        raise TypeError("of its own")

    with pytest.raises(TypeError, match="of its own"):
        inside(3)


def test_functions_stay_what_they_are() -> None:
    assert str(inspect.signature(am.window)).startswith("(left: 'int | None', right: 'int | None')")
    assert am.window.__module__ == "attnmask.mask.atoms.positions.windows"
    assert am.window.__doc__
    for function in (am.causal, am.compile, am.lift, am.hf.pool):
        assert pickle.loads(pickle.dumps(function)) is function


def test_funnel_is_made_small() -> None:
    assert type(am.hf.tiny_model("funnel")).__name__ == "FunnelModel"
