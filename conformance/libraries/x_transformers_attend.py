"""x-transformers: the Attend that all its models call, by itself and by torch's attention."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import torch

import attnmask as am
from conformance.libraries.base import Array, Library


def attend_of(**arguments: Any) -> Any:
    """An Attend of x-transformers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it calls torch.jit.script as it loads
        from x_transformers.attend import Attend
    return Attend(**arguments)


def attend(flash: bool, plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    tensors = [torch.from_numpy(x) for x in (q, k, v)]
    return attend_of(heads=q.shape[1], flash=flash)(*tensors, mask=plan.to("dense_torch"))[0].numpy()


LIBRARIES = [
    Library("x-transformers Attend", ("x-transformers", "torch"), partial(attend, False), marker="peers"),
    Library("x-transformers Attend, flash", ("x-transformers", "torch"), partial(attend, True), marker="peers"),
]
