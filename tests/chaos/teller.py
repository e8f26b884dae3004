"""A worker process of the bank: `python -m tests.chaos.teller URL LEASE`."""

import logging
import sys

from sourced.runtime.workers import shift
from tests.chaos.bank import LUCK
from tests.chaos.open import bank
from tests.chaos.places import opened


def main(url: str, lease: str) -> None:
    logging.basicConfig(format="%(asctime)s %(process)d %(name)s %(levelname)s %(message)s")
    logging.getLogger("sourced").addFilter(lambda record: "BadLuck" not in record.getMessage())
    LUCK.bad = True
    shift.PATIENCE = 0.05  # so that many are late
    with bank(opened(url), lease=float(lease)) as app:
        app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
