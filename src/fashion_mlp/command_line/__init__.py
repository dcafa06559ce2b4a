"""What was typed after `python train.py`, understood and checked before Hydra makes a folder."""
