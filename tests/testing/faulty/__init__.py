"""Stores that are nearly right, each with one fault that somebody will write one day."""

from tests.testing.faulty import beside, groups, holding, log, rounds, schedule, transactions, views
from tests.testing.faulty._registry import FAULTS, Faulty

__all__ = ["FAULTS", "Faulty", "beside", "groups", "holding", "log", "rounds", "schedule", "transactions", "views"]
