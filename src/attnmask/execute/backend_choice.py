"""Which backend runs a call of ``attention``, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from attnmask.compiler.plan import Plan
from attnmask.errors import ArgumentError
from attnmask.execute.cuda.flex_attention import DTYPES as FLEX_DTYPES
from attnmask.execute.cuda.flex_attention import LEAST_WIDTH
from attnmask.execute.cuda.varlen_attention import DTYPES as VARLEN_DTYPES
from attnmask.execute.cuda.varlen_attention import MOST_WIDTH, form_from_plan
from attnmask.execute.native.kernel_library import what_is_missing
from attnmask.execute.native.native_attention import DTYPES
from attnmask.execute.surroundings import transform_around
from attnmask.execute.tensor_checks import check_rows, check_tensor


@dataclass(frozen=True)
class Call:
    """What a choice depends on.

    Attributes:
        q: an example of the queries. plan: the set. weighted, per_pair: whether there are weights, and of pairs.
        scale: factor of the scores. overflows: whether a weight's logarithm over the scale is beyond q's dtype.
        transform: torch's transform around the call, in words.
    """

    q: Tensor
    plan: Plan
    weighted: bool = False
    per_pair: bool = False
    scale: float = 1.0
    overflows: bool = False
    transform: str | None = None


@dataclass(frozen=True)
class Backend:
    """A backend by name, and why it was chosen: what each better one cannot do here.

    >>> print(Backend("tiled", "native: tensors are torch.float64"))
    tiled (native: tensors are torch.float64)
    """

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} ({self.why})" if self.why else self.name


def choose_backend(wanted: str, call: Call) -> Backend:
    """The backend that runs a call.

    Args:
        wanted: "auto" or the name of one. call: what is to be run.

    Raises:
        ArgumentError: there is no such backend, or it cannot run this.
    """
    if not isinstance(wanted, str) or wanted not in BACKENDS:
        raise ArgumentError(f"backend is {wanted!r}", where="attention(backend=)", fix=f"give one of {BACKENDS}")
    if wanted != "auto":
        return _asked_for(wanted, call)
    against = {name: obstacles(call) for name, obstacles in OBSTACLES.items()}
    first = next(name for name, obstacles in against.items() if not obstacles)
    better = list(against)[: list(against).index(first)]
    return Backend(first, "; ".join(f"{name}: {', '.join(against[name])}" for name in better))


def backend_for_queries(q: Tensor, plan: Plan) -> Backend:
    """The backend that ``attention`` chooses for queries under a plan.

    Args:
        q: queries (B, H, Q, D). plan: the set.

    Raises:
        ArgumentError: ``attention`` would refuse such queries.
    """
    where = "plan.backend_for"
    check_tensor(q, "q", where)
    check_rows(plan, q, where)
    return choose_backend("auto", Call(q, plan, transform=transform_around(q)))


def _asked_for(wanted: str, call: Call) -> Backend:
    obstacles = OBSTACLES[wanted](call)
    if obstacles:
        raise ArgumentError("; ".join(obstacles), where=f'attention(backend="{wanted}")', fix='use backend="auto"')
    return Backend(wanted, "asked for")


def _against_runs(call: Call) -> list[str]:
    """What keeps a backend that computes runs on a CPU from running this."""
    found = {
        f"tensors are on {call.q.device.type}, it runs on cpu": call.q.device.type != "cpu",
        "weights are per pair": call.per_pair,
        # A masked score of -inf is multiplied by the scale, in float32.
        f"scale is {call.scale}": call.scale < torch.finfo(torch.float32).tiny,
        f"a weight's logarithm over the scale is beyond {call.q.dtype}": call.overflows,
    }
    return [*_against_kernels(call), *(reason for reason, holds in found.items() if holds)]


def _against_kernels(call: Call) -> list[str]:
    """What keeps whatever is not made of plain operations from running this."""
    return [] if call.transform is None else [call.transform]


def _against_native(call: Call) -> list[str]:
    found = _against_runs(call)
    if call.q.dtype not in DTYPES:
        found.append(f"tensors are {call.q.dtype}, it is written for float32 and bfloat16")
    missing = None if found else what_is_missing()
    return found if missing is None else [*found, missing]


def _against_varlen(call: Call) -> list[str]:
    q = call.q
    found = {
        f"tensors are on {q.device.type}, it runs on cuda": q.device.type != "cuda",
        f"tensors are {q.dtype}, it is written for float16 and bfloat16": q.dtype not in VARLEN_DTYPES,
        f"heads are {q.shape[-1]} wide, it takes {MOST_WIDTH} at most": q.shape[-1] > MOST_WIDTH,
        "there are weights": call.weighted,
    }
    reasons = [*_against_kernels(call), *(reason for reason, holds in found.items() if holds)]
    return reasons if reasons or form_from_plan(call.plan, q.shape[0]) else ["the set is not packed documents"]


def _against_flex(call: Call) -> list[str]:
    found = {
        "tensors are on cpu, where FlexAttention has no backward": call.q.device.type == "cpu",
        f"tensors are on {call.q.device.type}": call.q.device.type not in ("cpu", "cuda"),
        f"tensors are {call.q.dtype}": call.q.dtype not in FLEX_DTYPES,
        f"heads are {call.q.shape[-1]} wide, it wants {LEAST_WIDTH} or more": call.q.shape[-1] < LEAST_WIDTH,
        "there are weights": call.weighted,
    }
    return [*_against_kernels(call), *(reason for reason, holds in found.items() if holds)]


def _nothing(_: Call) -> list[str]:
    return []


# In the order in which they are tried.
OBSTACLES: dict[str, Callable[[Call], list[str]]] = {
    "native": _against_native,
    "tiled": _against_runs,
    "varlen": _against_varlen,
    "flex": _against_flex,
    "dense": _nothing,
    "reference": _nothing,
}
BACKENDS = ("auto", *OBSTACLES)
