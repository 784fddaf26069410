"""The process is told to end, and scripts fail."""

import time

import oracle
from fault import KafkaFault, LONG


class Sigterm(KafkaFault):
    ENDS = 100 if LONG else 10

    def test_18_sigterm_in_the_middle(self):
        """Whatever is on its way when it comes: it ends in time and by itself, and nothing is lost, doubled or reordered."""
        topic = self.topic(2)
        self.pipeline("send.yaml", f'''
            shutdown_deadline: 20s
            sources:
              in: {{ plugin: generate, with: {{ resume: true, rate: 20000, keys: 20, template: '{{"n":{{n}}}}' }} }}
            transforms: {{ work: {{ from: in, lua: "function on_record(r) return r end" }} }}
            sinks: {{ out: {{ from: work, plugin: kafka, with: {{ brokers: "{self.kafka.bootstrap}", topic: {topic} }} }} }}
        ''')
        delivered = 0
        for _ in range(self.ENDS):
            before = self.stored_bytes(topic)
            run = self.start("run", "send.yaml")
            run.wait_for(lambda: self.stored_bytes(topic) > before, 60, "records arrive")
            time.sleep(self.random.random() * 0.3)
            run.stop(seconds=40)      # exit 0, in good time before its own last resort
            self.assertEqual(run.components["out"]["in_flight"], 0)
            delivered += run.components["out"]["delivered"]
        found = self.kafka.read(topic)
        self.judge(oracle.of_topic(found), range(delivered))
        self.judge(oracle.of_topic(found, "key"), range(delivered))


class Hanging(KafkaFault):

    def test_33_sigterm_while_the_broker_hangs(self):
        """What the broker does not answer can't be finished: it ends at its deadline, says how much is left, and the next run
        loses none of it."""
        count, source, topic, group = 200_000, self.topic(2, "in"), self.topic(2, "out"), self.name("group")
        self.fill(source, count)
        ends = self.kafka.ends(source)
        self.pipeline("copy.yaml", f'''
            shutdown_deadline: 3s
            sources:
              in:
                plugin: kafka
                with: {{ brokers: "{self.kafka.bootstrap}", topics: {source}, group: {group}, librdkafka: {{ session.timeout.ms: "6000" }} }}
            transforms: {{ work: {{ from: in, lua: "function on_record(r) return r end" }} }}
            sinks: {{ out: {{ from: work, plugin: kafka, with: {{ brokers: "{self.kafka.bootstrap}", topic: {topic} }} }} }}
        ''')
        run = self.start("run", "copy.yaml")
        run.wait_for(lambda: self.stored_bytes(topic) > 0, 60, "records arrive")
        self.kafka.pause()
        try:
            run.stop(exit=3, seconds=25)   # the deadline, and a few seconds each for the last commit, the group and the producer
        finally:
            self.kafka.resume()
        self.assertRegex(run.stderr, r"[1-9]\d* records? left unacknowledged")
        again = self.start("run", "copy.yaml")
        again.wait_for(lambda: self.kafka.group_offsets(group, source) == ends, 90, "all are read and settled")
        again.stop()
        self.judge(oracle.of_topic(self.kafka.read(topic)), range(count), duplicates=count)


class Scripts(KafkaFault):

    def test_20_a_script_that_fails_on_one_percent(self):
        """Exactly those records are dead letters, each with the place in the script; all others go on."""
        count, topic = 20_000, self.topic(2)
        self.fill(topic, count)
        self.write("fails.lua", "function on_record(r)\n  if r.n % 100 == 42 then local x = nil; return x.y end\n  return r\nend\n")
        self.pipeline("fails.yaml", f'''
            dead_letter: rejected
            sources: {{ in: {{ plugin: kafka, with: {{ brokers: "{self.kafka.bootstrap}", topics: {topic}, group: {self.name("g")} }} }} }}
            transforms: {{ fails: {{ from: in, script: fails.lua }} }}
            sinks:
              out: {{ from: fails, plugin: file, with: {{ path: out.jsonl }} }}
              rejected: {{ plugin: file, with: {{ path: rejected.jsonl }} }}
        ''')
        run = self.start("run", "fails.yaml")
        run.wait_for(lambda: len(self.lines("out.jsonl")) + len(self.lines("rejected.jsonl")) >= count, 60, "all are somewhere")
        run.stop()
        bad = set(range(42, count, 100))
        self.judge(oracle.of_lines(self.dir / "out.jsonl", lane="k"), set(range(count)) - bad)
        letters = self.dead_letters()
        self.judge([(letter["payload"]["k"], letter["payload"]["n"]) for letter in letters], bad)
        for letter in letters:
            self.assertRegex(letter["headers"]["plumbline.reason"], r"fails\.lua:2: attempt to index a nil value")
            self.assertEqual(letter["headers"]["plumbline.class"], "script")
        self.assertEqual(run.components["fails"]["dead_lettered"], len(bad))
