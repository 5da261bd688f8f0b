"""What merge, split, shard and verify reason with: labels, class split, leak checks, the dataset card."""
