#!/usr/bin/env python3
"""Run the fault tier: the real plumbline on real servers, with a fault in the middle and a judge outside.

    tests/faults/run.py [NAME...]    all tests, or those whose full name (test_broker.Broker.test_01_x) contains NAME

PLUMBLINE_BUILD names the build directory (default: build); PLUMBLINE_LONG=1 repeats what is left to chance more often.
Two lanes of tests run beside each other (--lanes 1: one), for most of the time is spent waiting for servers.
README.md beside this file names the faults.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import lanes  # noqa: E402

# What takes longest.
FIRST = ("test_simulation", "test_exactly_once", "test_buffer", "test_group", "test_api")

if __name__ == "__main__":
    lanes.main(HERE, __doc__, FIRST, forgiving=True)
