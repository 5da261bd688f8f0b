"""Few-shot learning: episodes, clip embeddings, and the memories that learn within an episode."""
