"""Disk buffers: a sink that stays down, kills at any moment, and disks that refuse. An oracle outside counts."""

import collections
import contextlib
import ctypes
import http.server
import json
import os
import pathlib
import random
import subprocess
import tempfile
import threading
import time
import unittest

import support
from fault import Fault, LONG, SANITIZED
from servers import Postgres


class Buffer(Fault):

    def listed(self, *more):
        """The columns of `plumbline buffer list`, by buffer."""
        done = self.plumbline("buffer", "list", "--data-dir", "d", *more)
        rows = [line.split() for line in done.stdout.splitlines()[1:]]
        return {row[0]: {"segments": int(row[1]), "bytes": int(row[2]), "waiting": int(row[3]), "aside": int(row[6])}
                for row in rows}

    def check_numbers(self, numbers, first, last, doubles=None):
        """All of first .. last are there; the first copy of each in order; at most so many doubles."""
        count = collections.Counter(numbers)
        self.assertEqual([n for n in range(first, last + 1) if n not in count], [], "lost")
        self.assertEqual([n for n in count if not first <= n <= last], [], "nobody sent it")
        firsts = list(dict.fromkeys(numbers))
        self.assertEqual(firsts, sorted(firsts), "order")
        if doubles is not None:
            self.assertLessEqual(len(numbers) - len(count), doubles)


