"""Whether a model runs padding-free and exactly: known to, or found by trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from attnmask.errors import UnsupportedModelError
from attnmask.hf.families import FAMILIES, Family
from attnmask.hf.trial import family_by_trial

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WHERE = "encode(model=)"
# Rotary positions that depend on the length of the row, not of the text.
BY_LENGTH = ("dynamic", "longrope")


def encoder_of(model: Any) -> tuple[PreTrainedModel, Family]:
    """The model without its head, or the encoder of an encoder-decoder, and its family.

    A model type that is not known here is tried: a small copy of it must make the same of packed texts as of each
    alone.

    Args:
        model: of transformers, with or without a head.

    Raises:
        UnsupportedModelError: a model for which packed texts do not give what each text alone gives.
    """
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        raise UnsupportedModelError(
            f"{type(model).__name__} is no model of transformers",
            where=WHERE,
            fix="give AutoModel.from_pretrained(...), or what load_encoder returns",
        )
    base = cast(PreTrainedModel, model.base_model)
    if base.config.is_encoder_decoder:
        base = cast(PreTrainedModel, base.get_encoder())
    family = _family_of(base)
    reasons = _reasons_against(base, family) if isinstance(family, Family) else [family]
    if isinstance(family, str) or reasons:
        raise UnsupportedModelError(
            f"{type(model).__name__} {'; '.join(reasons)}", where=WHERE, fix="run it on padded batches"
        )
    return base, family


def _family_of(base: PreTrainedModel) -> Family | str:
    """What is known of a model, or found by trial; or why it cannot be packed."""
    family = FAMILIES.get(base.config.model_type)
    if family is not None and type(base).__name__ == family.model and _is_of_transformers(base):
        return family
    return family_by_trial(base)


def _is_of_transformers(base: PreTrainedModel) -> bool:
    return type(base).__module__.startswith("transformers.models.")


def _reasons_against(base: PreTrainedModel, family: Family) -> list[str]:
    config = base.config
    positions = getattr(config, "position_embedding_type", None) or "absolute"
    chunk = getattr(config, "chunk_size_feed_forward", 0)
    by_length = sorted(set(_rope_types(getattr(config, "rope_parameters", None) or {})) & set(BY_LENGTH))
    reasons = {
        "is configured as a decoder (is_decoder=True)": not family.causal and getattr(config, "is_decoder", False),
        f"has position_embedding_type={positions!r}": positions not in ("absolute", "rotary"),
        f"turns positions by the length of the row ({', '.join(by_length)})": bool(by_length),
        f"cuts its feed-forward layers into chunks (chunk_size_feed_forward={chunk})": chunk > 0,
    }
    return [reason for reason, holds in reasons.items() if holds]


def _rope_types(rope: dict[str, Any]) -> list[str]:
    """Of all layers; parameters may be given by kind of layer."""
    own = [rope["rope_type"]] if "rope_type" in rope else []
    return own + [
        kind for inner in rope.values() if isinstance(inner, dict) for kind in _rope_types(cast(dict[str, Any], inner))
    ]
