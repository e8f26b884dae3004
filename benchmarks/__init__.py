"""Sourced beside its neighbours, the same work in one run: `python -m benchmarks.compare`, `.stored` and `.running`."""
