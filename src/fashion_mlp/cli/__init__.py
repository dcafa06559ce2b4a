"""What the commands of `fashion-mlp` do, one file each."""
