"""What a model returns: a tensor, or several by name, as attributes, or by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor

Name = str | int
# Of several outputs those that hold the tokens.
PREFERRED = ("logits", "last_hidden_state")


def parts_of(found: Any) -> dict[Name, Any]:
    """Everything a model returned but a lone tensor, by name or by place.

    >>> parts_of({"loss": 1}), parts_of((2, 3))
    ({'loss': 1}, {0: 2, 1: 3})
    """
    if isinstance(found, Mapping):
        return dict(cast(Mapping[Name, Any], found))
    if isinstance(found, Sequence):
        return dict(enumerate(cast(Sequence[Any], found)))
    return dict(getattr(found, "__dict__", {}))


def output_name(found: Any) -> Name:
    """What to compare in what a model returns: its logits, its states, or the first tensor that is more than a number.

    Raises:
        TypeError: there is none.

    >>> import torch
    >>> output_name(torch.ones(1, 2)), output_name((None, torch.ones(1, 2)))
    ('', 1)
    >>> output_name({"loss": torch.tensor(0.0), "scores": torch.ones(1, 2)})
    'scores'
    """
    if isinstance(found, Tensor):
        return ""
    parts = parts_of(found)
    names = [name for name in (*PREFERRED, *parts) if isinstance(parts.get(name), Tensor) and parts[name].ndim]
    if not names:
        raise TypeError(f"it returns {type(found).__name__}, in which there is no tensor")
    return names[0]


def output_of(found: Any, name: Name) -> Tensor:
    """What is compared, with an axis of tokens: (B, L, D), or (B, 1, D) for one vector an item."""
    value = found if name == "" else parts_of(found)[name]
    return value if value.ndim == 3 else value.reshape(len(value), 1, -1)


def loss_name(found: Any) -> Name:
    """Where the loss is; by place it is the first number."""
    parts = parts_of(found)
    return next(n for n in ("loss", *parts) if isinstance(parts.get(n), Tensor) and not parts[n].ndim)


def cache_name(found: Any) -> Name:
    """Where the cache is; by place it follows the output."""
    return "past_key_values" if "past_key_values" in parts_of(found) else 1


def text_of(found: Any, name: Name) -> str:
    """How a script gets at a part.

    >>> text_of({"logits": 1}, "logits"), text_of((1,), 0)
    ("['logits']", '[0]')
    """
    if name == "":
        return ""
    return f"[{name!r}]" if isinstance(found, Mapping | Sequence) else f".{name}"
