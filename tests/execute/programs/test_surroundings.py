"""What runs around a call: forked processes, torch's function transforms, and the state of the whole process."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import grad, hessian, jvp, vmap

import attnmask as am
from attnmask.compiler.runs import Runs
from attnmask.execute.tiles.schedule import flat_runs
from tests.execute.peers import tensors

PLAN = am.compile(am.causal(), q=6)
FORKED = """
import multiprocessing, os, sys, warnings
import torch, attnmask as am
torch.set_num_threads(2)
plan = am.compile(am.causal(), q=700)
x = torch.randn(2, 4, 700, 16, dtype=torch.float64 if sys.argv[1] == "tiled" else torch.float32)
want = am.attention(x, x, x, plan, backend=sys.argv[1])

def work(_=None):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        y = x.clone().requires_grad_()
        out = am.attention(y, y, y, plan, backend=sys.argv[1])
        out.square().sum().backward()
        am.attention(y, y, y, plan)
    said = [str(each.message) for each in caught]
    return torch.allclose(out, want), bool(y.grad.isfinite().all()), torch.get_num_threads(), said

class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return work()[0]

if sys.argv[2] == "fork":
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, repr(work()).encode())
        os._exit(0)
    os.wait()
    print(os.read(reader, 10000).decode())
elif sys.argv[2] == "pool":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(work, range(2))[0])
else:
    loader = torch.utils.data.DataLoader(Data(), batch_size=2, num_workers=2, multiprocessing_context="fork")
    print((all(bool(batch.all()) for batch in loader), True, 1, ["no warning"]))
