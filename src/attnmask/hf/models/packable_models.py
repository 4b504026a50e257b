"""Decide whether a model runs packed texts exactly: from the list of known types, or by a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from attnmask.errors import UnsupportedModelError
from attnmask.hf.models.known_types import Family, known_type
from attnmask.hf.models.packing_trial import family_from_trial

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WHERE = "encode(model=)"
# Types of rotary positions that depend on the length of the whole row, not of each text.
BY_LENGTH = ("dynamic", "longrope")


def encoder_and_family(model: Any, where: str = WHERE) -> tuple[PreTrainedModel, Family]:
    """Return the model without its head, or the encoder of an encoder-decoder, and its family.

    An unknown model type is tried: a small copy of it must give the same states for packed texts as for each alone.

    Args:
        model: a transformers model, with or without a head or PEFT adapters. where: the calling function, for errors.

    Raises:
        UnsupportedModelError: the model gives different states for packed texts than for each text alone.
    """
    base = cast("PreTrainedModel", transformers_model(model, where).base_model)
    if base.config.is_encoder_decoder:
        base = cast("PreTrainedModel", base.get_encoder())
    family = known_family(base) or family_from_trial(base)
    reasons = reasons_against(base.config)
    if isinstance(family, str):
        reasons = [family]
    elif getattr(base.config, "is_decoder", False) and not family.causal:
        reasons.append("is configured as a decoder (is_decoder=True)")
    if reasons:
        raise UnsupportedModelError(
            f"{type(model).__name__} {'; '.join(reasons)}", where=where, fix="run it on padded batches"
        )
    return base, cast(Family, family)


def transformers_model(model: Any, where: str) -> PreTrainedModel:
    """Return a transformers model, unwrapped from PEFT if necessary; the adapters stay in its layers.

    Raises:
        UnsupportedModelError: any other object, or PEFT prompt learning, which puts a learnt prompt before each text.
    """
    from transformers import PreTrainedModel

    if isinstance(model, PreTrainedModel):
        return model
    inner = model.get_base_model() if hasattr(model, "get_base_model") else None
    if not isinstance(inner, PreTrainedModel):
        raise UnsupportedModelError(
            f"{type(model).__name__} is no model of transformers",
            where=where,
            fix="give AutoModel.from_pretrained(...), or what load_encoder returns",
        )
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise UnsupportedModelError(
            f"{type(model).__name__} puts a prompt that was learnt before each text",
            where=where,
            fix="run it on padded batches",
        )
    return inner


def known_family(base: PreTrainedModel) -> Family | None:
    """Return the family of a model without its head; None if its type is unknown and must be tried."""
    family = known_type(base.config.model_type).family
    known = family is not None and type(base).__name__ == family.model and _is_of_transformers(base)
    return family if known else None


def _is_of_transformers(base: PreTrainedModel) -> bool:
    return type(base).__module__.startswith("transformers.models.")


def reasons_against(config: Any) -> list[str]:
    """Return the settings of a config that make the texts of a row depend on each other, or on the row."""
    positions = getattr(config, "position_embedding_type", None) or "absolute"
    chunk = getattr(config, "chunk_size_feed_forward", 0)
    by_length = sorted(set(_rope_types(getattr(config, "rope_parameters", None) or {})) & set(BY_LENGTH))
    reasons = {
        f"has position_embedding_type={positions!r}": positions not in ("absolute", "rotary"),
        f"turns positions by the length of the row ({', '.join(by_length)})": bool(by_length),
        "drops tokens beyond what an expert holds of all texts together (expert_capacity)": hasattr(
            config, "expert_capacity"
        ),
        f"cuts its feed-forward layers into chunks (chunk_size_feed_forward={chunk})": chunk > 0,
    }
    return [reason for reason, holds in reasons.items() if holds]


def _rope_types(rope: dict[str, Any]) -> list[str]:
    """Return the rope types of all layers; parameters may be nested by kind of layer."""
    own = [rope["rope_type"]] if "rope_type" in rope else []
    return own + [
        kind for inner in rope.values() if isinstance(inner, dict) for kind in _rope_types(cast(dict[str, Any], inner))
    ]
