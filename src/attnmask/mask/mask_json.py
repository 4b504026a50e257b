"""Masks as JSON, and back, exactly."""

from __future__ import annotations

import base64
import binascii
import inspect
import json
import math
from collections.abc import Callable
from typing import Any, NoReturn, cast

import numpy as np

from attnmask.conventions import BoolArray
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import LARGEST, shown
from attnmask.mask.atoms import ATOMS
from attnmask.mask.expression import DEEPEST, And, Atom, Mask, Not, Or, Shift, Xor, unknown_mask
from attnmask.mask.frozen_array import FrozenArray

VERSION = 1
MOST_AXES = 4
WHERE = "from_json"


def json_from_mask(mask: Mask) -> str:
    """Write a mask as ``{"attnmask": 1, "mask": node}``.

    A node is one name with what belongs to it: ``{"and": [node, ...]}``, ``"or"``, ``"xor"``, ``{"not": node}``,
    ``{"shift": [node, n]}``, or an atom with its keyword arguments, ``{"window": {"left": 3, "right": 0}}``.
    Arrays of bools are their bits, packed and in base64, with their shape.

    Args:
        mask: an expression without a predicate.

    Returns:
        JSON of one line.

    Raises:
        ArgumentError: the mask holds a function.

    Source: attnmask.

    >>> from attnmask.mask.atoms import causal, window
    >>> json_from_mask(causal() & ~window(left=3, right=0))
    '{"attnmask": 1, "mask": {"and": [{"causal": {}}, {"not": {"window": {"left": 3, "right": 0}}}]}}'
    """
    if not isinstance(mask, Mask):
        raise ArgumentError(f"{type(mask).__name__} is no mask", where="to_json", fix="give a mask expression")
    return json.dumps({"attnmask": VERSION, "mask": node_from_mask(mask)})


def mask_from_json(text: str) -> Mask:
    """Read what ``json_from_mask`` wrote; nothing in the text is ever run.

    Args:
        text: JSON.

    Returns:
        A mask, equal to the one that was written.

    Raises:
        ArgumentError: the text is no mask of this version; names the part that is wrong.

    Source: attnmask.

    >>> mask_from_json('{"attnmask": 1, "mask": {"not": {"causal": {}}}}')
    ~causal()
    """
    return mask_from_node(document_from_json(text, {"mask"})["mask"])


def document_from_json(text: str, names: set[str]) -> dict[str, Any]:
    """A JSON object of this version that has exactly the given names."""
    if not isinstance(text, str):
        _refuse(f"the JSON is of type {type(text).__name__}", "give text")
    try:
        document = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object_from_pairs)
    except (ValueError, RecursionError) as error:
        _refuse(f"the text is no JSON: {error}", "give what to_json wrote")
    version = cast(dict[str, Any], document).get("attnmask") if isinstance(document, dict) else None
    if type(version) is not int or version != VERSION:
        _refuse("it has no version 1 of attnmask", f'give an object with "attnmask": {VERSION}')
    found = cast(dict[str, Any], document)
    if set(found) != {"attnmask", *names}:
        _refuse(f"it has {shown(', '.join(sorted(found)))}", f"give attnmask, {', '.join(sorted(names))}")
    return found


def node_from_mask(mask: Mask) -> dict[str, Any]:
    """One mask as objects that JSON can hold."""
    match mask:
        case And(terms):
            return {"and": [node_from_mask(term) for term in terms]}
        case Or(terms):
            return {"or": [node_from_mask(term) for term in terms]}
        case Xor(left, right):
            return {"xor": [node_from_mask(left), node_from_mask(right)]}
        case Not(inner):
            return {"not": node_from_mask(inner)}
        case Shift(inner, n):
            return {"shift": [node_from_mask(inner), n]}
        case Atom():
            return {mask.name: {key: _plain(value, mask) for key, value in mask.arguments().items()}}
        case _:
            raise unknown_mask(mask)


def _plain(value: object, atom: Atom) -> Any:
    match value:
        case FrozenArray(values=values) if values.dtype == bool:
            return {"bits": base64.b64encode(np.packbits(values).tobytes()).decode(), "shape": list(values.shape)}
        case FrozenArray(values=values):
            return values.tolist()
        case Mask():
            return node_from_mask(value)
        case list():
            return [_plain(one, atom) for one in cast(list[object], value)]
        case int() | str() | None:
            return value
        case _:
            raise ArgumentError(f"{atom!r} holds a function", where="to_json", fix="pickle it, or write dense(array)")


