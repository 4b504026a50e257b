"""Heads that read one token of a text, for rows that hold several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from attnmask.calls import public
from attnmask.errors import UnsupportedModelError
from attnmask.hf.models.packable_models import encoder_and_family
from attnmask.hf.packing.encoder_decoders import has_pre_hook
from attnmask.hf.packing.packed_mask import PackedMask

if TYPE_CHECKING:
    from transformers import PreTrainedModel


WHERE = "heads_by_document(model)"


@dataclass(frozen=True)
class HeadHooks:
    """What a model was given here; ``remove()`` takes it away."""

    handles: tuple[RemovableHandle, ...]

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


@public
def heads_by_document(model: PreTrainedModel) -> HeadHooks:
    """Let the head of an encoder, such as one for sequence classification, see every document of packed rows.

    Whatever the head reads then is (N, 1, D), the first token of each document, in the order of the examples.
    Batches that are not packed are left alone. Calling it again changes nothing.

    Args:
        model: BERT, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT, MPNet or ModernBERT with a head that reads the
            first token.

    Returns:
        What undoes it on ``remove()``; a call that changed nothing has nothing to undo.

    Raises:
        UnsupportedModelError: a model of which this is not known, or whose head reads the last token of a text.

    Source: attnmask.
    """
    base, family = encoder_and_family(model, WHERE)
    if family.causal:
        raise UnsupportedModelError(
            f"the head of {type(model).__name__} reads the last token of a text",
            where=WHERE,
            fix="train it on padded batches",
        )
    if has_pre_hook(base, _announce_heads):
        return HeadHooks(())
    marks = base.register_forward_pre_hook(_announce_heads, with_kwargs=True)
    return HeadHooks((marks, base.register_forward_hook(_select_first_tokens, with_kwargs=True)))


def _announce_heads(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Say in the mask that the head will see every document."""
    mask = kwargs.get("attention_mask")
    if isinstance(mask, PackedMask):
        kwargs["attention_mask"] = mask.replaced(needs_head_by_document=False)
    return args, kwargs


def _select_first_tokens(module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
    mask = kwargs.get("attention_mask")
    if isinstance(mask, PackedMask):
        hidden: Tensor = output.last_hidden_state
        rows, starts = (torch.from_numpy(x).to(hidden.device) for x in (mask.documents.rows, mask.documents.starts))
        output.last_hidden_state = hidden[rows, starts][:, None]
        if output.get("pooler_output") is not None:
            output.pooler_output = module.pooler(output.last_hidden_state)
    return output
