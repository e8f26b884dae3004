"""What no workflow can do, and what nobody can do with one."""

from sourced import Event, Sourced, Workflow, step


class Approved(Event):
    by: str


class Book(Workflow):
    async def run(self, to: str) -> int:
        count: str = await self.count(to)  # E: both
        await self.count(7)  # E: both
        self.count(to)  # E: both
        approved = await self.wait_for(Approved)
        assert approved.who  # E: both
        await self.sleep("an hour")  # E: both
        return len(count)

    @step(retries=1)
    def count(self, to: str) -> int:
        return len(to)

    @step(retries="many")  # E: both
    def other(self, to: str) -> int:
        return len(to)


app = Sourced()
app.start(Book, 7)  # E: both
app.start(Book)  # E: both
text: str = app.start(Book, "Rome").result()  # E: both
app.start(Approved)  # E: both
