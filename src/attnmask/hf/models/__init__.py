"""Which model types can run packed texts exactly, and tiny models of every type for trials."""
