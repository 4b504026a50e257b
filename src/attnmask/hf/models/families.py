"""Model types that are known to run packed texts exactly, and how they count positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from attnmask.calls import public
from attnmask.conventions import IntArray
from attnmask.errors import ArgumentError
from attnmask.hf.models.known_types import Family

if TYPE_CHECKING:
    from transformers import PreTrainedModel


# Maximum length for models without a limit of positions.
UNLIMITED = 2**31
A_MODEL = "give a model of transformers, such as AutoModel.from_pretrained(...)"


def most_tokens(base: PreTrainedModel, family: Family) -> int:
    """Return the maximum number of tokens for which a model has positions."""
    most = getattr(base.config.get_text_config(), "max_position_embeddings", None) or UNLIMITED
    return most - (_pad_id(base) + 1 if family.after_pad else 0)


def check_model(model: Any, where: str) -> None:
    """Raise unless a model is an nn.Module with a config, as transformers models and their wrappers are."""
    if not isinstance(model, nn.Module) or not hasattr(model, "config"):
        raise ArgumentError(f"model is {type(model).__name__}", where=f"{where}(model=)", fix=A_MODEL)


@public
def first_position(model: PreTrainedModel) -> int:
    """Return the position of a text's first token: the padding index + 1 in the RoBERTa family, else 0."""
    check_model(model, "first_position")
    # All models that count from the padding index have this method in their embeddings.
    counting = (part for part in model.modules() if hasattr(part, "create_position_ids_from_inputs_embeds"))
    return next((cast(int, part.padding_idx) + 1 for part in counting), 0)


def position_ids(base: PreTrainedModel, family: Family, ids: IntArray, lengths: IntArray) -> NDArray[np.int64]:
    """Return the position that each token would have if its text ran alone.

    Args:
        base: the encoder. family: the family of the encoder.
        ids: token ids of the texts, end to end, (T,). lengths: number of tokens of each text, (texts,).

    Returns:
        int64 (T,).
    """
    pad = _pad_id(base) if family.after_pad else None
    # These models treat a pad id inside a text as padding: it gets the padding position, and is not counted.
    counted = np.ones(len(ids), dtype=np.int64) if pad is None else (ids != pad).astype(np.int64)
    upto = np.cumsum(counted)
    firsts = np.cumsum(lengths) - lengths
    before = (upto - counted)[firsts]
    inside = upto - np.repeat(before, lengths)
    return inside - 1 if pad is None else inside * counted + pad


def _pad_id(base: PreTrainedModel) -> int:
    # Read it from the embeddings: MPNet always uses 1 there, whatever pad_token_id its config has.
    return base.get_submodule("embeddings").padding_idx  # pyright: ignore
