"""What libraries are known to do otherwise than one would think, each by a name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import attnmask as am
from attnmask.targets import lift
from bench.conformance import error_and_budget, tensors
from bench.libraries.base import by_head, flat

BOTH = {"nonpad_kv_seqlen": np.array([3, 5]), "is_causal": 1}


def close(plan: am.Plan, out: Any) -> bool:
    """Whether an output is what the plan means, on rows that have a key."""
    error, budget = error_and_budget(plan, np.asarray(out), *tensors(plan))
    return error <= budget


def in_jax(plan: am.Plan, **arguments: Any) -> Any:
    """The output of JAX under arguments that the plan is thought to mean."""
    import jax

    out = jax.nn.dot_product_attention(*(x.swapaxes(1, 2) for x in tensors(plan)), **arguments)
    return np.asarray(out).swapaxes(1, 2)


@pytest.mark.jax
def test_jax_heeds_the_lengths_of_keys_alone() -> None:
    # jax#23349: versions before heeded them only beside another mask.
    arguments = {"key_value_seq_lengths": np.array([5, 2], dtype=np.int32)}
    plan = lift("jax", arguments, q=5, k=5)
    assert plan == am.compile(am.padding(lengths=[5, 2]), q=5)
    assert close(plan, in_jax(plan, **arguments))


@pytest.mark.jax
@pytest.mark.parametrize(("q", "k"), [(3, 7), (7, 3)])
def test_jax_lines_up_the_first_query_and_key(q: int, k: int) -> None:
    for arguments in ({"is_causal": True}, {"local_window_size": (2, 1)}, {"local_window_size": 1}):
        plan = lift("jax", arguments, q=q, k=k)
        assert close(plan, in_jax(plan, **arguments))
    other = am.compile(am.causal(), q=3, k=7, align="end")
    assert not close(other, in_jax(other, is_causal=True))


@pytest.mark.jax
def test_three_axes_are_heads_to_jax_and_flax() -> None:
    from flax.linen import dot_product_attention

    mask = np.random.default_rng(0).random((2, 5, 5)) < 0.7
    for target, given in (("jax", {"mask": mask}), ("flax", mask)):
        plan = lift(target, given)
        assert plan.shape == (1, 2, 5, 5)
        assert close(plan, in_jax(plan, mask=mask))
    out = dot_product_attention(*(x.swapaxes(1, 2) for x in tensors(plan)), mask=mask)
    assert close(plan, np.asarray(out).swapaxes(1, 2))


@pytest.mark.jax
def test_masks_that_flax_makes_are_floats_and_are_read() -> None:
    from flax.linen import combine_masks, make_attention_mask, make_causal_mask

    tokens = np.array([[1, 1, 1, 0], [1, 0, 0, 0]])
    made = combine_masks(make_causal_mask(tokens), make_attention_mask(tokens, tokens))
    assert made.dtype == np.float32
    plan = am.compile(am.causal() & am.padding(lengths=[3, 1], of="both"), q=4)
    assert lift("flax", made) == plan


def runtimes() -> list[Any]:
    from onnx.reference import ReferenceEvaluator
    from onnxruntime import InferenceSession

    cpu = ["CPUExecutionProvider"]
    return [ReferenceEvaluator, lambda model: InferenceSession(model.SerializeToString(), providers=cpu)]


def in_onnx(plan: am.Plan, arguments: dict[str, Any], opset: int) -> list[Any]:
    """The outputs of both runtimes."""
    from bench.libraries.onnx_operator import model_of

    model, fed = model_of(arguments, opset)
    names = dict(zip("QKV", tensors(plan), strict=True))
    return [make(model).run(None, {**names, **fed})[0] for make in runtimes()]


@pytest.mark.onnx
@pytest.mark.parametrize("opset", [24, 25])
def test_onnx_counts_from_the_last_valid_key_since_its_errata(opset: int) -> None:
    plan = lift("onnx", BOTH, q=3, k=5, align="end")
    assert plan == am.compile(
        am.dense(np.stack([np.tri(3, 5, 0), np.tri(3, 5, 2)]).astype(bool)[:, None]), q=3, k=5, offset=0
    )
    released = lift("onnx", BOTH, q=3, k=5, align="start")
    for out in in_onnx(plan, BOTH, opset):
        assert close(plan, out)
        assert not close(released, out)
    with pytest.raises(am.AttnMaskError, match="errata"):
        lift("onnx", BOTH, q=3, k=5)


@pytest.mark.onnx
@pytest.mark.parametrize("opset", [23, 24, 25])
def test_onnx_without_lengths_lines_up_the_first_query_and_key(opset: int) -> None:
    for q, k in ((3, 5), (5, 3)):
        plan = lift("onnx", {"is_causal": 1}, q=q, k=k)
        assert plan == am.compile(am.causal(), q=q, k=k, align="start")
        assert all(close(plan, out) for out in in_onnx(plan, {"is_causal": 1}, opset))


@pytest.mark.onnx
def test_onnx_pads_a_mask_of_fewer_keys() -> None:
    from bench.libraries.onnx_operator import model_of

    mask = {"attn_mask": np.ones((3, 4), dtype=bool)}
    plan = lift("onnx", mask, q=3, k=6)
    assert plan == am.compile(am.prefix([4]), q=3, k=6, offset=0)
    evaluator, runtime = (make(model_of(mask, 24)[0]) for make in runtimes())
    fed = {**dict(zip("QKV", tensors(plan), strict=True)), **mask}
    assert close(plan, evaluator.run(None, fed)[0])
    with pytest.raises(Exception, match="total_sequence_length"):  # ONNX Runtime 1.32 has no such padding
        runtime.run(None, fed)


@pytest.mark.onnx
def test_windows_of_onnx_do_not_count_the_query_itself() -> None:
    arguments = {"left_window_size": 2, "right_window_size": 1}
    plan = lift("onnx", arguments, q=5, k=7)
    assert plan == am.compile(am.window(left=2, right=1), q=5, k=7, offset=0)
    assert all(close(plan, out) for out in in_onnx(plan, arguments, 25))


def in_keras(plan: am.Plan, sliding_window: int | None = None, **arguments: Any) -> Any:
    """The output of a Keras layer without projections."""
    from bench.libraries.keras_layers import layer_of

    q, k, v = tensors(plan)
    return by_head(np.asarray(layer_of(q, sliding_window)(flat(q), flat(v), flat(k), **arguments)), q.shape[1])


@pytest.mark.keras
def test_sliding_window_of_keras_counts_the_query_itself() -> None:
    for is_causal, window in ((True, am.window(left=2, right=0)), (False, am.window(left=2, right=2))):
        plan = lift("keras", {"use_causal_mask": is_causal}, q=6, k=6, sliding_window=3)
        assert plan == am.compile(window, q=6)
        assert close(plan, in_keras(plan, 3, use_causal_mask=is_causal))
        assert plan.to("keras", sliding_window=3)["attention_mask"] is None


@pytest.mark.keras
def test_keras_overwrites_a_query_mask_that_is_given_by_hand() -> None:
    # Which is why lower() gives none; what one who gives it means is another set.
    given = {"query_mask": np.array([[True] * 4, [True, True, False, False]])}
    plan = lift("keras", given, q=4, k=4)
    assert plan == am.compile(am.padding(lengths=[4, 2], of="queries"), q=4)
    full = am.compile(am.full(), q=4)
    assert close(full, in_keras(full, **given))
    assert plan.to("keras")["attention_mask"] is not None


@pytest.mark.keras
def test_keras_takes_items_for_heads_where_a_mask_of_heads_meets_one_of_tokens() -> None:
    pairs, tokens = np.ones((2, 2, 4, 4), dtype=bool), np.array([[True] * 4, [True, True, False, False]])
    meant = am.compile(am.padding(lengths=[4, 2]), q=4)
    taken = am.compile(am.per_head([am.full(), am.padding(lengths=2)]), q=4)
    out = in_keras(meant, attention_mask=pairs, value_mask=tokens)
    assert not close(meant, out)
    assert close(taken, out)
    with pytest.raises(am.AttnMaskError, match="for heads"):
        lift("keras", {"attention_mask": pairs, "value_mask": tokens})
