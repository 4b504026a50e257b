"""Probes of padding: leaks, pooled outputs, losses, gradients, types of masks."""
