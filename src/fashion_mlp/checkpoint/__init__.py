"""Save, load and resume."""
