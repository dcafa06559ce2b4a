"""What every process needs: errors, signals, ranks, the console and run directories."""
