"""The mask function and the attention function behind ``attn_implementation="attnmask"`` in transformers."""
