"""Weights of tokens in any model: how much each is attended to, in every layer."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attnmask.errors import ArgumentError, UnsupportedModelError
from attnmask.hf.model_mask import NAME

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WHERE = "weighted"


@dataclass
class _Weights:
    """The weights of the tokens of a call, and whether a layer has asked for them."""

    values: Tensor
    used: bool = False


_current: ContextVar[_Weights | None] = ContextVar("attnmask_weights", default=None)


@contextmanager
def weighted(model: PreTrainedModel, weights: Tensor) -> Generator[None]:
    """Run a model with weights of its tokens, in inference, in training and in generation.

    Inside, the model runs under ``attn_implementation="attnmask"``, and in each layer the un-normalised attention to
    token j is multiplied by its weight: 1 changes nothing, 0 masks the token, 2 is the token standing there twice at
    one position. Tokens that are generated weigh 1. Gradients reach the weights.

    Args:
        model: of transformers, with any head; no encoder-decoder.
        weights: 0 or more, floating point, (B, L) or (L,) for all, in the order of ``input_ids``.

    Raises:
        UnsupportedModelError: an encoder-decoder, or a model of which no layer asks for the weights.
        ArgumentError: weights that are no tensor (B, L) or (L,), or inside, do not fit.

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
    _check(model, weights)
    found = str(model.config._attn_implementation)  # pyright: ignore[reportPrivateUsage]
    _use_attnmask(model)
    token = _enter(weights)
    try:
        yield
        _check_used()
    finally:
        _current.reset(token)
        model.set_attn_implementation(found)


def accept_weights(model: PreTrainedModel) -> ExitStack:
    """Let a model take ``weights=`` in its batches, beside input_ids: (B, L), as ``weighted`` takes them.

    The model is put under ``attn_implementation="attnmask"``. A batch without weights runs as ever.

    Args:
        model: of transformers, with any head; no encoder-decoder.

    Returns:
        What undoes it on ``close()``, but for the attention implementation.

    Raises:
        UnsupportedModelError: an encoder-decoder; when run, a model of which no layer asks for the weights.

    Source: attnmask.
    """
    _check(model, torch.ones(1))
    _use_attnmask(model)
    tokens: list[Token[_Weights | None]] = []

    def take(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        weights = kwargs.pop("weights", None)
        if weights is not None:
            _check(model, weights)
            tokens.append(_enter(weights))
        return args, kwargs

    def leave(module: Any, args: Any, output: Any) -> None:
        if tokens:
            token = tokens.pop()
            try:
                if output is not None:  # the hook is called after an error too
                    _check_used()
            finally:
                _current.reset(token)

    undo = ExitStack()
    undo.callback(model.register_forward_pre_hook(take, with_kwargs=True).remove)
    undo.callback(model.register_forward_hook(leave, always_call=True).remove)
    return undo


def weights_of_keys(keys: range) -> Tensor | None:
    """The weights of the keys at some positions, (B, K); 1 for those that came later; None where there are none."""
    current = _current.get()
    if current is None:
        return None
    current.used = True
    values = current.values if current.values.ndim == 2 else current.values[None]
    missing = max(keys.stop - values.shape[1], 0)
    return torch.nn.functional.pad(values, (0, missing), value=1.0)[:, keys.start : keys.stop]


def _enter(weights: Tensor) -> Token[_Weights | None]:
    return _current.set(_Weights(weights))


def _use_attnmask(model: PreTrainedModel) -> None:
    from attnmask.hf.interface import register

    register()
    model.set_attn_implementation(NAME)


def _check(model: PreTrainedModel, weights: Any) -> None:
    if getattr(model.config, "is_encoder_decoder", False):
        raise UnsupportedModelError(
            f"{type(model).__name__} has two texts, and weights are of one", where=WHERE, fix="weigh its encoder alone"
        )
    if not isinstance(weights, Tensor) or weights.ndim not in (1, 2) or not weights.is_floating_point():
        kind = f"{tuple(weights.shape)} {weights.dtype}" if isinstance(weights, Tensor) else type(weights).__name__
        raise ArgumentError(f"weights are {kind}", where=WHERE, fix="give a floating-point tensor (B, L) or (L,)")


def _check_used() -> None:
    current = _current.get()
    if current is not None and not current.used:
        raise UnsupportedModelError(
            "no layer of this model asked for the weights: they changed nothing",
            where=WHERE,
            fix="its attention does not go through transformers' AttentionInterface",
        )
