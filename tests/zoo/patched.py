"""Bugs planted in tiny models of transformers: classes of its layers, with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.bart.modeling_bart import BartAttention
from transformers.models.bert.modeling_bert import BertCrossAttention
from transformers.models.llama.modeling_llama import LlamaAttention
from transformers.models.mistral.modeling_mistral import MistralAttention
from transformers.models.t5.modeling_t5 import T5LayerCrossAttention

from attnmask.hf.models.tiny_models import tiny_config


def tiny(model_type: str, head: str, **changes: Any) -> Any:
    """A tiny model with a head, its weights not yet drawn."""
    torch.manual_seed(0)
    config = tiny_config(model_type)
    for name, value in changes.items():
        setattr(config, name, value)
    auto: Any = getattr(transformers, head)
    return auto.from_config(config, attn_implementation="eager").eval()


def swapped(model: nn.Module, planted: bool, kind: type, wrong: type, which: Callable[[Any], bool] = bool) -> nn.Module:
    """The model with some layers of a kind in a class that has the bug."""
    for module in model.modules():
        if planted and type(module) is kind and which(module):
            module.__class__ = wrong
    return model


class LlamaSdpa(LlamaAttention):
    """Under sdpa alone the padding is lost."""

    def forward(self, hidden_states: Any, position_embeddings: Any, attention_mask: Any = None, *args: Any, **kw: Any):
        if self.config._attn_implementation == "sdpa" and attention_mask is not None:
            shape = attention_mask.shape[-2:]
            attention_mask = torch.ones(shape, dtype=torch.bool).tril(shape[1] - shape[0])[None, None]
        return super().forward(hidden_states, position_embeddings, attention_mask, *args, **kw)


class LlamaAlwaysCausal(LlamaAttention):
    """Without a mask, in training, the layer is bidirectional."""

    def forward(self, hidden_states: Any, position_embeddings: Any, attention_mask: Any = None, *args: Any, **kw: Any):
        if self.training and attention_mask is not None:
            attention_mask = torch.zeros_like(attention_mask) if attention_mask.is_floating_point() else None
        return super().forward(hidden_states, position_embeddings, attention_mask, *args, **kw)


class MistralWiderBy1(MistralAttention):
    """Under eager attention the window is one token too wide."""

    def forward(self, hidden_states: Any, position_embeddings: Any, attention_mask: Any = None, *args: Any, **kw: Any):
        length = hidden_states.shape[1]
        if attention_mask is not None and attention_mask.is_floating_point() and attention_mask.shape[-1] == length:
            wider = attention_mask.diagonal(-7, 2, 3)[:, :, : length - 8]
            attention_mask = attention_mask.clone()
            attention_mask.diagonal(-8, 2, 3).copy_(wider)
        return super().forward(hidden_states, position_embeddings, attention_mask, *args, **kw)


class T5CrossWithoutMask(T5LayerCrossAttention):
    """Cross-attention sees all of the encoder."""

    def forward(self, hidden_states: Any, key_value_states: Any, attention_mask: Any = None, *args: Any, **kw: Any):
        return super().forward(hidden_states, key_value_states, None, *args, **kw)


class BartCrossWithoutMask(BartAttention):
    """The same in one layer of BART."""

    def forward(self, hidden_states: Any, key_value_states: Any = None, *args: Any, **kw: Any):
        if key_value_states is not None:
            kw["attention_mask"] = None
        return super().forward(hidden_states, key_value_states, *args, **kw)


class BertCrossWithoutMask(BertCrossAttention):
    """The same in BERT as a decoder."""

    def forward(self, hidden_states: Any, states: Any = None, mask: Any = None, *args: Any, **kwargs: Any):
        kwargs.pop("attention_mask", None)
        states = kwargs.pop("encoder_hidden_states", states)
        return super().forward(hidden_states, states, None, *args, **kwargs)


class LlamaThatForgetsPadding(transformers.LlamaForCausalLM):
    """Generation drops the mask of its prompt."""

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> Any:
        prepared = super().prepare_inputs_for_generation(*args, **kwargs)
        return prepared | {"attention_mask": None}


def llama(planted: bool, wrong: type) -> nn.Module:
    return swapped(tiny("llama", "AutoModelForCausalLM"), planted, LlamaAttention, wrong)


def mistral(planted: bool) -> nn.Module:
    return swapped(tiny("mistral", "AutoModelForCausalLM"), planted, MistralAttention, MistralWiderBy1)


def t5(planted: bool) -> nn.Module:
    model = tiny("t5", "AutoModelForSeq2SeqLM", decoder_start_token_id=0)
    return swapped(model, planted, T5LayerCrossAttention, T5CrossWithoutMask)


def bart(planted: bool) -> nn.Module:
    model = tiny("bart", "AutoModelForSeq2SeqLM")
    last = model.model.decoder.layers[-1].encoder_attn
    return swapped(model, planted, BartAttention, BartCrossWithoutMask, lambda module: module is last)


def bert_decoder(planted: bool) -> nn.Module:
    model = tiny("bert", "AutoModelForCausalLM", is_decoder=True, add_cross_attention=True)
    return swapped(model, planted, BertCrossAttention, BertCrossWithoutMask)


def llama_generation(planted: bool) -> nn.Module:
    model = tiny("llama", "AutoModelForCausalLM")
    if planted:
        model.__class__ = LlamaThatForgetsPadding
    return model