class Down(Buffer):

    def test_21_a_sink_down_for_half_a_minute(self):
        """2,000 records/s go on coming in: memory stays flat, the disk takes them, and all is delivered after."""
        seconds, rate = (300 if LONG else 30), 2000
        with Postgres(support.shared_dir() / self.name("pg")) as server:
            self.pipeline("p.yaml", f"""
                pipeline: p
                memory: 4MiB
                sources:
                  in:
                    plugin: generate
                    with: {{ rate: {rate}, template: '{{"n":{{n}},"pad":"{{pad}}"}}' }}
                    buffer: {{ max_size: 512MiB, sync: 100ms }}
                sinks:
                  t:
                    from: in
                    plugin: timescale
                    retry: {{ max: 1s }}
                    with: {{ dsn: "${{DSN}}", table: t, create: true, key: [n], columns: [{{ name: n, type: bigint }}] }}
            """)
            run = self.start("run", "p.yaml", "--data-dir", "d", env={"DSN": server.dsn})
            run.wait_for(lambda: server.count("t") > rate, 60, "rows arrive")
            server.kill()
            run.wait_log("warn t: ", 30)
            run.wait_for(lambda: self.listed()["p/in"]["waiting"] > 5 * rate, 60, "the disk takes them")
            held = [self.memory(run)]
            begun, waiting = time.monotonic(), self.listed()["p/in"]["waiting"]
            while time.monotonic() - begun < seconds:
                time.sleep(2)
                held.append(self.memory(run))
            more = self.listed()["p/in"]["waiting"] - waiting
            self.assertGreater(more, rate * seconds // 2, "the source went on")
            self.check_memory(max(held), held[0] + (3 << 20))
            server.start()
            run.wait_for(lambda: self.listed()["p/in"]["waiting"] < rate, 120, "it is delivered")
            run.stop(seconds=60)
            last = int(server.sql("SELECT max(n) FROM t")[0][0])
            self.assertEqual(server.sql("SELECT count(*), count(DISTINCT n), min(n) FROM t"),
                             [[str(last + 1), str(last + 1), "0"]])
            self.assertEqual(self.listed()["p/in"]["waiting"], 0)
            self.assertGreater(last, rate * seconds // 2)


class Api(http.server.ThreadingHTTPServer):
    """Answers the number of the request, from 0: what was answered is what must arrive."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Api.Handler)
        self.count, self.lock = 0, threading.Lock()
        self.thread = threading.Thread(target=self.serve_forever)
        self.thread.start()

    def close(self):
        self.shutdown()
        self.thread.join()
        self.server_close()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            with self.server.lock:
                n, self.server.count = self.server.count, self.server.count + 1
            body = json.dumps({"n": n}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass


class Killed(Buffer):

    def test_a_pipe_that_can_not_be_read_again(self):
        """Killed at random moments while the sink is down: what the reader of a pipe had committed to disk is there."""
        rng = random.Random(11)
        self.pipeline("p.yaml", """
            pipeline: p
            memory: 1MiB
            sources: { in: { plugin: generate, with: { resume: true, rate: 20000, template: '{"n":{n}}' }, buffer: {} } }
            transforms: { slow: { from: in, lua: 'function on_record(r) local x = 0; for i = 1, 3000 do x = x + i end return r end' } }
            sinks: { out: { from: slow, plugin: file, with: { path: out.jsonl }, batch: { records: 50 } } }
        """)
        kills = 30 if LONG else 8
        for _ in range(kills):
            before = len(self.lines("out.jsonl"))
            run = self.start("run", "p.yaml", "--data-dir", "d")
            run.wait_for(lambda: len(self.lines("out.jsonl")) > before + 200, 30, "lines arrive")
            time.sleep(rng.random() / 4)
            run.kill()
        waiting = self.listed()["p/in"]["waiting"]
        self.assertGreater(waiting, 0)
        self.plumbline("buffer", "verify", "--data-dir", "d")
        done = self.start("run", "p.yaml", "--data-dir", "d")
        done.wait_log(r"records wait in the disk buffer", 10)
        lines = len(self.lines("out.jsonl"))
        done.wait_for(lambda: len(self.lines("out.jsonl")) > lines + waiting, 120, "all that waited")
        done.stop(seconds=120)
        numbers = [json.loads(line)["n"] for line in self.lines("out.jsonl") if line.endswith("}")]
        count = collections.Counter(numbers)
        self.assertEqual(sorted(count), list(range(max(count) + 1)))
        self.assertLessEqual(max(count.values()), 2 * (kills + 1))   # a kill repeats at most what it met twice: here and at the source

    def test_polls_are_kept_while_the_sink_is_down(self):
        """Every sample that was polled and kept arrives, once and in order, over kills and a sink that is down."""
        api = Api()
        self.addCleanup(api.close)
        with Postgres(support.shared_dir() / self.name("pg")) as server:
            self.pipeline("p.yaml", f"""
                pipeline: p
                memory: 1MiB
                sources:
                  in:
                    plugin: http
                    with: {{ url: "http://127.0.0.1:{api.server_port}/", every: 100ms }}
                    buffer: {{ max_size: 8MiB }}
                sinks:
                  t:
                    from: in
                    plugin: timescale
                    retry: {{ max: 500ms }}
                    with: {{ dsn: "${{DSN}}", table: t, create: true, key: [n], columns: [{{ name: n, type: bigint }}] }}
            """)
            unsure = set()   # answered, but the process was killed before it was sure to be synced: half a second's
            for _ in range(3):
                run = self.start("run", "p.yaml", "--data-dir", "d", env={"DSN": server.dsn})
                seen = api.count
                run.wait_for(lambda: api.count > seen + 10, 30, "it polls")
                if server.running():
                    server.kill()
                    run.wait_log("warn t: ", 30)
                seen = api.count
                run.wait_for(lambda: api.count > seen + 30, 30, "it goes on")
                run.kill()
                unsure.update(range(api.count - 5, api.count))
            self.assertGreater(self.listed()["p/in"]["waiting"], 60)
            server.start()
            run = self.start("run", "p.yaml", "--data-dir", "d", env={"DSN": server.dsn})
            run.wait_for(lambda: self.listed()["p/in"]["waiting"] < 10, 60, "all that waited is stored")
            run.stop(seconds=60)
            stored = {int(row[0]) for row in server.sql("SELECT n FROM t")}
            self.assertEqual(set(range(api.count)) - stored - unsure - {api.count - 1}, set())
            self.assertEqual(len(stored), server.count("t"))

    def test_durable_state_counts_each_sample_once(self):
        """What a script made of polled values is the same over SIGKILL: they come again from the disk buffer."""
        api = Api()
        self.addCleanup(api.close)
        self.pipeline("p.yaml", f"""
            pipeline: p
            sources:
              in:
                plugin: http
                with: {{ url: "http://127.0.0.1:{api.server_port}/", every: 100ms }}
                buffer: {{ max_size: 8MiB }}
            transforms:
              sum:
                from: in
                state: durable
                lua: |
                  function on_record(r)
                    state.count = (state.count or 0) + 1
                    state.sum = (state.sum or 0) + r.n
                    return {{ n = r.n, count = state.count, sum = state.sum }}
                  end
            sinks: {{ out: {{ from: sum, plugin: file, with: {{ path: out.jsonl }} }} }}
        """)
        for _ in range(4):
            before = len(self.lines("out.jsonl"))
            run = self.start("run", "p.yaml", "--data-dir", "d")
            run.wait_for(lambda: len(self.lines("out.jsonl")) > before + 15, 30, "lines arrive")
            run.kill()
        run = self.start("run", "p.yaml", "--data-dir", "d")
        before = len(self.lines("out.jsonl"))
        run.wait_for(lambda: len(self.lines("out.jsonl")) > before + 15, 30, "lines arrive")
        run.stop()
        records = self.records("out.jsonl")
        by_n = {record["n"]: record for record in records}   # what came again gave the same once more
        for record in records:
            self.assertEqual(record, by_n[record["n"]])
        total = 0
        for count, n in enumerate(sorted(by_n), 1):
            total += n
            self.assertEqual((by_n[n]["count"], by_n[n]["sum"]), (count, total))
        self.assertLessEqual(api.count - len(by_n), 5, "lost: no more than one poll a kill, that was not kept yet")


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* Calls on a buffer's segments fail while the file NAME stands in $BROKEN: write, short, sync. */
static int broken(int fd, const char *name)
{
    char link[64], path[512], flag[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len < 0) return 0;
    path[len] = 0;
    if (!strstr(path, ".seg")) return 0;
    snprintf(flag, sizeof flag, "%s/%s", getenv("BROKEN"), name);
    return access(flag, F_OK) == 0;
}
int fdatasync(int fd)
{
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (broken(fd, "sync")) { errno = EIO; return -1; }
    return real(fd);
}
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t shorter(int fd, const void *bytes, size_t len, off_t at)
{
    if (!real_pwrite) real_pwrite = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
    if (broken(fd, "write")) { errno = ENOSPC; return -1; }
    if (len > 100 && broken(fd, "short")) len = len / 2;
    return real_pwrite(fd, bytes, len, at);
}
ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) { return shorter(fd, bytes, len, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t at) { return shorter(fd, bytes, len, at); }
"""


class Refused(Buffer):

    PIPELINE = """
        pipeline: p
        sources: { in: { plugin: generate, with: { resume: true, rate: 2000, template: '{"n":{n}}' }, buffer: { max_size: 16MiB } } }
        sinks: { out: { from: in, plugin: file, with: { path: out.jsonl } } }
    """

    def go_on(self, run, more, what):
        before = len(self.lines("out.jsonl"))
        run.wait_for(lambda: len(self.lines("out.jsonl")) > before + more, 30, what)

    def stand_still(self, run):
        """It stops accepting: after what was on its way nothing more comes."""
        def still():
            before = len(self.lines("out.jsonl"))
            time.sleep(0.5)
            return len(self.lines("out.jsonl")) == before
        run.wait_for(still, 20, "the source waits")

    def numbers(self):
        return [json.loads(line)["n"] for line in self.lines("out.jsonl")]

    @unittest.skipIf(SANITIZED, "the sanitizer wants to be the first library")
    def test_22_a_disk_that_refuses(self):
        """ENOSPC, short writes, failed syncs: it stops accepting, says so once, goes on, and nothing is missing."""
        self.write("shim.c", SHIM)
        (self.dir / "broken").mkdir()
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-w", "-o", self.dir / "shim.so", self.dir / "shim.c", "-ldl"], check=True,
                       timeout=60)
        self.pipeline("p.yaml", self.PIPELINE)
        run = self.start("run", "p.yaml", "--data-dir", "d",
                         env={"LD_PRELOAD": self.dir / "shim.so", "BROKEN": self.dir / "broken"})
        self.go_on(run, 500, "lines arrive")
        (self.dir / "broken" / "short").touch()
        self.go_on(run, 500, "short writes are finished")
        (self.dir / "broken" / "short").unlink()
        for fault, said in (("write", "No space left on device"), ("sync", "Input/output error")):
            (self.dir / "broken" / fault).touch()
            run.wait_log(f"warn in: disk buffer: cannot {fault} .*{said}; trying again", 20)
            self.stand_still(run)
            self.assertTrue(run.running())
            (self.dir / "broken" / fault).unlink()
            self.go_on(run, 500, "it has recovered")
        self.assertEqual(run.stderr.count("trying again"), 2, run.stderr)
        self.assertEqual(run.stderr.count("works again"), 2, run.stderr)
        (self.dir / "broken" / "sync").touch()   # and killed in the middle of it
        self.stand_still(run)
        run.kill()
        self.plumbline("buffer", "verify", "--data-dir", "d")
        run = self.start("run", "p.yaml", "--data-dir", "d")
        self.go_on(run, 500, "lines arrive")
        run.stop()
        numbers = self.numbers()
        self.check_numbers(numbers, 0, max(numbers))

    def small_disk(self):
        """A filesystem of 4 MiB."""
        disk = pathlib.Path(tempfile.mkdtemp(prefix="plumbline-disk-"))
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"tmpfs", str(disk).encode(), b"tmpfs", 0, b"size=4m"):
            os.rmdir(disk)
            self.skipTest("this place lets nobody mount")
        self.addCleanup(os.rmdir, disk)
        self.addCleanup(lambda: libc.umount2(str(disk).encode(), 2))
        return disk

    def fill_disk(self, disk):
        filler = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while True:
                os.write(filler, b"x" * 4096)
        os.close(filler)

    @unittest.skipUnless(os.geteuid() == 0, "mounting needs root")
    def test_22_a_full_disk_below_the_positions(self):
        """A file source with `resume` can't keep how far it has come: it says so once, and goes on. Nothing is lost at a kill."""
        disk = self.small_disk()
        self.pipeline("p.yaml", """
            pipeline: p
            sources: { in: { plugin: file, with: { path: in.jsonl, resume: true, follow: true } } }
            sinks: { out: { from: in, plugin: file, with: { path: out.jsonl } } }
        """)
        def add(first, last):
            with open(self.dir / "in.jsonl", "a", encoding="utf-8") as lines:
                lines.writelines(f'{{"n":{n}}}\n' for n in range(first, last))
        add(0, 500)
        run = self.start("run", "p.yaml", "--data-dir", disk)
        run.wait_for(lambda: len(self.lines("out.jsonl")) == 500, 30, "lines arrive")
        run.wait_for(lambda: any((disk / "p" / "store").glob("*")), 30, "how far it has come is kept")
        self.fill_disk(disk)
        for begin in range(500, 2000, 500):
            add(begin, begin + 500)
            run.wait_for(lambda: len(self.lines("out.jsonl")) == begin + 500, 30, "lines arrive though positions can't be kept")
            run.wait_log("warn in: .*No space left on device; trying again", 20)
        self.assertEqual(run.stderr.count("trying again"), 1, run.stderr)
        (disk / "filler").unlink()
        run.wait_log("in: works again", 30)
        add(2000, 2500)
        run.wait_for(lambda: len(self.lines("out.jsonl")) == 2500, 30, "lines arrive")
        run.stop()
        run = self.start("run", "p.yaml", "--data-dir", disk)
        add(2500, 2600)
        run.wait_for(lambda: len(self.lines("out.jsonl")) >= 2600, 30, "it goes on where it was")
        self.fill_disk(disk)
        add(2600, 3000)
        run.wait_for(lambda: len(self.lines("out.jsonl")) >= 3000, 30, "lines arrive")
        run.kill()
        (disk / "filler").unlink()
        run = self.start("run", "p.yaml", "--data-dir", disk)
        add(3000, 3100)
        run.wait_for(lambda: len(self.lines("out.jsonl")) >= 3100 and self.numbers()[-1] == 3099, 30, "the rest arrives")
        run.stop()
        numbers = self.numbers()
        self.assertEqual(numbers[:2600], list(range(2600)))
        self.assertEqual(set(numbers), set(range(3100)))

    @unittest.skipUnless(os.geteuid() == 0, "mounting needs root")
    def test_22_a_full_disk(self):
        """Something else fills the disk."""
        disk = self.small_disk()
        self.pipeline("p.yaml", self.PIPELINE.replace("resume: true, ", ""))   # its offset would want the same disk
        run = self.start("run", "p.yaml", "--data-dir", disk)
        self.go_on(run, 500, "lines arrive")
        self.fill_disk(disk)
        run.wait_log("warn in: .*No space left on device; trying again", 20)
        self.stand_still(run)
        (disk / "filler").unlink()
        self.go_on(run, 500, "there is room again")
        run.stop()
        numbers = self.numbers()
        self.check_numbers(numbers, 0, max(numbers), doubles=0)
        self.plumbline("buffer", "verify", "--data-dir", disk)

    def test_22_the_systems_own_short_write(self):
        """A limit on the size of files cuts a write short and then refuses; the next segment has room."""
        self.pipeline("p.yaml", self.PIPELINE.replace("rate: 2000", "count: 3000"))
        limited = ["import os, resource, signal, sys", "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)",
                   "resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))", "os.execv(sys.argv[1], sys.argv[1:])"]
        done = subprocess.run(["python3", "-c", "\n".join(limited), str(support.PLUMBLINE), "run", "p.yaml", "--data-dir", "d"],
                              cwd=self.dir, env=self.environment(), capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check_numbers(self.numbers(), 0, 2999, doubles=0)
        self.assertIn("File too large; trying again", done.stderr)

    def test_damage_is_told_and_set_aside(self):
        self.pipeline("p.yaml", """
            pipeline: p
            sources: { in: { plugin: generate, with: { count: 4000, template: '{"n":{n}}' }, buffer: { max_size: 1MiB } } }
            sinks: { out: { from: in, plugin: file, with: { path: out.jsonl } } }
        """)
        self.write("stuck.yaml", (self.dir / "p.yaml").read_text().replace("path: out.jsonl", "path: /dev/full"))
        run = self.start("run", "stuck.yaml", "--data-dir", "d")
        run.wait_for(lambda: self.listed().get("p/in", {}).get("waiting") == 4000, 20, "all is on disk")
        run.kill()
        first = min((self.dir / "d" / "p" / "buffer" / "in").glob("*.seg"))
        image = bytearray(first.read_bytes())
        image[len(image) // 2] ^= 1
        first.write_bytes(image)
        found = self.plumbline("buffer", "verify", "--data-dir", "d", exit=1)
        self.assertRegex(found.stdout, rf"p/in/{first.name}: damaged at byte \d+, 1 place, \d+ bytes can't be read")
        self.write("p.yaml", (self.dir / "p.yaml").read_text().replace("count: 4000", "count: 1"))
        run = self.plumbline("run", "p.yaml", "--data-dir", "d")
        self.assertIn(f"the file was set aside as {first.name}.corrupt", run.stderr)
        numbers = self.numbers()
        self.assertEqual(numbers.pop(), 0)   # the new run's own
        self.assertEqual(len(numbers), 3999)
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual(bytes(image), (first.parent / f"{first.name}.corrupt").read_bytes())
        found = self.plumbline("buffer", "verify", "--data-dir", "d", exit=1)
        self.assertIn("0 damaged, 1 set aside", found.stdout)


if __name__ == "__main__":
    unittest.main()
