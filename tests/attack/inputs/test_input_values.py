"""What others do to values that the package gave out or took in does not change the sets."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import attnmask as am
from tests.attack.inputs.readers import READERS

ELSEWHERE = """
import pickle, sys, attnmask as am
plan = pickle.load(sys.stdin.buffer)
mask = am.causal() & am.documents(lengths=[2, 1])
assert plan in {am.compile(mask, q=3)} and plan.mask in {mask}
"""


def test_a_plan_hashed_here_is_found_in_a_set_elsewhere() -> None:
    plan = am.compile(am.causal() & am.documents(lengths=[2, 1]), q=3)
    hash(plan)
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", ELSEWHERE], input=pickle.dumps(plan), check=True, env=environment)


def _overwrite(form: Any) -> None:
    """Ones into every tensor and array that can be written to."""
    if isinstance(form, torch.Tensor):
        form.fill_(1)
    elif isinstance(form, np.ndarray) and form.flags.writeable:
        form[...] = 1
    elif isinstance(form, dict | list | tuple):
        for part in form.values() if isinstance(form, dict) else form:
            _overwrite(part)
    elif hasattr(form, "kv_indices"):
        for part in (form.kv_indices, form.kv_num_blocks, form.q_indices, form.q_num_blocks):
            _overwrite(part)
    elif hasattr(form, "__dict__"):
        _overwrite(vars(form))


def test_writing_to_a_form_changes_neither_the_plan_nor_the_next_form() -> None:
    plan = am.compile(am.causal() & am.padding(lengths=[3, 4]), q=4)
    pairs = plan.to("dense").copy()
    for name in set(READERS) - {"splash"}:
        try:
            _overwrite(plan.to(name))
        except am.AttnMaskError:
            continue
        assert (plan.to("dense") == pairs).all(), name
        read = READERS[name](plan.to(name), 4, 4, {"B": 2, "library": "flash_attn"})
        assert (np.broadcast_to(read, pairs.shape) == pairs).all(), name


def test_writing_to_what_a_mask_was_made_of_does_not_change_it() -> None:
    array, ids, tensor = np.tri(4, dtype=bool), np.array([0, 0, 1, 1]), torch.ones(1, 4, dtype=torch.long)
    masks = [am.dense(array), am.documents(ids=ids), am.padding(attention_mask=tensor), am.global_tokens(ids[:1])]
    before = [am.compile(mask, q=4).pairs for mask in masks]
    lifted = am.lift("dense", array)
    array[:], ids[:], tensor[:] = False, 3, 0
    assert [am.compile(mask, q=4).pairs for mask in masks] == before
    assert lifted.pairs == 10


class Own(am.Mask):
    """A mask of which the package knows nothing."""


@pytest.mark.parametrize(
    "call",
    [
        lambda: am.compile(Own(), q=3),
        lambda: am.compile(am.causal() & Own(), q=3),
        lambda: am.causal().shift(1).to_json() + (am.causal() | Own()).to_json(),
        lambda: am.dense(np.ma.array([[1, 0], [1, 1]], mask=[[1, 0], [0, 0]])),
        lambda: am.prefix(np.ma.array([1, 2], mask=[0, 1])),
        lambda: am.lift("dense", np.ma.array(np.ones((2, 2), bool), mask=np.eye(2))),
        *(lambda rows=rows: am.compile(am.causal(), q=3)[rows] for rows in (slice(1.0, None), slice(None, None, 0))),
        lambda: am.compile(am.causal(), q=3)[:"2"],  # type: ignore[misc]
    ],
)
def test_what_only_looks_like_a_mask_or_an_array_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(am.AttnMaskError):
        call()
