"""Text to mask: it reads what masks print, and shows the place of what it cannot read."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnmask as am
from attnmask.errors import ArgumentError, AttnMaskError, ExpressionError
from attnmask.mask.atoms import ATOMS
from attnmask.mask.domain import Domain
from attnmask.mask.parse_text import DEEPEST, LONGEST, mask_from_text
from tests.strategies import cases

MASKS = ", ".join(ATOMS)


@settings(max_examples=600, deadline=None)
@given(cases())
def test_a_mask_is_read_back_from_what_it_prints(case: tuple[Domain, am.Mask]) -> None:
    _, mask = case
    if "predicate(" in repr(mask):
        with pytest.raises(ExpressionError):
            mask_from_text(repr(mask))
        return
    if "<" in repr(mask):
        with pytest.raises(ExpressionError, match="the values of this array were left out"):
            mask_from_text(repr(mask))
        return
    assert mask_from_text(repr(mask)) == mask


@pytest.mark.parametrize("operator", ["&", "|", "-"])
def test_a_flat_chain_is_read_however_long_it_is(operator: str) -> None:
    terms = [am.window(left=n, right=0) for n in range(500)]
    mask = {"&": am.full(), "|": am.empty(), "-": am.causal()}[operator]
    for term in terms:
        mask = {"&": lambda a, b: a & b, "|": lambda a, b: a | b, "-": lambda a, b: a - b}[operator](mask, term)
    assert mask_from_text(repr(mask)) == mask
    assert mask_from_text(repr(mask).replace("& ~", "- ")) == mask


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("causal()", am.causal()),
        ("  causal( )\n", am.causal()),
        ("window(3, 0)", am.window(left=3, right=0)),
        ("window(3, right=None)", am.window(left=3, right=None)),
        ("prefix(2)", am.prefix(2)),
        ("prefix((2, 3))", am.prefix([2, 3])),
        ("documents(lengths=[[1], [1, 2]])", am.documents(lengths=[[1], [1, 2]])),
        ("dense([[True, False]])", am.dense([[1, 0]])),
        ("padding(ids=[[0, 5]], pad_id=0, side='left')", am.padding(ids=[[0, 5]], pad_id=0, side="left")),
        ("documents(ids=[0, -1])", am.documents(ids=[0, -1])),
        ("causal().shift(-1)", am.causal().shift(-1)),
        ("causal().shift(n=2)", am.causal().shift(2)),
        ("(causal()\n & full())", am.causal() & am.full()),
    ],
)
def test_text_is_read_as_python_would_read_it(text: str, mask: am.Mask) -> None:
    assert mask_from_text(text) == mask


a, b, c, d = am.causal(), am.full(), am.empty(), am.prefix(1)


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("~a & b", (~a) & b),
        ("~a.shift(1)", ~(a.shift(1))),
        ("a - b & c", (a - b) & c),
        ("a & b - c", a & (b - c)),
        ("a & b ^ c", (a & b) ^ c),
        ("a ^ b & c", a ^ (b & c)),
        ("a | b ^ c", a | (b ^ c)),
        ("a ^ b | c", (a ^ b) | c),
        ("a - b - c", (a - b) - c),
        ("a - (b - c)", a - (b - c)),
        ("a | b & c - d", a | (b & (c - d))),
        ("a - b & c ^ d | a", (((a - b) & c) ^ d) | a),
    ],
)
def test_operators_bind_as_in_python(text: str, mask: am.Mask) -> None:
    atoms = {"a": a, "b": b, "c": c, "d": d}
    written = re.sub(r"\b[abcd]\b", lambda name: repr(atoms[name[0]]), text)
    assert mask_from_text(written) == mask


ERRORS: dict[str, str] = {
    "": "the expression is empty\n  to do: write, for example, causal() & window(left=3, right=0)",
    "causal() & windw(left=3, right=0)": (
        "there is no mask 'windw'\n"
        "  where: causal() & windw(left=3, right=0)\n"
        "                    ^\n"
        f"  to do: did you mean window? the masks are {MASKS}"
    ),
    "é": f"there is no mask 'é'\n  where: é\n         ^\n  to do: the masks are {MASKS}",
    "padding(side='é', of=x)": (
        "this is no argument of a mask\n"
        "  where: padding(side='é', of=x)\n"
        "                              ^\n"
        "  to do: give whole numbers, None, strings or lists"
    ),
    "causal": "causal is not called\n  where: causal\n         ^\n  to do: write causal(...)",
    "am.causal()": (
        "masks have no method but shift\n"
        "  where: am.causal()\n"
        "         ^\n"
        "  to do: write mask.shift(n), and causal() without a module"
    ),
    "full().__class__": (
        "masks have no method but shift\n"
        "  where: full().__class__\n"
        "         ^\n"
        "  to do: write mask.shift(n), and causal() without a module"
    ),
    "(causal()) and full()": (
        "masks are not combined with and / or / not\n"
        "  where: (causal()) and full()\n"
        "                    ^\n"
        "  to do: write & for and, | for or"
    ),
    "full() & (not causal())": (
        "masks are not combined with and / or / not\n"
        "  where: full() & (not causal())\n"
        "                   ^\n"
        "  to do: write ~ for not"
    ),
    "causal() == full()": (
        "masks are not compared here\n"
        "  where: causal() == full()\n"
        "                  ^\n"
        "  to do: compare plans, in Python"
    ),
    "causal() & full() + empty()": (
        "masks have no such operator\n"
        "  where: causal() & full() + empty()\n"
        "                           ^\n"
        "  to do: combine them with & | ~ - ^"
    ),
    "-causal()": ("masks have no such sign\n  where: -causal()\n         ^\n  to do: write ~mask for its complement"),
    "(causal() & full()": (
        "this is no expression: '(' was never closed\n"
        "  where: (causal() & full()\n"
        "         ^\n"
        "  to do: write, for example, causal() & window(left=3, right=0)"
    ),
    "causal() &": (
        "this is no expression: invalid syntax\n"
        "  where: causal() &\n"
        "                   ^\n"
        "  to do: write, for example, causal() & window(left=3, right=0)"
    ),
    "full() &\ncausal()": (
        "this is no expression: invalid syntax\n"
        "  where: full() &\n"
        "                 ^\n"
        "  to do: write, for example, causal() & window(left=3, right=0)"
    ),
    "(full() &\n casual())": (
        "there is no mask 'casual'\n"
        "  where:  casual())\n"
        "          ^\n"
        f"  to do: did you mean causal? the masks are {MASKS}"
    ),
    "documents(lengths=[2] * 3)": (
        "nothing is computed here\n"
        "  where: documents(lengths=[2] * 3)\n"
        "                           ^\n"
        "  to do: write the value out"
    ),
    "window(3)": (
        "window: missing a required argument: 'right'\n"
        "  where: window(3)\n"
        "         ^\n"
        "  to do: the arguments are left, right"
    ),
    "window(left=3, rihgt=0)": (
        "window has no argument 'rihgt'\n"
        "  where: window(left=3, rihgt=0)\n"
        "                        ^\n"
        "  to do: did you mean right? the arguments are left, right"
    ),
    "window(left=3, left=2, right=0)": (
        "left is given twice\n"
        "  where: window(left=3, left=2, right=0)\n"
        "                        ^\n"
        "  to do: give each argument once"
    ),
    "window(**{})": (
        "window has no argument '**'\n  where: window(**{})\n                ^\n  to do: the arguments are left, right"
    ),
    "causal(1)": (
        "causal: too many positional arguments\n  where: causal(1)\n         ^\n  to do: the arguments are none"
    ),
    "prefix(*[1])": (
        "this is no argument of a mask\n"
        "  where: prefix(*[1])\n"
        "                ^\n"
        "  to do: give whole numbers, None, strings or lists"
    ),
    "window(left=0.5, right=0)": (
        "this is no argument of a mask\n"
        "  where: window(left=0.5, right=0)\n"
        "                     ^\n"
        "  to do: give whole numbers, None, strings or lists"
    ),
    "prefix(9**9**9)": (
        "nothing is computed here\n  where: prefix(9**9**9)\n                ^\n  to do: write the value out"
    ),
    "[causal() for x in y]": (
        "this is no mask\n"
        "  where: [causal() for x in y]\n"
        "         ^\n"
        "  to do: write, for example, causal() & window(left=3, right=0)"
    ),
    "documents(ids=<int64 array (1, 65) 0a1b2c3d>)": (
        "the values of this array were left out when the mask was printed\n"
        "  where: documents(ids=<int64 array (1, 65) 0a1b2c3d>)\n"
        "                       ^\n"
        "  to do: write the values out, or pickle the mask instead of printing it"
    ),
    "causal() & " * 20 + "nope() & full()": (
        "there is no mask 'nope'\n"
        "  where: causal() & causal() & causal() & causal() & causal() & nope() & full()\n"
        "                                                                ^\n"
        f"  to do: the masks are {MASKS}"
    ),
}


@pytest.mark.parametrize(("text", "error"), ERRORS.items(), ids=[text[:30] or "empty" for text in ERRORS])
def test_what_cannot_be_read_is_shown_with_its_place(text: str, error: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        mask_from_text(text)
    assert str(caught.value) == error


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('x')",
        "(lambda: full())()",
        "causal() if full() else empty()",
        "(x := causal())",
        "{causal()}",
        "f'{causal()}'",
        "causal(), full()",
        "causal()[0]",
        "x = causal()",
        "causal(); full()",
        "await causal()",
        "...",
        "1",
        "'causal()'",
        "prefix(b'1')",
        "prefix({1: 2})",
        "prefix(--1)",
        "full(\0)",
        "full(\ud800)",
        "window(left=" + "9" * 5000 + ", right=0)",
    ],
    ids=lambda text: ascii(text[:30]),
)
def test_other_python_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        mask_from_text(text)


@pytest.mark.parametrize("value", [None, 3, am.causal(), b"causal()"], ids=lambda value: type(value).__name__)
def test_only_text_is_read(value: object) -> None:
    with pytest.raises(ExpressionError, match=f"the expression is of type {type(value).__name__}"):
        mask_from_text(value)  # type: ignore[arg-type]


def test_an_argument_that_the_atom_refuses_gets_the_atoms_own_error() -> None:
    with pytest.raises(ArgumentError, match="left is -1"):
        mask_from_text("window(left=-1, right=0)")


DEEP = {
    "not": lambda n: "~" * n + "full()",
    "parentheses": lambda n: "~(" * n + "full()" + ")" * n,
    "shift": lambda n: "full()" + ".shift(1)" * n,
    "xor": lambda n: "full()" + " ^ full()" * n,
    "alternating": lambda n: "full()" + " & full() ^ full()" * n,
    "list": lambda n: "prefix(" + "[" * n + "]" * n + ")",
}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("levels", [DEEPEST + 5, 190, 1000])
def test_deep_nesting_is_refused_and_not_run_into(kind: str, levels: int) -> None:
    text = DEEP[kind](levels)[:LONGEST]
    limit = sys.getrecursionlimit()
    with pytest.raises(ExpressionError):
        mask_from_text(text)
    assert sys.getrecursionlimit() == limit


@pytest.mark.parametrize("kind", ["not", "parentheses", "shift", "xor"])
def test_what_nests_less_deeply_is_read_and_usable(kind: str) -> None:
    mask = mask_from_text(DEEP[kind](DEEPEST - 10))
    assert mask_from_text(repr(mask)) == mask
    assert am.compile(mask, q=2).shape == (1, 1, 2, 2)


def test_long_text_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(ExpressionError) as error:
        mask_from_text(" | ".join(["full()"] * 3000))
    assert str(error.value) == (
        "the expression has 26997 characters\n  to do: stay below 20,000, or build the mask in Python"
    )


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet="causlwindo(),=&|~-^ .shift[]0123'", max_size=40) | st.text(max_size=20))
def test_any_text_is_a_mask_or_an_error_of_ours(text: str) -> None:
    try:
        mask = mask_from_text(text)
    except AttnMaskError:
        return
    assert isinstance(mask, am.Mask)


def test_reading_allocates_nothing_that_the_text_does_not_hold() -> None:
    mask = mask_from_text("prefix(lengths=[2147483647])")
    assert mask == am.prefix(np.array([2147483647]))
