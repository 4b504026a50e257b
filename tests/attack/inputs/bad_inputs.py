"""Bad inputs by the thousand: each public callable, each of its arguments, each of a pool of nasty values."""

from __future__ import annotations

import inspect
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from types import FrameType
from typing import Any

import numpy as np
import torch

import attnmask as am
from attnmask.formats import FORMATS

SECONDS = 5
WITHOUT_DOMAIN = frozenset({"jax", "flax", "keras"})  # of extras that take long to load; their own tests have them


class TooSlowError(BaseException):
    """A call took longer than any bad input may take."""


@dataclass(frozen=True)
class Subject:
    """A public callable, and arguments under which it works."""

    name: str
    call: Callable[..., Any]
    good: Mapping[str, Any]
    attacked: tuple[str, ...] = ()
    by_name: bool = True

    def bad_calls(self, pool: Mapping[str, Callable[[], Any]]) -> Iterator[tuple[str, Callable[[], Any]]]:
        for argument in self.attacked or tuple(self.good):
            for kind, value in pool.items():
                yield f"{self.name}({argument}={kind})", self._with(argument, value)
        if not self.by_name:
            return
        yield f"{self.name}(unknown keyword)", lambda: self.call(**self.good, no_such_argument=1)
        yield f"{self.name}(nine arguments)", lambda: self.call(*[1] * 9)
        yield f"{self.name}(none)", lambda: self.call()

    def _with(self, argument: str, value: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: self.call(**{**self.good, argument: value()})


class Hostile:
    """Raises whatever it is asked."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no array")

    def __len__(self) -> int:
        raise OverflowError("no length")

    def __getitem__(self, _: Any) -> Any:
        raise LookupError("no items")

    def __index__(self) -> int:
        raise ArithmeticError("no number")


class Unhashable:
    """Equal to nothing, and of no hash."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return False


def circle() -> list[Any]:
    """A list that holds itself."""
    inside: list[Any] = []
    inside.append(inside)
    return inside


POOL: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-1": lambda: -1,
    "0": lambda: 0,
    "1.5": lambda: 1.5,
    "1j": lambda: 1j,
    "2**63": lambda: 2**63,
    "-2**63": lambda: -(2**63),
    "10**30": lambda: 10**30,
    "a fraction": lambda: Fraction(1, 3),
    "''": lambda: "",
    "'a'": lambda: "a",
    "a long text": lambda: "x" * 100_000,
    "a lone surrogate": lambda: "\ud800",
    "b''": lambda: b"",
    "[]": lambda: [],
    "[[]]": lambda: [[]],
    "[None]": lambda: [None],
    "['a']": lambda: ["a"],
    "[-1]": lambda: [-1],
    "[nan]": lambda: [float("nan")],
    "[10**30]": lambda: [10**30],
    "ragged": lambda: [[1], [1, 2]],
    "ragged deep": lambda: [[[1]], [[1, 2]], 3],
    "a circle": circle,
    "{}": lambda: {},
    "{'a': 1}": lambda: {"a": 1},
    "{1: None}": lambda: {1: None},
    "a set": lambda: {1, 2},
    "a generator": lambda: (n for n in (1, 0)),
    "a range": lambda: range(3, 0, -1),
    "object()": object,
    "object": lambda: object,
    "a lambda": lambda: lambda: None,
    "len": lambda: len,
    "hostile": Hostile,
    "unhashable": Unhashable,
    "a mask": am.causal,
    "am.causal": lambda: am.causal,
    "a plan": lambda: am.compile(am.causal(), q=3),
    "a list of masks": lambda: [am.causal(), am.full()],
    "np 0-d": lambda: np.array(3),
    "np 0-d object": lambda: np.array(None),
    "np empty": lambda: np.zeros((0, 3)),
    "np of no axis at all": lambda: np.zeros((2, 0, 3), dtype=np.int64),
    "np objects": lambda: np.array([object(), None]),
    "np texts": lambda: np.array(["a", "b"]),
    "np complex": lambda: np.array([[1j]]),
    "np dates": lambda: np.array(["2026-01-01"], dtype="datetime64[D]"),
    "np records": lambda: np.zeros(2, dtype=[("a", "i4")]),
    "np uint64": lambda: np.array([2**64 - 1], dtype=np.uint64),
    "np half": lambda: np.array([0.5], dtype=np.float16),
    "np nan": lambda: np.full((3, 3), np.nan),
    "np five axes": lambda: np.ones((1, 1, 1, 1, 1), dtype=bool),
    "np.float64": lambda: np.float64(2),
    "torch 0-d": lambda: torch.tensor(3),
    "torch empty": lambda: torch.zeros(0, 3),
    "torch bfloat16": lambda: torch.full((2, 2), 0.5, dtype=torch.bfloat16),
    "torch meta": lambda: torch.ones(2, 3, device="meta"),
    "torch sparse": lambda: torch.eye(3).to_sparse(),
    "torch complex": lambda: torch.ones(2, dtype=torch.complex64),
    "torch grad": lambda: torch.full((3, 3), -1.0, requires_grad=True),
    "torch.int64": lambda: torch.int64,
    "a module": lambda: torch.nn.Linear(2, 2),
    "Ellipsis": lambda: ...,
    "sys": lambda: sys,
}


