"""Whole tiny models of transformers under each of its attentions.

A model is compared with itself where its attention is computed by definition under the plan, which is registered with
transformers as one more attention; all else that the model does is the same code on both sides.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    Gemma3TextConfig,
    Gemma3TextModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
    PretrainedConfig,
    PreTrainedModel,
)

import attnmask as am
from attnmask.compiler.plan import plan_from_dense
from attnmask.execute.reference_attention import attention_reference
from conformance.libraries.base import SHAPES, Model

BATCH, HEADS, WIDTH, LAYERS, TOKENS, WINDOW = 2, 2, 8, 2, 16, 3
BY_DEFINITION = "by_definition"
Config = Callable[..., PretrainedConfig]
# The plan of a layer of attention; set for a call by definition.
_plan_of: Callable[[nn.Module], am.Plan]


def _by_definition(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Any, **rest: Any) -> tuple[Tensor, None]:
    scale = q.shape[-1] ** -0.5 if rest.get("scaling") is None else rest["scaling"]
    out, _ = attention_reference(q, k, v, _plan_of(module), None, scale, q.dtype)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(BY_DEFINITION, _by_definition)


@dataclass(frozen=True)
class Case:
    """A model and how it is told of the mask.

    Attributes:
        kind: the class of the model. config: its config, of an attention and of what ``configured`` gives.
        given: the arguments, of a plan and an attention.
        configured: what of a plan goes into the config.
        plan_of: the plan of a layer. narrowest: that of the layer whose rows see least.
        shapes: names of those that the model is given. paths: the attentions that it has.
    """

    kind: type[PreTrainedModel]
    config: Config
    given: Callable[[am.Plan, str], dict[str, Any]]
    configured: Callable[[am.Plan], dict[str, Any]] = lambda plan: {}
    plan_of: Callable[[am.Plan, nn.Module], am.Plan] = lambda plan, module: plan
    narrowest: Callable[[am.Plan], am.Plan] = lambda plan: plan
    shapes: tuple[str, ...] = ("square",)
    paths: tuple[str, ...] = ("eager", "sdpa", "flex_attention")


def outputs(case: Case, path: str, plan: am.Plan) -> tuple[Any, Any, Any]:
    """What a model gives, and what it would by definition in float64 and in float32."""
    global _plan_of
    given, configured = case.given(plan, path), tuple(case.configured(plan).items())
    tokens = {"input_ids": _ids(plan.K if "decoder_input_ids" in given else plan.Q), **given}
    own = _model(case.kind, case.config, path, configured)
    # What transformers compiles is flex_attention, whose compiled form has a row of its own.
    with torch.no_grad(), torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that flex_attention is not compiled, and of inductor about its own past
        out = own(**tokens).last_hidden_state
        _plan_of = partial(case.plan_of, plan)
        plain = _model(case.kind, case.config, BY_DEFINITION, configured)
        tokens = {name: value for name, value in tokens.items() if "mask" not in name}
        by_definition = [model(**tokens).last_hidden_state for model in (deepcopy(plain).double(), plain)]
    return out.numpy(), *(each.numpy() for each in by_definition)


@cache
def _model(kind: type[PreTrainedModel], config: Config, path: str, configured: tuple[Any, ...]) -> PreTrainedModel:
    """Random weights, the same for every attention."""
    torch.manual_seed(0)
    return kind(config(attn_implementation=path, initializer_range=0.5, **dict(configured))).eval()


def _ids(length: int) -> Tensor:
    return torch.arange(BATCH * length).reshape(BATCH, length) % TOKENS


def _decoder(config: Callable[..., Any], **own: Any) -> PretrainedConfig:
    return config(
        hidden_size=HEADS * WIDTH,
        num_attention_heads=HEADS,
        num_key_value_heads=1,
        head_dim=WIDTH,
        intermediate_size=8,
        num_hidden_layers=LAYERS,
        vocab_size=TOKENS,
        pad_token_id=None,
        **own,
    )


def _gemma3(**own: Any) -> PretrainedConfig:
    kinds = ["sliding_attention", "full_attention"]
    return _decoder(Gemma3TextConfig, sliding_window=WINDOW, layer_types=kinds, query_pre_attn_scalar=WIDTH, **own)


def _bert(**own: Any) -> PretrainedConfig:
    return BertConfig(
        vocab_size=TOKENS,
        hidden_size=HEADS * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=8,
        **own,
    )


def _gpt2(**own: Any) -> PretrainedConfig:
    sizes = {"n_positions": 8, "n_embd": HEADS * WIDTH, "n_layer": LAYERS, "n_head": HEADS}
    return GPT2Config(vocab_size=TOKENS, bos_token_id=None, eos_token_id=None, **sizes, **own)


def _bart(initializer_range: float, **own: Any) -> PretrainedConfig:
    sizes = {"encoder_layers": 1, "decoder_layers": LAYERS, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    heads = {"encoder_attention_heads": HEADS, "decoder_attention_heads": HEADS}
    width = {"d_model": HEADS * WIDTH, "max_position_embeddings": 8, "init_std": initializer_range}
    return BartConfig(vocab_size=TOKENS, **sizes, **heads, **width, **own)


def _four_axes(plan: am.Plan, path: str) -> dict[str, Any]:
    forms = {"eager": "hf_4d", "sdpa": "dense_torch", "flex_attention": "flex"}
    return {"attention_mask": plan.to(forms[path])}


def _tokens_of_decoder(plan: am.Plan, path: str) -> dict[str, Any]:
    return {"attention_mask": plan.to("hf_2d", causal=True, batch=BATCH)}


def _tokens_of_encoder(plan: am.Plan, path: str) -> dict[str, Any]:
    return {"attention_mask": plan.to("hf_2d", batch=BATCH)}


def _packed(plan: am.Plan, path: str) -> dict[str, Any]:
    # With a cache, which is the default, transformers takes positions for positions and no more.
    return {"position_ids": plan.to("hf_position_ids", batch=BATCH)["position_ids"], "use_cache": False}


def _of_window(plan: am.Plan) -> dict[str, Any]:
    config = plan.to("hf_sliding_window", path="mask")
    return {"sliding_window": config["sliding_window"], "is_causal": config["is_causal"]}


def _of_gemma3(plan: am.Plan, layer: nn.Module) -> am.Plan:
    return _within_window(plan) if getattr(layer, "is_sliding", False) else plan


def _within_window(plan: am.Plan, *_: Any) -> am.Plan:
    window = am.compile(am.window(left=WINDOW - 1, right=0), q=plan.Q)
    return plan_from_dense(plan.to("dense") & window.to("dense"))


def _across(plan: am.Plan, path: str) -> dict[str, Any]:
    tokens = plan.to("hf_2d", batch=BATCH)
    return {"attention_mask": tokens, "decoder_input_ids": _ids(plan.Q)}


def _of_bart(plan: am.Plan, layer: nn.Module) -> am.Plan:
    if not layer.is_decoder:
        tokens = plan.to("hf_2d").numpy()
        return am.compile(am.padding(attention_mask=tokens), q=plan.K)
    return am.compile(am.causal(), q=plan.Q) if layer.is_causal else plan


NO_FLEX = ("eager", "sdpa")
_llama, _mistral = partial(_decoder, LlamaConfig), partial(_decoder, MistralConfig)
CASES = {
    "Llama, 4-D mask": Case(LlamaModel, _llama, _four_axes),
    "Llama, 2-D mask": Case(LlamaModel, _llama, _tokens_of_decoder),
    "Llama, packed position_ids": Case(LlamaModel, _llama, _packed),
    "GPT-2, 4-D mask": Case(GPT2Model, _gpt2, _four_axes, paths=NO_FLEX),
    "GPT-2, 2-D mask": Case(GPT2Model, _gpt2, _tokens_of_decoder, paths=NO_FLEX),
    "BERT, 4-D mask": Case(BertModel, _bert, _four_axes),
    "BERT, 2-D mask": Case(BertModel, _bert, _tokens_of_encoder),
    "Mistral, its sliding_window": Case(MistralModel, _mistral, lambda plan, path: {}, _of_window),
    "Mistral, its window of 3 and a 2-D mask": Case(
        MistralModel,
        partial(_mistral, sliding_window=WINDOW),
        _tokens_of_decoder,
        plan_of=_within_window,
        narrowest=_within_window,
    ),
    "Gemma 3, its windows of 3 and a 2-D mask": Case(
        Gemma3TextModel, _gemma3, _tokens_of_decoder, plan_of=_of_gemma3, narrowest=_within_window
    ),
    "BART, cross-attention": Case(
        BartModel, _bart, _across, plan_of=_of_bart, shapes=("square", "wide, at the start", "tall")
    ),
}
MODELS = [
    Model(
        f"{name}, {path}",
        ("transformers", "torch"),
        partial(outputs, case, path),
        {shape: SHAPES[shape] for shape in case.shapes},
        narrowest=case.narrowest,
    )
    for name, case in CASES.items()
    for path in case.paths
]
