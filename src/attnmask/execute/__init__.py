"""Stage 4, run: Plan + q, k, v -> output, forward and backward."""

from attnmask.execute.attention import attention as attention
