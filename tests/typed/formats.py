"""What a type checker knows of formats: ``make check`` reads this file, and nothing runs it."""

from __future__ import annotations

from typing import Any, assert_type

from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

import attnmask as am
from attnmask.conventions import BoolArray

plan = am.compile(am.causal(), q=4)
assert_type(plan.to("sdpa"), dict[str, Any])
assert_type(plan.to("additive", dtype="bfloat16"), Tensor)
assert_type(plan.to("flex", block_size=128), BlockMask)
assert_type(plan.to("dense"), BoolArray)
assert_type(am.lift("hf_2d", [[1, 1, 0]]), am.Plan)
# Unless each of these is an error, the comment on its line is one.
plan.to("sdap")  # pyright: ignore[reportCallIssue, reportArgumentType]
am.lift("hf2d", [[1, 1, 0]])  # pyright: ignore[reportArgumentType]