def mask_from_node(node: Any, depth: int = 0) -> Mask:
    """A mask from the objects that JSON held."""
    if depth > DEEPEST:
        _refuse(f"it is more than {DEEPEST} levels deep", "build the mask in Python")
    if not isinstance(node, dict) or len(cast(dict[str, Any], node)) != 1:
        _refuse(f"{shown(node)} is no mask", 'give an object of one name, such as {"causal": {}}')
    ((name, value),) = cast(dict[str, Any], node).items()
    if name in OPERATORS:
        return OPERATORS[name](value, depth + 1)
    return _atom(name, value, depth + 1)


def _terms(kind: type[And] | type[Or], value: Any, depth: int) -> Mask:
    if not isinstance(value, list) or len(cast(list[Any], value)) < 2:
        _refuse(f"{shown(value)} are no terms", "give a list of two masks or more")
    return kind(tuple(mask_from_node(term, depth) for term in cast(list[Any], value)))


def _pair(value: Any) -> tuple[Any, Any]:
    if not isinstance(value, list) or len(cast(list[Any], value)) != 2:
        _refuse(f"{shown(value)} is no pair", "give a list of two")
    left, right = cast(list[Any], value)
    return left, right


def _xor(value: Any, depth: int) -> Mask:
    left, right = _pair(value)
    return Xor(mask_from_node(left, depth), mask_from_node(right, depth))


def _shift(value: Any, depth: int) -> Mask:
    inner, n = _pair(value)
    return mask_from_node(inner, depth).shift(n)


OPERATORS: dict[str, Callable[[Any, int], Mask]] = {
    "and": lambda value, depth: _terms(And, value, depth),
    "or": lambda value, depth: _terms(Or, value, depth),
    "xor": _xor,
    "not": lambda value, depth: Not(mask_from_node(value, depth)),
    "shift": _shift,
}


def _atom(name: str, arguments: Any, depth: int) -> Mask:
    if name not in ATOMS:
        _refuse(f"there is no mask {shown(name)}", f"the masks are {', '.join(ATOMS)}")
    if not isinstance(arguments, dict):
        _refuse(f"{name} has {shown(arguments)}", "give an object of its arguments")
    given = {key: _value(value, depth) for key, value in cast(dict[str, Any], arguments).items()}
    try:
        inspect.signature(ATOMS[name]).bind(**given)
    except TypeError as error:
        _refuse(f"{name}: {error}", f"its arguments are {', '.join(inspect.signature(ATOMS[name]).parameters)}")
    return ATOMS[name](**given)


def _value(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        packed = cast(dict[str, Any], value)
        is_mask = len(packed) == 1 and {*ATOMS, *OPERATORS}.issuperset(packed)
        return mask_from_node(packed, depth) if is_mask else _bools(packed)
    items = cast(list[Any], value) if isinstance(value, list) else []
    if items and all(isinstance(item, dict) for item in items):
        return [mask_from_node(item, depth) for item in items]
    return cast(Any, value)


def _bools(packed: dict[str, Any]) -> BoolArray:
    given = packed.get("shape")
    shape = cast(list[Any], given)[: MOST_AXES + 1] if isinstance(given, list) else [-1]
    if (
        set(packed) != {"bits", "shape"}
        or len(shape) > MOST_AXES
        or not all(type(size) is int and 0 <= size <= LARGEST for size in shape)
    ):
        _refuse(f"{shown(packed)} is no array", 'give {"bits": base64, "shape": [...]}')
    size = math.prod(shape)
    try:
        raw = base64.b64decode(packed["bits"], validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        _refuse(f"bits is no base64: {error}", "give what to_json wrote")
    if len(raw) != -(-size // 8):
        _refuse(f"bits holds {len(raw)} bytes for {size} bools", "give what to_json wrote")
    return np.unpackbits(np.frombuffer(raw, dtype=np.uint8), count=size).astype(bool).reshape(tuple(shape))


def _object_from_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; Python would keep the last of several values of one name."""
    made = dict(pairs)
    if len(made) < len(pairs):
        name = next(name for place, (name, _) in enumerate(pairs) if name in dict(pairs[:place]))
        raise ValueError(f"{shown(name)} is given twice")
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _refuse(what: str, fix: str) -> NoReturn:
    raise ArgumentError(what, where=WHERE, fix=fix)
