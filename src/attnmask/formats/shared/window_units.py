"""What each library's number says about a window, and back; and at which corner each lines up queries and keys.

``Window`` is the (left, right) of ``attnmask.window``: neighbours on each side, self not counted, None for no bound.
So a causal window that keeps W keys is (W - 1, 0).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, cast

from attnmask.conventions import Align
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import is_whole, whole_number

Window = tuple[int | None, int | None]
# Where a causal mask or a window of a call with Q != K begins to count.
ALIGNMENTS = {
    "torch sdpa is_causal": Align.START,
    "torch causal_upper_left": Align.START,
    "torch causal_lower_right": Align.END,
    "torch varlen_attn": Align.END,
    "flash-attn 2.0": Align.START,
    "flash-attn": Align.END,
    "xformers LowerTriangularMask": Align.START,
    "xformers LowerTriangularFromBottomRightMask": Align.END,
    "xformers BlockDiagonalCausalMask": Align.START,
    "xformers BlockDiagonalCausalFromBottomRightMask": Align.END,
    "flashinfer": Align.END,
    "TransformerEngine causal": Align.START,
    "TransformerEngine causal_bottom_right": Align.END,
    "cuDNN TOP_LEFT": Align.START,
    "cuDNN BOTTOM_RIGHT": Align.END,
    "Keras": Align.START,
    "transformers": Align.END,
    "MagiAttention CAUSAL": Align.END,
    "MagiAttention INVCAUSAL": Align.START,
}


class HfPath(StrEnum):
    """The attention of transformers: by a mask (eager, sdpa, flex), or by flash-attention's own window."""

    MASK = "mask"
    FLASH = "flash"


def window_from_hf(sliding_window: int | None, *, is_causal: bool, path: HfPath = HfPath.MASK) -> Window:
    """The window of a ``sliding_window`` in a config of transformers.

    >>> window_from_hf(4, is_causal=True), window_from_hf(4, is_causal=False)
    ((3, 0), (4, 4))
    >>> window_from_hf(4, is_causal=False, path=HfPath.FLASH)
    (3, 3)
    """
    if sliding_window is None:
        return None, 0 if is_causal else None
    if is_causal:
        return _kept(sliding_window, "sliding_window") - 1, 0
    side = _kept(sliding_window, "sliding_window") - (1 if path is HfPath.FLASH else 0)
    return side, side


def hf_from_window(window: Window, *, is_causal: bool, path: HfPath = HfPath.MASK) -> int | None:
    """The ``sliding_window`` of transformers that is this window.

    >>> hf_from_window((3, 0), is_causal=True), hf_from_window((3, 3), is_causal=False)
    (4, 3)
    """
    left = _causal(window, "transformers") if is_causal else _symmetric(window, "transformers")
    return None if left is None else left + (1 if is_causal or path is HfPath.FLASH else 0)


def window_from_keras(sliding_window: int | None, *, use_causal_mask: bool) -> Window:
    """The window of Keras' ``sliding_window``, which keeps ``|q - k| < W`` whether causal or not.

    >>> window_from_keras(4, use_causal_mask=True), window_from_keras(4, use_causal_mask=False)
    ((3, 0), (3, 3))
    """
    left = None if sliding_window is None else _kept(sliding_window, "sliding_window") - 1
    return left, 0 if use_causal_mask else left


def keras_from_window(window: Window, *, use_causal_mask: bool) -> int | None:
    """The ``sliding_window`` of Keras that is this window.

    >>> keras_from_window((3, 3), use_causal_mask=False)
    4
    """
    left = _causal(window, "Keras") if use_causal_mask else _symmetric(window, "Keras")
    return None if left is None else left + 1


def window_from_xformers_causal(window_size: int) -> Window:
    """The window of the ``_window_size`` of xformers' BlockDiagonalCausalLocalAttentionMask, which keeps that many.

    >>> window_from_xformers_causal(4)
    (3, 0)
    """
    return _kept(window_size, "_window_size") - 1, 0


def xformers_causal_from_window(window: Window) -> int | None:
    """The ``_window_size`` that is this causal window; None for a class without one.

    >>> xformers_causal_from_window((3, 0))
    4
    """
    left = _causal(window, "xformers")
    return None if left is None else left + 1


