"""Record the pairs that every attention call in a model attends to.

``trace`` runs a model while a TorchFunctionMode (``_Recorder``) intercepts torch's attention functions and softmax, and
wrappers intercept the kernels that transformers calls. For each call a reader function (``_read_*``) computes from the
arguments which pairs get a weight above 0. ``post_softmax_masks`` follows weights that are masked after the softmax,
and ``layer_sets`` compares the recorded calls with the declared masks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attnmask.auditing.recording.post_softmax_masks import SoftmaxWeights
from attnmask.compiler.plan import Plan, plan_from_dense
from attnmask.errors import ArgumentError

# A score above this counts as attended to. Constants in use to mask a pair, such as -1e4 and -1e9, are all lower.
WEAKEST_MASK = -5000.0
# If scores themselves are large, a masked score must be below minus this multiple of the largest one.
SCORE_MARGIN = 100.0


@dataclass(frozen=True)
class AttentionCall:
    """One attention call.

    Attributes:
        layer: name of the innermost module that made the call. how: the called function, such as "sdpa" or "softmax".
        plan: the pairs that get a weight above 0.
        too_small: the constant of an additive mask that is too small to mask anything; else None.
        masked_after_softmax: whether weights are set to 0 after the softmax. sums_below_one: whether the remaining
            weights of some query then sum to less than 1.
    """

    layer: str
    how: str
    plan: Plan
    too_small: float | None = None
    masked_after_softmax: bool = False
    sums_below_one: bool = False


@dataclass(frozen=True)
class Trace:
    """The attention calls of one forward pass, in the order of the calls."""

    calls: tuple[AttentionCall, ...]

    def __str__(self) -> str:
        return "\n".join(f"{call.layer} ({call.how}): {call.plan!r}" for call in self.calls)


def trace(model: nn.Module, batch: Mapping[str, Any], forward: Callable[..., Any] | None = None) -> Trace:
    """Record which pairs every attention call of a model attends to on a batch.

    Recorded are torch's scaled_dot_product_attention, nn.MultiheadAttention, softmax over queries x keys, and the
    attention functions of transformers. A row whose keys all have the same huge negative score attends to all of
    them, since softmax gives them equal weights.

    Args:
        model: any module. batch: keyword arguments of the module. forward: function to call instead of ``model``.

    Returns:
        A Trace; empty if no attention call is recorded.

    Raises:
        ArgumentError: the batch holds no tensor.

    Source: attnmask.

    >>> import attnmask as am
    >>> model = am.hf.tiny_model("llama")
    >>> seen = trace(model, {"input_ids": torch.tensor([[5, 6, 7]])})
    >>> [call.layer for call in seen.calls]
    ['layers.0.self_attn', 'layers.1.self_attn']
    >>> seen.calls[0].plan == am.compile(am.causal(), q=3)
    True
    """
    tensors = [value for value in batch.values() if isinstance(value, Tensor)]
    if not tensors:
        raise ArgumentError("the batch holds no tensor", where="trace(batch=)", fix="give the model's arguments")
    calls: list[AttentionCall] = []
    recorder = _Recorder(calls, batch=len(tensors[0]))
    with (
        torch.no_grad(),
        _track_module_names(model, recorder.stack),
        _record_interfaces(recorder),
        _no_fast_path(),
        recorder,
    ):
        (forward or model)(**batch)
    return Trace(tuple(calls))


def attends_from_scores(scores: Tensor) -> Tensor:
    """Return which scores get a weight above 0 for any kind of additive mask: bool of the same shape.

    A score that is far below the others but not masked counts as attended to, even if its weight rounds to 0.
    """
    scores = scores.detach().double()
    top = scores.amax(-1, keepdim=True)
    # If scores themselves are huge, a masked score must be far lower still.
    limit = (-SCORE_MARGIN * scores.amax()).clamp(max=WEAKEST_MASK)
    return ((scores - top).exp() > 0) | (scores > limit)


class _Recorder(TorchFunctionMode):
    """Records torch's attention calls while it is active."""

    def __init__(self, calls: list[AttentionCall], batch: int) -> None:
        super().__init__()
        self.calls, self.batch, self.stack = calls, batch, [""]
        self.weights: SoftmaxWeights | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        reader = READERS.get(func)
        if reader is not None:
            how, read = reader
            attends = read(self.batch, *args, **kwargs)
            if attends is not None:
                self.record(how, attends, _weak_constant(args, kwargs))
                out = func(*args, **kwargs)
                self.weights = SoftmaxWeights.of(out) if how == "softmax" else None
                return out
        out = func(*args, **kwargs)
        if self.weights is not None and self.weights.follow(func, args, out):
            self._record_post_softmax_mask(self.weights)
        return out

    def _record_post_softmax_mask(self, weights: SoftmaxWeights) -> None:
        """Remove the pairs whose weights were set to 0 after the softmax from the last recorded call."""
        call, kept = self.calls[-1], weights.nonzero.view(self.batch, -1, *weights.nonzero.shape[-2:])
        if weights.dropped:
            plan = plan_from_dense(call.plan.to("dense") & kept.cpu().numpy())
            self.calls[-1] = replace(call, plan=plan, masked_after_softmax=True, sums_below_one=weights.sums_below_one)

    def record(self, how: str, attends: Tensor, too_small: float | None = None) -> None:
        """Add a call; ``attends`` is bool (B or 1, H or 1, Q, K)."""
        plan = plan_from_dense(attends.cpu().numpy())
        self.calls.append(AttentionCall(self.stack[-1], how, plan, too_small))


