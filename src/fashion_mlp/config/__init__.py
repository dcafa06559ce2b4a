"""The configuration of a run: its schema, its check, explanations of mistakes, and its replay when a run is resumed.

No module here imports torch, so that a mistake is reported at once.
"""
