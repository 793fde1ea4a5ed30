"""Training: objectives, the loop, the optimizer, checkpoints, processes."""
