"""Find the input texts of a collator in the batch that it returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from attnmask.conventions import BoolArray, IntArray
from attnmask.hf.implementation.token_mask import read_token_mask
from attnmask.hf.packing.labels import IGNORED

# Minimum share of equal tokens for a text to be found: a collator may mask or replace some tokens, but not most.
MIN_EQUAL_SHARE = 0.5
# From this share of labelled tokens on, the labels are taken for those of a task that predicts every token.
ALL_LABELLED_SHARE = 0.9


@dataclass(frozen=True)
class TextPlace:
    """The place of a text in a batch: number of the text, row, and first position in the row."""

    text: int
    row: int
    start: int


@dataclass(frozen=True)
class CollatedBatch:
    """A batch, and the texts from which a collator made it.

    Attributes:
        batch: the result of the collator. texts: ids of each text. pad: the pad id. eos: the last id of texts, or None.
    """

    batch: Mapping[str, Any]
    texts: Sequence[IntArray]
    pad: int
    eos: int | None

    @cached_property
    def ids(self) -> IntArray:
        """Token ids, int64 (B, T)."""
        return _rows(self.batch["input_ids"])

    @cached_property
    def places(self) -> list[TextPlace]:
        """Places of the texts that are found, row by row and from left to right."""
        # Longest first: a short text could be found by chance inside the place of a longer one.
        free = np.ones(self.ids.shape, dtype=bool)
        found: list[TextPlace] = []
        for number in sorted(range(len(self.texts)), key=lambda number: -len(self.texts[number])):
            place = self._place(number, free)
            if place is not None:
                found.append(place)
                free[place.row, place.start : place.start + len(self.texts[number])] = False
        return sorted(found, key=lambda place: (place.row, place.start))

    def _place(self, number: int, free: BoolArray) -> TextPlace | None:
        text, (rows, width) = self.texts[number], self.ids.shape
        best, place = MIN_EQUAL_SHARE, None
        for row in range(rows):
            for start in range(width - len(text) + 1):
                stretch = slice(start, start + len(text))
                equal_share = float((self.ids[row, stretch] == text).mean())
                if equal_share > best and free[row, stretch].all():
                    best, place = equal_share, TextPlace(number, row, start)
        return place

    @cached_property
    def owner(self) -> IntArray:
        """Number of the text at each position, int64 (B, T), -1 at padding."""
        owner = np.full(self.ids.shape, -1)
        for place in self.places:
            owner[place.row, place.start : place.start + len(self.texts[place.text])] = place.text
        return owner

    @property
    def tokens(self) -> BoolArray:
        """Which positions are tokens, bool (B, T)."""
        return self.owner >= 0

    @cached_property
    def original(self) -> IntArray:
        """Ids of the original texts at their places, 0 at padding, int64 (B, T)."""
        ids = np.zeros(self.ids.shape, dtype=np.int64)
        for place in self.places:
            ids[place.row, place.start : place.start + len(self.texts[place.text])] = self.texts[place.text]
        return ids

    @cached_property
    def mask(self) -> BoolArray | None:
        """Positions that the attention_mask marks as tokens, bool (B, T); None if there is no mask of two axes."""
        given = self.batch.get("attention_mask")
        if given is None or np.ndim(given) != 2:
            return None
        return read_token_mask(given, "audit_collator(collator)").numpy()

    @cached_property
    def labels(self) -> IntArray | None:
        """Labels of tokens, int64 (B, T); None if the batch has none."""
        given = self.batch.get("labels")
        labels = None if given is None or np.ndim(given) > 2 else _rows(given)
        return labels if labels is not None and labels.shape == self.ids.shape else None

    @property
    def labels_every_token(self) -> bool:
        """Whether the labels belong to a task that predicts every token, as a causal language model does."""
        if self.labels is None or not self.tokens.any():
            return False
        firsts = [(place.row, place.start) for place in self.places]
        inner = self.tokens.copy()
        # First tokens of texts, and ends of texts, may be without a label in such a task too.
        inner[tuple(zip(*firsts, strict=True))] = False
        if self.eos is not None:
            inner &= self.original != self.eos
        return bool((self.labels[inner] != IGNORED).mean() > ALL_LABELLED_SHARE) if inner.any() else False

    @property
    def later_in_row(self) -> list[TextPlace]:
        """Texts that follow another one in their row."""
        return [place for before, place in zip(self.places, self.places[1:], strict=False) if before.row == place.row]

    @cached_property
    def positions(self) -> IntArray | None:
        """Position ids, int64 (B, T); None if the batch has none."""
        given = self.batch.get("position_ids")
        return None if given is None else np.broadcast_to(_rows(given), self.ids.shape)

    @property
    def borders(self) -> set[int]:
        """Starts and ends of the texts in the flattened batch, as ``cu_seq_lens`` gives them."""
        width = self.ids.shape[1]
        begins = [place.row * width + place.start for place in self.places]
        ends = [begin + len(self.texts[place.text]) for begin, place in zip(begins, self.places, strict=True)]
        return {*begins, *ends}

    @property
    def wrong_positions(self) -> int:
        """Number of texts whose positions do not count up from the same start as those of the first text."""
        assert self.positions is not None
        begin = self.positions[self.places[0].row, self.places[0].start]
        wrong = 0
        for place in self.places:
            own = self.positions[place.row, place.start : place.start + len(self.texts[place.text])]
            wrong += not np.array_equal(own, begin + np.arange(len(own)))
        return wrong


def _rows(given: Any) -> IntArray:
    """Convert numbers to int64 (B, T); an array of one axis becomes one row."""
    return np.atleast_2d(np.asarray(given)).astype(np.int64)
