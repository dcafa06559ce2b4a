"""The configuration of a run: its schema, its check, why it is wrong, and its replay on resumption.

Light to import: a mistake is reported before torch is imported.
"""
