"""Who works all the time: workers, their threads, the processes they run in, and how all of it ends."""
