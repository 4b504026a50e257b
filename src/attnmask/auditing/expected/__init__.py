"""The sets that a model's layers should attend to."""
