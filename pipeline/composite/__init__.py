"""The logic of merge, split, shard and verify: classes, repeats, the choice of test classes, leaks, the dataset card."""
