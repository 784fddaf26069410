"""What a pipeline holds while its sink takes nothing: no more than its `memory` and 32 MB besides."""

import fcntl
import os
import pathlib
import re
import sys
import termios
import time
import unittest

import support

MB = 1 << 20
BESIDES = 32 * MB   # the program, its libraries, the script's state, what is known of each record that is out


class Backlog(support.Case):
    """A pipe that somebody holds open and nobody reads."""

    def setUp(self):
        super().setUp()
        if support.sanitized():
            self.skipTest("a sanitizer's own memory counts as well")
        os.mkfifo(self.dir / "nobody")
        self.held = os.open(self.dir / "nobody", os.O_RDWR)
        self.addCleanup(os.close, self.held)

    def peak(self, pid):
        return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024

    def waiting(self):
        """Bytes in the pipe."""
        found = bytearray(4)
        fcntl.ioctl(self.held, termios.FIONREAD, found)
        return int.from_bytes(found, sys.byteorder)

    def settled_peak(self, run, most):
        """The most it ever had, once the pipe is full, or half of the memory used, and it stays the same for a second."""
        def still():
            before = self.peak(run.process.pid)
            time.sleep(1)
            begun = self.waiting() > 30000 or before > most / 2
            return begun and self.peak(run.process.pid) - before < MB // 4
        run.wait_for(still, 60, "nothing moves any more")
        return self.peak(run.process.pid)

    def stay_within(self, memory, pad, transform):
        self.pipeline("p.yaml", f"""
            memory: {memory}MiB
            sources:
              much: {{ plugin: generate, with: {{ count: 100000000, lanes: 8, template: '{{"n":{{n}},"pad":"{"x" * pad}"}}' }} }}
              little: {{ plugin: generate, with: {{ rate: 20, template: '{{"n":{{n}}}}' }} }}
            transforms:
              twice: {{ from: [much, little], {transform}, lua: "function on_record(r) r.more = r.pad return r end" }}
            sinks:
              out: {{ from: twice, plugin: file, with: {{ path: nobody }} }}
        """)
        run = self.start("run", "p.yaml")
        peak = self.settled_peak(run, memory * MB + BESIDES)
        run.kill()
        self.assertLess(peak, memory * MB + BESIDES)

    def test_little_memory(self):
        self.stay_within(8, 100, "workers: 1")

    def test_large_records(self):
        self.stay_within(16, 20000, "workers: 1")

    def test_several_workers(self):
        self.stay_within(64, 200, "workers: 4, by: n")

    def test_one_source_is_waited_for(self):
        """Ordered by event time, the merge holds what the quick source brings."""
        self.stay_within(32, 100, "order: { by: time, idle: 60s }")


if __name__ == "__main__":
    unittest.main()
