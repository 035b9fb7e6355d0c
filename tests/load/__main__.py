"""The load test: many clients at once, first on SQLite and a folder, then on MongoDB and S3.

``python -m tests.load [--clients 64] [--seconds 120] [--pair sqlite-folder]`` prints a table for
each pair. Exit code: 1 after any failure.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.load.run import PAIRS, run_load


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--pair", choices=PAIRS, action="append", help="default: all")
    options = parser.parse_args()
    failures = []
    for pair in options.pair or PAIRS:
        with tempfile.TemporaryDirectory(prefix="d3-load-") as folder:
            result = run_load(
                Path(folder), pair=pair, clients=options.clients, seconds=options.seconds
            )
        print(result.table, flush=True)
        failures += result.failures
    for failure in failures:
        print(f"FAILED: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
