#!/usr/bin/env python3
"""Run the fault tier: the real plumbline on real servers, with a fault in the middle and a judge outside.

    tests/faults/run.py [NAME...]    all tests, or those whose full name (test_broker.Broker.test_01_x) contains NAME

PLUMBLINE_BUILD names the build directory (default: build); PLUMBLINE_LONG=1 repeats what is left to chance more often.
Two lanes of tests run beside each other (--lanes 1: one), for most of the time is spent waiting for servers.
README.md beside this file names the faults.
"""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent

# Whole files go to a lane, so that a lane's tests share their servers. The longest ones first.
LANES = (("test_broker", "test_store_once", "test_api", "test_clock", "test_simulation", "test_oracle"),
         ("test_group", "test_exactly_once", "test_buffer", "test_store", "test_end"))


def runner():
    """tests/integration/run.py, which also finds `support`, `servers` and `market` for us."""
    spec = importlib.util.spec_from_file_location("integration_run", HERE.parent / "integration" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_lane(names, told, lock):
    lane = subprocess.Popen([sys.executable, "-u", __file__, *(f"{name}." for name in names)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in lane.stdout:
        found = re.match(r"(\d+) passed, (\d+) failed", line)
        with lock:
            if found:
                told.append((int(found[1]), int(found[2])))
            else:
                print(line, end="", flush=True)
    if lane.wait() not in (0, 1) and len(told) < len(LANES):
        print(f"FAILED the lane of {', '.join(names)} ended with status {lane.returncode}", flush=True)


def run_lanes():
    files = {path.stem for path in HERE.glob("test_*.py")}
    if files != {name for lane in LANES for name in lane}:
        sys.exit(f"LANES in {__file__} does not name each file once: {sorted(files)}")
    told, lock = [], threading.Lock()
    lanes = [threading.Thread(target=run_lane, args=(names, told, lock)) for names in LANES]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    passed, failed = sum(p for p, _ in told), sum(f for _, f in told) + len(LANES) - len(told)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    if sys.argv[1:]:
        if sys.argv[1:] == ["--lanes", "1"]:
            del sys.argv[1:]
        sys.path[:0] = [str(HERE)]
        runner().main(HERE, __doc__)
    else:
        os.environ.setdefault("PLUMBLINE_BUILD", "build")
        run_lanes()
