"""Bytes from hosts and archives, and the disk they go to. Knows no dataset."""
