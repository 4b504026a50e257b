"""The registry, and what loads."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

import attnmask as am
from attnmask.format_names import FormatName
from attnmask.formats import FORMATS, lift, lower, summaries

HELPERS = {"flex_mask_mod", "xformers_classes"}


def test_every_file_below_a_library_is_a_format() -> None:
    folder = Path(str(import_module("attnmask.formats").__file__)).parent
    files = {path.stem for path in folder.glob("*/*.py") if path.parent.name != "shared"} - {"__init__"}
    assert files - HELPERS == {module.rpartition(".")[2] for module in FORMATS.values()}


def test_each_name_is_typed_once() -> None:
    names = [name for union in get_args(FormatName) for name in get_args(union)]
    assert sorted(names) == sorted(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_has_a_name_and_one_line(name: str) -> None:
    module = import_module(FORMATS[name])
    assert module.name == name
    assert module.summary
    assert "\n" not in module.summary
    assert summaries()[name] == module.summary


def test_plan_to_is_lower() -> None:
    plan = am.compile(am.causal(), q=3)
    assert (plan.to("integers", dtype="int8") == lower(plan, "integers", dtype="int8")).all()


@pytest.mark.parametrize("call", ["plan.formats()", "lower(plan, 'dense')", "lift('additive', [[0.0, -1e4]])"])
def test_nothing_loads_torch_before_a_tensor_is_made(call: str) -> None:
    script = (
        "import sys, attnmask as am; from attnmask.formats import lift, lower; "
        f"plan = am.compile(am.causal(), q=3); {call}; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("name", ["jax", "flax", "keras", "onnx", "tokamax"])
def test_arrays_of_other_frameworks_are_made_without_them(name: str) -> None:
    script = (
        "import sys, attnmask as am; from attnmask.formats import lift, lower; "
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
