"""One prompt with several answers, which attend to the prompt and not to each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnmask.calls import public
from attnmask.conventions import IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import lengths_per_item
from attnmask.mask.atoms.positions.prefixes import prefix
from attnmask.mask.atoms.tokens.packed_documents import documents
from attnmask.mask.expression import Mask
from attnmask.mask.frozen_array import is_ragged


@public
def shared_prefix(
    prompt: int | Sequence[int] | IntArray, answers: Sequence[int] | Sequence[Sequence[int]] | IntArray
) -> Mask:
    """Answers see the prompt and themselves; attends iff k < prompt[b], or q and k are in the same answer.

    The prompt stands first, the answers follow it. What comes after the last answer sees nothing and is not seen.
    Decoding is ``causal() & shared_prefix(...)``. It is a combination of ``prefix`` and ``documents``.

    Args:
        prompt: tokens of the prompt, one number or shape (B,).
        answers: tokens of each answer, shape (answers,) or one such list per batch item.

    Returns:
        A mask.

    Raises:
        ArgumentError: lengths that are negative or no whole numbers, or prompts and answers of different batches.

    Source: Juravsky et al. 2024, "Hydragen: High-Throughput LLM Inference with Shared Prefixes".

    >>> from attnmask.mask.atoms import causal
    >>> from attnmask.mask.reference import grid
    >>> print(grid(causal() & shared_prefix(prompt=2, answers=[1, 2]), q=6))
    1 0 0 0 0 0
    1 1 0 0 0 0
    1 1 1 0 0 0
    1 1 0 1 0 0
    1 1 0 1 1 0
    0 0 0 0 0 0
    """
    prompts = lengths_per_item(prompt, "prompt", "shared_prefix").values
    items = list(answers) if is_ragged(answers) else [answers]
    if not items or (1 not in (len(prompts), len(items)) and len(prompts) != len(items)):
        what = f"{len(prompts)} prompts, {len(items)} lists of answers"
        raise ArgumentError(what, where="shared_prefix", fix="give one of each per batch item")
    own = [lengths_per_item(item, "answers", "shared_prefix").values for item in items]
    count = max(len(prompts), len(own))
    rows = [np.append(prompts[b % len(prompts)], own[b % len(own)]) for b in range(count)]
    inside = documents(lengths=[[int(row.sum())] for row in rows])
    return documents(lengths=[row.tolist() for row in rows]) | (prefix(prompts) & inside)