def window_from_flash(window_size: tuple[int, int], *, causal: bool = False) -> Window:
    """The window of flash-attention's ``window_size=(left, right)``, -1 for no bound; (W, 0) keeps W + 1 keys.

    torch's varlen_attn, TransformerEngine and xformers' LocalAttentionFromBottomRightMask count the same way.

    >>> window_from_flash((4, 0)), window_from_flash((-1, -1), causal=True)
    ((4, 0), (None, 0))
    """
    left, right = (_side(side, "window_size") for side in _two(window_size, "window_size"))
    return left, 0 if causal else right


def flash_from_window(window: Window) -> tuple[int, int]:
    """The ``window_size`` of flash-attention, torch's varlen_attn and TransformerEngine that is this window.

    >>> flash_from_window((3, 0)), flash_from_window((None, 0))
    ((3, 0), (-1, 0))
    """
    left, right = (-1 if side is None else side for side in _neighbours(window))
    return left, right


def window_from_splash(window_size: tuple[int | None, int | None]) -> Window:
    """The window of JAX splash attention's ``LocalMask((left, right))``, None for no bound.

    >>> window_from_splash((4, 0))
    (4, 0)
    """
    sides = _two(window_size, "window_size")
    left, right = (None if side is None else _side(side, "window_size") for side in sides)
    return left, right


def window_from_one_side(number: int, *, causal: bool = True) -> Window:
    """The window of a number that counts neighbours before the query, -1 for no bound: W keeps W + 1 keys.

    flashinfer's ``window_left``, attention-gym's ``generate_sliding_window``, FlashMask's ``window_size`` and
    x-transformers' ``max_attend_past`` count this way.

    >>> window_from_one_side(4), window_from_one_side(-1, causal=False)
    ((4, 0), (None, None))
    """
    return _side(number, "window"), 0 if causal else None


def one_side_from_window(window: Window) -> int:
    """The number of neighbours before the query that is this window, -1 for no bound.

    >>> one_side_from_window((3, 0))
    3
    """
    left, right = _neighbours(window)
    if right not in (0, None):
        raise ArgumentError(
            f"the window is {window}", where="one_side_from_window", fix="give (left, 0) or (left, None)"
        )
    return -1 if left is None else left


def window_from_cudnn(left_bound: int | None, right_bound: int | None) -> Window:
    """The window of cuDNN's diagonal band: a left bound W keeps W keys up to the diagonal, self included.

    >>> window_from_cudnn(4, 0)
    (3, 0)
    """
    left = None if left_bound is None else _kept(left_bound, "left_bound") - 1
    return left, None if right_bound is None else _side(right_bound, "right_bound")


def cudnn_from_window(window: Window) -> Window:
    """The (left bound, right bound) of cuDNN's diagonal band that is this window.

    >>> cudnn_from_window((3, 0))
    (4, 0)
    """
    left, right = _neighbours(window)
    return None if left is None else left + 1, right


def _kept(number: Any, name: str) -> int:
    if not is_whole(number) or number < 1:
        raise ArgumentError(
            f"{name} is {number!r}",
            where="attnmask.formats.shared.window_units",
            fix="it counts the keys that are kept: give 1 or more",
        )
    return int(number)


def _side(number: Any, name: str) -> int | None:
    if not is_whole(number) or number < -1:
        raise ArgumentError(
            f"{name} is {number!r}",
            where="attnmask.formats.shared.window_units",
            fix="give a number of neighbours, -1 for no bound",
        )
    return None if number == -1 else int(number)


def _two(sides: Any, name: str) -> tuple[Any, Any]:
    if not isinstance(sides, tuple | list) or len(cast(tuple[Any, ...], sides)) != 2:
        raise ArgumentError(
            f"{name} is {sides!r}", where="attnmask.formats.shared.window_units", fix="give (left, right)"
        )
    left, right = cast(tuple[Any, Any], sides)
    return left, right


def _neighbours(window: Any) -> Window:
    left, right = _two(window, "window")
    for side in (left, right):
        if side is not None:
            whole_number(side, "window", "attnmask.formats.shared.window_units")
    return left, right


def _causal(window: Window, library: str) -> int | None:
    left, right = _neighbours(window)
    if right != 0:
        raise ArgumentError(f"the window is {window}", where=library, fix="a causal window is (left, 0)")
    return left


def _symmetric(window: Window, library: str) -> int | None:
    left, right = _neighbours(window)
    if left != right:
        raise ArgumentError(f"the window is {window}", where=library, fix="without causality both sides are the same")
    return left