def atoms() -> Iterator[Subject]:
    """Each function that makes a mask, each argument of it."""
    good: dict[str, list[dict[str, Any]]] = {
        "window": [{"left": 1, "right": 0}],
        "prefix": [{"lengths": [1]}],
        "chunked": [{"size": 2}],
        "dilated": [{"step": 2}],
        "sinks": [{"n": 1}],
        "padding": [
            {"lengths": [1], "side": "left", "of": "keys"},
            {"attention_mask": [1, 1, 0]},
            {"ids": [[3, 0, 0]], "pad_id": 0, "side": "right"},
        ],
        "documents": [{"lengths": [1, 2]}, {"ids": [0, 0, 1]}, {"cu_seqlens": [0, 1, 3]}],
        "cross_documents": [
            {"query_lengths": [1, 2], "key_lengths": [3, 1]},
            {"query_ids": [0, 1, 1], "key_ids": [0, 0, 0, 1]},
            {"cu_seqlens_q": [0, 1, 3], "cu_seqlens_k": [0, 3, 4]},
        ],
        "placed": [{"mask": am.causal(), "at": 1, "length": 2}],
        "preceding_images": [{"media_locations": [1, 0, 1], "tokens": 2, "which": "all"}],
        "spans": [{"ids": [0, -1, 0]}],
        "global_tokens": [{"indices": [0]}],
        "grid": [{"height": 2, "width": 2, "radius": 1}],
        "blocks": [{"layout": [[1, 0], [1, 1]], "size": 2}],
        "tree": [{"parents": [-1, 0]}, {"parents": [-1, 0], "cache": 3}],
        "dense": [{"array": [[1, 0], [1, 1]]}],
        "predicate": [{"function": lambda b, h, q, k: q >= k}],
        "per_head": [{"masks": [am.causal()]}],
    }
    named = {name: getattr(am, name) for name in ALL_ATOMS}
    for name, function in named.items():
        for arguments in good.get(name, [_guess(function)]):
            yield Subject(name, _then_compiled(function), _renamed(function, arguments))


ALL_ATOMS = (
    "bigbird_layout", "block_causal", "block_diffusion", "blocks", "causal", "chunked", "cross_documents",
    "cross_padding", "dense", "dilated", "documents", "empty", "full", "global_tokens", "grid", "padding", "per_head",
    "placed", "preceding_images", "predicate", "prefix", "shared_prefix", "sinks", "spans", "tree", "window",
)  # fmt: skip


def _guess(function: Callable[..., Any]) -> dict[str, Any]:
    """2 for each argument that has no default."""
    return {name: 2 for name, one in inspect.signature(function).parameters.items() if one.default is one.empty}


