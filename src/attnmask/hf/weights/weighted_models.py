"""Run a model with token weights, which scale the attention to each token in every layer."""

from __future__ import annotations

import inspect
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from attnmask.calls import public
from attnmask.errors import ArgumentError, UnsupportedModelError
from attnmask.hf.implementation.model_mask import NAME
from attnmask.hf.implementation.registration import register
from attnmask.hf.models.packable_models import transformers_model
from attnmask.hf.models.switched_models import give_own_configs, under_attnmask
from attnmask.hf.weights.layer_weights import WHERE, LayerWeights, current_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
@public
def weighted(model: PreTrainedModel, weights: ArrayLike | Tensor) -> Generator[None]:
    """Run a model with token weights, in inference, training or generation.

    Inside, the model runs under ``attn_implementation="attnmask"``, and each layer multiplies the unnormalised
    attention to token j by its weight: 1 changes nothing, 0 masks the token, 2 is the same as the token occurring twice
    at one position. Generated tokens have the weight 1. The weights are differentiable. In a multimodal model they
    apply to the text model, where image features are tokens of the text, and not to the vision tower.

    Args:
        model: a transformers model with any head, but no encoder-decoder.
        weights: 0 or more, (B, L), or (L,) for all texts, in the order of ``input_ids``: the result of
            ``token_weights``, a list of numbers, a NumPy array or a tensor.

    Raises:
        UnsupportedModelError: an encoder-decoder, a decoder with cross-attention to an encoder's states, or a model
            whose layers do not use the weights.
        ArgumentError: weights that are not finite numbers (B, L) or (L,), 0 or more, or do not fit the model's inputs.

    Source: attnmask; see ``attention(weights=)``.

    >>> import torch, transformers
    >>> config = transformers.BertConfig(vocab_size=9, hidden_size=8, num_attention_heads=2, num_hidden_layers=1)
    >>> model, ids = transformers.BertModel(config).eval(), torch.tensor([[2, 5, 3]])
    >>> with weighted(model, torch.tensor([1.0, 0.0, 1.0])):
    ...     without_5 = model(input_ids=ids).last_hidden_state
    >>> masked = model(input_ids=ids, attention_mask=torch.tensor([[1, 0, 1]])).last_hidden_state
    >>> torch.allclose(without_5[0, [0, 2]], masked[0, [0, 2]], atol=1e-6)
    True
    """
    inner = _check_model(model)
    values = _weights_tensor(weights, inner)
    with under_attnmask(inner), ExitStack() as undo:
        own = LayerWeights(values, _text_config_ids(inner), current_weights.get())

        def resume(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
            if current_weights.get() is own:  # the hook also runs in other threads, which may have other weights
                _check_one_text(kwargs)
                own.paused = False

        def pause(module: Any, args: Any, output: Any) -> None:
            if current_weights.get() is own:
                own.paused = shared

        # An encoder of an encoder-decoder shares its config with the decoder, so weights are paused outside of its own
        # forward. Other models build masks for generation outside of forward, so theirs must not be paused.
        own.paused = shared = bool(getattr(inner.config, "is_encoder_decoder", False))
        undo.callback(inner.register_forward_pre_hook(resume, with_kwargs=True).remove)
        undo.callback(inner.register_forward_hook(pause, always_call=True).remove)
        undo.callback(current_weights.set, own.outer)
        current_weights.set(own)
        yield
        own.check_used()


@public
def accept_weights(model: PreTrainedModel) -> ExitStack:
    """Make a model accept ``weights=`` (B, L) in its batches, as ``weighted`` takes them.

    The model is set to ``attn_implementation="attnmask"``. A batch without weights runs without weights.

    Args:
        model: a transformers model with any head, but no encoder-decoder.

    Returns:
        An ExitStack whose ``close()`` undoes the change, except for the attention implementation.

    Raises:
        UnsupportedModelError: an encoder-decoder; when run, a decoder with cross-attention to an encoder's states, or a
            model whose layers do not use the weights.
        ArgumentError: when run, weights that do not fit the batch.

    Source: attnmask.
    """
    inner = _check_model(model)
    register()
    give_own_configs(inner)
    inner.set_attn_implementation(NAME)
    running: ContextVar[LayerWeights | None] = ContextVar("attnmask_weights_of_batch", default=None)

    def take(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        weights = kwargs.pop("weights", None)
        if weights is not None:
            _check_one_text(kwargs)
            own = LayerWeights(_weights_tensor(weights, inner), _text_config_ids(inner), current_weights.get())
            running.set(own)
            current_weights.set(own)
        return args, kwargs

    def leave(module: Any, args: Any, output: Any) -> None:
        own = running.get()
        if own is not None:
            running.set(None)
            current_weights.set(own.outer)
            if output is not None:  # always_call=True: after an error in forward there is no output
                own.check_used()

    undo = ExitStack()
    undo.callback(inner.register_forward_pre_hook(take, with_kwargs=True).remove)
    undo.callback(inner.register_forward_hook(leave, always_call=True).remove)
    return undo


def _weights_tensor(weights: Any, model: PreTrainedModel) -> Tensor:
    """Convert weights to a tensor (B, L); each attention call checks that they are finite and 0 or more."""
    kind = type(weights).__name__
    fix = "give floating-point numbers (B, L), or (L,) for all texts, such as token_weights returns"
    try:
        values = weights if isinstance(weights, Tensor) else torch.as_tensor(np.asarray(weights), device=model.device)
    except (ValueError, TypeError, RuntimeError):
        raise ArgumentError(f"weights are {kind}, no array of numbers", where=WHERE, fix=fix) from None
    if not isinstance(weights, Tensor) and values.dtype == torch.int64:
        values = values.float()
    if values.ndim not in (1, 2) or not values.is_floating_point():
        raise ArgumentError(f"weights are {tuple(values.shape)} {values.dtype}", where=WHERE, fix=fix)
    return values if values.ndim == 2 else values[None]


def _text_config_ids(model: PreTrainedModel) -> frozenset[int]:
    """Return the ids of the configs of the modules that read tokens, those with the class of the text config."""
    text = model.config.get_text_config()
    others = (module.config for module in model.modules() if hasattr(module, "config"))
    return frozenset(id(config) for config in (text, *others) if type(config) is type(text))


def _check_model(model: Any) -> PreTrainedModel:
    """Return the transformers model, unwrapped from PEFT; refuse encoder-decoders."""
    model = transformers_model(model, f"{WHERE}(model)")
    if "decoder_input_ids" in inspect.signature(model.forward).parameters:
        raise UnsupportedModelError(
            f"{type(model).__name__} reads two texts, and weights apply to one",
            where=WHERE,
            fix="weigh its encoder alone, model.get_encoder()",
        )
    return model


def _check_one_text(kwargs: dict[str, Any]) -> None:
    if kwargs.get("encoder_hidden_states") is not None:
        raise UnsupportedModelError(
            "the model also attends to an encoder's states (encoder_hidden_states), and weights apply to one text",
            where=WHERE,
            fix="weigh the encoder that made them, or mask its tokens with encoder_attention_mask",
        )
