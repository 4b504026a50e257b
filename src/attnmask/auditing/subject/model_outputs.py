"""What a model returns: a tensor, or several by name, as attributes, or by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor

Name = str | int
# Of several outputs those that hold the tokens.
PREFERRED = ("logits", "last_hidden_state")


def output_parts(found: Any) -> dict[Name, Any]:
    """Everything a model returned but a lone tensor, by name or by place.

    >>> output_parts({"loss": 1}), output_parts((2, 3))
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
    parts = output_parts(found)
    names = [name for name in (*PREFERRED, *parts) if isinstance(parts.get(name), Tensor) and parts[name].ndim]
    if not names:
        raise TypeError(f"it returns {type(found).__name__}, in which there is no tensor")
    return names[0]


def token_outputs(found: Any, name: Name) -> Tensor:
    """What is compared, with an axis of tokens: (B, L, D), or (B, 1, D) for one vector an item."""
    value = found if name == "" else output_parts(found)[name]
    return value if value.ndim == 3 else value.reshape(len(value), 1, -1)


def loss_name(found: Any) -> Name:
    """Where the loss is; by place it is the first number."""
    parts = output_parts(found)
    return next(n for n in ("loss", *parts) if isinstance(parts.get(n), Tensor) and not parts[n].ndim)


def cache_name(found: Any) -> Name:
    """Where the cache is; by place it follows the output."""
    return "past_key_values" if "past_key_values" in output_parts(found) else 1


def access_code(found: Any, name: Name) -> str:
    """How a script gets at a part.

    >>> access_code({"logits": 1}, "logits"), access_code((1,), 0)
    ("['logits']", '[0]')
    """
    if name == "":
        return ""
    return f"[{name!r}]" if isinstance(found, Mapping | Sequence) else f".{name}"
