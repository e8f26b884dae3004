"""The `sourced` command, also `python -m sourced`."""

from __future__ import annotations

import sys

try:
    from sourced.cli.program import main
except ModuleNotFoundError as missing:
    if missing.name not in ("typer", "rich"):
        raise

    def main() -> None:
        sys.stderr.write("The command line needs more than the core: pip install 'sourced-py[cli]'\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
