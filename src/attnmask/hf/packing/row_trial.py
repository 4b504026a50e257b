"""Whether rows of documents give a model what each document alone gives it: tried on a small copy."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from attnmask.errors import UnsupportedModelError
from attnmask.hf.models.families import first_position
from attnmask.hf.models.packable_models import known_family, reasons_against
from attnmask.hf.models.switched_models import under_attnmask
from attnmask.hf.models.tiny_models import tiny_copy
from attnmask.hf.packing.encoder_decoders import count_inside_documents
from attnmask.hf.packing.packed_mask import DocumentLayout, PackedMask
from attnmask.hf.packing.row_packing import RowOrder, pack

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Tokens of the text, and of the decoder's: shorter and longer than the windows of the small copy, in two rows of
# which the first one ends before the longest document would.
LENGTHS = np.array([(9, 3), (4, 5), (21, 18)])
TOLERANCE = 1e-4
_reasons: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def check_takes_rows(model: PreTrainedModel, where: str) -> None:
    """Raise unless a model makes the same of documents in rows as of each alone; a type that is known is not tried.

    Args:
        model: of transformers, with or without a head. where: who asks, for errors.

    Raises:
        UnsupportedModelError: it does not, or it cannot be tried.
    """
    base = model if model.config.is_encoder_decoder else cast("PreTrainedModel", model.base_model)
    if base not in _reasons:
        known = not model.config.is_encoder_decoder and known_family(base) is not None
        _reasons[base] = "; ".join(reasons_against(base.config)) or ("" if known else _reason_from_trial(base))
    if _reasons[base]:
        raise UnsupportedModelError(
            f"{type(model).__name__} {_reasons[base]}", where=where, fix="train it on padded batches"
        )


def accepts_argument(model: PreTrainedModel, name: str) -> bool:
    """Whether a model has an argument."""
    return name in inspect.signature(model.forward).parameters


def _reason_from_trial(model: PreTrainedModel) -> str:
    """Why packed rows are not exact in a small copy of a model; empty if they are."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is to be said is said of the model itself
        try:
            difference = _difference(tiny_copy(type(model), model.config))
        except Exception as error:  # whatever the code of a model raises
            return f"cannot be tried on packed texts: {type(error).__name__}: {str(error)[:160]}"
    apart = f"gives packed texts other predictions than each alone, by {difference:.0e} of the largest"
    return "" if difference <= TOLERANCE else apart


def _difference(model: PreTrainedModel) -> float:
    """How far predictions of packed texts are from those of each alone, relative to the largest."""
    vocabulary = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    texts = [tuple(torch.randint(5, vocabulary, (int(size),)) for size in sizes) for sizes in LENGTHS]
    is_pair = bool(model.config.is_encoder_decoder)
    separate = torch.cat(
        [_predicted(model, ids[None], decoder_ids[None] if is_pair else None)[0] for ids, decoder_ids in texts]
    )
    text, decoder = pack(LENGTHS, int(LENGTHS.max()), RowOrder.ARRIVAL)
    ids, decoder_ids = (_row(layout, [each[at] for each in texts]) for at, layout in enumerate((text, decoder)))
    inputs: dict[str, Tensor] = {"attention_mask": PackedMask.of(text, decoder=decoder if is_pair else None)}
    if is_pair:
        count_inside_documents(model)
        inputs["decoder_attention_mask"] = PackedMask.of(decoder)
    elif accepts_argument(model, "position_ids"):
        inputs["position_ids"] = torch.from_numpy(text.positions() + first_position(model))
    with under_attnmask(model):
        packed = _predicted(model, ids, decoder_ids if is_pair else None, **inputs).flatten(0, 1)
    packed_tokens = packed[torch.from_numpy((decoder if is_pair else text).places())]
    return float((packed_tokens - separate).abs().max() / separate.abs().max())


def _row(layout: DocumentLayout, texts: list[Tensor]) -> Tensor:
    """Token ids of the texts in rows (B, T), 1 where there is none."""
    rows = torch.ones(layout.shape, dtype=torch.int64)
    rows.view(-1)[torch.from_numpy(layout.places())] = torch.cat(texts)
    return rows


def _predicted(model: PreTrainedModel, ids: Tensor, decoder_ids: Tensor | None, **inputs: Tensor) -> Tensor:
    more: dict[str, Any] = {"use_cache": False} if accepts_argument(model, "use_cache") else {}
    more |= {} if decoder_ids is None else {"decoder_input_ids": decoder_ids}
    output = model(input_ids=ids, **inputs, **more)
    return output.logits if "logits" in output else output.last_hidden_state
