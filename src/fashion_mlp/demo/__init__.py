"""A page to try checkpoints on."""
