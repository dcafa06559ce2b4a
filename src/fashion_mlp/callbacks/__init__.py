"""Callbacks of the Trainer, one file each; `TrainingStateCheckpoint` is in `checkpoint/`."""
