"""Inside transformers: ``attn_implementation="attnmask"``, texts without padding, pooling, labels, token weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnmask.calls import attribute_of

if TYPE_CHECKING:
    from attnmask.hf.closures import mask_from_closure as mask_from_closure
    from attnmask.hf.collator import PackingCollator as PackingCollator
    from attnmask.hf.encoding import encode as encode
    from attnmask.hf.families import first_position as first_position
    from attnmask.hf.heads import heads_by_document as heads_by_document
    from attnmask.hf.interface import register as register
    from attnmask.hf.interface import unregister as unregister
    from attnmask.hf.labels import check_labels as check_labels
    from attnmask.hf.labels import labels_from_mask as labels_from_mask
    from attnmask.hf.load import load_encoder as load_encoder
    from attnmask.hf.notices import MaterializedMaskWarning as MaterializedMaskWarning
    from attnmask.hf.notices import OwnAttentionWarning as OwnAttentionWarning
    from attnmask.hf.notices import TruncationWarning as TruncationWarning
    from attnmask.hf.notices import UnknownMaskWarning as UnknownMaskWarning
    from attnmask.hf.notices import WordNotFoundWarning as WordNotFoundWarning
    from attnmask.hf.packed_mask import PackedMask as PackedMask
    from attnmask.hf.packing import packed as packed
    from attnmask.hf.pooling import pool as pool
    from attnmask.hf.scoring import score as score
    from attnmask.hf.tiny import tiny_model as tiny_model
    from attnmask.hf.unpadding import TokenPlaces as TokenPlaces
    from attnmask.hf.unpadding import repad as repad
    from attnmask.hf.unpadding import unpad as unpad
    from attnmask.hf.weighted_models import accept_weights as accept_weights
    from attnmask.hf.weighted_models import weighted as weighted
    from attnmask.hf.weighting import token_weights as token_weights

_HOMES = {
    "mask_from_closure": "closures",
    "encode": "encoding",
    "PackingCollator": "collator",
    "PackedMask": "packed_mask",
    "first_position": "families",
    "heads_by_document": "heads",
    "check_labels": "labels",
    "labels_from_mask": "labels",
    "load_encoder": "load",
    "MaterializedMaskWarning": "notices",
    "OwnAttentionWarning": "notices",
    "TruncationWarning": "notices",
    "UnknownMaskWarning": "notices",
    "WordNotFoundWarning": "notices",
    "packed": "packing",
    "pool": "pooling",
    "register": "interface",
    "unregister": "interface",
    "score": "scoring",
    "tiny_model": "tiny",
    "token_weights": "weighting",
    "TokenPlaces": "unpadding",
    "repad": "unpadding",
    "unpad": "unpadding",
    "accept_weights": "weighted_models",
    "weighted": "weighted_models",
}


__all__ = [
    "MaterializedMaskWarning",
    "OwnAttentionWarning",
    "PackedMask",
    "PackingCollator",
    "TokenPlaces",
    "TruncationWarning",
    "UnknownMaskWarning",
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
    # No module here bears the name of a function: importing it would put the module in the function's place.
    return attribute_of(f"attnmask.hf.{_HOMES[name]}", name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
