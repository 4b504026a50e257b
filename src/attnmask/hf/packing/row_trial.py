"""Check on a small copy of a model that packed rows give the same predictions as separate texts.

``packing_collator`` calls ``check_takes_rows`` before it makes a collator for a model. A model type in
``models.families`` is known to pass. Of any other type, ``models.tiny_models`` builds a small copy with large random
weights, and its predictions for packed rows are compared with those for each text alone.
``models.packing_trial`` does the same for inference, where the texts lie in a single row.
"""

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

# Tokens of each text and of its decoder text: shorter and longer than the windows of the small copy, and in two rows,
# so that the first row ends with padding.
LENGTHS = np.array([(9, 3), (4, 5), (21, 18)])
# Relative to the largest prediction: rounding in float32 stays below, and a wrong pair or position lies far above.
TOLERANCE = 1e-4
_reasons: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def check_takes_rows(model: PreTrainedModel, where: str) -> None:
    """Raise unless a model gives the same outputs for packed documents as for each alone; known types are not tried.

    Args:
        model: a transformers model, with or without a head. where: the calling function, for errors.

    Raises:
        UnsupportedModelError: the outputs differ, or the model cannot be tried.
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
    """Return whether the ``forward`` of a model has an argument."""
    return name in inspect.signature(model.forward).parameters


def _reason_from_trial(model: PreTrainedModel) -> str:
    """Return why packed rows are not exact in a small copy of a model; empty if they are."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the user's own model gives its warnings when it runs
        try:
            difference = _difference(tiny_copy(type(model), model.config))
        except Exception as error:  # a model's code may raise anything
            return f"cannot be tried on packed texts: {type(error).__name__}: {str(error)[:160]}"
    apart = f"gives packed texts other predictions than each alone, by {difference:.0e} of the largest"
    return "" if difference <= TOLERANCE else apart


def _difference(model: PreTrainedModel) -> float:
    """Return the largest difference of predictions for packed texts and for each alone, relative to the largest."""
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
    """Return token ids of the texts in rows (B, T), 1 at padding."""
    rows = torch.ones(layout.shape, dtype=torch.int64)
    rows.view(-1)[torch.from_numpy(layout.places())] = torch.cat(texts)
    return rows


def _predicted(model: PreTrainedModel, ids: Tensor, decoder_ids: Tensor | None, **inputs: Tensor) -> Tensor:
    more: dict[str, Any] = {"use_cache": False} if accepts_argument(model, "use_cache") else {}
    more |= {} if decoder_ids is None else {"decoder_input_ids": decoder_ids}
    output = model(input_ids=ids, **inputs, **more)
    return output.logits if "logits" in output else output.last_hidden_state
