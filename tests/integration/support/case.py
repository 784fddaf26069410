"""The test case, and the plumbline processes it starts."""

import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

from servers import wait_until

REPO = pathlib.Path(__file__).resolve().parents[3]
BUILD = (REPO / os.environ.get("PLUMBLINE_BUILD", "build")).absolute()
PLUMBLINE = BUILD / "plumbline"


def sanitized():
    """Whether the built plumbline has a sanitizer in it: slower, with memory of its own."""
    return PLUMBLINE.exists() and b"__sanitizer_" in PLUMBLINE.read_bytes()


SANITIZED = re.compile(r"(ERROR|WARNING): (Address|Leak|Thread|Memory)Sanitizer|runtime error: ")
_KEPT = ("PATH", "LD_LIBRARY_PATH", "PLUMBLINE_CACHE", "LANG")
_serial = itertools.count(1)


class Run:
    """One plumbline process. stdout and stderr go to files of the test's directory."""

    def __init__(self, case, words, env, stdin=None):
        self._case = case
        self.number = next(_serial)
        self.words = [str(word) for word in words]
        self.stdout_path = case.dir / f"stdout.{self.number}"
        self.stderr_path = case.dir / f"stderr.{self.number}"
        self.summary_path = None
        if self.words[0] == "run" and "--summary" not in self.words:
            self.summary_path = case.dir / f"summary.{self.number}.json"
            self.words += ["--summary", str(self.summary_path)]
        with open(self.stdout_path, "wb") as out, open(self.stderr_path, "wb") as err:
            self.process = subprocess.Popen([str(PLUMBLINE), *self.words], cwd=case.dir, env=env, stdout=out,
                                            stderr=err, stdin=stdin or subprocess.DEVNULL)

    @property
    def stdout(self):
        return self.stdout_path.read_text(errors="backslashreplace")

    @property
    def stderr(self):
        return self.stderr_path.read_text(errors="backslashreplace")

    @property
    def summary(self):
        """The parsed --summary; written when the process ends by itself."""
        return json.loads(self.summary_path.read_text())

    @property
    def components(self):
        """{component: counters} of all pipelines of the summary; the sums must add up."""
        found = {}
        for name, pipeline in self.summary["pipelines"].items():
            self._case.assertTrue(pipeline["balanced"], f"{name}: {pipeline}")
            found |= pipeline["components"]
        return found

    def running(self):
        return self.process.poll() is None

    def wait(self, exit=0, seconds=60):
        """Wait for its end and check the exit status (a number, or "SIGKILL"). Returns self."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self._case.fail(f"{self._title()}: still running after {seconds} s; stderr:\n{self._tail()}")
        found = signal.Signals(-status).name if status < 0 else status
        self.check_sanitizers()
        if exit is not None and found != exit:
            self._case.fail(f"{self._title()}: exit {exit} expected, found {found}; stderr:\n{self._tail()}")
        return self

    def wait_log(self, pattern, seconds=30):
        """Wait until stderr matches the regular expression; returns the match."""
        def look():
            return re.search(pattern, self.stderr, re.M)
        return self.wait_for(look, seconds, f"stderr matches {pattern!r}")

    def wait_for(self, check, seconds, what):
        """Wait until check() is true while the process runs."""
        deadline = time.monotonic() + seconds
        while True:
            found = check()
            if found:
                return found
            if not self.running() and not (found := check()):
                self._case.fail(f"{self._title()}: ended ({self.process.returncode}) before {what}; stderr:\n{self._tail()}")
            if time.monotonic() > deadline:
                self._case.fail(f"{self._title()}: not so after {seconds} s: {what}; stderr:\n{self._tail()}")
            time.sleep(0.05)

    def stop(self, exit=0, seconds=30):
        """SIGTERM: it drains and ends."""
        if self.running():
            self.process.terminate()
        return self.wait(exit, seconds)

    def kill(self):
        """SIGKILL, at once."""
        if self.running():
            self.process.kill()
        self.process.wait(10)

    def check_sanitizers(self):
        said = self.stderr
        if SANITIZED.search(said):
            self._case.fail(f"{self._title()}: a sanitizer spoke up:\n{said[-6000:]}")

    def _title(self):
        return "plumbline " + " ".join(self.words)

    def _tail(self):
        return self.stderr[-4000:]


class Case(unittest.TestCase):
    """A directory (self.dir, removed at the end unless the test failed under KEEP=1) and processes that end with it."""

    maxDiff = 4000

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="plumbline-test-"))
        self._runs = []
        self.addCleanup(self._clean)

    def _clean(self):
        for run in self._runs:
            run.kill()
        if os.environ.get("KEEP"):
            print(f"    kept {self.dir}", file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def name(self, stem):
        """A name for a topic, group or table that no other test of this run, and no other run, uses."""
        return f"{stem}_{os.getpid()}_{next(_serial)}"

    def write(self, path, text):
        """Write text or bytes into the test's directory; returns the path."""
        target = self.dir / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
        return target

    def pipeline(self, path, text):
        """Write a pipeline file; common indentation is taken away."""
        return self.write(path, textwrap.dedent(text))

    def environment(self, env=None):
        kept = {k: v for k, v in os.environ.items() if k in _KEPT or k.endswith("SAN_OPTIONS")}
        return kept | {"HOME": str(self.dir), "XDG_STATE_HOME": str(self.dir / "state"), "LC_ALL": "C.UTF-8",
                       "TZ": "Asia/Kathmandu", "REPO": str(REPO)} | {k: str(v) for k, v in (env or {}).items()}

    def start(self, *words, env=None, stdin=None):
        """Start plumbline in the background, in the test's directory; returns a Run."""
        run = Run(self, words, self.environment(env), stdin)
        self._runs.append(run)
        return run

    def plumbline(self, *words, env=None, exit=0, seconds=60):
        """Run plumbline to its end and check the exit status; returns the Run."""
        return self.start(*words, env=env).wait(exit, seconds)

    def lines(self, path):
        """The lines of a file of the test's directory; none when it isn't there yet."""
        try:
            return (self.dir / path).read_text().splitlines()
        except FileNotFoundError:
            return []

    def records(self, path):
        """The parsed JSON lines of a file of the test's directory."""
        return [json.loads(line) for line in self.lines(path)]
