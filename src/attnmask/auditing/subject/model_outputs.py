"""Read what a model returns: a tensor, or several by key, attribute or index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor

Name = str | int
# Of several outputs, compare one of these if present.
PREFERRED = ("logits", "last_hidden_state")


def output_parts(found: Any) -> dict[Name, Any]:
    """Return the parts of a model's output by name or by index; none if it is a tensor.

    >>> output_parts({"loss": 1}), output_parts((2, 3))
    ({'loss': 1}, {0: 2, 1: 3})
    """
    if isinstance(found, Mapping):
        return dict(cast(Mapping[Name, Any], found))
    if isinstance(found, Sequence):
        return dict(enumerate(cast(Sequence[Any], found)))
    return dict(getattr(found, "__dict__", {}))


def output_name(found: Any) -> Name:
    """Return the name of the output to compare: the logits, the states, or the first tensor that is not a scalar.

    Raises:
        TypeError: there is no such tensor.

    >>> import torch
    >>> output_name(torch.ones(1, 2)), output_name((None, torch.ones(1, 2)))
    ('', 1)
    >>> output_name({"loss": torch.tensor(0.0), "scores": torch.ones(1, 2)})
    'scores'
    """
    if isinstance(found, Tensor):
        return ""
    parts = output_parts(found)
    names = [name for name in (*PREFERRED, *parts) if isinstance(parts.get(name), Tensor) and parts[name].ndim]
    if not names:
        raise TypeError(f"it returns {type(found).__name__}, in which there is no tensor")
    return names[0]


def token_outputs(found: Any, name: Name) -> Tensor:
    """Return the output to compare, (B, L, D), or (B, 1, D) for one vector per item."""
    value = found if name == "" else output_parts(found)[name]
    return value if value.ndim == 3 else value.reshape(len(value), 1, -1)


def loss_name(found: Any) -> Name:
    """Return the name of the loss; without names it is the first scalar."""
    parts = output_parts(found)
    return next(n for n in ("loss", *parts) if isinstance(parts.get(n), Tensor) and not parts[n].ndim)


def cache_name(found: Any) -> Name:
    """Return the name of the cache; without names it comes after the output."""
    return "past_key_values" if "past_key_values" in output_parts(found) else 1


def access_code(found: Any, name: Name) -> str:
    """Return the code that accesses a part of the output in a script.

    >>> access_code({"logits": 1}, "logits"), access_code((1,), 0)
    ("['logits']", '[0]')
    """
    if name == "":
        return ""
    return f"[{name!r}]" if isinstance(found, Mapping | Sequence) else f".{name}"
