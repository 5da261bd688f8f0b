"""The training loop, its checkpoints, and statistics of what it measures."""
