"""Every architecture of transformers under attn_implementation="attnmask", against eager attention.

``python -m studies.architectures`` writes docs/architectures.md; it takes some minutes on two cores.
"""

from __future__ import annotations

import argparse
import copy
import inspect
import re
import signal
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.progress import track
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

import attnmask as am
import attnmask.hf.implementation.interface
import attnmask.hf.implementation.mpnet
from attnmask.errors import UnsupportedModelError
from attnmask.hf.implementation.interface import mask_for_call
from attnmask.hf.models.tiny_models import tiny_inputs, tiny_model

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
SECONDS = 60
LENGTHS = (20, 13)
# Above this something is wrong; equal computations in another order stay far below.
TOLERANCE = 1e-4
HEAD = """# Architectures of transformers under `attn_implementation="attnmask"`

Written by `python -m studies.architectures` with transformers {transformers} and torch {torch}: {exact} of {all} model
types agree with eager attention. Each is made tiny from its own config with large random weights, and run on two
texts of 20 and 13 tokens (or on pictures) in float32. The numbers are the largest difference to eager attention at
real tokens, relative to the largest output: padded on the right, padded on the left, and the largest difference of
the gradients of all parameters, relative to the largest gradient. "Calls" counts the attention layers that ran.

| model type | calls | right | left | gradients |
|---|---|---|---|---|
"""
REST = """
## Not covered, and why

| model type | why |
|---|---|
"""


@dataclass(frozen=True)
class Row:
    """What was found of one model type: differences, or why there are none."""

    name: str
    calls: int = 0
    right: float = 0.0
    left: float = 0.0
    grads: float = 0.0
    why: str = ""


def compared(name: str) -> Row:
    """Run one model type under both implementations."""
    with quiet_for(SECONDS):
        return _row(name)


