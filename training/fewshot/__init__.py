"""Few-shot learning: episodes, embeddings, and the learners that run on them."""
