"""``attn_implementation="attnmask"``: the mask function and the attention function for transformers."""
