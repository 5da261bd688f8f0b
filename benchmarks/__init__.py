"""Benchmarks: each module prints tables of measurements. A missed target is printed; it does not fail the run."""
