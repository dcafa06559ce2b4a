"""Figures, and the summaries on the terminal."""
