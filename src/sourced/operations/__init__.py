"""`app.groups`, `app.parked`, `app.scheduled`: what a person who runs the app can see and do.

Whatever is done is told as an event of `sourced.audit`, which is in the log as well; with `dry_run` it tells what would
be done, and nothing is.
"""
