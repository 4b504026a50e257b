"""Stage 1, describe: shape-free expressions of atoms, and the reference that is their meaning."""
