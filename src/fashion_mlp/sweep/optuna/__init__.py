"""`sweep=optuna`: a search for the best configuration. Needs the extra `sweep`."""
