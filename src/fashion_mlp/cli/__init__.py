"""The command `fashion-mlp`, with one module for each of its commands."""
