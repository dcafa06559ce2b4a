"""Sweeps: the jobs of a multirun and their leaderboard. Light to import: a job imports torch when it trains."""
