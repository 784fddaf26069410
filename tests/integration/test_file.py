"""The file plugin in a process that is killed, piped and interrupted."""

import collections
import json
import os
import unittest

import support


class File(support.Case):

    def test_killed_five_times(self):
        """Source and sink both: no line lost, none torn; what comes twice is what was on its way."""
        count = 20000
        self.write("in.jsonl", "".join(f'{{"n":{n},"pad":"{"x" * (n % 300)}"}}\n' for n in range(count)))
        self.pipeline("p.yaml", """
            sources: { in: { plugin: file, with: { path: in.jsonl, resume: true } } }
            transforms: { slow: { from: in, lua: 'function on_record(r) local x = 0; for i = 1, 2000 do x = x + i end; return r end' } }
            sinks: { out: { from: slow, plugin: file, with: { path: out.jsonl }, batch: { records: 50 } } }
        """)
        for _ in range(5):
            before = len(self.lines("out.jsonl"))
            run = self.start("run", "p.yaml")
            run.wait_for(lambda: len(self.lines("out.jsonl")) > before + 500, 20, "lines arrive")
            run.kill()
        self.plumbline("run", "p.yaml")
        written = collections.Counter(record["n"] for record in self.records("out.jsonl"))   # each line parses
        self.assertEqual(sorted(written), list(range(count)))
        self.assertLess(max(written.values()), 7)

    def count_through_kills(self, state):
        """What a script counted is the same whether or not it was killed."""
        count = 6000
        self.write("in.jsonl", "".join(f'{{"n":{n}}}\n' for n in range(count)))
        self.pipeline("p.yaml", """
            sources: { in: { plugin: file, with: { path: in.jsonl, resume: true } } }
            transforms:
              counted:
                from: in
                state: STATE
                lua: |
                  function on_record(r)
                    state.seen = (state.seen or 0) + 1
                    local x = 0
                    for i = 1, 3000 do x = x + i end
                    r.seen = state.seen
                    return r
                  end
            sinks: { out: { from: counted, plugin: file, with: { path: out.jsonl }, batch: { records: 50 } } }
        """.replace("STATE", state))
        for _ in range(4):
            before = len(self.lines("out.jsonl"))
            run = self.start("run", "p.yaml")
            run.wait_for(lambda: len(self.lines("out.jsonl")) > before + 300, 20, "lines arrive")
            run.kill()
        self.plumbline("run", "p.yaml")
        written = self.records("out.jsonl")
        self.assertEqual({record["n"] for record in written}, set(range(count)))
        self.assertEqual([record for record in written if record["seen"] != record["n"] + 1], [])

    def test_rebuilt_state_after_kills(self):
        self.count_through_kills("{ rebuild: 1h }")   # what was delivered is given to the script again

    def test_durable_state_after_kills(self):
        self.count_through_kills("durable")           # saved with the position

    def test_between_pipes(self):
        self.pipeline("p.yaml", """
            sources: { in: { plugin: file, with: { path: "-" } } }
            sinks: { out: { from: in, plugin: file, with: { path: "-" } } }
        """)
        read, write = os.pipe()
        run = self.start("run", "p.yaml", stdin=read)
        os.close(read)
        with open(write, "w") as stdin:
            for n in range(3):
                stdin.write(f'{{"n":{n}}}\n')
                stdin.flush()
                run.wait_for(lambda: len(run.stdout.splitlines()) == n + 1, 10, f"line {n} came out at once")
            stdin.write('{"n":3}')   # no newline: the end of the pipe ends the line
        run.wait()
        self.assertEqual([json.loads(line)["n"] for line in run.stdout.splitlines()], [0, 1, 2, 3])

    def test_an_idle_pipe_does_not_hold_up_the_end(self):
        self.pipeline("p.yaml", """
            sources: { in: { plugin: file, with: { path: "-" } } }
            sinks: { out: { from: in, plugin: file, with: { path: out.jsonl } } }
        """)
        read, write = os.pipe()
        self.addCleanup(os.close, write)
        run = self.start("run", "p.yaml", stdin=read)
        os.close(read)
        os.write(write, b"1\n")
        run.wait_for(lambda: self.lines("out.jsonl") == ["1"], 10, "it runs")
        run.stop(seconds=10)

    def test_what_is_no_json_is_kept(self):
        self.pipeline("p.yaml", """
            dead_letter: rejected
            sources: { in: { plugin: file, with: { path: in.csv, format: csv } } }
            sinks:
              out: { from: in, plugin: file, with: { path: out.csv, format: csv, csv: { columns: [b, a] } } }
              rejected: { plugin: file, with: { path: rejected.jsonl } }
        """)
        self.write("in.csv", b'a,b\n1,"x, y"\n1,2,3\n\xff,2\n,""\n')
        self.plumbline("run", "p.yaml")
        self.assertEqual(self.lines("out.csv"), ["b,a", '"x, y",1', '"",'])
        letters = self.records("rejected.jsonl")
        self.assertEqual([letter.get("payload") or letter["payload_base64"] for letter in letters], ["1,2,3", "/ywy"])
        self.assertTrue(all("plumbline.reason" in letter["headers"] for letter in letters))


if __name__ == "__main__":
    unittest.main()
