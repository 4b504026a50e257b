"""Stage 1, describe: expressions of atoms, without lengths, and the reference evaluator that is their meaning."""
