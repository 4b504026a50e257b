"""Every library that runs here, given lowered masks, against the float64 reference.

``python -m conformance.run`` writes docs/conformance.md; it takes about three minutes on two cores.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import attnmask as am
from attnmask.errors import CannotExpressError
from attnmask.execute.reference_attention import attention_reference
from conformance.libraries import Library, Model, libraries, models
from conformance.libraries.base import SHAPES, Array

PAGE = Path(__file__).parents[1] / "docs" / "conformance.md"
BATCH, HEADS, WIDTH = 2, 2, 8
HEAD = """# Conformance: other libraries under masks of attnmask

Written by `python -m conformance.run` on the CPU. Each library gets every mask as its format in attnmask lowers it,
runs, and is compared with attention in float64 on the rows that have a key; the error that it may have is twice that
of a plain float32 implementation. What it answers on a row without a key is measured, on three sets: a batch in which
one item has no key, one row without a key among others, and queries that are padding. "Refused" counts the masks of
which the format says that the library cannot hold them; where it refuses a set of the last three too, "refused" is all
that is said of it.

| library | versions | agree | refused | item without keys | row without a key | padding of queries |
|---|---|---|---|---|---|---|
"""
MODELS = """
## Whole models

Tiny models with random weights, each given the mask as one of their own arguments takes it, are compared with
themselves where every layer's attention is computed by definition; the error that they may have is twice that of the
same in float32. Rows without a key are left out, and masks under which another row sees such a row. A model that is
given tokens, positions or a window makes the mask itself; most masks are refused there.

| model, its argument and its attention | versions | agree | refused |
|---|---|---|---|
"""
TRAPS = """
## Where a library does other than one would think

Each is a test in tests/conformance or tests/formats, so that a version that changes it is noticed.

- Keras overwrites a `query_mask` that is given by hand with the mask that the query tensor carries: it has no effect.
- Keras takes items for heads where `attention_mask` (B, H, Q, K) meets a `value_mask` of several items.
- ONNX Attention with `is_causal` and `nonpad_kv_seqlen`: both runtimes count from the last valid key, as the errata of
  opset 24 have it, and not from the first, as it was released.
- ONNX Runtime refuses an `attn_mask` of fewer keys, which the operator pads.
- JAX heeds `key_value_seq_lengths` without another mask, which versions before did not.
- `nn.TransformerEncoder` on its fast path answers 0 for every query of padding at the end, also where it has keys.
- `nn.TransformerEncoder` ignores `is_causal` beside a nested tensor, and refuses a mask there.
- A decoder of transformers reads documents off `position_ids` only with `use_cache=False`; with a cache, the default,
  documents see each other.
