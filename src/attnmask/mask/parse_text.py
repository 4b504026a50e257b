"""Read a mask expression from text, as ``repr`` prints it, without ever running the text as Python."""

from __future__ import annotations

import ast
import difflib
import inspect
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from attnmask.calls import public
from attnmask.errors import ExpressionError
from attnmask.mask.arguments import shown
from attnmask.mask.atoms import ATOMS
from attnmask.mask.expression import DEEPEST, Mask

LONGEST = 20_000
CARET_WIDTH = 70
NO_WORDS = "masks are not combined with and / or / not"
EXAMPLE = "causal() & window(left=3, right=0)"
OPERATORS: dict[type[ast.operator], Callable[[Mask, Mask], Mask]] = {
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.Sub: operator.sub,
}


@public
def mask_from_text(text: str) -> Mask:
    """Read a mask expression.

    The text may hold atoms with literal arguments, the operators ``& | ~ - ^``, ``.shift(n)`` and
    parentheses. ``mask_from_text(repr(mask)) == mask``, unless an array in it is too large to be printed.

    Args:
        text: the expression, at most 20,000 characters and 100 levels deep.

    Returns:
        A mask.

    Raises:
        ExpressionError: the text is no mask expression; shows the place.
        ArgumentError: an atom refuses its arguments.

    >>> mask_from_text("causal() & ~window(left=3, right=0).shift(-1)")
    causal() & ~window(left=3, right=0).shift(-1)
    >>> mask_from_text("causal() and full()")
    Traceback (most recent call last):
    attnmask.errors.ExpressionError: masks are not combined with and / or / not
      where: causal() and full()
                      ^
      to do: write & for and, | for or
    """
    if not isinstance(text, str):
        raise ExpressionError(f"the expression is of type {type(text).__name__}", fix=f"give text, such as {EXAMPLE!r}")
    text = "\n".join(text.strip().splitlines())  # a carriage return ends a line for Python too
    if not text:
        raise ExpressionError("the expression is empty", fix=f"write, for example, {EXAMPLE}")
    if len(text) > LONGEST:
        raise ExpressionError(
            f"the expression has {len(text)} characters",
            fix=f"stay below {LONGEST:,}, or build the mask in Python",
        )
    try:
        return _Reader(text).mask(_syntax_tree(text), 0)
    except RecursionError:
        raise _too_deep() from None


def _syntax_tree(text: str) -> ast.expr:
    cut = re.search(r"<\w+ array \(", text)
    if cut:
        _refuse(
            text,
            cut.start(),
            "the values of this array were left out when the mask was printed",
            "write the values out, or pickle the mask instead of printing it",
        )
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        line = text.split("\n")[(error.lineno or 1) - 1]
        column = error.offset - 1 if error.offset else len(line)  # 0 stands for the end of the text
        _refuse(line, column, f"this is no expression: {error.msg}", f"write, for example, {EXAMPLE}")
    except (RecursionError, MemoryError):
        raise _too_deep() from None
    except ValueError as error:  # a null character, or half of a surrogate pair
        raise ExpressionError(f"this is no text of an expression: {error}") from None