def _renamed(function: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments under the names that the function has, in order, and the rest of its arguments."""
    known = inspect.signature(function).parameters
    own = arguments if set(arguments) <= set(known) else dict(zip(known, arguments.values(), strict=False))
    return own


def _then_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        made = function(*args, **kwargs)
        if isinstance(made, am.Mask):
            repr(made), hash(made)
            return am.compile(made, q=3, k=5, align="end").to("dense")
        return made

    return call


@contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """Raise TooSlowError where a call takes longer."""

    def ring(_: int, __: FrameType | None) -> None:
        raise TooSlowError(f"over {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def raw_error(call: Callable[[], Any]) -> BaseException | None:
    """What a call raises that is no AttnMaskError."""
    try:
        with warnings.catch_warnings(), alarm(SECONDS):
            warnings.simplefilter("ignore")
            call()
    except am.AttnMaskError as error:
        return None if str(error).strip() else error
    except BaseException as error:
        return error
    return None


def core() -> Iterator[Subject]:
    """compile, text, and the methods of Mask and Plan."""
    plan, mask = am.compile(am.causal() & am.padding(lengths=[2, 3]), q=3), am.causal()
    yield Subject(
        "compile",
        am.compile,
        {"mask": mask, "q": 3, "k": 3, "batch": 1, "heads": 1, "offset": 0, "align": None},
    )
    yield Subject("compile align", am.compile, {"mask": mask, "q": 3, "k": 5, "align": "end"}, ("align",))
    yield Subject("mask_from_text", am.mask_from_text, {"text": "causal()"})
    for operator in ("__and__", "__or__", "__xor__", "__sub__"):
        yield Subject(f"mask.{operator}", getattr(mask, operator), {"other": mask}, by_name=False)
    yield Subject("mask.shift", mask.shift, {"n": 1})
    yield Subject("Mask.from_json", am.Mask.from_json, {"text": "{}"})
    yield Subject("mask.to_json", mask.to_json, {})
    yield Subject("Plan.from_json", am.Plan.from_json, {"text": "{}"})
    yield Subject("plan[rows]", lambda rows: plan[rows], {"rows": 0}, by_name=False)
    yield Subject("plan.tiles", plan.tiles, {"rows": 2, "keys": 2})
    yield Subject("plan.flops", plan.flops, {"dim": 2})
    yield Subject("plan.diff", plan.diff, {"other": plan})
    yield Subject("plan.explain", plan.explain, {"b": 0, "h": 0, "q": 0, "k": 0})
    yield Subject("plan.describe", plan.describe, {})
    yield Subject("plan.to_json", plan.to_json, {})
    yield Subject("plan.formats", plan.formats, {})


def formats() -> Iterator[Subject]:
    """plan.to and lift: the name, every option of each format, and each representation."""
    plan = am.compile(am.full(), q=3)
    yield Subject("plan.to", plan.to, {"format": "dense"})
    yield Subject("lift", am.lift, {"format": "dense", "representation": [[1]]})
    for name in FORMATS:
        if name in WITHOUT_DOMAIN:
            continue
        yield Subject(f"lift {name}", am.lift, {"format": name, "representation": None}, ("representation",))
        module = sys.modules.get(FORMATS[name]) or __import__(FORMATS[name], fromlist=["lower"])
        options = [n for n, one in inspect.signature(module.lower).parameters.items() if one.kind is one.KEYWORD_ONLY]
        hints = [n for n, one in inspect.signature(module.lift).parameters.items() if one.kind is one.KEYWORD_ONLY]
        for option in options:
            yield Subject(f"plan.to {name}", plan.to, {"format": name}, (option,))
        try:
            made = plan.to(name)
        except am.AttnMaskError:
            continue
        for hint in hints:
            yield Subject(f"lift {name}", am.lift, {"format": name, "representation": made}, (hint,))


def in_transformers() -> Iterator[Subject]:
    """What lies under am.hf, and the audit: arguments that decide before any model runs."""
    hidden, tokens = torch.ones(2, 3, 4), torch.tensor([[1, 1, 0], [1, 1, 1]])
    ids = torch.tensor([[5, 6, -100], [7, 8, 9]])
    yield Subject("hf.pool", am.hf.pool, {"hidden": hidden, "attention_mask": tokens, "how": "mean"})
    yield Subject("hf.pool weights", am.hf.pool, {"hidden": hidden, "attention_mask": tokens}, ("weights",))
    yield Subject("hf.unpad", am.hf.unpad, {"x": hidden, "attention_mask": tokens})
    rows, places = am.hf.unpad(hidden, tokens)
    yield Subject("hf.repad", am.hf.repad, {"rows": rows, "places": places})
    yield Subject("hf.labels_from_mask", am.hf.labels_from_mask, {"input_ids": ids, "attention_mask": tokens})
    yield Subject("hf.check_labels", am.hf.check_labels, {"labels": ids, "attention_mask": tokens, "task": "causal-lm"})
    yield Subject("hf.load_encoder", am.hf.load_encoder, {"folder": "nowhere"})
    yield Subject("hf.tiny_model", am.hf.tiny_model, {"model_type": "nope", "seed": 0}, ("model_type",))
    yield Subject("hf.tiny_model seed", am.hf.tiny_model, {"model_type": "nope"}, ("seed",))
    yield Subject("hf.first_position", am.hf.first_position, {"model": None})
    yield Subject("hf.heads_by_document", am.hf.heads_by_document, {"model": None})
    yield Subject("hf.accept_weights", am.hf.accept_weights, {"model": None})
    yield Subject("hf.mask_from_closure", am.hf.mask_from_closure, {"fn": len, "queries": range(3), "keys": range(3)})
    plan = am.compile(am.documents(lengths=[1, 2]), q=3)
    yield Subject("hf.packed", _entered(am.hf.packed), {"plan": plan, "weights": torch.ones(3)})
    yield Subject("hf.weighted", _entered(am.hf.weighted), {"model": None, "weights": torch.ones(3)})


def audits() -> Iterator[Subject]:
    """The audit, of which every option is looked at before a model runs."""
    yield Subject("audit", am.audit, {"model": "nope"})
    options = ("mask", "mode", "forward", "probes", "expect", "redraw", "progress")
    yield Subject("audit nope", am.audit, {"model": "nope"}, options)
    yield Subject("audit a module", am.audit, {"model": torch.nn.Linear(2, 2)}, options)
    yield Subject("trace", am.trace, {"model": torch.nn.Linear(2, 2), "batch": {"input": torch.ones(1, 2)}})
    yield Subject("audit_collator", am.audit_collator, {"collator": dict, "pad": 0, "eos": 1, "examples": None})
    yield Subject("audit_metric", am.audit_metric, {"metric": dict, "classes": 7, "shifts": False})


def drawing() -> Iterator[Subject]:
    """Pictures of a plan."""
    from attnmask.drawing import figure_from_plan, text_from_plan

    plan = am.compile(am.causal(), q=3)
    yield Subject("text_from_plan", text_from_plan, {"plan": plan, "batch": 0, "head": 0, "width": 80})
    yield Subject("figure_from_plan", figure_from_plan, {"plan": plan}, ("plan",))


def attention() -> Iterator[Subject]:
    """Every argument of attention, and of the question which backend computes it."""
    x = torch.ones(1, 1, 3, 2)
    yield Subject("plan.backend_for", am.compile(am.causal(), q=3).backend_for, {"q": x})
    good = {"q": x, "k": x, "v": x, "mask": am.causal(), "backend": "tiled"}
    yield Subject("attention", am.attention, good)
    yield Subject("attention options", am.attention, good, ("weights", "scale", "return_lse", "offset", "align"))


def _entered(manager: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> None:
        with manager(*args, **kwargs):
            pass

    return call
