"""Members of a consumer group: stopped, killed, and going on while a broker dies."""

import signal

import oracle
import servers
import support
from fault import BUSY, KafkaFault


class Group(KafkaFault):

    def copy(self, path, source, target, group, member=None, script="", session_ms=6000):
        """A pipeline from a topic to a topic or a file: returns it started."""
        sink = (f"plugin: file, with: {{ path: {target} }}" if target.endswith(".jsonl") else
                f'plugin: kafka, with: {{ brokers: "{self.kafka.bootstrap}", topic: {target} }}')
        self.pipeline(path, f'''
            data_dir: {path}.state
            sources: {{ in: {self.member(source, group, member, session_ms, "commit_every: 200ms,")} }}
            transforms: {{ work: {{ from: in, lua: "function on_record(r) {script} return r end" }} }}
            sinks: {{ out: {{ from: work, {sink} }} }}
        ''')
        return self.start("run", path)


class Members(Group):

    def test_06_stopped_beyond_its_session_it_is_fenced(self):
        """What the first one has in hand when it is stopped, the second does again; when the first wakes up and delivers
        that too, the group's offsets take no notice of it."""
        count = 20_000
        topic, group = self.topic(2), self.name("group")
        self.fill(topic, count)
        busy = "for i = 1, 200000 do end"   # so that most of them are still inside whenever it is stopped
        first = self.copy("first.yaml", topic, "first.jsonl", group, script=busy)
        first.wait_for(lambda: self.committed(group, topic) > 500, 60, "something is committed")
        first.process.send_signal(signal.SIGSTOP)
        try:
            done = len(self.lines("first.jsonl"))
            self.assertLess(done, count, "it was stopped in the middle")
            second = self.copy("second.yaml", topic, "second.jsonl", group)
            second.wait_log("assigned 2 partitions", 60)
            second.wait_for(lambda: self.committed(group, topic) == count, 90, "the second has committed everything")
        finally:
            first.process.send_signal(signal.SIGCONT)
        first.wait_log("lost the assignment", 60)
        offsets = [self.committed(group, topic)]
        first.wait_log("assigned 1 partition", 60)   # it is a member again
        offsets.append(self.committed(group, topic))
        first.stop()
        second.stop()
        offsets.append(self.committed(group, topic))
        self.assertEqual(offsets, [count] * 3, "its late work moved no offset")
        both = [self.dir / "first.jsonl", self.dir / "second.jsonl"]
        # Twice comes what it had delivered and not committed, and what it did until it heard; the rest it lets go.
        self.judge(oracle.of_lines(*both), range(count), duplicates=count // 2, ordered=False)
        for path in both:
            self.judge([found for found in oracle.of_lines(path, lane="k")], {n for _, n in oracle.of_lines(path)})

    def test_19_killed_at_random_points(self):
        """At least once: after a kill comes again what was written and not yet committed, and nothing else."""
        source, target, group = self.topic(3), self.topic(3), self.name("group")
        begin = lambda work="": self.copy("copy.yaml", source, target, group, member="the-only-one", script=work)
        committed = lambda: self.committed(group, source)
        end = self.feed(source, committed)
        self.kill_lives(lambda: begin(BUSY), lambda: self.count(target), least_s=0.3)
        count, written, done = end(), self.count(target), committed()
        self.assertLess(done, count, "each kill came in the middle")
        run = begin()
        run.wait_for(lambda: committed() == count, 120, "everything is committed")
        run.stop()
        found = self.kafka.read(target)
        verdict = self.judge(oracle.of_topic(found), range(count), duplicates=written - done)
        self.judge(oracle.of_topic(found, "key"), range(count), duplicates=written - done)
        # Commits are 200 ms apart, and a life was longer than that: less than half of what it wrote comes again.
        self.assertLess(verdict.duplicated, written // 2, f"{written} were written by those that were killed")


class Cluster(Group):

    def broker(self):
        return support.shared("kafka_three", lambda directory: servers.Kafka(directory, brokers=3))

    def test_23_one_of_three_brokers_killed_below_four_instances(self):
        """Replication 3, 12 partitions, four members. The brokers go on as two; nothing is lost, order is kept."""
        count = 60_000
        source, target, group = self.topic(12), self.topic(12), self.name("group")
        members = [self.copy(f"copy{at}.yaml", source, target, group, member=f"member-{at}", session_ms=45000) for at in range(4)]
        for member in members:
            member.wait_log("assigned 3 partitions", 90)
        self.pipeline("send.yaml", f'''
            sources: {{ in: {{ plugin: generate, with: {{ count: {count}, rate: 5000, keys: 500, template: '{{"n":{{n}}}}' }} }} }}
            sinks: {{ out: {{ from: in, plugin: kafka, with: {{ brokers: "{self.kafka.bootstrap}", topic: {source} }} }} }}
        ''')
        sender = self.start("run", "send.yaml")
        broker = self.kafka.brokers[-1]
        sender.wait_for(lambda: self.count(target) > count // 4, 90, "a quarter has passed")
        broker.kill()
        sender.wait_for(lambda: self.count(target) > count // 2, 120, "two brokers go on")
        broker.start()
        sender.wait(seconds=120)
        members[0].wait_for(lambda: self.committed(group, source) == count, 120, "everything is committed")
        for member in members:
            member.stop()
        self.judge(oracle.of_topic(self.kafka.read(source)), range(count))
        found = self.kafka.read(target)
        for lane in ("partition", "key"):
            # No member died, so nothing needs to be done twice; a rebalance that finds the coordinator gone may.
            self.judge(oracle.of_topic(found, lane), range(count), duplicates=count // 10)
