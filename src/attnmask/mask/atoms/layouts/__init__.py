"""Atoms over tokens that are laid out: images, block layouts, trees, diffusion blocks."""
