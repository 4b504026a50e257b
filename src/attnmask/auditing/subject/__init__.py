"""What is audited: the model, its inputs and outputs, and copies of it."""
