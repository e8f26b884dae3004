"""Sourced beside its neighbours, doing the same work in one run: `python -m benchmarks.compare`, and `.stored`."""
