"""Dead letters put back, on a real broker and beside a pipeline that runs: each once, as it was, and nothing lost."""

import collections
import json
import shutil
import signal
import subprocess

import support

NOTHING = "0 dead letters read: 0 put back\n"


def put_back(run):
    return run.stdout.splitlines()[-1]


class Topic(support.Case):
    """Dead letters in a topic."""

    def setUp(self):
        super().setUp()
        self.kafka = support.kafka()
        self.source, self.dead, self.target = (self.name(stem) for stem in ("source", "dead", "target"))
        self.kafka.create_topic(self.source)
        self.kafka.create_topic(self.dead, partitions=3)
        self.kafka.create_topic(self.target)
        self.pipeline("p.yaml", f'''
            pipeline: {self.name("job")}
            defaults: {{ kafka: {{ brokers: "{self.kafka.bootstrap}" }} }}
            dead_letter: dead
            sources: {{ in: {{ plugin: kafka, with: {{ topics: {self.source}, group: {self.name("g")} }}, codec: bytes }} }}
            transforms:
              gate: {{ from: in, lua: 'function on_record(r, m) if "${{OPEN:-no}}" == "no" then reject("the gate is shut") end return r end' }}
            sinks:
              out: {{ from: gate, plugin: kafka, with: {{ topic: {self.target}, timestamp: event }} }}
              dead: {{ plugin: kafka, with: {{ topic: {self.dead} }} }}
        ''')

    def kcat(self, data, *argv):
        subprocess.run(["kcat", "-b", self.kafka.bootstrap, "-P", "-t", self.source, *argv], input=data, check=True, timeout=30)

    def raw(self, topic):
        return subprocess.run(["kcat", "-b", self.kafka.bootstrap, "-C", "-t", topic, "-e", "-q", "-f", "%k|%S|%s|%h|%T\n"],
                              capture_output=True, check=True, timeout=30).stdout

    def die(self, count):
        """All that is in the source becomes a dead letter."""
        run = self.start("run", "p.yaml", "--log-level", "error")
        run.wait_for(lambda: len(self.kafka.read(self.dead)) == count, 60, "all are dead letters")
        run.stop()

    def replay(self, *more, open="yes", **kwargs):
        return self.plumbline("replay-dead-letter", "p.yaml", *more, env={"OPEN": open}, **kwargs)

    def test_bytes_headers_keys_and_times_come_back_once(self):
        self.kcat(b'{"n":1}', "-H", "trace=abc", "-H", "trace=def", "-H", "empty=", "-k", "k1")
        self.kcat(b"k2:", "-K:", "-Z")                    # a tombstone
        self.kcat(b"\xff\xfe:\x00\x01\xfd", "-K:", "-D\n")  # neither is text
        self.die(3)
        looked = self.replay("--dry-run")
        self.assertIn("gate                          3  the gate is shut", looked.stdout)
        self.assertEqual(self.raw(self.target), b"")
        done = self.replay()
        self.assertIn("3 put back (3 delivered, 0 filtered, 0 dead letters again, 0 in flight)", done.stdout)
        self.assertEqual(sorted(self.raw(self.target).splitlines()), sorted(self.raw(self.source).splitlines()))
        self.assertEqual(self.replay().stdout, NOTHING, "the group has committed all of it")
        shutil.rmtree(self.dir / "state")
        self.assertEqual(self.replay().stdout, NOTHING, "as another machine sees it")
        self.assertEqual(len(self.kafka.read(self.target)), 3)

    def test_what_fails_again_is_read_by_the_next_replay_only(self):
        self.kcat(b"a\nb\nc\n", "-D\n")
        self.die(3)
        again = self.replay("--log-level", "error", open="no")
        self.assertIn("3 put back (0 delivered, 0 filtered, 3 dead letters again, 0 in flight)", again.stdout)
        letters = self.kafka.read(self.dead)
        self.assertEqual(len(letters), 6)
        done = self.replay("--limit", "2")
        self.assertIn("2 put back (2 delivered", done.stdout)
        done = self.replay()
        self.assertIn("1 put back (1 delivered", done.stdout)
        self.assertEqual(sorted(r["payload"] for r in self.kafka.read(self.target)), ["a", "b", "c"])
        self.assertIn("0 put back", self.replay().stdout)

    def test_killed_in_the_middle_nothing_is_lost(self):
        count = 6000
        text = (self.dir / "p.yaml").read_text()
        text = text.replace('return r end', 'for i = 1, 20000 do end return r end').replace("from: gate, plugin: kafka", "from: gate, plugin: file")
        text = text.replace(f"topic: {self.target}, timestamp: event", "path: out.jsonl").replace("codec: bytes", "codec: json")
        self.write("p.yaml", text)
        self.kcat("".join(f'{{"n":{n}}}\n' for n in range(count)).encode(), "-D\n")
        self.die(count)
        for lines in (1000, 3000):
            run = self.start("replay-dead-letter", "p.yaml", env={"OPEN": "yes"})
            run.wait_for(lambda: len(self.lines("out.jsonl")) > lines, 60, "lines arrive")
            run.kill()
        self.replay()
        found = collections.Counter(record["n"] for record in self.records("out.jsonl"))
        self.assertEqual(sorted(found), list(range(count)))
        self.assertLess(max(found.values()), 4)
        self.assertLess(sum(found.values()), 2 * count, "what was settled before a kill does not come again")
        self.assertIn("0 put back", put_back(self.replay()))

    def test_a_topic_by_template_is_refused_with_the_way_out(self):
        self.write("p.yaml", (self.dir / "p.yaml").read_text().replace(f"topic: {self.dead}", 'topic: "dead.{n}"'))
        run = self.replay(exit=2)
        self.assertIn("what went to topics by template (dead.{n}) can't be read back", run.stderr)


