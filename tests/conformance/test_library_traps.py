"""What libraries are known to do otherwise than one would think, each by a name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaModel

import attnmask as am
from attnmask.formats import lift
from attnmask.formats.kernels.xformers import CLASSES
from conformance.libraries.base import by_head, flat
from conformance.run import error_and_budget, tensors

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
    for format, given in (("jax", {"mask": mask}), ("flax", mask)):
        plan = lift(format, given)
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
    from conformance.libraries.onnx_operator import model_of

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
    from conformance.libraries.onnx_operator import model_of

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
    from conformance.libraries.keras_layers import layer_of

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


W, LENGTH = 3, 10
CAUSAL_WINDOW = am.compile(am.window(left=W, right=0), q=LENGTH)


def xformers_biases() -> dict[str, tuple[Any, int, int, int]]:
    """Biases that xformers itself makes, with Q, K and items."""
    pytest.importorskip("xformers")
    from xformers.ops.fmha import attn_bias as real

    made: dict[str, tuple[Any, int, int, int]] = {}
    for q, k in ((6, 6), (3, 7), (2, 5)):
        for bias in (
            real.LowerTriangularMask(),
            real.LowerTriangularFromBottomRightMask(),
            real.LowerTriangularFromBottomRightLocalAttentionMask(_window_size=W),
            real.LocalAttentionFromBottomRightMask(window_left=1, window_right=2),
        ):
            made[f"{type(bias).__name__}, {q} by {k}"] = bias, q, k, 1
    same, more = [3, 4, 2], [5, 4, 6]
    for kind in (real.BlockDiagonalMask, real.BlockDiagonalCausalMask, real.BlockDiagonalCausalFromBottomRightMask):
        made[kind.__name__] = kind.from_seqlens(same, more), sum(same), sum(more), 1
    blocks = real.BlockDiagonalMask.from_seqlens(same)
    made["window"] = blocks.make_local_attention(W), sum(same), sum(same), 1
    blocks = real.BlockDiagonalMask.from_seqlens(same, more)
    made["window from the bottom right"] = blocks.make_local_attention_from_bottomright(W), sum(same), sum(more), 1
    for name, kind, numbers in (
        ("from_seqlens", real.BlockDiagonalPaddedKeysMask, {}),
        ("from_seqlens", real.BlockDiagonalCausalWithOffsetPaddedKeysMask, {}),
        ("from_seqlens_local", real.BlockDiagonalLocalAttentionPaddedKeysMask, {"window_left": 2, "window_right": 1}),
        ("from_seqlens_local", real.BlockDiagonalCausalLocalAttentionPaddedKeysMask, {"window_size": W}),
    ):
        bias = getattr(kind, name)([2, 2, 2], 6, [5, 4, 6], **numbers)
        made[kind.__name__] = bias, 2, 6, 3
    return made


@pytest.mark.peers
def test_biases_of_xformers_are_read_as_it_materializes_them() -> None:
    biases = xformers_biases()
    for name, (bias, q, k, items) in biases.items():
        expected = (bias.materialize((items * q, items * k)) == 0).numpy()
        plan = lift("xformers", bias, q=q, k=k, batch=items)
        for item in range(items):
            rows, keys = slice(item * q, (item + 1) * q), slice(item * k, (item + 1) * k)
            own = np.broadcast_to(plan.to("dense"), (items, 1, q, k))[item, 0]
            np.testing.assert_array_equal(own, expected[rows, keys], err_msg=name)
    assert {type(bias).__name__ for bias, *_ in biases.values()} == CLASSES


@pytest.mark.peers
def test_xformers_itself_keeps_w_keys_in_a_causal_window() -> None:
    pytest.importorskip("xformers")
    from xformers.ops.fmha.attn_bias import BlockDiagonalMask

    bias = BlockDiagonalMask.from_seqlens([LENGTH]).make_local_attention(W)
    assert (bias.materialize((LENGTH, LENGTH)) == 0).sum(-1).max() == W
    assert lift("xformers", bias) == am.compile(am.window(left=W - 1, right=0), q=LENGTH)


@pytest.mark.peers
def test_attention_gym_itself_keeps_w_plus_1_keys() -> None:
    pytest.importorskip("attn_gym")
    from attn_gym.masks import generate_sliding_window
    from torch.nn.attention.flex_attention import create_block_mask

    mask_mod = generate_sliding_window(W)
    assert lift("flex", create_block_mask(mask_mod, None, None, LENGTH, LENGTH, device="cpu")) == CAUSAL_WINDOW


@pytest.mark.peers
def test_x_transformers_itself_keeps_w_plus_1_keys() -> None:
    pytest.importorskip("x_transformers")
    from conformance.libraries.x_transformers_attend import attend_of

    assert attend_of() is not None  # its import warns
    from x_transformers.x_transformers import Attention

    layer = Attention(8, heads=1, dim_head=8, causal=True, max_attend_past=W)
    _, told = layer(torch.randn(1, LENGTH, 8), return_intermediates=True)
    attended = (told.post_softmax_attn > 0).numpy()
    np.testing.assert_array_equal(attended, CAUSAL_WINDOW.to("dense"))


@pytest.mark.peers
def test_x_transformers_lines_up_the_last_query_and_key() -> None:
    pytest.importorskip("x_transformers")
    from conformance.libraries.x_transformers_attend import attend_of

    for align, agrees in (("end", True), ("start", False)):
        plan = am.compile(am.causal(), q=3, k=7, align=align)
        q, k, v = map(torch.from_numpy, tensors(plan))
        assert close(plan, attend_of(heads=2, causal=True)(q, k, v)[0]) is agrees


@pytest.mark.jax
def test_local_mask_of_splash_itself_keeps_w_plus_1_keys() -> None:
    pytest.importorskip("jax")
    from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask import LocalMask

    mask = LocalMask((LENGTH, LENGTH), (W, 0), offset=0)
    np.testing.assert_array_equal(np.asarray(mask[:, :]), CAUSAL_WINDOW.to("dense")[0, 0])
    assert lift("splash", {"mask": mask}) == CAUSAL_WINDOW


@pytest.mark.peers
def test_a_mask_of_tokamax_itself_is_read_as_it_writes_it_out() -> None:
    pytest.importorskip("tokamax")
    import jax.numpy as jnp
    from tokamax._src.ops.attention.base import Mask

    for mask in (
        Mask(k_start=jnp.array([0, 0, 1, 2]), is_causal=True),
        Mask(q_start=jnp.array([0, 1, 1, 3, 2]), q_end=jnp.array([4, 2, 4, 4, 3])),
        Mask(jnp.tri(4, 5, dtype=bool)[None], k_end=jnp.array([[5, 2, 2, 4]])),
    ):
        plan = lift("tokamax", mask, q=4, k=5)
        np.testing.assert_array_equal(plan.to("dense")[0], np.asarray(mask.as_array(4, 5)))


def _llama(**arguments: Any) -> Any:
    from conformance.libraries.whole_models import _llama, _model

    return _model(LlamaModel, _llama, "sdpa", ())(torch.arange(5)[None], **arguments).last_hidden_state


@torch.no_grad()
def test_position_ids_separate_documents_only_without_a_cache() -> None:
    packed = am.compile(am.causal() & am.documents(lengths=[2, 3]), q=5)
    positions = {"position_ids": packed.to("hf_position_ids")["position_ids"]}
    apart = _llama(**positions, attention_mask=packed.to("dense_torch"))
    leaking = _llama(**positions, attention_mask=am.compile(am.causal(), q=5).to("dense_torch"))
    torch.testing.assert_close(_llama(**positions, use_cache=False), apart)
    torch.testing.assert_close(_llama(**positions), leaking)
    assert not torch.allclose(apart, leaking, atol=1e-2)


@torch.no_grad()
def test_bools_on_four_axes_are_right_in_sdpa_and_wrong_in_eager() -> None:
    from conformance.libraries.hf_models import _attend, eager, sdpa

    plan = am.compile(am.causal(), q=6)
    given = tensors(plan)
    assert close(plan, sdpa(plan, *given))
    assert close(plan, eager(plan, *given))
    assert not close(plan, _attend("eager", plan.to("dense_torch"), *given)), "eager adds True as 1 to the score"
