"""The fences between the folders: who may import whom, and what `import attnmask` costs."""

from __future__ import annotations

import ast
import re
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import attnmask

SOURCE = Path(attnmask.__file__).parent
LOW = {"calls", "conventions", "errors", "escapes"}
ALLOWED: dict[str, set[str]] = {
    "conventions": set(),
    "errors": set(),
    "escapes": set(),
    "calls": {"errors"},
    "mask": LOW,
    "compile": LOW | {"mask"},
    "targets": LOW | {"mask", "compile"},
    "execute": LOW | {"mask", "compile", "targets"},
    "bench": LOW | {"mask", "compile", "targets", "execute", "files"},
    "hf": LOW | {"mask", "compile", "targets", "execute"},
    "files": LOW,
    "draw": LOW | {"mask", "compile", "files"},
    "audit": LOW | {"mask", "compile", "targets", "execute", "hf", "files"},
    "__init__": LOW | {"mask", "compile", "targets", "execute", "hf", "audit"},
    "cli_exit": LOW,
    "cli_audit": LOW | {"mask", "audit", "files", "cli_exit"},
    "cli": LOW
    | {"mask", "compile", "targets", "execute", "hf", "files", "draw", "bench", "audit", "cli_audit", "cli_exit"},
    "__main__": {"cli"},
}
# (file, folder that it may import inside a function): plan.to(...) and plan.backend_for(...) are the ways up.
LAZY_EXCEPTIONS = {("compile/plan.py", "targets"), ("compile/plan.py", "execute")}
FREE_OF_FRAMEWORKS = {"calls", "conventions", "errors", "escapes", "mask", "compile", "files", "draw", "__init__"}


@dataclass(frozen=True)
class Import:
    """One import: the module, and whether it is at the top of a file, where importing the file runs it."""

    module: str
    at_top: bool


def imports_of(code: str) -> set[Import]:
    """Every import of a file: at the top, inside functions, under TYPE_CHECKING and by name as a string."""
    return set(_imports(ast.parse(code), at_top=True))


def _imports(node: ast.AST, at_top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import(names=names):
                yield from (Import(alias.name, at_top) for alias in names)
            case ast.ImportFrom(module="attnmask", level=0, names=names):
                yield from (Import(f"attnmask.{alias.name}", at_top) for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield Import(module, at_top)
            case ast.ImportFrom():
                yield Import("attnmask.relative", at_top)  # relative imports hide who is meant
            case ast.Constant(value=str(text)) if re.fullmatch(r"attnmask(\.\w+)+", text):
                yield Import(text, at_top=False)
            case _:
                typing_only = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from _imports(child, at_top and not inside and not typing_only)


def violations(file: str, code: str) -> list[str]:
    """What a file of the package imports and may not."""
    folder = file.split("/")[0].removesuffix(".py")
    wrong: list[str] = []
    for each in imports_of(code):
        top, _, rest = each.module.partition(".")
        target = rest.split(".")[0]
        if top == "attnmask":
            lazily_excepted = not each.at_top and (file, target) in LAZY_EXCEPTIONS
            if target not in ALLOWED[folder] | {folder} and not lazily_excepted:
                wrong.append(f"{file} imports {each.module}")
        elif each.at_top and folder in FREE_OF_FRAMEWORKS and top not in {*sys.stdlib_module_names, "numpy"}:
            wrong.append(f"{file} imports {each.module} at its top")
    return sorted(wrong)


def files() -> list[str]:
    return sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))


@pytest.mark.parametrize("file", files())
def test_a_file_imports_only_what_lies_below_it(file: str) -> None:
    assert violations(file, (SOURCE / file).read_text()) == []


def test_every_folder_has_its_place_in_the_order() -> None:
    assert {file.split("/")[0].removesuffix(".py") for file in files()} <= set(ALLOWED)


def test_the_order_has_no_cycle() -> None:
    placed: set[str] = set()
    while ready := {folder for folder, below in ALLOWED.items() if below <= placed} - placed:
        placed |= ready
    assert placed == set(ALLOWED)


@pytest.mark.parametrize(
    ("file", "code", "expected"),
    [
        ("mask/expr.py", "from attnmask.compile.runs import Runs", "mask/expr.py imports attnmask.compile.runs"),
        ("mask/expr.py", "import attnmask.compile", "mask/expr.py imports attnmask.compile"),
        ("mask/expr.py", "from attnmask import compile", "mask/expr.py imports attnmask.compile"),
        ("mask/expr.py", "def f():\n    import attnmask.compile", "mask/expr.py imports attnmask.compile"),
        ("mask/expr.py", "if TYPE_CHECKING:\n    import attnmask.hf", "mask/expr.py imports attnmask.hf"),
        ("mask/expr.py", "import_module('attnmask.hf')", "mask/expr.py imports attnmask.hf"),
        ("mask/expr.py", "from ..compile import runs", "mask/expr.py imports attnmask.relative"),
        ("compile/plan.py", "from attnmask.targets import lower", "compile/plan.py imports attnmask.targets"),
        ("compile/runs.py", "def f():\n    import attnmask.targets", "compile/runs.py imports attnmask.targets"),
        ("hf/encode.py", "from attnmask.cli import app", "hf/encode.py imports attnmask.cli"),
        ("__init__.py", "from attnmask.draw import text", "__init__.py imports attnmask.draw"),
        ("mask/expr.py", "import torch", "mask/expr.py imports torch at its top"),
        ("draw/image.py", "class A:\n    import matplotlib.cm", "draw/image.py imports matplotlib.cm at its top"),
        ("draw/text.py", "try:\n    import rich\nexcept E: ...", "draw/text.py imports rich at its top"),
    ],
)
def test_the_fence_sees_a_forbidden_import(file: str, code: str, expected: str) -> None:
    assert violations(file, code) == [expected]


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("compile/plan.py", "def f():\n    from attnmask.targets import lower"),
        ("compile/plan.py", "from attnmask.mask.expr import Mask\nimport numpy\nimport math"),
        ("draw/image.py", "def f():\n    import matplotlib"),
        ("draw/image.py", "if TYPE_CHECKING:\n    import matplotlib"),
        ("mask/atoms/causal.py", "from attnmask.mask.expr import Atom"),
    ],
)
def test_the_fence_lets_pass_what_is_allowed(file: str, code: str) -> None:
    assert violations(file, code) == []


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("module", ["attnmask", "attnmask.draw", "attnmask.files"])
def test_importing_loads_no_framework(module: str) -> None:
    loaded = run_python(f"import sys, {module}; print(*sys.modules)").split()
    assert "numpy" in loaded
    heavy = {
        "torch",
        "transformers",
        "tokenizers",
        "matplotlib",
        "rich",
        "typer",
        "pyarrow",
        "jax",
        "flax",
        "keras",
        "onnx",
    }
    assert heavy.isdisjoint(loaded)


def test_importing_takes_less_than_300_ms_more_than_importing_numpy() -> None:
    def seconds(module: str) -> float:
        # Of the processor: other tests run beside this one.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run_python(f"import {module}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # In turn, so that a busy moment of the machine slows both.
    taken = [(seconds("numpy"), seconds("attnmask")) for _ in range(7)]
    assert statistics.median(ours - bare for bare, ours in taken) < 0.3
