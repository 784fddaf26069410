"""Latency of single records through source, script and sink at a steady 10,000 records/s, over pipes: from when a record
was due to when its line was read. And from the start of the process to its first record out."""

import json
import os

from support import peers
from support.context import run
from support.measure import Sample, Subject

RECORDS = 50_000
PAIRS = 5
RATE = 10_000
BASELINE = "plumbline"
COLUMNS = ["cpu_per_million_s", "peak_rss_kb"]


def through(ctx, argv, env, by_fifo):
    def sample(records):
        serial = ctx.serial()
        report, fifo = ctx.directory / f"latency.{serial}.json", ctx.directory / f"fifo.{serial}"
        os.mkfifo(fifo)
        run([ctx.program("latency"), report, RATE, records, fifo if by_fifo else "-", *argv()], "latency", 120,
            env=os.environ | env | {"INPUT": str(fifo) if by_fifo else "-"})
        found = json.loads(report.read_text())
        more = {key: found[key] for key in ("p50_us", "p99_us", "max_us", "start_ms")}
        return Sample(records, records / RATE, found["user_s"], found["system_s"], found["peak_rss_kb"], more)
    return sample


def subjects(ctx):
    found = [Subject("plumbline", through(ctx, lambda: ctx.run_argv("poll_to_store"), {"OUTPUT": "-"}, False))]
    binary = peers.telegraf(ctx)
    if binary:
        argv = [binary, "--config", peers.config("telegraf", "poll_to_store"), "--non-strict-env-handling"]
        found.append(Subject("Telegraf, Starlark", through(ctx, lambda: argv, {}, True), note="flushes every 10 ms"))
    return found


def judge(by_name):
    ours, found = by_name["plumbline"], []
    for name, peer in by_name.items():
        if name != "plumbline":
            found.append((f"p99 under a third of {name}'s", f"{ours['p99_us']:,.0f} us to {peer['p99_us']:,.0f} us",
                          ours["p99_us"] * 3 < peer["p99_us"]))
            found.append((f"first record at least 10 times sooner than {name}'s",
                          f"{ours['start_ms']:,.0f} ms to {peer['start_ms']:,.0f} ms",
                          ours["start_ms"] * 10 <= peer["start_ms"]))
    return found
