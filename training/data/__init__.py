"""Clips as tensors on the training device."""