assert torch.get_num_threads() == 2
"""


@pytest.mark.parametrize(
    ("backend", "how"), [("tiled", "fork"), ("tiled", "pool"), ("tiled", "loader"), ("native", "fork")]
)
def test_a_forked_process_runs_on_one_thread_and_says_so(backend: str, how: str) -> None:
    run = subprocess.run([sys.executable, "-c", FORKED, backend, how], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    right, finite, threads, said = eval(run.stdout)
    assert (right, finite, threads) == (True, True, 1)
    assert len(said) == 1
    if how != "loader":
        assert "torch is set to one thread" in said[0]


def results_of(call: Callable[[], Any]) -> Any:
    with pytest.raises(am.AttnMaskError) as error:
        call()
    return error.value


def _of(backend: str) -> Callable[[Tensor], Tensor]:
    return lambda x: am.attention(x, x, x * 2, PLAN, backend=backend)


# torch itself loads code that it calls deprecated.
uses_script = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


@uses_script
def test_function_transforms_run_by_plain_operations_and_are_exact() -> None:
    x, step = tensors((1, 2, 6, 4), (1, 2, 6, 4))
    many = torch.stack([x, step, x - step])
    auto, exact = _of("auto"), _of("reference")
    torch.testing.assert_close(vmap(auto)(many), torch.stack([exact(each) for each in many]))
    leaf = x.clone().requires_grad_()
    (want,) = torch.autograd.grad(exact(leaf).square().sum(), leaf)
    torch.testing.assert_close(grad(lambda x: auto(x).square().sum())(x), want)
    (_, tangent), slope = jvp(auto, (x,), (step,)), (exact(x + 1e-6 * step) - exact(x - 1e-6 * step)) / 2e-6
    torch.testing.assert_close(tangent, slope, rtol=1e-6, atol=1e-6)
    small = x[:, :1, :, :1]
    assert bool(hessian(lambda x: auto(x).square().sum())(small).isfinite().all())
    with forward_ad.dual_level():
        out = forward_ad.unpack_dual(auto(forward_ad.make_dual(x, step)))
    torch.testing.assert_close(out.tangent, tangent)


@uses_script
@pytest.mark.parametrize(("backend", "dtype"), [("tiled", torch.float64), ("native", torch.float32)])
def test_kernels_refuse_function_transforms(backend: str, dtype: torch.dtype) -> None:
    x = tensors((1, 2, 6, 4), dtype=dtype)[0]
    run = _of(backend)
    for call in (lambda: vmap(run)(x[None]), lambda: grad(lambda x: run(x).sum())(x), lambda: jvp(run, (x,), (x,))):
        assert "torch.func" in results_of(call).what
    with forward_ad.dual_level():
        assert "forward-mode" in results_of(lambda: run(forward_ad.make_dual(x, x))).what
    leaf = x.clone().requires_grad_()
    many = torch.ones(3, *x.shape, dtype=dtype)
    assert "one gradient" in results_of(lambda: torch.autograd.grad(run(leaf), leaf, many, is_grads_batched=True)).what
    second = results_of(lambda: torch.autograd.grad(run(leaf).sum(), leaf, create_graph=True))
    assert "no second derivative" in second.what
    weights = torch.ones(3, 6, dtype=dtype)
    assert "weights" in results_of(lambda: vmap(lambda w: am.attention(x, x, x, PLAN, weights=w))(weights)).what


def test_tracing_and_fake_tensors_are_refused() -> None:
    x = tensors((1, 2, 6, 4), dtype=torch.float32)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "torch.jit.trace" in results_of(lambda: torch.jit.trace(_of("auto"), x)).what
    with torch._subclasses.FakeTensorMode() as mode:
        fake = mode.from_tensor(x)
        assert "FakeTensor" in results_of(lambda: _of("auto")(fake)).what


def state() -> tuple[Any, ...]:
    """What a caller would notice."""
    return (
        torch.get_rng_state().numpy().tobytes(),
        np.random.get_state()[1].tobytes(),  # pyright: ignore
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_autocast_enabled("cpu"),
        list(warnings.filters),
        np.geterr(),
    )


@pytest.mark.parametrize("backend", ["native", "tiled", "dense", "reference", "refused", "wrong"])
def test_a_call_leaves_the_state_of_the_process(backend: str) -> None:
    x = tensors((1, 2, 6, 4), dtype=torch.float32)[0].requires_grad_()
    before = state()
    if backend == "refused":
        results_of(lambda: am.attention(x, x, x, PLAN, backend="varlen"))
    elif backend == "wrong":
        results_of(lambda: am.attention(x, x, x, am.predicate(lambda b, h, q, k: q / 0)))
    else:
        am.attention(x, x, x, PLAN, weights=torch.arange(6.0), backend=backend).sum().backward()
    assert state() == before


@pytest.mark.parametrize("backend", ["native", "tiled", "dense", "reference"])
def test_a_default_device_and_dtype_change_nothing(backend: str) -> None:
    x = tensors((1, 2, 70, 4), dtype=torch.float32)[0].requires_grad_()
    plan = am.compile(am.dilated(3) | am.window(1, 1), q=70)
    weights = torch.arange(70.0)

    def run() -> list[Tensor]:
        outs = [am.attention(x, x, x, plan, w, backend=backend) for w in (None, weights)]
        return [*outs, *(torch.autograd.grad(out.sum(), x)[0] for out in outs)]

    want = run()
    try:
        torch.set_default_device("meta")
        torch.set_default_dtype(torch.float64)
        got = run()
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    for one, other in zip(got, want, strict=True):
        assert torch.equal(one, other)


def test_a_predicate_is_asked_anew_on_every_call() -> None:
    ids = np.zeros(20, dtype=int)
    x = tensors((1, 1, 20, 4))[0]
    same = am.predicate(lambda b, h, q, k: ids[q % 20] == ids[k])
    masks = [
        same,
        am.causal() & same,
        am.causal() | ~same,
        am.per_head([same]),
        same.shift(1) & ~same,
        same ^ am.full(),
    ]
    before = [am.attention(x, x, x, mask) for mask in masks]
    ids[15:] = 1
    for mask, old in zip(masks, before, strict=True):
        new = am.attention(x, x, x, mask)
        assert torch.equal(new, am.attention(x, x, x, am.compile(mask, q=20)))
        assert not torch.equal(new, old)


def test_a_cached_mask_does_not_excuse_another_type_of_length() -> None:
    x = tensors((1, 1, 5, 4))[0]
    am.attention(x, x, x, am.causal(), offset=1)
    for offset in (1.0, True, [1]):
        assert "offset" in results_of(lambda offset=offset: am.attention(x, x, x, am.causal(), offset=offset)).what  # type: ignore


def test_positions_that_no_index_can_count_are_refused() -> None:
    none = np.zeros(0, dtype=np.int32)
    runs = Runs((64, 64, 1), 1 << 20, np.zeros(64 * 64 + 1, dtype=np.int32), none, none)
    assert "more than 2**31 - 1" in results_of(lambda: flat_runs(runs)).what
