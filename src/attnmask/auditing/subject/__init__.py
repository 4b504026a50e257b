"""The subject of an audit: the model, its inputs and outputs, and copies of it."""
