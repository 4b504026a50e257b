"""The classes of xformers' attention biases that people use, with its names of classes and fields.

Source: xformers.ops.fmha.attn_bias, xformers 0.0.35 (now mslk.attention.fmha.attn_bias).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnmask.conventions import IntArray
from attnmask.formats.shared.writing import tensor_from_array
from attnmask.mask.tables.lookup_tables import int32_from

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class SeqLenInfo:
    """Where sequences begin, and the last one ends, among the tokens of all."""

    seqstart: Tensor
    max_seqlen: int
    min_seqlen: int
    seqstart_py: list[int]


@dataclass(frozen=True)
class PaddedSeqLenInfo(SeqLenInfo):
    """Sequences that all have the same room, of which they use the first tokens."""

    seqlen: Tensor
    seqlen_py: list[int]
    padding: int


@dataclass(frozen=True)
class LowerTriangularMask:
    pass


@dataclass(frozen=True)
class LowerTriangularFromBottomRightMask:
    pass


@dataclass(frozen=True)
class LowerTriangularFromBottomRightLocalAttentionMask:
    _window_size: int


@dataclass(frozen=True)
class LocalAttentionFromBottomRightMask:
    window_left: int
    window_right: int


@dataclass(frozen=True)
class BlockDiagonalMask:
    q_seqinfo: SeqLenInfo
    k_seqinfo: SeqLenInfo


class BlockDiagonalCausalMask(BlockDiagonalMask):
    pass


class BlockDiagonalCausalFromBottomRightMask(BlockDiagonalMask):
    pass


@dataclass(frozen=True)
class BlockDiagonalCausalLocalAttentionMask(BlockDiagonalMask):
    _window_size: int


@dataclass(frozen=True)
class BlockDiagonalCausalLocalAttentionFromBottomRightMask(BlockDiagonalMask):
    _window_size: int


@dataclass(frozen=True)
class BlockDiagonalPaddedKeysMask:
    q_seqinfo: SeqLenInfo
    k_seqinfo: PaddedSeqLenInfo


class BlockDiagonalCausalWithOffsetPaddedKeysMask(BlockDiagonalPaddedKeysMask):
    pass


@dataclass(frozen=True)
class BlockDiagonalLocalAttentionPaddedKeysMask(BlockDiagonalPaddedKeysMask):
    window_left: int
    window_right: int


@dataclass(frozen=True)
class BlockDiagonalCausalLocalAttentionPaddedKeysMask(BlockDiagonalPaddedKeysMask):
    _window_size: int


Triangle = (
    LowerTriangularMask
    | LowerTriangularFromBottomRightMask
    | LowerTriangularFromBottomRightLocalAttentionMask
    | LocalAttentionFromBottomRightMask
)
AttentionBias = Triangle | BlockDiagonalMask | BlockDiagonalPaddedKeysMask


def lengths_info(bounds: IntArray, device: str | torch.device) -> SeqLenInfo:
    """Sequences that follow each other."""
    lengths = np.diff(bounds)
    return SeqLenInfo(
        tensor_from_array(int32_from(bounds), device), int(lengths.max()), int(lengths.min()), bounds.tolist()
    )


def padded_info(lengths: IntArray, padding: int, device: str | torch.device) -> PaddedSeqLenInfo:
    """Sequences that each have room for ``padding`` tokens."""
    bounds = np.arange(len(lengths) + 1) * padding
    return PaddedSeqLenInfo(
        tensor_from_array(int32_from(bounds), device),
        int(lengths.max()),
        int(lengths.min()),
        bounds.tolist(),
        tensor_from_array(int32_from(lengths), device),
        lengths.tolist(),
        padding,
    )
