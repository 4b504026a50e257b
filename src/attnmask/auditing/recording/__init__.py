"""The sets that a model's layers really attend to."""
