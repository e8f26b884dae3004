"""The `sourced` command: a file for the commands that belong together.

It ends with 0 when it has done what it was asked, with 1 when that failed, and with 2 when the command line is wrong or
something is not installed; with 130 when it was interrupted.
"""
