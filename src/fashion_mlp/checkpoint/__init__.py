"""Load checkpoints that need not be trusted, and what a run starts from."""
