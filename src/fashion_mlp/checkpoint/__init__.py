"""Save and load checkpoints, and restore the training state."""
