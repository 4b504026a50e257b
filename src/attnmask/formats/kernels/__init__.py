"""Formats of attention kernels: flash-attention, FlashMask, xformers, cuDNN and others."""
