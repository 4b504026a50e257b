"""Attention inside ``torch.compile``: a graph ends before it and goes on after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

from attnmask.execute.dispatch import attend

# A module of its own, for naming this loads the compiler, which takes more than a second.
attend_between_graphs: Callable[..., Any] = cast(Any, torch.compiler.disable)(attend)
