"""Runs subjects side by side and keeps what each run took."""

import dataclasses
import json
import os
import pathlib
import signal
import statistics
import subprocess
import time


class BenchError(Exception):
    """A run that can't be measured; the text says what and where."""


@dataclasses.dataclass
class Sample:
    """One run of one subject."""

    records: int        # read
    seconds: float      # wall: of the process, or from first to last record out where a work says so
    user_s: float
    system_s: float
    peak_rss_kb: int
    more: dict = dataclasses.field(default_factory=dict)   # what a work measures besides, e.g. percentiles

    @property
    def rate(self):
        return self.records / self.seconds if self.seconds else 0.0

    @property
    def cpu_per_million_s(self):
        return (self.user_s + self.system_s) / self.records * 1e6


@dataclasses.dataclass
class Subject:
    """`sample(records)` makes one run. `share`: part of the work's records that it gets (slow ones get fewer)."""

    name: str
    sample: object
    share: float = 1.0
    note: str = ""


class Process:
    """A command under the measuring program: finish() returns {"wall_s", "user_s", "system_s", "peak_rss_kb"}."""

    def __init__(self, ctx, argv, env=None, stdin=subprocess.DEVNULL, stdout=None):
        self.argv = [str(word) for word in argv]
        serial = ctx.serial()
        self._report = ctx.directory / f"measured.{serial}.json"
        self._log = ctx.directory / f"output.{serial}.log"
        with open(self._log, "wb") as log:
            self._child = subprocess.Popen([str(ctx.program("measure")), str(self._report), *self.argv], stdin=stdin,
                                           stdout=stdout or log, stderr=log, cwd=ctx.directory,
                                           env=os.environ | {k: str(v) for k, v in (env or {}).items()})

    def running(self):
        return self._child.poll() is None

    def _said(self):
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])

    def until(self, condition, seconds, what):
        """Wait until condition() is true, while the process runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            if not self.running():
                raise BenchError(f"{self.argv[0]} ended before {what}:\n{self._said()}")
            if time.monotonic() > deadline:
                self.kill()
                raise BenchError(f"{self.argv[0]}: {what} did not come within {seconds} s:\n{self._said()}")
            time.sleep(0.05)

    def stop(self, seconds=60):
        """SIGTERM, and finish(); any exit status will do."""
        self._child.send_signal(signal.SIGTERM)
        return self.finish(seconds, any_status=True)

    def kill(self):
        """The end of a run that went wrong."""
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            for pid in pathlib.Path(f"/proc/{self._child.pid}/task/{self._child.pid}/children").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            self._child.wait(10)

    def finish(self, seconds=1200, any_status=False):
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BenchError(f"{' '.join(self.argv)}: still running after {seconds} s:\n{self._said()}") from None
        found = json.loads(self._report.read_text())
        if not any_status and (found["exit"] or found["signal"]):
            raise BenchError(f"{' '.join(self.argv)} failed (status {found['exit']}, signal {found['signal']}):\n"
                             f"{self._said()}")
        return found


def sample_of(found, records, seconds=None, **more):
    """A Sample from what Process.finish() returned; `seconds` where the process's own time is not what counts."""
    return Sample(records, found["wall_s"] if seconds is None else seconds, found["user_s"], found["system_s"],
                  found["peak_rss_kb"], more)


def alternate(ctx, subjects, records, baseline):
    """Run all subjects `ctx.pairs` times, in turn, each round beginning with another. {name: [Sample, ...]}. A subject that
    fails, in whatever way, is told, and left out from then on; without the baseline there is no work, and it raises."""
    samples = {subject.name: [] for subject in subjects}
    for number in range(ctx.pairs):
        first = number % len(subjects)
        for subject in subjects[first:] + subjects[:first]:
            if subject.name not in samples:
                continue
            try:
                sample = subject.sample(max(1, int(records * subject.share)))
            except Exception as error:   # a peer's failure, of whatever kind, is a row and not the end of the run
                if subject.name == baseline:
                    raise
                ctx.say(f"  {subject.name}: {error}")
                ctx.fail(subject.name, str(error) or repr(error))
                del samples[subject.name]
                continue
            samples[subject.name].append(sample)
            ctx.say(f"  {number + 1}/{ctx.pairs} {subject.name}: {sample.rate:,.0f} records/s, "
                    f"CPU {sample.cpu_per_million_s:.2f} s per million")
    return samples


def summary(subject, samples):
    """What a table shows of one subject, as plain data."""
    rates = sorted(sample.rate for sample in samples)
    more = {key: statistics.median(sample.more[key] for sample in samples) for key in samples[0].more}
    return {
        "name": subject.name, "note": subject.note, "records": samples[0].records,
        "rate": statistics.median(rates), "rate_min": rates[0], "rate_max": rates[-1],
        "cpu_per_million_s": statistics.median(sample.cpu_per_million_s for sample in samples),
        "user_s": statistics.median(sample.user_s for sample in samples),
        "system_s": statistics.median(sample.system_s for sample in samples),
        "peak_rss_kb": max(sample.peak_rss_kb for sample in samples), **more,
        "samples": [dataclasses.asdict(sample) for sample in samples],
    }