class _Reader:
    """Walks a syntax tree; keeps the text to show where something is wrong."""

    def __init__(self, text: str) -> None:
        self.text = text

    def mask(self, node: ast.expr, depth: int) -> Mask:
        if depth > DEEPEST:
            raise _too_deep()
        match node:
            case ast.BinOp():
                return self.combination(node, depth)
            case ast.UnaryOp(op=ast.Invert()):
                return ~self.mask(node.operand, depth + 1)
            case ast.Call(func=ast.Name() as name):
                return self.atom(node, name, depth)
            case ast.Call(func=ast.Attribute(value=inner, attr="shift")):
                mask = self.mask(inner, depth + 1)
                return self.call(node, mask.shift, "shift", depth)
            case ast.BoolOp(values=[first, *_]):
                self.refuse_after(first, NO_WORDS, "write & for and, | for or")
            case ast.Compare(left=left):
                self.refuse_after(left, "masks are not compared here", "compare plans, in Python")
            case _:
                self.refuse(node, *_what_and_fix(node))

    def combination(self, node: ast.BinOp, depth: int) -> Mask:
        # `a & b & c & ...` is one flat mask: it is read in a loop, however many terms it has.
        steps = [node]
        while isinstance(node.left, ast.BinOp) and _is_flat(node) and _is_flat(node.left):
            node = node.left
            steps.append(node)
        mask = self.mask(node.left, depth + 1)
        for step in reversed(steps):
            combine = OPERATORS.get(type(step.op))
            if combine is None:
                self.refuse_after(step.left, "masks have no such operator", "combine them with & | ~ - ^")
            mask = combine(mask, self.mask(step.right, depth + 1))
        return mask

    def atom(self, node: ast.Call, name: ast.Name, depth: int) -> Mask:
        if name.id not in ATOMS:
            self.refuse(name, f"there is no mask {shown(name.id)}", _nearest(name.id, "masks", ATOMS))
        return self.call(node, ATOMS[name.id], name.id, depth)

    def call(self, node: ast.Call, function: Callable[..., Mask], name: str, depth: int) -> Mask:
        parameters = inspect.signature(function).parameters
        positional = [self.value(argument, depth + 1) for argument in node.args]
        keywords: dict[str, Any] = {}
        for keyword in node.keywords:
            argument = keyword.arg or "**"
            if argument not in parameters:
                self.refuse(
                    keyword,
                    f"{name} has no argument {shown(argument)}",
                    _nearest(argument, "arguments", parameters),
                )
            if argument in keywords:
                self.refuse(keyword, f"{argument} is given twice", "give each argument once")
            keywords[argument] = self.value(keyword.value, depth + 1)
        try:
            inspect.signature(function).bind(*positional, **keywords)
        except TypeError as error:
            self.refuse(node, f"{name}: {error}", _nearest("", "arguments", parameters))
        return function(*positional, **keywords)

    def value(self, node: ast.expr, depth: int) -> Any:
        if depth > DEEPEST:
            raise _too_deep()
        match node:
            case ast.Constant(value=bool() | int() | str() | None as value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)):
                return -value
            case ast.List(elts=items):
                return [self.value(item, depth + 1) for item in items]
            case ast.Tuple(elts=items):
                return tuple(self.value(item, depth + 1) for item in items)
            case ast.BinOp(left=ast.Constant() | ast.List() | ast.Tuple()):
                self.refuse(node, "nothing is computed here", "write the value out")
            case ast.Call() | ast.BinOp() | ast.UnaryOp(op=ast.Invert()):
                return self.mask(node, depth)
            case _:
                self.refuse(node, "this is no argument of a mask", "give whole numbers, None, strings or lists")

    def refuse(self, node: ast.expr | ast.keyword, what: str, fix: str) -> NoReturn:
        self._refuse_at(node.lineno, node.col_offset, what, fix)

    def refuse_after(self, node: ast.expr, what: str, fix: str) -> NoReturn:
        """Refuse the operator that follows an operand, whose own place a syntax tree does not keep."""
        self._refuse_at(node.end_lineno or 1, node.end_col_offset or 0, what, fix, skip=" )")

    def _refuse_at(self, lineno: int, byte: int, what: str, fix: str, skip: str = "") -> NoReturn:
        line = self.text.split("\n")[lineno - 1]
        column = len(line.encode()[:byte].decode())
        while skip and line[column : column + 1] in set(skip):
            column += 1
        _refuse(line, column, what, fix)


def _is_flat(node: ast.BinOp) -> bool:
    return isinstance(node.op, ast.BitAnd | ast.BitOr | ast.Sub)


def _what_and_fix(node: ast.expr) -> tuple[str, str]:
    """What a piece of Python is that is no mask, and what to write instead."""
    match node:
        case ast.Name(id=name) if name in ATOMS:
            return f"{name} is not called", f"write {name}(...)"
        case ast.Name(id=name):
            return f"there is no mask {shown(name)}", _nearest(name, "masks", ATOMS)
        case ast.UnaryOp(op=ast.Not()):
            return NO_WORDS, "write ~ for not"
        case ast.UnaryOp():
            return "masks have no such sign", "write ~mask for its complement"
        case ast.Attribute() | ast.Call(func=ast.Attribute()):
            return "masks have no method but shift", "write mask.shift(n), and causal() without a module"
        case _:
            return "this is no mask", f"write, for example, {EXAMPLE}"


def _nearest(name: str, kind: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"the {kind} are {', '.join(names) or 'none'}"


def _too_deep() -> ExpressionError:
    return ExpressionError("the expression is nested too deeply", fix=f"stay below {DEEPEST} levels")


def _refuse(line: str, column: int, what: str, fix: str) -> NoReturn:
    """Raise with the line, cut to what fits, and a caret under the column."""
    first = max(0, min(column - CARET_WIDTH // 2, len(line) - CARET_WIDTH))
    shown = line[first : first + CARET_WIDTH]
    raise ExpressionError(what, where=f"{shown}\n{' ' * (9 + column - first)}^", fix=fix) from None
