"""Weights of tokens in any model: how much each is attended to, in every layer."""

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
    """Run a model with weights of its tokens, in inference, in training and in generation.

    Inside, the model runs under ``attn_implementation="attnmask"``, and in each layer the un-normalised attention to
    token j is multiplied by its weight: 1 changes nothing, 0 masks the token, 2 is the token standing there twice at
    one position. Tokens that are generated weigh 1. Gradients reach the weights. Pictures are seen as ever by the part
    that looks at them; what it makes of them is tokens of the text.

    Args:
        model: of transformers, with any head; no encoder-decoder.
        weights: 0 or more, (B, L) or (L,) for all, in the order of ``input_ids``: what ``token_weights`` returns for a
            text, a list of numbers, an array of NumPy or a tensor.

    Raises:
        UnsupportedModelError: an encoder-decoder, a decoder that is given an encoder's states, or a model of which no
            layer asks for the weights.
        ArgumentError: weights that are no finite numbers (B, L) or (L,), 0 or more, or do not fit what the model is
            run on.

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
            if current_weights.get() is own:  # and not those of another thread
                _check_one_text(kwargs)
                own.paused = False

        def pause(module: Any, args: Any, output: Any) -> None:
            if current_weights.get() is own:
                own.paused = shared

        # The decoder asks under the config of its encoder; others make masks for generation outside of forward.
        own.paused = shared = bool(getattr(inner.config, "is_encoder_decoder", False))
        undo.callback(inner.register_forward_pre_hook(resume, with_kwargs=True).remove)
        undo.callback(inner.register_forward_hook(pause, always_call=True).remove)
        undo.callback(current_weights.set, own.outer)
        current_weights.set(own)
        yield
        own.check_used()


@public
def accept_weights(model: PreTrainedModel) -> ExitStack:
    """Let a model take ``weights=`` in its batches, beside input_ids: (B, L), as ``weighted`` takes them.

    The model is put under ``attn_implementation="attnmask"``. A batch without weights runs as ever.

    Args:
        model: of transformers, with any head; no encoder-decoder.

    Returns:
        What undoes it on ``close()``, but for the attention implementation.

    Raises:
        UnsupportedModelError: an encoder-decoder; when run, a decoder that is given an encoder's states, or a model of
            which no layer asks for the weights.
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
            if output is not None:  # the hook is called after an error too
                own.check_used()

    undo = ExitStack()
    undo.callback(inner.register_forward_pre_hook(take, with_kwargs=True).remove)
    undo.callback(inner.register_forward_hook(leave, always_call=True).remove)
    return undo


def _weights_tensor(weights: Any, model: PreTrainedModel) -> Tensor:
    """Weights as a tensor (B, L); each attention checks that they are finite and 0 or more."""
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
    """The ids of the configs under which a model reads tokens."""
    text = model.config.get_text_config()
    others = (module.config for module in model.modules() if hasattr(module, "config"))
    return frozenset(id(config) for config in (text, *others) if type(config) is type(text))


def _check_model(model: Any) -> PreTrainedModel:
    """The model of transformers in what is given, if it reads one text."""
    model = transformers_model(model, f"{WHERE}(model)")
    if "decoder_input_ids" in inspect.signature(model.forward).parameters:
        raise UnsupportedModelError(
            f"{type(model).__name__} has two texts, and weights are of one",
            where=WHERE,
            fix="weigh its encoder alone, model.get_encoder()",
        )
    return model


def _check_one_text(kwargs: dict[str, Any]) -> None:
    if kwargs.get("encoder_hidden_states") is not None:
        raise UnsupportedModelError(
            "the model attends to an encoder's states too (encoder_hidden_states), and weights are of one text",
            where=WHERE,
            fix="weigh the encoder that made them, or mask its tokens with encoder_attention_mask",
        )
