"""What each library is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

import attnmask as am

Array = NDArray[np.float32]
Attend = Callable[[am.Plan, Array, Array, Array], Array]
# (Q, K, offset)
SHAPES = {"square": (6, 6, 0), "wide, at the start": (3, 7, 0), "wide, at the end": (3, 7, 4), "tall": (7, 3, 0)}


@dataclass(frozen=True)
class Library:
    """An entry point of a library.

    Attributes:
        name: as it stands in the table.
        packages: the distributions whose versions count.
        attend: attention of q (B, H, Q, D) and k, v (B, H, K, D), float32, under the plan lowered for the library.
        unguarded: the same of a set that the format refuses, to see what the library would do.
        marker: of the tests, the extra that holds the library; "" for torch and transformers.
        shapes: (Q, K, offset) by name that the library takes.
        kinds: names of the fixed masks it is given; None for all.
    """

    name: str
    packages: tuple[str, ...]
    attend: Attend
    unguarded: Attend | None = None
    marker: str = ""
    shapes: dict[str, tuple[int, int, int]] | None = None
    kinds: tuple[str, ...] | None = None

    @property
    def versions(self) -> str:
        """Such as "torch 2.13.0"."""
        return versions_of(self.packages)


@dataclass(frozen=True)
class Model:
    """A whole model, compared with itself where its attention is computed by definition.

    Attributes:
        name: as it stands in the table.
        packages: the distributions whose versions count.
        outputs: of a plan, as the model gives them (B, Q, E); by definition in float64; and likewise in float32.
        shapes: (Q, K, offset) by name.
        otherwise: names of the fixed masks under which it is known to compute something else.
        narrowest: the plan of the layer whose rows see least.
    """

    name: str
    packages: tuple[str, ...]
    outputs: Callable[[am.Plan], tuple[Array, NDArray[np.float64], Array]]
    shapes: dict[str, tuple[int, int, int]]
    otherwise: tuple[str, ...] = ()
    narrowest: Callable[[am.Plan], am.Plan] = lambda plan: plan

    @property
    def versions(self) -> str:
        """Such as "torch 2.13.0"."""
        return versions_of(self.packages)


def versions_of(packages: tuple[str, ...]) -> str:
    """Names and versions of installed distributions."""
    return ", ".join(f"{package} {version(package)}" for package in packages)


def pairs_of(plan: am.Plan, batch: int, heads: int) -> NDArray[np.bool_]:
    """Every pair, with items and heads written out."""
    return np.broadcast_to(plan.to("dense"), (batch, heads, plan.Q, plan.K)).copy()


def flat(x: Any) -> Any:
    """(B, H, L, D) as (B, L, H * D)."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def by_head(x: Any, heads: int) -> Any:
    """The other way round."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)
