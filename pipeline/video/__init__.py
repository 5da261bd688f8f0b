"""Reads video files: frame timestamps, timelines, and 64x64 frames as filmstrips. Knows nothing of datasets."""
