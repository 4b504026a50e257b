"""Heads that read one token of a text, for rows that hold several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from attnmask.calls import public
from attnmask.hf.packable import encoder_of
from attnmask.hf.packed_mask import PackedMask

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@public
def heads_by_document(model: PreTrainedModel) -> RemovableHandle:
    """Let the head of an encoder, such as one for sequence classification, see every document of packed rows.

    Whatever the head reads then is (N, 1, D), the first token of each document, in the order of the mask's layout.
    Batches that are not packed are left alone.

    Args:
        model: BERT, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT, MPNet or ModernBERT with a head that reads the
            first token.

    Returns:
        A handle whose ``remove()`` undoes it.

    Raises:
        UnsupportedModelError: a model of which this is not known.

    Source: attnmask.
    """
    base, _ = encoder_of(model)
    return base.register_forward_hook(_first_tokens, with_kwargs=True)


def _first_tokens(module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
    mask = kwargs.get("attention_mask")
    if isinstance(mask, PackedMask):
        hidden: Tensor = output.last_hidden_state
        rows, starts = (torch.from_numpy(x).to(hidden.device) for x in (mask.documents.rows, mask.documents.starts))
        output.last_hidden_state = hidden[rows, starts][:, None]
        if output.get("pooler_output") is not None:
            output.pooler_output = module.pooler(output.last_hidden_state)
    return output