- transformers' eager attention adds bools on four axes to the scores as 1 and 0; its sdpa takes them as a mask.
- x-transformers lines up the last query and key of a causal mask; its `max_attend_past=W` keeps W + 1 keys.
"""
Kind = Callable[[int, int], am.Mask]


def _row_of_none(q: int, k: int) -> am.Mask:
    attends = np.ones((q, k), dtype=bool)
    attends[q // 2] = False
    return am.dense(attends)


def _random(*shape: int) -> am.Mask:
    return am.dense(np.random.default_rng(sum(shape)).random(shape) < 0.5)


KINDS: dict[str, Kind] = {
    "full": lambda q, k: am.full(),
    "causal": lambda q, k: am.causal(),
    "future": lambda q, k: ~am.causal(),
    "window": lambda q, k: am.window(left=2, right=1),
    "causal window": lambda q, k: am.causal() & am.window(left=1, right=0),
    "prefix": lambda q, k: am.causal() | am.prefix([2, 1]),
    "documents": lambda q, k: am.documents(lengths=[2, 1, k]),
    "causal documents": lambda q, k: am.causal() & am.documents(ids=[[0] * 2 + [1] * (k + 1), [0] * 3 + [1] * k]),
    "padding right": lambda q, k: am.padding(lengths=[k, 2]),
    "padding left": lambda q, k: am.padding(lengths=[k, 2], side="left"),
    "padding with holes": lambda q, k: am.padding(attention_mask=[[1] * k, [i % 3 != 1 for i in range(k)]]),
    "padding of one length": lambda q, k: am.padding(lengths=[2, 2]),
    "padding of both": lambda q, k: am.padding(lengths=[min(q, k), 2], of="queries") & am.padding(lengths=[k, 2]),
    "padded decoder": lambda q, k: am.causal() & am.padding(lengths=[k, 2], side="left"),
    "padded decoder, right": lambda q, k: am.causal() & am.padding(lengths=[k, 2]),
    "window of both sides": lambda q, k: am.window(left=2, right=2),
    "padded window": lambda q, k: am.window(left=2, right=0) & am.padding(lengths=[k, 2]),
    "chunked": lambda q, k: am.causal() & am.chunked(2),
    "dilated": lambda q, k: am.dilated(2),
    "sinks": lambda q, k: am.causal() & (am.window(left=1, right=0) | am.sinks(1)),
    "per head": lambda q, k: am.per_head([am.causal(), am.window(left=1, right=1)]),
    "any pairs": lambda q, k: _random(q, k),
    "any pairs of item and head": lambda q, k: _random(BATCH, HEADS, q, k),
}
EMPTY_ROWS: dict[str, Kind] = {
    "item without keys": lambda q, k: am.padding(lengths=[k, 0]),
    "row without a key": _row_of_none,
    "padding of queries": lambda q, k: am.padding(lengths=[q, q - 1], of="queries"),
}


@dataclass(frozen=True)
class Row:
    """What was found of one library or model."""

    of: Library | Model
    agree: int
    refused: int
    differ: tuple[str, ...]
    empty: tuple[str, ...] = ()


def plans(library: Library) -> Iterator[tuple[str, am.Plan]]:
    """The fixed masks that a library is given."""
    return _plans(library.shapes or SHAPES, library.kinds or tuple(KINDS))


def plans_of_model(model: Model) -> Iterator[tuple[str, am.Plan]]:
    """The fixed masks that a model is given: what it makes of a row without a key must not reach another row."""
    return (
        (name, plan) for name, plan in _plans(model.shapes, tuple(KINDS)) if not _sees_empty_rows(model.narrowest(plan))
    )


def _plans(shapes: dict[str, tuple[int, int, int]], kinds: tuple[str, ...]) -> Iterator[tuple[str, am.Plan]]:
    for shape, (q, k, offset) in shapes.items():
        for kind in kinds:
            yield f"{kind}, {shape}", am.compile(KINDS[kind](q, k), q=q, k=k, offset=offset)


def _sees_empty_rows(plan: am.Plan) -> bool:
    if plan.Q != plan.K:
        return False
    has_key = plan.to("dense").any(-1).all(1)
    return bool((plan.to("dense").any(1) & has_key[:, :, None] & ~has_key[:, None, :]).any())


def tensors(plan: am.Plan) -> tuple[Array, Array, Array]:
    """Standard normal q, k and v for a plan."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((BATCH, HEADS, n, WIDTH)).astype(np.float32) for n in (plan.Q, plan.K, plan.K))
    return q, k, v


def error_and_budget(plan: am.Plan, out: Array, q: Array, k: Array, v: Array) -> tuple[float, float]:
    """Root mean square of the error on rows that have a key, and what it may be."""
    some = rows_with_keys(plan)
    exact, plain = _exact(plan, q, k, v)[some], _plain(plan, q, k, v)[some]
    return _size(out[some] - exact), _budget(exact, plain, v)


def error_and_budget_of_model(model: Model, plan: am.Plan) -> tuple[float, float]:
    """The same of what a whole model gives."""
    some = np.broadcast_to(model.narrowest(plan).to("dense").any(-1).all(1), (BATCH, plan.Q))
    out, exact, plain = (each[some] for each in model.outputs(plan))
    return _size(out - exact), _budget(exact, plain, exact)


def _budget(exact: NDArray[np.float64], plain: Array, values: NDArray[np.floating]) -> float:
    # A softmax over one key is exact in any order, so that twice no error is no budget: some roundings of the values.
    return 2 * _size(plain - exact) + 4 * float(np.finfo(np.float32).eps) * _size(values)


