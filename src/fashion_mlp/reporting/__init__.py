"""Figures, TensorBoard and the summary on the terminal."""
