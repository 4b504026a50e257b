"""Cross-attention of text to the images before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attnmask.calls import public
from attnmask.conventions import BoolArray, IntArray
from attnmask.mask.arguments import bool_array, one_of, positive_number
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, Mask
from attnmask.mask.frozen_array import FrozenArray
from attnmask.mask.tables.lookup_tables import look_up


class Which(StrEnum):
    """Which of the images before a text token it sees."""

    LAST = "last"
    ALL = "all"


@dataclass(frozen=True, repr=False)
class PrecedingImages(Atom):
    media_locations: FrozenArray
    tokens: int
    which: Which
    by_row: ClassVar[bool] = True

    def attends(self, at: Points) -> BoolArray:
        images, of_key = self._images(at.b, at.row), at.k // self.tokens + 1
        return (of_key == images) if self.which is Which.LAST else (of_key <= images)

    def bounds(self, domain: Domain) -> Bounds:
        items = np.arange(len(self._counts))[:, None, None]
        stops = self._images(items, domain.rows) * self.tokens
        return Bounds(stops.shape, stops - self.tokens if self.which is Which.LAST else 0 * stops, stops)

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """Images before each position and at it, int64 (B, 1 + S); the first column is for what stands before."""
        return np.pad(self.media_locations.values, [(0, 0), (1, 0)]).cumsum(axis=1, dtype=np.int64)

    def _images(self, b: IntArray, row: IntArray) -> NDArray[np.int64]:
        # Rows behind the table are text that is generated later.
        return look_up(self._counts, b, np.clip(row + 1, 0, self._counts.shape[1] - 1))

    def sizes(self) -> dict[str, int]:
        return {"B": len(self._counts)}

    def arguments(self) -> dict[str, object]:
        return {"media_locations": self.media_locations, "tokens": self.tokens, "which": self.which.value}


@public
def preceding_images(
    media_locations: Sequence[int] | Sequence[Sequence[int]] | IntArray | Any, tokens: int, which: str = "last"
) -> Mask:
    """Text sees the last image before it; attends iff k // tokens + 1 == images at or before the query's row.

    It is cross-attention: keys are the tokens of the images, image after image. Queries are counted by row, whatever
    the offset. Text before the first image sees nothing; rows behind ``media_locations`` go on seeing what its last
    row sees. With ``which="all"`` it is <= instead of ==.

    Args:
        media_locations: 1 where an image stands in the text, 0 for text; shape (S,) or (B, S).
        tokens: keys of each image, 1 or more.
        which: "last" or "all", the images before the query that it sees.

    Returns:
        A mask.

    Raises:
        ArgumentError: values other than 0 and 1, tokens below 1, or another word.

    Source: Alayrac et al. 2022, "Flamingo", section 2.4; ``media_locations`` and ``only_attend_immediate_media`` of
    OpenFlamingo's ``MaskedCrossAttention``.

    >>> from attnmask.mask.reference import grid
    >>> print(grid(preceding_images([0, 1, 0, 1], tokens=2), q=4))
    0 0 0 0
    1 1 0 0
    1 1 0 0
    0 0 1 1
    """
    array = bool_array(media_locations, "media_locations", "preceding_images", dims=(1, 2))
    return PrecedingImages(
        FrozenArray(np.atleast_2d(array)),
        positive_number(tokens, "tokens", "preceding_images"),
        one_of(Which, which, "which", "preceding_images"),
    )
