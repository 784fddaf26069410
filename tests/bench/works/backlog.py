"""A full backlog: the sink stalls for good, the source has more than memory may hold. Peak RSS once nothing moves any more,
beside the pipeline's `memory`."""

import os
import select
import subprocess
import time

from support.broker import Broker
from support.measure import BenchError, Sample, Subject
from works.idle import cpu_s

RECORDS = 1000   # of no account here
PAIRS = 2
BASELINE = "64 MiB"
LARGE = 10_000   # bytes of a record: queues are bounded by records, too, and small ones do not fill that memory
COLUMNS = []
TOPIC_BYTES = 150 << 20
SETTLE_S, OVER_MB = 60, 32


def servers(ctx):
    ctx.broker = Broker(ctx)
    return ctx.broker


def peak_kb(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def stall(child, reader, said):
    """Wait until something came out and the process has done nothing for two seconds."""
    deadline = time.monotonic() + SETTLE_S
    spent, quiet_s = -1.0, 0
    while quiet_s < 2:
        if time.monotonic() > deadline:
            raise BenchError(f"it still moves after {SETTLE_S} s")
        time.sleep(1)
        if child.poll() is not None:
            raise BenchError(f"plumbline ended: {said.read_text()[-500:]}")
        before, spent = spent, cpu_s(child.pid)
        quiet_s = quiet_s + 1 if spent - before < 0.02 and select.select([reader], [], [], 0)[0] else 0
    return spent


def stalled(ctx, pipeline, memory_mib, env=lambda: {}):
    def sample(_records):
        pipe, said = ctx.directory / f"stalled.{ctx.serial()}", ctx.directory / "backlog.log"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)   # opened, and never read
        with open(said, "wb") as log:
            variables = {"MEMORY": f"{memory_mib}MiB", "OUTPUT": str(pipe)} | env()
            child = subprocess.Popen([str(word) for word in ctx.run_argv(pipeline)], stdin=subprocess.DEVNULL, stdout=log,
                                     stderr=log, cwd=ctx.directory, env=os.environ | variables)
        try:
            spent = stall(child, reader, said)
            peak = peak_kb(child.pid)
        finally:
            child.kill()
            child.wait(30)
            os.close(reader)
        more = {"backlog_rss_kb": peak, "over_kb": peak - memory_mib * 1024}
        return Sample(1, 1.0, spent, 0.0, peak, more)
    return sample


def subjects(ctx):
    def from_topic(size=242):
        topic = ctx.broker.input(TOPIC_BYTES // size, payload_bytes=size)
        return {"BROKERS": ctx.broker.address, "IN_TOPIC": topic, "GROUP": f"bench{ctx.serial()}"}
    return [Subject(BASELINE, stalled(ctx, "backlog", 64, lambda: {"BYTES": "242"})),
            *(Subject(f"{n} MiB, 10 kB a record", stalled(ctx, "backlog", n, lambda: {"BYTES": str(LARGE)}))
              for n in (16, 64, 256)),
            Subject("64 MiB, from Kafka", stalled(ctx, "backlog_kafka", 64, from_topic)),
            Subject("64 MiB, from Kafka, 10 kB a record", stalled(ctx, "backlog_kafka", 64, lambda: from_topic(LARGE)))]


def judge(by_name):
    worst = max(by_name.values(), key=lambda s: s["over_kb"])
    return [(f"peak RSS under a full backlog at most `memory` plus {OVER_MB} MB", f"{worst['over_kb'] / 1024:+.1f} MB at "
             f"{worst['name']}", worst["over_kb"] <= OVER_MB * 1024)]
