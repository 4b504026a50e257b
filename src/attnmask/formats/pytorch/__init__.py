"""Formats of PyTorch: scaled_dot_product_attention, MultiheadAttention, TransformerEncoder, FlexAttention."""
