"""Padding of queries and of keys, for cross-attention."""

from __future__ import annotations

from collections.abc import Sequence

from attnmask.calls import public
from attnmask.conventions import IntArray
from attnmask.mask.atoms.tokens.key_padding import padding
from attnmask.mask.expression import Mask


@public
def cross_padding(queries: int | Sequence[int] | IntArray, keys: int | Sequence[int] | IntArray) -> Mask:
    """Real queries see real keys, each with lengths of their own; attends iff row < queries[b] and k < keys[b].

    It is ``padding(lengths=queries, of="queries") & padding(lengths=keys)``: a decoder's rows and an encoder's keys.

    Args:
        queries, keys: tokens of each item, one number or shape (B,); padding is on the right.

    Returns:
        A mask.

    Raises:
        ArgumentError: lengths that are negative or no whole numbers.

    Source: Vaswani et al. 2017, "Attention Is All You Need" (encoder-decoder attention).

    >>> from attnmask.mask.reference import grid
    >>> print(grid(cross_padding(queries=[2], keys=[3]), q=3, k=4))
    1 1 1 0
    1 1 1 0
    0 0 0 0
    """
    return padding(lengths=queries, of="queries") & padding(lengths=keys)
