"""Durable workflows: ordinary Python that survives its process."""
