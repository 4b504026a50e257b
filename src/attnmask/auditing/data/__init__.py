"""What a model is fed and how it is scored: collators and metrics."""
