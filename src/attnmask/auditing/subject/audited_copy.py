"""Make a user's ``forward`` function, which calls the original model, run the audited copy instead."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from torch import nn


@contextmanager
def replaced_by_copy(original: nn.Module, copy: nn.Module) -> Generator[None]:
    """Give the original and all its modules the weights, hooks and mode of the copy, temporarily.

    >>> model, other = nn.Linear(1, 1), nn.Linear(1, 1)
    >>> with replaced_by_copy(model, other):
    ...     print(model.weight is other.weight)
    True
    >>> model.weight is other.weight
    False
    """
    pairs = list(zip(cast(Any, original).modules(), cast(Any, copy).modules(), strict=True))
    before = [module.__dict__ for module, _ in pairs]
    try:
        # The function refers to the original object, so its contents are exchanged and not the object.
        for module, other in pairs:
            module.__dict__ = other.__dict__
        yield
    finally:
        for (module, _), own in zip(pairs, before, strict=True):
            module.__dict__ = own
