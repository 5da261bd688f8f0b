"""Clips as tensors."""
