"""What tests of event-sourced programs need: given/when/then, a clock to turn, and faults to inject."""

from sourced.testing.clock import VirtualClock
from sourced.testing.faults import Crash, CrashingStore, DeafNotifier, crash_everywhere, steal_leases
from sourced.testing.scenario import Outcome, Scenario, given
from sourced.testing.story import Story

__all__ = [
    "Crash",
    "CrashingStore",
    "DeafNotifier",
    "Outcome",
    "Scenario",
    "Story",
    "VirtualClock",
    "crash_everywhere",
    "given",
    "steal_leases",
]
