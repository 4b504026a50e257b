"""Stage 4, run: Plan + q, k, v -> output, forward and backward."""

from attnmask.execute.entry import attention as attention
