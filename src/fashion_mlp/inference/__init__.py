"""Trained classifiers: predict, evaluate, combine and export them."""
