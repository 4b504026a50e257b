"""Formats of JAX, Flax, Keras, ONNX, splash attention and tokamax."""
