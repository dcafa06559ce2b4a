"""Use a trained classifier: predict, evaluate, export."""
