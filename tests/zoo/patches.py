"""Bugs planted in tiny models of transformers, each by changing what one class's forward is given."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

Given = dict[str, Any]


@dataclass(frozen=True)
class Patch:
    """A bug: ``change(module, given)`` alters the arguments of a class's forward before every call.

    Attributes:
        owner: module:class of transformers.models. model: its type. probe: that must find it. cause: words of it.
    """

    name: str
    owner: str
    change: Callable[[Any, Given], None]
    model: str
    probe: str
    cause: str = ""
    mode: str = ""


def planted(patch: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the bug into the class."""
    module, _, name = patch.owner.partition(":")
    owner = getattr(importlib.import_module(f"transformers.models.{module}"), name)
    right = owner.forward
    signature = inspect.signature(right)

    @functools.wraps(right)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        patch.change(self, bound.arguments)
        given = dict(bound.arguments)
        # By name: decorators of transformers add arguments by name, whatever is given by position.
        return right(**given.pop("kwargs", {}), **given)

    monkeypatch.setattr(owner, "forward", forward)


def dropped(when: Callable[[Any, Given], bool], name: str = "attention_mask") -> Callable[[Any, Given], None]:
    """The mask is dropped in the calls that ``when`` says."""

    def change(module: Any, given: Given) -> None:
        if when(module, given):
            given[name] = None

    return change


def _uses(implementation: str) -> Callable[[Any, Given], bool]:
    return lambda module, given: module.config._attn_implementation == implementation


def _cached(given: Given) -> int:
    cache = given.get("past_key_values")
    return 0 if cache is None else cache.get_seq_length()


def _forgets_padding(module: Any, given: Given) -> None:
    if _cached(given) and given["attention_mask"] is not None:
        given["attention_mask"] = torch.ones_like(given["attention_mask"])


def _crops_wrong_side(module: Any, given: Given) -> None:
    if _cached(given) and given["attention_mask"] is not None:
        given["attention_mask"] = given["attention_mask"].flip(1)


def _late_positions(module: Any, given: Given) -> None:
    # All of them moved by the same would not show in rotary positions: only those of cached calls are.
    if _cached(given) and given["position_ids"] is not None:
        given["position_ids"] = given["position_ids"] + 1


def _late_with_static(module: Any, given: Given) -> None:
    if type(given["past_key_values"]).__name__ == "StaticCache":
        _late_positions(module, given)


def _generates_without_first(module: Any, given: Given) -> None:
    if given["logits_to_keep"] and given["attention_mask"] is not None:
        given["attention_mask"] = given["attention_mask"].clone()
        given["attention_mask"][:, given["attention_mask"].long().argmax(1)] = 0


def _counts_pads(module: Any, given: Given) -> None:
    if _cached(given):
        given["position_ids"] = None


def _restarts(module: Any, given: Given) -> None:
    # One token: a step of decoding.
    if given["position_ids"] is not None and len(given["position_ids"]) == 1:
        given["position_ids"] = torch.zeros_like(given["position_ids"])


def _positions_of_row(module: Any, given: Given) -> None:
    given["position_ids"] = None


def _ones_under_sdpa(module: Any, given: Given) -> None:
    if module.config._attn_implementation == "sdpa" and given["attention_mask"] is None:
        given["attention_mask"] = torch.ones_like(given["input_ids"])


def _half_scores(module: Any, given: Given) -> None:
    if module.config._attn_implementation == "sdpa" and given["attention_mask"] is not None:
        given["attention_mask"] = given["attention_mask"].roll(1, -1)


def _joined(module: Any, given: Given) -> None:
    if given["token_type_ids"] is not None:
        given["token_type_ids"] = given["token_type_ids"].cummax(1).values


def _late_beside_padding(module: Any, given: Given) -> None:
    mask = given["attention_mask"]
    if given["token_type_ids"] is not None and isinstance(mask, torch.Tensor) and not mask[:, 0].all():
        given["token_type_ids"] = given["token_type_ids"].roll(1, 1)


GEMMA3 = "gemma3.modeling_gemma3:"
LLAMA, BERT, BART, GPT2 = (
    f"{name}.modeling_{name}:" for name in ("llama", "bert", "bart", "gpt2")
)  # fmt: skip
IN_LAYER_ONE = dropped(lambda module, given: module.layer_idx == 1)

