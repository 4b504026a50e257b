"""Backends for CUDA: torch's FlexAttention and its varlen kernel."""
