"""From a tree of the oracle to the expression of the package, with arrays in forms that people hand in."""

from __future__ import annotations

import operator
import random
from functools import reduce
from typing import Any

import numpy as np

import attnmask as am
from tests.attack.oracle import Tree

# Their values are one array or list of numbers or bools; of others, lists of unequal length are part of the meaning.
TABLES = {"lengths", "attention_mask", "ids", "cu_seqlens", "layout", "parents", "array", "queries", "keys", "prompt"}
TABLES |= {"query_ids", "key_ids", "query_lengths", "key_lengths", "cu_seqlens_q", "cu_seqlens_k"}
TABLES |= {"media_locations", "cache", "at"}
INTEGERS = {
    np.dtype(name): (int(np.iinfo(name).min), int(np.iinfo(name).max))
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", ">i4")
}


def expression(tree: Tree, chance: random.Random, torch_too: bool = False) -> am.Mask:
    """The mask that a tree describes.

    Args:
        tree: as in ``oracle``.
        chance: chooses among ways to write the same.
        torch_too: whether arrays may be tensors.
    """
    name, *parts = tree
    match name:
        case "and" | "or":
            combine = operator.and_ if name == "and" else operator.or_
            return reduce(combine, (expression(part, chance, torch_too) for part in parts))
        case "xor" | "minus":
            left, right = (expression(part, chance, torch_too) for part in parts)
            return left ^ right if name == "xor" else left - right
        case "not":
            return ~expression(parts[0], chance, torch_too)
        case "shift":
            return expression(parts[0], chance, torch_too).shift(_number(parts[1], chance))
        case "per_head":
            return am.per_head([expression(part, chance, torch_too) for part in parts])
        case "placed":
            inner, at, length = parts
            inside = expression(inner, chance, torch_too)
            return am.placed(inside, at=_argument("at", at, chance, torch_too), length=_number(length, chance))
        case _:
            given = {key: _argument(key, value, chance, torch_too) for key, value in parts[0].items()}
            return getattr(am, name)(**given)


def _argument(name: str, value: Any, chance: random.Random, torch_too: bool) -> Any:
    if type(value) is int:
        return _number(value, chance)
    ragged = isinstance(value, list) and any(isinstance(one, list) for one in value)
    if name not in TABLES or ragged or value is None or isinstance(value, str) or callable(value):
        return value
    return disguised(np.asarray(value), chance, torch_too)


def _number(value: int, chance: random.Random) -> Any:
    kind = chance.randrange(8)
    if kind == 0:
        return np.int64(value)
    return np.int32(value) if kind == 1 and abs(value) < 2**31 else value


def disguised(array: np.ndarray, chance: random.Random, torch_too: bool = False) -> Any:
    """The same values as a list, an array of another dtype or memory layout, or a tensor."""
    kind = chance.randrange(7 if torch_too else 6)
    if kind == 0:
        return _as_list(array)
    if kind == 1 and array.size:
        array = _as_narrow(array, chance)
    if kind == 2:
        array = np.asfortranarray(array)
    if kind == 3:
        array = np.repeat(array, 2, axis=-1)[..., ::2]
    if kind == 4:
        array = array[..., ::-1].copy()[..., ::-1]
    if kind == 5 and array.ndim == 2 and array.dtype.kind != "b":
        array = np.ascontiguousarray(array.T).T
    if kind == 6:
        return _as_tensor(array, chance)
    return array


def _as_list(array: np.ndarray) -> Any:
    # A list of lists cannot say how long its missing rows are.
    whole = array.astype(int) if array.dtype == bool else array
    return array if 0 in array.shape else whole.tolist()


def _as_narrow(array: np.ndarray, chance: random.Random) -> np.ndarray:
    least, most = int(array.min()), int(array.max())
    return array.astype(chance.choice([one for one, (low, high) in INTEGERS.items() if low <= least and most <= high]))


def _as_tensor(array: np.ndarray, chance: random.Random) -> Any:
    import torch

    tensor = torch.tensor(array.tolist(), dtype=torch.bool if array.dtype == bool else torch.int64)
    tensor = tensor.reshape(array.shape)
    if array.dtype != bool and chance.random() < 0.5 and (not array.size or abs(array).max() < 2**31):
        return tensor.to(torch.int32)
    return tensor.mT.contiguous().mT if tensor.ndim >= 2 and chance.random() < 0.5 else tensor
