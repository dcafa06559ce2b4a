"""The parts of a run: build them from its configuration, and try them once before training."""
