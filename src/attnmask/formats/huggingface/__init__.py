"""Formats of Hugging Face transformers: 2-D and 4-D masks, position ids, sliding windows."""