def _weak_constant(args: tuple[Any, ...], kwargs: dict[str, Any]) -> float | None:
    """Return the constant of an additive mask if it is too small to mask; None for other masks.

    A mask holds two numbers, 0 and the constant; a tensor with more numbers is a bias.
    """
    mask = kwargs.get("attn_mask", args[3] if len(args) > 3 else None)
    if not isinstance(mask, Tensor) or not mask.is_floating_point() or not mask.numel():
        return None
    lowest = float(mask.min())
    has_two = bool(((mask == 0) | (mask == lowest)).all()) and bool((mask == 0).any())
    return lowest if has_two and WEAKEST_MASK < lowest < 0 else None


def _read_sdpa(
    _: int, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, **__: Any,
) -> Tensor | None:  # fmt: skip
    if query.ndim != 4:
        return None
    return _attends(attn_mask, is_causal, query.shape[-2], key.shape[-2])


def _attends(mask: Tensor | None, is_causal: bool, queries: int, keys: int) -> Tensor:
    attends = torch.ones(queries, keys, dtype=torch.bool)
    if is_causal:
        attends = attends.tril()
    if mask is not None:
        attends = attends & (mask if mask.dtype == torch.bool else attends_from_scores(mask)).cpu()
    return attends.expand(*(1,) * (4 - attends.ndim), *attends.shape)


def _read_softmax(batch: int, input: Tensor, dim: int | None = None, *_: Any, **__: Any) -> Tensor | None:
    """Read attention scores (B, H, Q, K) or (B * H, Q, K); the softmax of a router or a head has other shapes."""
    if dim not in (-1, input.ndim - 1) or input.ndim not in (3, 4) or input.shape[0] % batch:
        return None
    if input.ndim == 4:
        return attends_from_scores(input) if input.shape[0] == batch else None
    heads = input.shape[0] // batch
    return attends_from_scores(input).view(batch, heads, *input.shape[1:]) if heads > 1 else None


def _read_mha(_: int, *args: Any, **kwargs: Any) -> Tensor | None:
    given = inspect.signature(F.multi_head_attention_forward).bind(*args, **kwargs).arguments
    query, key = cast(Tensor, given["query"]), cast(Tensor, given["key"])
    heads = cast(int, given["num_heads"])
    batch = query.shape[1] if query.ndim == 3 else 1
    attends = torch.ones(batch, 1, query.shape[0], key.shape[0], dtype=torch.bool)
    mask, padded = cast(Tensor | None, given.get("attn_mask")), cast(Tensor | None, given.get("key_padding_mask"))
    if mask is not None:
        kept = _kept(mask)
        attends = attends & (kept.view(batch, heads, *kept.shape[1:]) if kept.ndim == 3 else kept)
    if padded is not None:
        attends = attends & _kept(padded).view(batch, 1, 1, -1)
    return attends


