"""The training loop, its batches and checkpoints, and the statistics of results."""
