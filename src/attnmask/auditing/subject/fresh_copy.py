"""A model as it was before its first call: whatever it keeps from one call for the next is forgotten."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, cast

from torch import nn


def uncalled_copy(original: nn.Module, model: nn.Module) -> nn.Module:
    """A copy of the original with the weights of the model, which was copied from it, and in its precision."""
    weights = {id(one): other for one, other in zip(original.parameters(), model.parameters(), strict=True)}
    fresh = copy.deepcopy(original, cast(Any, weights)).eval()
    first = next(model.parameters(), None)
    return fresh if first is None else fresh.to(first.dtype)


def reset_to_uncalled(original: nn.Module, model: nn.Module) -> None:
    """Make the model forget its calls; what looks on at its modules goes on doing so.

    >>> net = nn.Linear(1, 1)
    >>> used = copy.deepcopy(net)
    >>> used.kept = "a mask"
    >>> reset_to_uncalled(net, used)
    >>> hasattr(used, "kept")
    False
    """
    for module, fresh in zip(_modules(model), _modules(uncalled_copy(original, model)), strict=True):
        stays = {name: value for name, value in vars(module).items() if name == "_modules" or "hook" in name}
        module.__dict__ = vars(fresh) | stays


def _modules(model: nn.Module) -> Iterable[nn.Module]:
    return list(cast(Iterable[nn.Module], model.modules()))
