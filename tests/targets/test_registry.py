"""The registry, and what loads."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import attnmask as am
from attnmask.targets import TARGETS, lift, lower, targets

HELPERS = {
    "__init__",
    "attention_bias",
    "bands",
    "base",
    "flex_mask_mod",
    "padded_bands",
    "read",
    "sequences",
    "table",
    "tokens",
    "torch_masks",
    "windows",
    "write",
}


def test_every_file_is_a_target() -> None:
    files = {path.stem for path in Path(str(import_module("attnmask.targets").__file__)).parent.glob("*.py")}
    assert files - HELPERS == {module.rpartition(".")[2] for module in TARGETS.values()}


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_has_a_name_and_one_line(name: str) -> None:
    module = import_module(TARGETS[name])
    assert module.name == name
    assert module.summary
    assert "\n" not in module.summary
    assert targets()[name] == module.summary


def test_plan_to_is_lower() -> None:
    plan = am.compile(am.causal(), q=3)
    assert (plan.to("integers", dtype="int8") == lower(plan, "integers", dtype="int8")).all()


@pytest.mark.parametrize("call", ["targets(plan)", "lower(plan, 'dense')", "lift('additive', [[0.0, -1e4]])"])
def test_nothing_loads_torch_before_a_tensor_is_made(call: str) -> None:
    script = (
        "import sys, attnmask as am; from attnmask.targets import lift, lower, targets; "
        f"plan = am.compile(am.causal(), q=3); {call}; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("name", ["jax", "flax", "keras", "onnx", "tokamax"])
def test_arrays_of_other_frameworks_are_made_without_them(name: str) -> None:
    script = (
        "import sys, attnmask as am; from attnmask.targets import lift, lower; "
        "plan = am.compile(am.causal() & am.padding(lengths=[3, 2]), q=3); "
        f"assert lift({name!r}, lower(plan, {name!r}), q=3, k=3) == plan; "
        "sys.exit(bool({'torch', 'jax', 'flax', 'keras', 'onnx', 'tokamax'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_mask_of_one_target_may_be_lifted_as_another() -> None:
    plan = am.compile(am.causal() & am.padding(lengths=[3, 2]), q=3)
    assert lift("hf_4d", lower(plan, "dense_torch")) == plan
    assert lift("sdpa", {"attn_mask": lower(plan, "additive", masked="min")}) == plan
    assert lift("dense", lower(plan, "dense_torch")) == plan
    assert lift("integers", lower(plan, "dense")) == plan
