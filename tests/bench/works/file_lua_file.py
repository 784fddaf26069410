"""The reference work: read a 242-byte JSON record from a file, a script reads two fields, adds one, drops one and
filters 1%; write it to a file."""

import filecmp

from support import peers
from support.context import BENCH, run
from support.measure import BenchError, Process, Subject, sample_of

RECORDS = 1_000_000
PAIRS = 5
BASELINE = "plumbline"
COLUMNS = ["rate", "spread", "cpu_per_million_s", "peak_rss_kb", "speed", "cpu"]
LIMIT, LUA = "hand-written C++, simdjson", "the bare Lua call on C stubs"
SCRIPT = BENCH / "deviation.lua"


def lines_in(path):
    """Newlines of a file that may grow; 0 while it is not there."""
    try:
        with open(path, "rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except FileNotFoundError:
        return 0


class Reference:
    """The subjects over one set of inputs. The expected output is the limit's; ours must be the same to the byte."""

    def __init__(self, ctx, **options):
        """Options: those of the generate plugin that makes the input."""
        self.ctx, self._options = ctx, options
        self._expected = {}

    def input(self, records):
        return self.ctx.input(records, **self._options)

    def expected(self, records):
        if records not in self._expected:
            path = self.ctx.directory / f"expected.{records}.jsonl"
            run([self.ctx.program("limit_file"), self.input(records), path], "the expected output")
            self._expected[records] = (path, lines_in(path))
        return self._expected[records]

    def _same(self, out, records):
        if not filecmp.cmp(out, self.expected(records)[0], shallow=False):
            raise BenchError(f"{out} is not what {self.expected(records)[0]} says it should be")

    def ours(self, *more, **env):
        def sample(records):
            out = self.ctx.directory / "ours.jsonl"
            env.update(INPUT=self.input(records), OUTPUT=out)
            found = Process(self.ctx, self.ctx.run_argv("file_lua_file", *more), env).finish()
            self._same(out, records)
            return sample_of(found, records)
        return sample

    def limit(self, records):
        out = self.ctx.directory / "limit.jsonl"
        return sample_of(Process(self.ctx, [self.ctx.program("limit_file"), self.input(records), out]).finish(), records)

    def lua(self, records):
        return sample_of(Process(self.ctx, [self.ctx.program("limit_lua"), self.input(records), records,
                                            SCRIPT]).finish(), records)

    def peer(self, argv, **env):
        """A peer that does not end by itself: it has done its work when the output has all lines."""
        def sample(records):
            out = self.ctx.directory / "peer.jsonl"
            out.unlink(missing_ok=True)
            wanted = self.expected(records)[1]
            process = Process(self.ctx, argv, env | {"INPUT": self.input(records), "OUTPUT": out,
                                                     "OUTPUT_DIR": out.parent, "OUTPUT_NAME": out.name})
            ended = lambda: not process.running()
            size = [0]

            def done():   # counting lines costs the machine time, so it is done only when the file has stopped growing
                now = out.stat().st_size if out.exists() else 0
                grown, size[0] = now != size[0], now
                return not grown and now > 0 and lines_in(out) >= wanted
            process.until(lambda: ended() or done(), 300, f"{wanted} lines")
            found = process.stop() if process.running() else process.finish()
            if lines_in(out) < wanted:
                raise BenchError(f"{argv[0]}: {lines_in(out)} of {wanted} lines came out")
            return sample_of(found, records)
        return sample


def subjects(ctx):
    work = Reference(ctx)
    found = [
        Subject("plumbline", work.ours(), note="validates every record whole, as by default"),
        Subject("plumbline, validate: touched", work.ours(VALIDATE="touched"), note="looks at what is read only"),
        Subject(LIMIT, work.limit, note="no script"),
        Subject(LUA, work.lua, note="no input, no output, no decimals"),
    ]
    binary = peers.telegraf(ctx)
    if binary:
        argv = [binary, "--config", peers.config("telegraf", "file_lua_file"), "--non-strict-env-handling"]
        found.append(Subject("Telegraf, Starlark", work.peer(argv), 0.1, "floats; round_id loses digits"))
    found += [Subject(name, work.peer(argv), 0.1) for name, argv in peers.all_given(ctx, "file_lua_file")]
    return found


def judge(by_name):
    """What the project promises of this work, beside what was measured: [(promise, measured, kept), ...]."""
    cpu = {name: s["cpu_per_million_s"] for name, s in by_name.items()}
    if LIMIT not in cpu or LUA not in cpu:
        return []
    bound = cpu[LIMIT] + 1.3 * cpu[LUA]
    found = [("CPU per record at most the limit plus 1.3 times the bare Lua call", f"{cpu['plumbline']:.2f} s per million, "
              f"bound {bound:.2f}", cpu["plumbline"] <= bound)]
    for name, times in (("Telegraf, Starlark", 20), ("Fluent Bit, Lua", 10), ("Vector, VRL", 15), ("Bento, Bloblang", 30)):
        if name in cpu:
            ratio = by_name["plumbline"]["rate"] / by_name[name]["rate"]
            found.append((f"at least {times} times {name}", f"{ratio:.1f} times by records/s, "
                          f"{cpu[name] / cpu['plumbline']:.1f} times by CPU", ratio >= times))
    return found
