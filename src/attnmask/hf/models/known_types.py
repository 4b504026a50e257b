"""What is known by model type: one table, for packing, encoding, tiny models and the audit.

A type without an entry is tried, measured or read off its config; an entry is for what none of these shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Family:
    """The inputs that a model type needs for packed texts.

    Attributes:
        model: name of the class without a head.
        after_pad: whether positions start at the padding index + 1, and skip tokens with the pad id.
        token_types: whether ``token_type_ids`` must be passed; by default the model would look them up by position.
        causal: whether a token attends only to tokens before it.
        positions: whether ``position_ids`` must be passed.
    """

    model: str
    after_pad: bool = False
    token_types: bool = False
    causal: bool = False
    positions: bool = True


@dataclass(frozen=True)
class SpanMarks:
    """How spans that attend in both directions are marked in the inputs.

    Attributes:
        argument: name of the argument with a type for every token. inside, outside: the types. is_one: whether all
            marked tokens form one span; if not, each run of them does. windows_only: whether layers without a window
            stay causal. switch: attribute of the text config, and its value that enables spans; None if always enabled.
    """

    argument: str
    inside: int
    outside: int
    is_one: bool = False
    windows_only: bool = False
    switch: tuple[str, object] | None = None


@dataclass(frozen=True)
class KnownType:
    """What is known about a model type.

    Attributes:
        family: how it counts positions of packed texts; None if that is to be tried.
        mixes_row: why documents in one row affect each other beside attention; empty if they do not.
        mixes_tokens: how it mixes tokens by design where the names of its modules do not show it.
        spans: how bidirectional spans are marked in its inputs.
        tiny_values: config values that its tiny model needs.
    """

    family: Family | None = None
    mixes_row: str = ""
    mixes_tokens: str = ""
    spans: SpanMarks | None = None
    tiny_values: Mapping[str, Any] = field(default_factory=dict[str, Any])


GEMMA4 = SpanMarks("mm_token_type_ids", 1, 0, windows_only=True, switch=("use_bidirectional_attention", "vision"))
KNOWN_TYPES = {
    "bert": KnownType(family=Family("BertModel", token_types=True)),
    "roberta": KnownType(family=Family("RobertaModel", after_pad=True, token_types=True)),
    "xlm-roberta": KnownType(family=Family("XLMRobertaModel", after_pad=True, token_types=True)),
    "camembert": KnownType(family=Family("CamembertModel", after_pad=True, token_types=True)),
    "distilbert": KnownType(family=Family("DistilBertModel")),
    "mpnet": KnownType(family=Family("MPNetModel", after_pad=True)),
    "modernbert": KnownType(family=Family("ModernBertModel")),
    "gpt2": KnownType(family=Family("GPT2Model", causal=True)),
    "gpt_neox": KnownType(family=Family("GPTNeoXModel", causal=True)),
    "llama": KnownType(family=Family("LlamaModel", causal=True)),
    "mistral": KnownType(family=Family("MistralModel", causal=True)),
    "qwen2": KnownType(family=Family("Qwen2Model", causal=True)),
    "qwen3": KnownType(family=Family("Qwen3Model", causal=True)),
    "gemma": KnownType(family=Family("GemmaModel", causal=True)),
    "gemma2": KnownType(family=Family("Gemma2Model", causal=True)),
    "gemma3_text": KnownType(family=Family("Gemma3TextModel", causal=True)),
    "phi": KnownType(family=Family("PhiModel", causal=True)),
    "olmo2": KnownType(family=Family("Olmo2Model", causal=True)),
    "granite": KnownType(family=Family("GraniteModel", causal=True)),
    "starcoder2": KnownType(family=Family("Starcoder2Model", causal=True)),
    "smollm3": KnownType(family=Family("SmolLM3Model", causal=True)),
    "cpmant": KnownType(
        mixes_tokens="all of a text is context that sees itself both ways, unless a span says otherwise"
    ),
    "funnel": KnownType(mixes_tokens="its encoder pools neighbouring tokens"),
    "led": KnownType(
        mixes_tokens="it pads rows to whole windows by itself, and its positions count from the start of the row"
    ),
    "mobilebert": KnownType(
        mixes_tokens="its embeddings are those of a token and its two neighbours",
        mixes_row="its embeddings hold both neighbours of a token",
    ),
    "perceiver": KnownType(mixes_tokens="its decoder asks for the places of the row, whatever stands there"),
    "unlimited_ocr": KnownType(
        mixes_tokens="tokens that are decoded one by one see a window of each other, those of one forward pass all"
    ),
    "xlnet": KnownType(
        mixes_tokens="its positions are relative to the length of the row, and its targets are permuted"
    ),
    "recurrent_gemma": KnownType(mixes_row="its recurrent layers run on from one text into the next"),
    "gemma3": KnownType(spans=SpanMarks("token_type_ids", 1, 0)),
    "gemma4": KnownType(spans=GEMMA4),
    "gemma4_unified": KnownType(spans=GEMMA4),
    "hrm_text": KnownType(spans=SpanMarks("token_type_ids", 1, 0, is_one=True, switch=("prefix_lm", True))),
    "molmo2": KnownType(spans=SpanMarks("mm_token_type_ids", 1, 0, is_one=True)),
    "paligemma": KnownType(spans=SpanMarks("token_type_ids", 0, 1, is_one=True)),
    "gemma4_text": KnownType(tiny_values={"use_bidirectional_attention": "vision"}),
    "molmo2_adapter": KnownType(tiny_values={"vision_feature_layer": [1, 0]}),
}
UNKNOWN = KnownType()


def known_type(model_type: str) -> KnownType:
    """Return what is known about a model type, an empty entry if nothing is."""
    return KNOWN_TYPES.get(model_type, UNKNOWN)
