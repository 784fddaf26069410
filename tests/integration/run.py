#!/usr/bin/env python3
"""Run the integration tier: the real plumbline against real servers on loopback.

    tests/integration/run.py [NAME...]    all tests, or those whose full name (test_kafka.RoundTrip.test_x) contains NAME

PLUMBLINE_BUILD names the build directory (default: build). Two lanes of tests run beside each other (--lanes 1: one), for most
of the time is spent waiting for servers. README.md beside this file says how to write a test.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import lanes  # noqa: E402

# What takes longest.
FIRST = ("test_services", "test_price_accuracy.", "test_instances")

if __name__ == "__main__":
    lanes.main(HERE, __doc__, FIRST, forgiving=True)
