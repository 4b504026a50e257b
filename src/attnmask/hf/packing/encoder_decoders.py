"""Packed rows in an encoder-decoder: positions inside each document, and the inputs of the decoder.

The masks make each document's decoder tokens attend to its own encoder tokens. Positions need more: encoder-decoders
look them up by the place in the row and take no ``position_ids``. Hooks on ``embed_positions`` of the encoder and of
the decoder look up the positions of the longest document instead, and then select the position of each token.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from attnmask.conventions import IntArray
from attnmask.errors import ArgumentError
from attnmask.hf.packing.labels import IGNORED
from attnmask.hf.packing.packed_mask import PackedMask

if TYPE_CHECKING:
    from transformers import PreTrainedModel

POSITIONS = "embed_positions"

_positions: ContextVar[Tensor | None] = ContextVar("attnmask_positions", default=None)


@dataclass(frozen=True)
class DecoderStart:
    """How a model shifts labels right into the inputs of its decoder.

    Attributes:
        token: the first input of the decoder; None if it is the last label, as in mBART.
        pad: the id that replaces -100.
    """

    token: int | None
    pad: int

    def inputs(self, labels: IntArray) -> IntArray:
        """Return the decoder inputs (L,) for labels (L,)."""
        given = np.where(labels == IGNORED, self.pad, labels)
        # mBART takes the label at the index (number of labels that are not pads) - 1 for the last one.
        first = given[np.count_nonzero(given != self.pad) - 1] if self.token is None else self.token
        return np.concatenate([[first], given[:-1]])


def decoder_start(model: PreTrainedModel) -> DecoderStart | None:
    """Find out how a model makes decoder inputs from labels; None if its rule is unknown."""
    pad = getattr(model.config, "pad_token_id", None)
    own = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    shift = getattr(sys.modules.get(type(model).__module__), "shift_tokens_right", None)
    start = getattr(model.config, "decoder_start_token_id", None)
    if pad is None or (own is None and (shift is None or start is None)):
        return None
    # Shift three labels that are no special ids, and read the rule off the result.
    labels = [token for token in range(3, 12) if token not in (pad, start)][:3]
    tokens = torch.tensor([labels])
    made = (own(labels=tokens) if own is not None else cast(Any, shift)(tokens, pad, start))[0].tolist()
    if made[1:] != labels[:-1]:
        return None
    return DecoderStart(None if made[0] == labels[-1] else made[0], pad)


def count_inside_documents(model: PreTrainedModel) -> None:
    """Make the encoder and the decoder of a model count positions inside each document of packed rows.

    A second call for the same model changes nothing.
    """
    whole = cast(Any, model)
    parts: list[nn.Module] = [whole.get_encoder(), whole.get_decoder()]
    for part in parts:
        # copy.deepcopy of a model copies its hooks too.
        if has_pre_hook(part, _set_positions):
            continue
        part.register_forward_pre_hook(_set_positions, with_kwargs=True)
        part.register_forward_hook(_clear_positions, always_call=True)
        table = getattr(part, POSITIONS, None)
        if table is not None:
            table.register_forward_pre_hook(_look_up_longest, with_kwargs=True)
            table.register_forward_hook(_select_positions)


def has_pre_hook(module: nn.Module, hook: Callable[..., Any]) -> bool:
    """Return whether a module has a forward pre-hook already."""
    return hook in module._forward_pre_hooks.values()  # pyright: ignore[reportPrivateUsage]


def _set_positions(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
    mask = kwargs.get("attention_mask")
    _positions.set(torch.from_numpy(mask.documents.positions()) if isinstance(mask, PackedMask) else None)


def _clear_positions(module: nn.Module, args: Any, output: Any) -> None:
    _positions.set(None)


def _look_up_longest(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
    """Shorten the inputs of a position table to the longest document, so that it looks up positions 0, 1, ..."""
    positions = _positions.get()
    if positions is None:
        return None
    longest = int(positions.max()) + 1
    cut = [x[:, :longest] if isinstance(x, Tensor) and x.ndim > 1 else x for x in args]
    if cut and isinstance(cut[0], list | tuple):  # some tables take the shape (B, L) instead of the ids
        cut[0] = torch.Size((*cast(Any, cut[0])[:1], longest))
    return tuple(cut), {name: value for name, value in kwargs.items() if name != "position_ids"}


def _select_positions(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    positions = _positions.get()
    if positions is None:
        return output
    # A table returns (L, D), (1, L, D), or (B, L, D) with equal items.
    table = output.reshape(-1, *output.shape[-2:])[0]
    return table[positions.to(output.device)]


def check_prepared(mask: PackedMask, config: Any) -> None:
    """Raise if a model is not prepared for a packed mask, and would give wrong results."""
    if getattr(config, "is_encoder_decoder", False) and _positions.get() is None:
        raise ArgumentError(
            f"{getattr(config, 'model_type', 'this model')} is an encoder-decoder that is not prepared for packed rows",
            where="PackedMask",
            fix="make batches with PackingCollator.for_model(model, ...) of this very model",
        )
    if mask.needs_head_by_document:
        raise ArgumentError(
            f"there is a label for each of {len(mask.documents.rows)} documents, and the model's head reads one token "
            f"of each of {len(mask)} rows",
            where="PackedMask",
            fix="call attnmask.hf.heads_by_document(model) once; for a head of your own, "
            "PackingCollator(own_head=True)",
        )