def rows_with_keys(plan: am.Plan) -> NDArray[np.bool_]:
    """bool (B, H, Q)."""
    return np.broadcast_to(plan.to("dense").any(-1), (BATCH, HEADS, plan.Q))


def _exact(plan: am.Plan, q: Array, k: Array, v: Array) -> NDArray[np.float64]:
    tensors = [torch.from_numpy(x) for x in (q, k, v)]
    return attention_reference(*tensors, plan, None, 1 / math.sqrt(WIDTH))[0].numpy()


def _plain(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    attends = plan.to("dense")
    scores = q @ k.swapaxes(2, 3) / np.float32(math.sqrt(WIDTH))
    scores = np.where(attends, scores, np.finfo(np.float32).min)
    share = np.exp(scores - scores.max(-1, keepdims=True, initial=np.finfo(np.float32).min)) * attends
    return share @ v / np.maximum(share.sum(-1, keepdims=True), np.finfo(np.float32).tiny)


def _size(x: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) if x.size else 0.0


def agrees(library: Library, plan: am.Plan) -> bool | None:
    """Whether a library computes what the plan means; None if the format refuses the set."""
    q, k, v = tensors(plan)
    try:
        out = library.attend(plan, q, k, v)
    except CannotExpressError:
        return None
    error, budget = error_and_budget(plan, out, q, k, v)
    return error <= budget


def model_agrees(model: Model, plan: am.Plan) -> bool | None:
    """Whether a whole model computes what the plan means; None if the format refuses the set."""
    try:
        error, budget = error_and_budget_of_model(model, plan)
    except CannotExpressError:
        return None
    return error <= budget


def answer(library: Library, kind: str) -> str:
    """What a library gives on rows without a key."""
    rows, keys, offset = next(iter((library.shapes or SHAPES).values()))
    plan = am.compile(EMPTY_ROWS[kind](rows, keys), q=rows, k=keys, offset=offset)
    q, k, v = tensors(plan)
    try:
        out = (library.unguarded or library.attend)(plan, q, k, v)
    except CannotExpressError:
        return "refused"
    except Exception as error:  # whatever the library says of a row without a key
        return f"{type(error).__name__}"
    empty = ~rows_with_keys(plan)
    mean = np.broadcast_to(v.mean(2, keepdims=True), out.shape)[empty]
    if np.isnan(out[empty]).all():
        return "NaN"
    if not out[empty].any():
        return "0"
    return "mean of the values" if np.allclose(out[empty], mean, atol=1e-5) else "other numbers"


def found(library: Library) -> Row:
    """Run all that is asked of a library."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        said = {name: agrees(library, plan) for name, plan in plans(library)}
        return _row(library, said, tuple(answer(library, kind) for kind in EMPTY_ROWS))


def found_of_model(model: Model) -> Row:
    """Run all that is asked of a whole model."""
    return _row(model, {name: model_agrees(model, plan) for name, plan in plans_of_model(model)})


def _row(of: Library | Model, said: dict[str, bool | None], empty: tuple[str, ...] = ()) -> Row:
    counts = [sum(answer is wanted for answer in said.values()) for wanted in (True, None)]
    return Row(of, *counts, tuple(name for name, answer in said.items() if answer is False), empty)


def line_of(row: Row) -> str:
    """The row of the table."""
    agree = f"{row.agree} of {row.agree + len(row.differ)}"
    return f"| {' | '.join([row.of.name, row.of.versions, agree, str(row.refused), *row.empty])} |\n"


def page_of(rows: list[Row], of_models: list[Row]) -> str:
    """The page that says what was found."""
    differ = [f"- {row.of.name}: {name}\n" for row in rows + of_models for name in row.differ]
    wrong = ["\n## Where the output is another\n\n", *differ] if differ else []
    return HEAD + "".join(map(line_of, rows)) + MODELS + "".join(map(line_of, of_models)) + "".join(wrong) + TRAPS


def main() -> None:
    torch.set_num_threads(2)
    PAGE.write_text(page_of([found(one) for one in libraries()], [found_of_model(one) for one in models()]))


if __name__ == "__main__":
    main()
