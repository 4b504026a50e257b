"""Reset a model to its state before its first call, without anything that it keeps from earlier calls."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, cast

from torch import nn


def uncalled_copy(original: nn.Module, model: nn.Module) -> nn.Module:
    """Copy the original, which was never called, with the weights and the dtype of the model."""
    # The memo of deepcopy: wherever the original has a parameter, the copy gets that of the model.
    weights = {id(one): other for one, other in zip(original.parameters(), model.parameters(), strict=True)}
    fresh = copy.deepcopy(original, cast(Any, weights)).eval()
    first = next(model.parameters(), None)
    return fresh if first is None else fresh.to(first.dtype)


def reset_to_uncalled(original: nn.Module, model: nn.Module) -> None:
    """Reset the model to its state before its first call; hooks on its modules stay.

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