def _kept(mask: Tensor) -> Tensor:
    """Convert a mask of nn.MultiheadAttention, where True drops a pair, to the pairs that are kept."""
    return ~mask if mask.dtype == torch.bool else attends_from_scores(mask)


Reader = Callable[..., Tensor | None]
READERS: dict[Callable[..., Any], tuple[str, Reader]] = {
    F.scaled_dot_product_attention: ("sdpa", _read_sdpa),
    F.multi_head_attention_forward: ("MultiheadAttention", _read_mha),
    F.softmax: ("softmax", _read_softmax),
    torch.softmax: ("softmax", _read_softmax),
    Tensor.softmax: ("softmax", _read_softmax),
}


@contextmanager
def _track_module_names(model: nn.Module, stack: list[str]) -> Generator[None]:
    """Push the name of each module on a stack while it runs."""
    with ExitStack() as hooks:
        named = cast(Any, model).named_modules()
        for name, module in named:
            hooks.callback(module.register_forward_pre_hook(_pusher(stack, name)).remove)
            hooks.callback(module.register_forward_hook(_popper(stack), always_call=True).remove)
        yield


def _pusher(stack: list[str], name: str) -> Callable[..., None]:
    def push(*_: Any) -> None:
        stack.append(name)

    return push


def _popper(stack: list[str]) -> Callable[..., None]:
    def pop(*_: Any) -> None:
        stack.pop()

    return pop


@contextmanager
def _record_interfaces(recorder: _Recorder) -> Generator[None]:
    """Record the attention functions of transformers whose kernels are not among ``READERS``."""
    try:
        from transformers import AttentionInterface
    except ImportError:
        yield
        return
    known = cast(dict[str, Any], cast(Any, AttentionInterface)._global_mapping)
    before = dict(known)
    try:
        if "flex_attention" in known:
            known["flex_attention"] = _recorded(recorder, "flex", known["flex_attention"], _read_block_mask)
        if "attnmask" in known:
            known["attnmask"] = _recorded(recorder, "attnmask", known["attnmask"], _read_model_mask)
        yield
    finally:
        known.update(before)


def _recorded(recorder: _Recorder, how: str, function: Callable[..., Any], read: Callable[..., Tensor]) -> Any:
    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None, **kwargs: Any
    ) -> Any:
        recorder.record(how, read(module, query, key, attention_mask, kwargs.get("is_causal")))
        # The softmax or sdpa inside the kernel must not be recorded as a second call.
        with torch._C.DisableTorchFunction():  # pyright: ignore
            return function(module, query, key, value, attention_mask, **kwargs)

    return attention


def _read_block_mask(_: Any, query: Tensor, key: Tensor, mask: Any, __: Any) -> Tensor:
    if mask is None:
        return _attends(None, False, query.shape[2], key.shape[2])
    if isinstance(mask, Tensor):
        return _attends(mask, False, query.shape[2], key.shape[2])
    from torch.nn.attention.flex_attention import create_mask

    batch, heads = mask.kv_num_blocks.shape[:2]
    return create_mask(mask.mask_mod, batch, heads, query.shape[2], key.shape[2], device=query.device)


def _read_model_mask(module: Any, query: Tensor, key: Tensor, mask: Any, is_causal: bool | None) -> Tensor:
    from attnmask.hf.implementation.interface import mask_for_call

    return torch.from_numpy(mask_for_call(module, query, key, mask, is_causal).plan.to("dense"))


@contextmanager
def _no_fast_path() -> Generator[None]:
    """Disable the fused kernel of nn.TransformerEncoderLayer, inside which nothing can be recorded."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
