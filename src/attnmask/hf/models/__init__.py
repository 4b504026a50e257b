"""What is known by model type, and tiny models of every type."""