ONE_TEXT = dropped(lambda module, given: len(given["input_ids"]) == 1)
SEVERAL = dropped(lambda module, given: len(given["input_ids"]) > 1)
TRAINING = dropped(lambda module, given: module.training)
WITHOUT_CACHE = dropped(lambda module, given: given["use_cache"] is False, "position_ids")

PATCHES = [
    Patch("no mask in layer 1", LLAMA + "LlamaAttention", IN_LAYER_ONE, "llama", "mask of a layer"),
    Patch("no mask under eager", LLAMA + "LlamaAttention", dropped(_uses("eager")), "llama", "future leak"),
    Patch("no padding under sdpa", LLAMA + "LlamaAttention", dropped(_uses("sdpa")), "llama", "padding leak"),
    Patch("sdpa differs", LLAMA + "LlamaAttention", _half_scores, "llama", "implementations disagree"),
    Patch("no padding in training", LLAMA + "LlamaModel", TRAINING, "llama", "padding leak"),
    Patch("cache forgets padding", LLAMA + "LlamaModel", _forgets_padding, "llama", "cache disagrees"),
    Patch("mask turned round with a cache", LLAMA + "LlamaModel", _crops_wrong_side, "llama", "cache disagrees"),
    Patch("positions late with a cache", LLAMA + "LlamaModel", _late_positions, "llama", "cache disagrees"),
    Patch("no positions where no cache is wanted", GPT2 + "GPT2Model", WITHOUT_CACHE, "gpt2", "cache disagrees"),
    Patch(
        "positions late with a static cache", LLAMA + "LlamaModel", _late_with_static, "llama", "generation disagrees",
    ),
    Patch(
        "the first token left out in generation", LLAMA + "LlamaForCausalLM", _generates_without_first, "llama",
        "generation disagrees",
    ),
    Patch("generation forgets padding", LLAMA + "LlamaModel", _forgets_padding, "llama", "generation disagrees"),
    Patch("generation counts pads", LLAMA + "LlamaModel", _counts_pads, "llama", "generation disagrees"),
    Patch("packed texts leak under sdpa", LLAMA + "LlamaModel", _ones_under_sdpa, "llama", "packed leak"),
    Patch("positions given are ignored", GPT2 + "GPT2Model", _positions_of_row, "gpt2", "padding inequality"),
    Patch("no mask of one text", BERT + "BertModel", ONE_TEXT, "bert", "padding leak"),
    Patch("no mask in a batch", BERT + "BertModel", SEVERAL, "bert", "padding inequality"),
    Patch("no mask in training of an encoder", BERT + "BertModel", TRAINING, "bert", "padding leak"),
    Patch(
        "no encoder mask in cross-attention", BART + "BartDecoderLayer",
        dropped(lambda m, g: True, "encoder_attention_mask"), "bart", "cross-attention sees padding", "", "seq2seq",
    ),
    Patch(
        "no encoder mask in one layer", BART + "BartDecoderLayer",
        dropped(lambda m, g: m.encoder_attn.layer_idx == 1, "encoder_attention_mask"), "bart",
        "cross-attention sees padding", "", "seq2seq",
    ),
    Patch(
        "no encoder mask while decoding", BART + "BartDecoder",
        dropped(lambda m, g: _cached(g) > 0, "encoder_attention_mask"), "bart", "generation disagrees", "", "seq2seq",
    ),
    Patch(
        "every step at the first position", BART + "BartLearnedPositionalEmbedding", _restarts, "bart",
        "generation disagrees", "", "seq2seq",
    ),
    Patch(
        "image spans that stay causal", GEMMA3 + "Gemma3Model", dropped(lambda m, g: True, "token_type_ids"), "gemma3",
        "image spans", "fewer keys",
    ),
    Patch(
        "image spans that stay causal in one layer under sdpa", GEMMA3 + "Gemma3Attention",
        dropped(lambda m, g: m.layer_idx == 1 and m.config._attn_implementation == "sdpa"), "gemma3", "image spans",
        "fewer keys",
    ),
    Patch("image spans that are joined", GEMMA3 + "Gemma3Model", _joined, "gemma3", "image spans", "more keys"),
    Patch("image spans late on the left", GEMMA3 + "Gemma3Model", _late_beside_padding, "gemma3", "image spans"),
    Patch(
        "no padding in the encoder", BART + "BartEncoder", dropped(lambda m, g: True), "bart", "padding leak", "",
        "seq2seq",
    ),
]  # fmt: skip
