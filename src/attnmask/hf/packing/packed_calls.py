"""The context manager ``packed``: run a model on texts that lie end to end in one row, under a given plan."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor

from attnmask.calls import public
from attnmask.compiler.algebra import intersect
from attnmask.compiler.plan import Plan
from attnmask.compiler.structure.facts import is_full
from attnmask.errors import ArgumentError, UnsupportedModelError
from attnmask.hf.implementation.token_mask import described
from attnmask.hf.models.known_types import known_type
from attnmask.mask.arguments import instance_of


@dataclass(frozen=True)
class PackedCall:
    """The plan and the key weights of the model call inside ``packed``."""

    plan: Plan
    weights: Tensor | None


# Cached, so that all layers with the same mask share one plan object, and with it the work done once per plan.
@lru_cache(maxsize=32)
def intersect_with_layer_mask(plan: Plan, layer_plan: Plan) -> Plan:
    """Intersect the plan of packed texts with that of a layer."""
    if (layer_plan.Q, layer_plan.K) != (plan.Q, plan.K):
        raise ArgumentError(
            f"the packed plan has (Q, K) = {(plan.Q, plan.K)}, the model is run on {(layer_plan.Q, layer_plan.K)}",
            where="packed(plan)",
            fix="run the model once on the packed row of tokens, without a cache",
        )
    if is_full(layer_plan.runs):
        return plan
    mask = plan.mask & layer_plan.mask if plan.mask is not None and layer_plan.mask is not None else None
    return Plan(intersect([plan.runs, layer_plan.runs]), plan.offset, mask)


def refuse_mixing(model_type: str) -> None:
    """Raise for a model that mixes the texts of a row outside its attention."""
    mixing = known_type(model_type).mixes_row
    if mixing:
        raise UnsupportedModelError(
            f"{model_type} mixes the texts of a row: {mixing}",
            where="packed rows",
            fix="run it on padded batches",
        )


_current_packing: ContextVar[PackedCall | None] = ContextVar("attnmask_packed", default=None)


@contextmanager
@public
def packed(plan: Plan, weights: Tensor | None = None) -> Generator[None]:
    """Run a model with ``attn_implementation="attnmask"`` under a plan combined with the masks of its layers.

    Inside, each layer attends to the pairs that are both in the plan and in the layer's own mask: documents and a
    sliding window, or documents and causality. The effect is limited to the current thread and its asyncio tasks.

    Args:
        plan: of T queries and T keys, such as ``compile(documents(lengths=...), q=T)``.
        weights: weight of each of the T keys, 0 or more; floating point, (T,); all 1 if left out.

    Raises:
        ArgumentError: inside, if the model is run on another number of tokens.

    Source: attnmask; padding-free batches as of flash-attention's varlen functions.

    >>> import torch, attnmask as am, transformers
    >>> am.hf.register()
    >>> config = transformers.BertConfig(vocab_size=9, hidden_size=8, num_attention_heads=2, num_hidden_layers=1)
    >>> model = transformers.BertModel._from_config(config, attn_implementation="attnmask").eval()
    >>> ids, positions = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[0, 1, 0, 1]])
    >>> with packed(am.compile(am.documents(lengths=[2, 2]), q=4)):
    ...     both = model(input_ids=ids, position_ids=positions).last_hidden_state[0]
    >>> alone = model(input_ids=ids[:, 2:]).last_hidden_state[0]
    >>> torch.allclose(both[2:], alone, atol=1e-6)
    True
    """
    instance_of(Plan, plan, "plan", "packed", "compile the mask: compile(documents(lengths=...), q=T)")
    if weights is not None:
        _check_weights(weights, plan.K)
    token = _current_packing.set(PackedCall(plan, weights))
    try:
        yield
    finally:
        _current_packing.reset(token)


def _check_weights(weights: Any, tokens: int) -> None:
    if not isinstance(weights, Tensor) or not weights.is_floating_point() or weights.shape != (tokens,):
        fix = f"give a floating-point tensor ({tokens},)"
        raise ArgumentError(f"weights are {described(weights)}", where="packed(weights=)", fix=fix)


def current_packing() -> PackedCall | None:
    """Return the plan and weights of the enclosing ``packed``; None outside of one."""
    return _current_packing.get()
