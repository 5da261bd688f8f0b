"""Decoding: from a video file to timestamps, and from timestamps to 64x64 frames. Nothing here knows of datasets."""
