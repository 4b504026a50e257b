"""Make a classification head read the first token of every document in a packed row."""

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
    """The hooks that ``heads_by_document`` registered; ``remove()`` removes them."""

    handles: tuple[RemovableHandle, ...]

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self.handles:
            handle.remove()


@public
def heads_by_document(model: PreTrainedModel) -> HeadHooks:
    """Make the head of an encoder, such as one for sequence classification, read every document of packed rows.

    The head then receives (N, 1, D), the first token of each document, in the order of the examples. Batches that are
    not packed are unchanged. Calling it again changes nothing.

    Args:
        model: BERT, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT, MPNet or ModernBERT with a head that reads the
            first token.

    Returns:
        An object whose ``remove()`` undoes the change.

    Raises:
        UnsupportedModelError: an unsupported model, or one whose head reads the last token of a text.

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
    # Hooks on the model without its head, so that every head receives the selected states.
    marks = base.register_forward_pre_hook(_announce_heads, with_kwargs=True)
    return HeadHooks((marks, base.register_forward_hook(_select_first_tokens, with_kwargs=True)))


def _announce_heads(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Record in the mask that the head reads every document; ``check_prepared`` refuses a mask without this."""
    mask = kwargs.get("attention_mask")
    if isinstance(mask, PackedMask):
        kwargs["attention_mask"] = mask.replaced(needs_head_by_document=False)
    return args, kwargs


def _select_first_tokens(module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
    mask = kwargs.get("attention_mask")
    if isinstance(mask, PackedMask):
        # A head reads token 0 of each row: after this, each document is a row of one token.
        hidden: Tensor = output.last_hidden_state
        rows, starts = (torch.from_numpy(x).to(hidden.device) for x in (mask.documents.rows, mask.documents.starts))
        output.last_hidden_state = hidden[rows, starts][:, None]
        if output.get("pooler_output") is not None:
            output.pooler_output = module.pooler(output.last_hidden_state)
    return output
