"""The commands of `fashion-mlp`, one module each."""
