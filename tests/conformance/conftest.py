from __future__ import annotations

import os

# Before Keras is first imported: the environment is its only way to choose.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
