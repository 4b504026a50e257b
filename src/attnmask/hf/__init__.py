"""attnmask in transformers: ``attn_implementation="attnmask"``, packing, encoding, pooling, labels, token weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnmask.calls import load_attribute

if TYPE_CHECKING:
    from attnmask.hf.implementation.mask_closures import mask_from_closure as mask_from_closure
    from attnmask.hf.implementation.registration import register as register
    from attnmask.hf.implementation.registration import unregister as unregister
    from attnmask.hf.inference.encoder_folder import load_encoder as load_encoder
    from attnmask.hf.inference.encoding import encode as encode
    from attnmask.hf.inference.pooling import pool as pool
    from attnmask.hf.inference.scoring import score as score
    from attnmask.hf.models.families import first_position as first_position
    from attnmask.hf.models.tiny_models import tiny_model as tiny_model
    from attnmask.hf.packing.document_heads import heads_by_document as heads_by_document
    from attnmask.hf.packing.labels import check_labels as check_labels
    from attnmask.hf.packing.labels import labels_from_mask as labels_from_mask
    from attnmask.hf.packing.packed_calls import packed as packed
    from attnmask.hf.packing.packed_mask import PackedMask as PackedMask
    from attnmask.hf.packing.packing_collator import PackingCollator as PackingCollator
    from attnmask.hf.packing.unpadding import TokenPlaces as TokenPlaces
    from attnmask.hf.packing.unpadding import repad as repad
    from attnmask.hf.packing.unpadding import unpad as unpad
    from attnmask.hf.warnings_issued import MaterializedMaskWarning as MaterializedMaskWarning
    from attnmask.hf.warnings_issued import OwnAttentionWarning as OwnAttentionWarning
    from attnmask.hf.warnings_issued import TruncationWarning as TruncationWarning
    from attnmask.hf.warnings_issued import UnknownMaskWarning as UnknownMaskWarning
    from attnmask.hf.warnings_issued import UntestedVersionWarning as UntestedVersionWarning
    from attnmask.hf.warnings_issued import WordNotFoundWarning as WordNotFoundWarning
    from attnmask.hf.weights.weighted_models import accept_weights as accept_weights
    from attnmask.hf.weights.weighted_models import weighted as weighted
    from attnmask.hf.weights.word_weights import token_weights as token_weights

_HOMES = {
    "mask_from_closure": "implementation.mask_closures",
    "encode": "inference.encoding",
    "PackingCollator": "packing.packing_collator",
    "PackedMask": "packing.packed_mask",
    "first_position": "models.families",
    "heads_by_document": "packing.document_heads",
    "check_labels": "packing.labels",
    "labels_from_mask": "packing.labels",
    "load_encoder": "inference.encoder_folder",
    "MaterializedMaskWarning": "warnings_issued",
    "OwnAttentionWarning": "warnings_issued",
    "TruncationWarning": "warnings_issued",
    "UnknownMaskWarning": "warnings_issued",
    "UntestedVersionWarning": "warnings_issued",
    "WordNotFoundWarning": "warnings_issued",
    "packed": "packing.packed_calls",
    "pool": "inference.pooling",
    "register": "implementation.registration",
    "unregister": "implementation.registration",
    "score": "inference.scoring",
    "tiny_model": "models.tiny_models",
    "token_weights": "weights.word_weights",
    "TokenPlaces": "packing.unpadding",
    "repad": "packing.unpadding",
    "unpad": "packing.unpadding",
    "accept_weights": "weights.weighted_models",
    "weighted": "weights.weighted_models",
}


__all__ = [
    "MaterializedMaskWarning",
    "OwnAttentionWarning",
    "PackedMask",
    "PackingCollator",
    "TokenPlaces",
    "TruncationWarning",
    "UnknownMaskWarning",
    "UntestedVersionWarning",
    "WordNotFoundWarning",
    "accept_weights",
    "check_labels",
    "encode",
    "first_position",
    "heads_by_document",
    "labels_from_mask",
    "load_encoder",
    "mask_from_closure",
    "packed",
    "pool",
    "register",
    "repad",
    "score",
    "tiny_model",
    "token_weights",
    "unpad",
    "unregister",
    "weighted",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'attnmask.hf' has no attribute {name!r}")
    # No module may have the name of a public function: importing it would overwrite the function with the module.
    return load_attribute(f"attnmask.hf.{_HOMES[name]}", name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
