"""A Tensor subclass that carries a Plan through a model, from ``interface.model_mask`` to ``attention_forward``.

Models read the shape of a mask, move it to a device and pass it to inner models, so the mask must be a tensor. A
ModelMask has the shape and dtype of a bool mask (B, H, Q, K), but its storage is one element, and ``plan`` holds the
pairs. Reading, moving and copying keep the Plan. Any other operation, such as indexing, replaces the mask by its bools
(``MaskBools``) with a MaterializedMaskWarning. Arithmetic is refused: a model that adds a bool mask to its scores would
mask nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, cast

import torch
from torch import Tensor

from attnmask.compiler.plan import Plan
from attnmask.errors import UnsupportedModelError
from attnmask.hf.warnings_issued import MaterializedMaskWarning

NAME = "attnmask"
WHERE = 'attn_implementation="attnmask"'
USE_EAGER = 'use attn_implementation="eager"'

# Adding True to a score adds 1 and masks nothing, so these operations are refused.
ADDITIONS = {"add", "__add__", "__radd__", "add_", "__iadd__", "sub", "__sub__", "__rsub__"}
ARITHMETIC = ADDITIONS | {"mul", "__mul__", "__rmul__"}
# Filled into a bool mask, a large negative number becomes True, which attends instead of masking.
FILLS = {"masked_fill", "masked_fill_"}
MOVES = {"to", "bool", "cpu", "cuda", "pin_memory"}
COPIES = {"clone", "detach", "contiguous"}
READS = {"__get__", "size", "dim", "ndimension", "numel", "stride", "__len__", "is_floating_point", "is_contiguous"}
# What torch.compile reads in addition; ``_base`` is the only one of these attributes that is a tensor.
READS_OF_COMPILE = {"_is_view", "untyped_storage", "storage_offset", "is_conj", "is_neg"}
BASE = getattr(Tensor, "_base")  # noqa: B009


class ModelMask(Tensor):
    """A Plan with the shape, dtype and device of a bool mask (B, H, Q, K).

    Attributes:
        plan: the pairs. weights: weights of the keys, (K,) or (B, K); None if all are 1.
    """

    plan: Plan
    weights: Tensor | None

    @staticmethod
    def of(plan: Plan, weights: Tensor | None = None, batch: int = 1, device: torch.device | str = "cpu") -> ModelMask:
        """Wrap a plan as the mask of a batch."""
        # expand() gives the full shape without storage for the pairs.
        shape_only = torch.ones((), dtype=torch.bool, device=device).expand(max(plan.B, batch), plan.H, plan.Q, plan.K)
        mask = shape_only.as_subclass(ModelMask)
        mask.plan, mask.weights = plan, weights
        return mask

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.__name__
        if name in ARITHMETIC:
            _refuse_sum()
        if name in COPIES:
            return args[0]
        if name in MOVES:
            # Apply the move to one bool to learn the new device, or that the dtype is no longer bool.
            moved = getattr(torch.ones((), dtype=torch.bool), name)(*args[1:], **kwargs)
            if moved.dtype == torch.bool:
                return ModelMask.of(args[0].plan, args[0].weights, len(args[0]), moved.device)
        if name in READS | READS_OF_COMPILE:
            result = _call_without_override(func, args, kwargs)
            if not isinstance(result, Tensor) or getattr(func, "__self__", None) is BASE:
                return result
        _refuse_fill(name, args, kwargs)
        warnings.warn(MaterializedMaskWarning(name), stacklevel=3)
        found = _call_without_override(
            func, _replace_by_bools(args), {key: _replace_by_bools(value) for key, value in kwargs.items()}
        )
        return _guard_bools(found)

    def __repr__(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"ModelMask({self.plan!r})"

    def to_bools(self) -> Tensor:
        """Return the pairs as bools (B, H, Q, K)."""
        if self.weights is not None:
            raise UnsupportedModelError(
                "this model converts its mask to bools, which cannot hold token weights", where=WHERE, fix=USE_EAGER
            )
        return torch.from_numpy(self.plan.runs.to_dense()).to(self.device).expand(*self.shape)


class MaskBools(Tensor):
    """Bools that a model derived from its mask. Adding them to scores would mask nothing, so it is refused."""

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func.__name__ in ADDITIONS:
            _refuse_sum()
        _refuse_fill(func.__name__, args, kwargs or {})
        return _guard_bools(_call_without_override(func, args, kwargs or {}))


def _guard_bools(found: Any) -> Any:
    """Wrap a bool result as MaskBools, and return any other tensor as a plain one."""
    if not isinstance(found, Tensor):
        return found
    return found.as_subclass(MaskBools if found.dtype == torch.bool else Tensor)


def _refuse_fill(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    value = kwargs.get("value", args[2] if len(args) > 2 else None)
    of_mask = isinstance(args[0], ModelMask | MaskBools)
    if name in FILLS and of_mask and float(value) not in (0.0, 1.0):
        raise UnsupportedModelError(
            f"this model fills a bool mask with {float(value):.3g}, which converts to True",
            where=WHERE,
            fix=USE_EAGER,
        )


def _call_without_override(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    with torch._C.DisableTorchFunctionSubclass():  # pyright: ignore
        return func(*args, **kwargs)


def _replace_by_bools(value: Any) -> Any:
    if isinstance(value, ModelMask):
        return value.to_bools()
    if not isinstance(value, list | tuple):
        return value
    values = cast(Sequence[Any], value)
    return type(values)(map(_replace_by_bools, values))  # pyright: ignore[reportCallIssue]


def _refuse_sum() -> NoReturn:
    raise UnsupportedModelError(
        "this model adds the mask to its scores itself instead of calling the AttentionInterface",
        where=WHERE,
        fix=USE_EAGER,
    )
