"""What all works share: programs, inputs, places, and words on the way."""

import itertools
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import time

from .measure import BenchError

BENCH = pathlib.Path(__file__).resolve().parents[1]
REPO = BENCH.parents[1]


def cache_dir():
    """Where what is built once and is not ours lies: $PLUMBLINE_CACHE, else plumbline/ in the user's cache."""
    given = os.environ.get("PLUMBLINE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(given).absolute() if given else pathlib.Path(base).absolute() / "plumbline"


def run(argv, what, seconds=1800, **options):
    """A command that must succeed; its output otherwise."""
    try:
        done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=seconds, **options)
    except FileNotFoundError:
        raise BenchError(f"{what}: {argv[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise BenchError(f"{what}: {argv[0]} did not end within {seconds} s") from None
    if done.returncode:
        raise BenchError(f"{what}: {argv[0]} failed (status {done.returncode}):\n{done.stdout[-3000:]}")
    return done.stdout


def _in_short(reason):
    """The first line of a reason and its last, which is what the tool itself said; of paths only the last part."""
    lines = [line.strip() for line in str(reason).splitlines() if line.strip()] or [""]
    text = " .. ".join(dict.fromkeys([lines[0].rstrip(":"), lines[-1].rstrip(":")]))
    return re.sub(r"(?<![\w.])/(?:[^\s/:,'\"]+/)*([^\s/:,'\"]+)", r"\1", text)[:240]


class Context:
    """directory: for this run's files; build: the build directory; pairs: how often each subject runs; scale: the
    number of records a work asks for is multiplied by it; quick: as short as it can be and still show that all works."""

    def __init__(self, directory, build, scale, quick=False):
        self.directory, self.build, self.scale, self.quick = directory, build, scale, quick
        self.pairs = 1
        self._serial = itertools.count(1)
        self._inputs = {}
        self.skipped, self.failed = [], []

    def serial(self):
        return next(self._serial)

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def skip(self, subject, reason):
        """A subject that can't be had here: one line, and a line in the results."""
        self.say(f"  skipped {subject}: {reason}")
        self.skipped.append({"subject": subject, "reason": _in_short(reason)})

    def fail(self, subject, reason):
        """A subject that was at hand and did not do its work: a row of the table that says so."""
        self.say(f"  failed {subject}: {reason}")
        self.failed.append({"subject": subject, "reason": _in_short(reason)})

    def records(self, count):
        return max(1000, int(count * self.scale))

    @property
    def plumbline(self):
        return self.build / "plumbline"

    def program(self, name):
        return self.build / "bench" / f"bench_{name}"

    def compile(self):
        """Configure and build the runtime, its plugins and the benchmarks' programs."""
        self.say(f"building in {self.build}")
        generator = [] if (self.build / "CMakeCache.txt").exists() else ["-G", "Ninja"]
        run(["cmake", "-S", REPO, "-B", self.build, *generator, "-DPL_TESTS=ON", "-DPL_BENCH=ON"], "configuring")
        run(["cmake", "--build", self.build, "--target", "bench", "--parallel", os.cpu_count() or 1], "building")

    def run_argv(self, pipeline, *more):
        """The command line that runs tests/bench/PIPELINE.yaml."""
        return [self.plumbline, "run", BENCH / f"{pipeline}.yaml", "--data-dir", self.directory / f"data{self.serial()}",
                "--log-level", "warn", *more]

    def input(self, records, **options):
        """A file of seeded records, made once a run by the generate plugin. Options: those of the plugin."""
        key = (records, *sorted(options.items()))
        if key not in self._inputs:
            path = self.directory / f"input{len(self._inputs)}.jsonl"
            pipeline = self.directory / "make_input.yaml"
            load = {"count": records, "seed": 42} | options
            pipeline.write_text(json.dumps({
                "pipeline": "make_input", "sources": {"load": {"plugin": "generate", "with": load}},
                "sinks": {"out": {"from": "load", "plugin": "file",
                                  "with": {"path": str(path), "mode": "truncate", "sync": "interval"}}}}))
            run([self.plumbline, "run", pipeline, "--data-dir", self.directory / "data_input"], "making the input")
            self._inputs[key] = path
        return self._inputs[key]


def _first_line(argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=20).stdout.strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return ""


def _libraries():
    """Versions by pkg-config of what the hot path stands on."""
    names = ["simdjson", "lua5.4", "rdkafka", "libpq", "yaml-0.1"]
    return {name: _first_line(["pkg-config", "--modversion", name]) or "unknown" for name in names}


def machine():
    """The machine and what else it was doing: the head of every result."""
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())
    release = re.search(r'PRETTY_NAME="(.*)"', pathlib.Path("/etc/os-release").read_text())
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": cpu[1] if cpu else platform.machine(), "cores": os.cpu_count(),
        "memory_mb": int(memory[1]) // 1024 if memory else 0, "kernel": platform.release(),
        "system": release[1] if release else "", "compiler": _first_line(["cc", "--version"]),
        "libraries": _libraries(), "load": os.getloadavg()[0],
        "revision": _first_line(["git", "-C", str(REPO), "describe", "--always", "--dirty"]),
    }
