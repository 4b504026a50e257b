"""Weights of tokens, and models that accept them."""
