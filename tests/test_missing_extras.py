"""With NumPy alone: what works, and what says which extra it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
import attnmask as am
plan = am.compile(am.causal() & am.padding(lengths=[2]), q=3)
def said(call):
    try:
        call()
    except am.AttnMaskError as error:
        assert isinstance(error, am.MissingExtraError) and isinstance(error, ImportError), repr(error)
        print(error.package, error.extra, error.fix, sep="|")
    else:
        print("no error")
"""
EXTRAS = (
    "torch", "transformers", "tokenizers", "matplotlib", "typer", "rich", "pyarrow", "jax", "flax", "keras", "onnx",
    "onnxruntime", "xformers", "tokamax",
)  # fmt: skip


def run(code: str, blocked: tuple[str, ...] = EXTRAS) -> list[str]:
    """The lines that code prints where packages cannot be imported."""
    script = BLOCKER.format(blocked=blocked) + code
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


NEEDS = {
    "attention": ("am.attention(1, 2, 3, plan)", "torch"),
    "backend_for": ("plan.backend_for(None)", "torch"),
    "sdpa": ("am.compile(am.window(1, 1), q=3).to('sdpa')", "torch"),
    "flex": ("plan.to('flex')", "torch"),
    "hf_2d": ("am.compile(am.full(), q=3).to('hf_2d')", "torch"),
    "audit": ("am.audit('gpt2')", "torch"),
    "trace": ("am.trace(None, {})", "torch"),
    "audit_metric": ("am.audit_metric(len)", "torch"),
    "audit_collator": ("am.audit_collator(len, pad=0)", "torch"),
    "hf.encode": ("am.hf.encode(1, 2, ['a'])", "torch"),
    "hf.pool": ("am.hf.pool(1, 2)", "torch"),
    "hf.PackingCollator": ("am.hf.PackingCollator(1, 2)", "torch"),
    "hf.register": ("am.hf.register()", "torch"),
}


def test_each_need_is_named_with_its_install_line() -> None:
    lines = run("\n".join(f"said(lambda: {call})" for call, _ in NEEDS.values()))
    assert lines == [f'{extra}|{extra}|pip install "attnmask[{extra}]"' for _, extra in NEEDS.values()]


@pytest.mark.parametrize(("package", "extra", "call"), [
    ("transformers", "hf", "am.hf.register()"),
    ("transformers", "hf", "am.audit('gpt2')"),
])  # fmt: skip
def test_only_what_is_missing_is_named(package: str, extra: str, call: str) -> None:
    assert run(f"said(lambda: {call})", (package,))[-1] == f'{package}|{extra}|pip install "attnmask[{extra}]"'


def test_a_picture_names_what_draws_it() -> None:
    code = """
from attnmask.drawing import figure_from_plan
try:
    figure_from_plan(plan)
except am.AttnMaskError as error:
    print(error.fix.replace("'", '"'))
"""
    assert run(code, ("matplotlib",)) == ['pip install "attnmask[draw]"']


def test_what_needs_no_framework_works_without() -> None:
    code = """
assert plan.to("dense").sum() == 5 and am.lift("dense", plan.to("dense")) == plan
assert am.lift("hf_2d", [[1, 1, 0]]).pairs == 6 and "sdpa" in plan.formats()
assert plan.describe() and plan.explain(0, 0, 1, 1) and am.Plan.from_json(plan.to_json()) == plan
import attnmask.drawing; print(attnmask.drawing.text_from_plan(plan).splitlines()[0])
import pydoc; text = pydoc.plain(pydoc.render_doc(am))
assert all(f"{name}(" in text for name in ("causal", "compile", "lift", "attention", "audit")), text
assert set(am.hf.__all__) <= set(dir(am.hf)) and am.hf.TruncationWarning(1, 0, 2, 3).count == 1
"""
    assert run(code) == ["5 of 9 pairs attend (55.56%)"]


@pytest.mark.parametrize("arguments", [["draw", "causal()", "--q", "4"], ["formats", "causal()", "--q", "4"]])
def test_the_command_line_alone_draws_and_names_formats(arguments: list[str]) -> None:
    lines = run(
        f"import sys; sys.argv = ['attnmask', *{arguments!r}]\nfrom attnmask.cli import main\ntry: main()\n"
        "except SystemExit as end: assert end.code in (0, None), end.code",
        tuple({*EXTRAS} - {"typer", "rich", "pyarrow"}),
    )
    assert any("10 of 16 pairs attend" in line or "sdpa" in line for line in lines)


def test_dir_help_and_version() -> None:
    import pydoc
    from importlib.metadata import version

    import attnmask as am

    assert {"attention", "hf", "audit", "causal", "Plan", "__version__"} <= set(dir(am))
    assert "import_module" not in dir(am)
    assert am.__version__ == version("attnmask")
    assert all(getattr(am, name) is not None for name in am.__all__)
    assert all(getattr(am.hf, name) is not None for name in am.hf.__all__)
    assert set(am.hf.__all__) == set(am.hf._HOMES)
    text = pydoc.plain(pydoc.render_doc(am))
    assert all(f"    {name}(" in text for name in ("attention", "causal", "compile", "lift", "audit", "documents"))