class Beside(support.Case):
    """The pipeline runs meanwhile."""

    def setUp(self):
        super().setUp()
        self.write("in.jsonl", "".join(f'{{"n":{n}}}\n' for n in range(10)))
        self.pipeline("p.yaml", """
            pipeline: job
            sources: { in: { plugin: file, with: { path: in.jsonl, resume: true, follow: true } } }
            transforms:
              gate: { from: in, lua: 'function on_record(r) if r.n % 2 == ${SHUT:-1} then reject("odd") end return r end' }
              counted: { from: gate, state: STATE, lua: 'function on_record(r) state.n = (state.n or 0) + 1 r.nth = state.n return r end' }
            sinks: { out: { from: counted, plugin: file, with: { path: out.jsonl } } }
        """)

    def use_state(self, state):
        self.write("p.yaml", (self.dir / "p.yaml").read_text().replace("STATE", state))

    def replay(self, **kwargs):
        return self.plumbline("replay-dead-letter", "p.yaml", env={"SHUT": "2"}, **kwargs)

    def started(self):
        run = self.start("run", "p.yaml", "--log-level", "error")
        run.wait_for(lambda: len(self.lines("out.jsonl")) >= 5 and len(self.lines("state/plumbline/job/dead_letter.jsonl")) == 5,
                     30, "half is delivered, half is not")
        return run

    def test_both_append_to_one_file(self):
        self.use_state("none")
        run = self.started()
        self.assertIn("5 put back (5 delivered", self.replay().stdout)
        with open(self.dir / "in.jsonl", "a") as more:
            more.write("".join(f'{{"n":{n}}}\n' for n in range(10, 20)))
        run.wait_for(lambda: len(self.lines("out.jsonl")) == 15, 30, "it goes on")
        run.stop()
        self.assertIn("5 put back (5 delivered", self.replay().stdout)
        self.assertEqual(sorted(record["n"] for record in self.records("out.jsonl")), list(range(20)))

    def test_durable_state_waits_for_the_pipeline_to_stop(self):
        self.use_state("durable")
        run = self.started()
        held = self.replay(exit=1)
        self.assertIn("5 letters of 'gate' left: the durable state of 'counted' is the running pipeline's", held.stderr)
        self.assertEqual(len(self.lines("out.jsonl")), 5)
        run.stop()
        self.assertIn("5 put back (5 delivered", self.replay().stdout)
        self.assertEqual(sorted(record["nth"] for record in self.records("out.jsonl")), list(range(1, 11)))
        with open(self.dir / "in.jsonl", "a") as more:
            more.write('{"n":10}\n')
        run = self.start("run", "p.yaml")
        run.wait_for(lambda: len(self.lines("out.jsonl")) == 11, 30, "it goes on")
        run.stop()
        self.assertEqual(self.records("out.jsonl")[-1], {"n": 10, "nth": 11}, "on the state that the replay left")

    def test_one_replay_at_a_time(self):
        self.use_state("none")
        self.started().stop()
        self.write("slow.yaml", (self.dir / "p.yaml").read_text().replace("return r end' }", "for i = 1, 3000000 do end return r end', limits: { time: 60s } }"))
        run = self.start("replay-dead-letter", "slow.yaml", env={"SHUT": "2"})
        run.wait_for(lambda: (self.dir / "state/plumbline/job/replay/done").exists(), 30, "it is at work")
        run.process.send_signal(signal.SIGSTOP)   # so that it is not over before the other has looked
        second = self.replay(exit=1)
        self.assertRegex(second.stderr, f"replay/lock is locked by process {run.process.pid}")
        run.process.send_signal(signal.SIGCONT)
        run.wait()
        self.assertIn("5 put back (5 delivered", run.stdout)

    def test_stopped_in_the_middle_doubles_nothing(self):
        count = 20000
        self.write("in.jsonl", "".join(f'{{"n":{2 * n + 1}}}\n' for n in range(count)))
        self.use_state("none")
        self.write("once.yaml", (self.dir / "p.yaml").read_text().replace(", follow: true", ""))
        self.plumbline("run", "once.yaml", "--log-level", "error")
        self.assertEqual(len(self.lines("state/plumbline/job/dead_letter.jsonl")), count)
        self.write("slow.yaml", (self.dir / "p.yaml").read_text().replace("return r end' }", "for i = 1, 3000 do end return r end' }"))
        run = self.start("replay-dead-letter", "slow.yaml", "--set", "memory=1MiB", env={"SHUT": "2"})
        run.wait_for(lambda: len(self.lines("out.jsonl")) > 100, 30, "lines arrive")
        run.stop()
        self.assertLess(len(self.lines("out.jsonl")), count)
        self.replay()
        self.assertEqual(sorted(record["n"] for record in self.records("out.jsonl")), [2 * n + 1 for n in range(count)])

    def test_every_kind_of_payload_through_a_file(self):
        payloads = [b'{"n": 1}', b' {"n":2}', b"[1,\t2]", b"text", b'"quoted"', b"12", b"null", b"\xff\x00\xfe", b"{torn", b"\\u0041\x07",
                    "\u00e9\u2028\U0001f600".encode()]
        self.write("bytes.txt", b"\n".join(payloads) + b"\n")
        self.pipeline("bytes.yaml", """
            pipeline: bytes
            sources: { in: { plugin: file, with: { path: bytes.txt, format: text }, codec: bytes } }
            transforms: { gate: { from: in, lua: 'function on_record(r) if "${OPEN:-no}" == "no" then reject("shut") end return r end' } }
            sinks: { out: { from: gate, plugin: file, with: { path: bytes.out } } }
        """)
        self.plumbline("run", "bytes.yaml", "--log-level", "error")
        self.plumbline("replay-dead-letter", "bytes.yaml", env={"OPEN": "yes"})
        self.assertEqual((self.dir / "bytes.out").read_bytes().split(b"\n")[:-1], payloads)
        letters = (self.dir / "state/plumbline/bytes/dead_letter.jsonl").read_text().split("\n")[:-1]
        self.assertEqual([json.loads(letter)["payload"] for letter in letters[:2]], [{"n": 1}, ' {"n":2}'])
