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
LOW = {"calls", "conventions", "errors", "escapes", "format_names", "registered"}
ALLOWED: dict[str, set[str]] = {
    "conventions": set(),
    "errors": set(),
    "escapes": set(),
    "calls": {"errors"},
    "format_names": set(),
    "registered": set(),
    "mask": LOW,
    "compiler": LOW | {"mask"},
    "formats": LOW | {"mask", "compiler"},
    "execute": LOW | {"mask", "compiler", "formats"},
    "timing": LOW | {"mask", "compiler", "formats", "execute", "files"},
    "hf": LOW | {"mask", "compiler", "formats", "execute"},
    "files": LOW,
    "drawing": LOW | {"mask", "compiler", "files"},
    "auditing": LOW | {"mask", "compiler", "formats", "execute", "hf", "files"},
    "__init__": LOW | {"mask", "compiler", "formats", "execute", "hf", "auditing"},
    "cli": LOW | {"mask", "compiler", "formats", "execute", "hf", "files", "drawing", "timing", "auditing"},
    "__main__": {"cli"},
}
FREE_OF_FRAMEWORKS = LOW | {"mask", "compiler", "files", "drawing", "__init__"}


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
            if target not in ALLOWED[folder] | {folder}:
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
        (
            "mask/expression.py",
            "from attnmask.compiler.runs import Runs",
            "mask/expression.py imports attnmask.compiler.runs",
        ),
        ("mask/expression.py", "import attnmask.compiler", "mask/expression.py imports attnmask.compiler"),
        ("mask/expression.py", "from attnmask import compiler", "mask/expression.py imports attnmask.compiler"),
        (
            "mask/expression.py",
            "def f():\n    import attnmask.compiler",
            "mask/expression.py imports attnmask.compiler",
        ),
        ("mask/expression.py", "if TYPE_CHECKING:\n    import attnmask.hf", "mask/expression.py imports attnmask.hf"),
        ("mask/expression.py", "import_module('attnmask.hf')", "mask/expression.py imports attnmask.hf"),
        ("mask/expression.py", "from ..compiler import runs", "mask/expression.py imports attnmask.relative"),
        (
            "compiler/plan.py",
            "def f():\n    from attnmask.formats import lower",
            "compiler/plan.py imports attnmask.formats",
        ),
        ("compiler/runs.py", "def f():\n    import attnmask.formats", "compiler/runs.py imports attnmask.formats"),
        ("hf/encode.py", "from attnmask.cli import app", "hf/encode.py imports attnmask.cli"),
        ("__init__.py", "from attnmask.drawing import text", "__init__.py imports attnmask.drawing"),
        ("mask/expression.py", "import torch", "mask/expression.py imports torch at its top"),
        (
            "drawing/figure.py",
            "class A:\n    import matplotlib.cm",
            "drawing/figure.py imports matplotlib.cm at its top",
        ),
        (
            "drawing/text_grid.py",
            "try:\n    import rich\nexcept E: ...",
            "drawing/text_grid.py imports rich at its top",
        ),
    ],
)
def test_the_fence_sees_a_forbidden_import(file: str, code: str, expected: str) -> None:
    assert violations(file, code) == [expected]


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("compiler/plan.py", "from attnmask.mask.expression import Mask\nimport numpy\nimport math"),
        ("drawing/figure.py", "def f():\n    import matplotlib"),
        ("drawing/figure.py", "if TYPE_CHECKING:\n    import matplotlib"),
        ("mask/atoms/positions/causality.py", "from attnmask.mask.expression import Atom"),
    ],
)
def test_the_fence_lets_pass_what_is_allowed(file: str, code: str) -> None:
    assert violations(file, code) == []


MODULES = {
    ".".join(("attnmask", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}


def modules_imported_by(module: str) -> set[str]:
    """The modules of the package that a file names, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        match node:
            case ast.ImportFrom(module=str(package), names=names):
                found |= {f"{package}.{alias.name}" for alias in names} & set(MODULES) or {package} & set(MODULES)
            case ast.Import(names=names):
                found |= {alias.name for alias in names} & set(MODULES)
            case ast.Constant(value=str(text)):
                found |= {text} & set(MODULES)
    return found - {module, "attnmask"}


def test_no_files_import_each_other_in_a_circle() -> None:
    left = {module: modules_imported_by(module) for module in MODULES}
    while free := {module for module, below in left.items() if not below & set(left)}:
        left = {module: below for module, below in left.items() if module not in free}
    assert sorted(left) == []


def test_no_module_bears_the_name_of_a_public_function() -> None:
    public = {*attnmask.__all__, *attnmask.hf.__all__} - {"hf"}
    assert {module.rpartition(".")[2] for module in MODULES} & public == set()


def test_a_basename_stands_once() -> None:
    names = [module.rpartition(".")[2] for module, path in MODULES.items() if path.name != "__init__.py"]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_a_folder_holds_at_most_twelve_files() -> None:
    folders = {path.parent for path in SOURCE.rglob("*.py")}
    sizes = {
        str(folder.relative_to(SOURCE)): len([*folder.glob("*.[ph]*"), *folder.glob("*.cpp")]) for folder in folders
    }
    assert {name: size for name, size in sizes.items() if size > 12} == {}


def test_a_file_has_at_most_400_lines() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_every_module_is_imported_by_its_dotted_path() -> None:
    checks = [f"import {module} as m; assert m.__name__ == {module!r}" for module in MODULES]
    assert run_python("\n".join(checks)) == ""


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("module", ["attnmask", "attnmask.drawing", "attnmask.files"])
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
