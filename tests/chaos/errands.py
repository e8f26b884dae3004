"""Runs that take several steps, some of them longer than a lease, and that wait for times and for messages."""

from __future__ import annotations

import asyncio
import random

from sourced import Event, Exponential, Workflow, step
from tests.chaos.bank import LUCK

ERRANDS = "bank.errands"
STEPS = 5
OFTEN = 1_000  # how often a step may fail
SOON = Exponential(0.02, ceiling=0.1)


class Go(Event, type="bank.go"):
    number: int


class Errand(Workflow, name="errand", group=ERRANDS):
    async def run(self, number: int) -> int:
        found = await self.look(number)
        await self.sleep(0.05)
        go = await self.wait_for(Go)
        one, other = await self.gather(self.look(number), self.linger(number))
        return found + go.number + one + other + await self.look(number)

    @step(retries=OFTEN, backoff=SOON)
    def look(self, number: int) -> int:
        LUCK.try_it()
        return number

    @step(retries=OFTEN, backoff=SOON)
    async def linger(self, number: int) -> int:
        if LUCK.bad and random.random() < 0.3:
            await asyncio.sleep(random.random() * 2.5)
        LUCK.try_it()
        return number
