"""What every process needs: errors, signals, ranks, the console, run directories and result files."""
