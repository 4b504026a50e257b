"""The ONNX operator Attention in a model of one node: ONNX Runtime, and onnx's own reference evaluator."""

from __future__ import annotations

from functools import partial
from typing import Any

import attnmask as am
from conformance.libraries.base import Array, Library

# Inputs of the operator in order; past_key and past_value are never given.
INPUTS = ("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen")


def model_of(arguments: dict[str, Any], opset: int) -> tuple[Any, dict[str, Any]]:
    """The model, and what to feed it beside Q, K and V."""
    from onnx import TensorProto, helper

    fed = {name: value for name, value in arguments.items() if name in INPUTS and value is not None}
    attributes = {name: value for name, value in arguments.items() if name not in INPUTS}
    types = dict.fromkeys(INPUTS, TensorProto.FLOAT) | {"nonpad_kv_seqlen": TensorProto.INT64}
    types["attn_mask"] = TensorProto.BOOL if "attn_mask" in fed and fed["attn_mask"].dtype == bool else types["Q"]
    used = [name if name in ("Q", "K", "V", *fed) else "" for name in INPUTS]
    while not used[-1]:
        used.pop()
    node = helper.make_node("Attention", used, ["Y"], **attributes)
    inputs = [helper.make_tensor_value_info(name, types[name], None) for name in used if name]
    graph = helper.make_graph([node], "one", inputs, [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)])
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=11), fed


def runtime(opset: int, dtype: str, plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    from onnxruntime import InferenceSession

    model, fed = model_of(plan.to("onnx", opset=opset, dtype=dtype, batch=len(q)), opset)
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"Q": q, "K": k, "V": v, **fed})[0]


def reference(opset: int, dtype: str, plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    from onnx.reference import ReferenceEvaluator

    model, fed = model_of(plan.to("onnx", opset=opset, dtype=dtype, batch=len(q)), opset)
    return ReferenceEvaluator(model).run(None, {"Q": q, "K": k, "V": v, **fed})[0]


ENGINES = {"ONNX Runtime": (runtime, ("onnxruntime", "onnx")), "onnx reference evaluator": (reference, ("onnx",))}
LIBRARIES = [
    Library(f"{name}, Attention-{opset}, {dtype}", packages, partial(run, opset, dtype), marker="onnx")
    for name, (run, packages) in ENGINES.items()
    for opset, dtype in ((23, "bool"), (24, "float32"), (25, "bool"))
]
