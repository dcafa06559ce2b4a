"""Sweeps: what is done around the jobs of a multirun. Light to import: torch is loaded by a job that trains."""

from fashion_mlp.config.records import typed_overrides
from fashion_mlp.sweep.callback import Leaderboard
from fashion_mlp.sweep.job import run_job

__all__ = ["Leaderboard", "run_job", "typed_overrides"]
