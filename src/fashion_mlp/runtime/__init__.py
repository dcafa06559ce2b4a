"""What every process needs: errors, signals, ranks, the console, files."""