@contextmanager
def quiet_for(seconds: int) -> Generator[None]:
    """One thread, no warnings, and a TimeoutError after so many seconds."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _too_slow)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _row(name: str) -> Row:
    try:
        return compared_in(name)
    except UnsupportedModelError as error:
        return Row(name, why=f"refused: {error.what}")
    except Exception as error:  # whatever a model's own code raises on a config that is not its usual one
        return Row(name, why=f"its tiny copy does not run: {type(error).__name__}: {first_line(error)}")


def _too_slow(*_: Any) -> None:
    raise TimeoutError("out of time")


def first_line(error: Exception) -> str:
    line = next(iter(str(error).strip().splitlines()), "")
    return re.sub(r"(/[\w.-]+)+/", "", line).replace("|", "/")[:140]


def compared_in(
    name: str,
    changes: Mapping[str, Any] | None = None,
    lengths: Sequence[int] = LENGTHS,
    dtype: torch.dtype = torch.float32,
) -> Row:
    """The differences between both implementations.

    Args:
        name: model type. changes: to its config, as ``tiny_config`` takes them. lengths: tokens of the texts.
        dtype: of weights and inputs.
    """
    eager = tiny_model(name, changes=changes).to(dtype)
    eager.set_attn_implementation("eager")
    right, left = (first_that_runs(eager, side, lengths) for side in ("right", "left"))
    first, again = (_hidden(eager, right) for _ in range(2))
    if not bool(torch.isfinite(first).all()):
        return Row(name, why="eager attention gives no finite numbers on its tiny copy")
    if not first.any():
        return Row(name, why="its tiny copy gives nothing but zeros")
    if not torch.equal(first, again):
        return Row(name, why="two runs of eager attention differ")
    # What a pooler reads of a text padded on the left may be a pad, whose row is nobody's.
    with torch.no_grad():
        pooled = getattr(eager(**right), "last_hidden_state", None) is None
    batches = (right, right if pooled else left)
    calls = _count_calls()
    ours = _made_under_attnmask(eager)
    sides = [_difference(_hidden(ours, inputs), _hidden(eager, inputs)) for inputs in batches]
    if not calls:
        same = "runs as under eager" if not max(sides) > 0 else f"and differs from eager by {max(sides):.1e}"
        return Row(name, why=f"asks no AttentionInterface: {same}")
    used = len(calls) // (2 if "attention_mask" in right else 1)
    return Row(name, used, *sides, _difference(_gradients(ours, right), _gradients(eager, right)))


def _made_under_attnmask(model: PreTrainedModel) -> PreTrainedModel:
    """The same model, of which the string was said when it was made."""
    config = copy.deepcopy(model.config)
    made = type(model)._from_config(config, attn_implementation="attnmask").eval()  # pyright: ignore
    made.load_state_dict(model.state_dict())
    return made.to(model.dtype)


def first_that_runs(model: PreTrainedModel, side: str, lengths: Sequence[int]) -> dict[str, Tensor]:
    """The first batch of ``tiny_inputs`` that a model takes."""
    errors: list[Exception] = []
    for inputs in tiny_inputs(model, lengths, side):
        try:
            _hidden(model, _in_dtype_of(model, inputs))
        except TimeoutError:
            raise
        except Exception as error:  # whatever the model says of inputs that are not its own
            errors.append(error)
        else:
            return _in_dtype_of(model, inputs)
    names = ", ".join(list(inspect.signature(model.forward).parameters)[:3])
    raise errors[0] if errors else ValueError(f"it takes {names}")


def _in_dtype_of(model: PreTrainedModel, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.to(model.dtype) if x.is_floating_point() else x for name, x in inputs.items()}


def _count_calls() -> list[str]:
    am.hf.register()
    calls: list[str] = []

    def counted(module: Any, *args: Any, **named: Any) -> Any:
        calls.append(type(module).__name__)
        return mask_for_call(module, *args, **named)

    for user in (attnmask.hf.implementation.interface, attnmask.hf.implementation.mpnet):
        user.mask_for_call = counted
    return calls


def _output(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
    found = model(**inputs)
    hidden = getattr(found, "last_hidden_state", None)
    hidden = found[0] if hidden is None else hidden
    mask = inputs.get("attention_mask")
    fits = mask is not None and mask.shape == hidden.shape[:2] and "decoder_input_ids" not in inputs
    return hidden[mask.bool()] if fits else hidden


def _hidden(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return _output(model, inputs)


def _gradients(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
    model.zero_grad()
    out = _output(model, inputs)
    # Some norms fix the sum of squares, whose gradient is then nothing but rounding.
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out)
    (out * direction).mean().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def _difference(got: Tensor, want: Tensor) -> float:
    return float((got - want).abs().max() / want.abs().max())


def page_of(rows: Iterable[Row]) -> str:
    """The page that says what was found."""
    rows = list(rows)
    shown = [_page_row(row) for row in rows]
    exact = [line for line, covered in shown if covered]
    head = HEAD.format(transformers=transformers.__version__, torch=torch.__version__, exact=len(exact), all=len(rows))
    return head + "".join(exact) + REST + "".join(line for line, covered in shown if not covered)


def _page_row(row: Row) -> tuple[str, bool]:
    if row.why:
        return f"| {row.name} | {row.why} |\n", False
    worst = max(row.right, row.left, row.grads)
    if not worst < TOLERANCE:
        return f"| {row.name} | differs from eager attention by {worst:.1e} |\n", False
    return f"| {row.name} | {row.calls} | {row.right:.0e} | {row.left:.0e} | {row.grads:.0e} |\n", True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=sorted(MODEL_MAPPING_NAMES), help="model types; all if left out")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.processes, max_tasks_per_child=None) as pool:
        found = pool.map(compared, arguments.names)
        rows = list(track(found, total=len(arguments.names), description="architectures"))
    if arguments.names == sorted(MODEL_MAPPING_NAMES):
        PAGE.write_text(page_of(rows))
    else:
        print(page_of(rows))


if __name__ == "__main__":
    main()
