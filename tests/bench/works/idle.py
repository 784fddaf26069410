"""Memory and CPU while nothing happens: 6 s after the start, over 10 s. price_accuracy polls the simulated market at its
usual pace; the others wait for a line."""

import contextlib
import os
import subprocess
import time

from support import peers
from support.context import REPO
from support.measure import BenchError, Sample, Subject

RECORDS = 1000   # of no account here
PAIRS = 2
BASELINE = "plumbline, pipe to pipe"
COLUMNS = []
SETTLE_S, WINDOW_S = 6, 10
_TICKS = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def servers(ctx):
    import integration.support.market as simulated
    with simulated.Market(ctx.directory / "market") as ctx.market:
        yield


def cpu_s(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_kb(pid):
    lines = (line.split() for line in open(f"/proc/{pid}/smaps_rollup").readlines()[1:])
    return {words[0].rstrip(":"): int(words[1]) for words in lines}


def waiting(ctx, argv, env=None, fifo=False):
    window_s = 2 if ctx.quick else WINDOW_S

    def sample(_records):
        variables = {"INPUT": "-", "OUTPUT": "-"} | (env or {})
        if fifo:
            variables["INPUT"] = str(ctx.directory / f"fifo.{ctx.serial()}")
            os.mkfifo(variables["INPUT"])
        with open(ctx.directory / "idle.log", "wb") as log:
            child = subprocess.Popen([str(word) for word in argv()], stdin=subprocess.PIPE, stdout=log, stderr=log,
                                     cwd=ctx.directory, env=os.environ | variables)
        try:
            time.sleep(1 if ctx.quick else SETTLE_S)
            if child.poll() is not None:
                raise BenchError(f"{argv()[0]} ended: {(ctx.directory / 'idle.log').read_text()[-500:]}")
            before = cpu_s(child.pid)
            time.sleep(window_s)
            spent, memory = cpu_s(child.pid) - before, memory_kb(child.pid)
        finally:
            child.kill()   # Telegraf does not end while it waits to open a pipe
            child.wait(30)
        more = {"idle_rss_kb": memory["Rss"], "idle_pss_kb": memory["Pss"], "idle_cpu_ms": spent / window_s * 1000}
        return Sample(1, window_s, spent, 0.0, memory["Rss"], more)
    return sample


def subjects(ctx):
    accuracy = [ctx.plumbline, "run", REPO / "pipelines" / "price_accuracy.yaml", "--log-level", "warn", "--data-dir",
                ctx.directory / "data_accuracy"]
    found = [Subject(BASELINE, waiting(ctx, lambda: ctx.run_argv("poll_to_store"))),
             Subject("plumbline, price_accuracy", waiting(ctx, lambda: accuracy, ctx.market.env))]
    binary = peers.telegraf(ctx)
    if binary:
        argv = [binary, "--config", peers.config("telegraf", "poll_to_store"), "--non-strict-env-handling"]
        found.append(Subject("Telegraf, pipe to pipe", waiting(ctx, lambda: argv, fifo=True)))
    return found


def judge(by_name):
    rss = by_name["plumbline, price_accuracy"]["idle_rss_kb"] / 1024
    return [("RSS of the main pipeline under 20 MB", f"{rss:.1f} MB", rss < 20)]
