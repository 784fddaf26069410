"""Kafka to Kafka by transactions: what a reader of committed records sees, whatever dies in between."""

import signal

import oracle
from fault import BUSY, KafkaFault


class ExactlyOnce(KafkaFault):

    def copy(self, path, source, target, group, instance, member=None, script="", every="100ms"):
        """A pipeline that copies a topic, filters one record in seven and makes two of one in eleven, started."""
        self.pipeline(path, f'''
            pipeline: {path[:-5]}
            delivery: exactly_once
            commit_every: {every}
            data_dir: {path}.state
            sources: {{ in: {self.member(source, group, member, more="drain: 60s,")} }}
            transforms:
              work:
                from: in
                lua: |
                  function on_record(r)
                    {script}
                    if r.n % 7 == 0 then return end
                    if r.n % 11 == 0 then return {{ r, {{ n = r.n + {self.TWIN}, k = r.k }} }} end
                    return r
                  end
            sinks: {{ out: {{ from: work, plugin: kafka, with: {{ brokers: "{self.kafka.bootstrap}", topic: {target}, 
              transactional_id: "{instance}", librdkafka: {{ transaction.timeout.ms: 15000, reconnect.backoff.max.ms: 500 }} }} }} }}
        ''')
        return self.start("run", path)

    TWIN = 10_000_000   # what makes a second number of a record's own

    def expected(self, count):
        passed = [n for n in range(count) if n % 7]
        return passed + [n + self.TWIN for n in passed if n % 11 == 0]

    def judge_target(self, target, count):
        found = self.kafka.read(target, committed_only=True)
        lanes = [(lane, n) for lane, n in oracle.of_topic(found) if n is None or n < self.TWIN]
        self.judge(lanes, {n for n in self.expected(count) if n < self.TWIN})
        self.judge(oracle.of_topic(found), self.expected(count), ordered=False)

    def test_19_killed_at_random_points(self):
        source, target, group = self.topic(3), self.topic(3), self.name("group")
        begin = lambda work="": self.copy("copy.yaml", source, target, group, group, member="the-only-one", script=work)
        committed = lambda: self.committed(group, source)
        end = self.feed(source, committed)
        self.kill_lives(lambda: begin(BUSY), lambda: self.count(target))
        count = end()
        self.assertLess(committed(), count, "each kill came in the middle")
        run = begin()
        run.wait_for(lambda: committed() == count, 120, "everything is committed")
        run.stop()
        self.judge_target(target, count)
        doubled = oracle.judge(oracle.of_topic(self.kafka.read(target)), self.expected(count)).duplicated
        self.assertGreater(doubled, 0, "a kill came in the middle of a transaction, which was aborted")

    def test_26_a_broker_killed_in_the_middle(self):
        count = 60_000
        source, target, group = self.topic(3), self.topic(3), self.name("group")
        self.fill(source, count)
        run = self.copy("copy.yaml", source, target, group, group, script="for i = 1, 2000 do end", every="500ms")
        broker = self.kafka.brokers[0]
        run.wait_for(lambda: self.count(target) > count // 4, 90, "a quarter is written")
        broker.kill()
        broker.start()
        run.wait_for(lambda: self.committed(group, source) == count, 180, "everything is committed")
        run.stop()
        self.judge_target(target, count)
        account = run.components["in"]
        self.assertEqual(account["read"], count, "what was aborted and read again counts once")
        self.assertEqual(account["delivered"] + account["filtered"], count)

    def test_27_a_second_instance_joins_and_leaves(self):
        """What a member had in hand is committed before its partitions go; twins are two instances of one pipeline."""
        source, target, group = self.topic(4), self.topic(4), self.name("group")
        end = self.feed(source, lambda: self.committed(group, source))
        first = self.copy("first.yaml", source, target, group, f"{group}-1", script=BUSY)
        first.wait_for(lambda: self.count(target) > 0, 60, "the first is at work")
        for round in range(2):
            before = self.committed(group, source)
            second = self.copy("second.yaml", source, target, group, f"{group}-2", script=BUSY)
            second.wait_log("assigned 2 partitions", 60)
            second.wait_for(lambda: self.committed(group, source) > before + 1000, 60, "they go on together")
            if round == 0:
                second.stop()
        count = end()
        first.wait_for(lambda: self.committed(group, source) == count, 120, "everything is committed")
        first.stop()
        second.stop()
        self.judge_target(target, count)
        self.assertNotIn("starting over", first.stderr, "the hand-over cost no transaction")

    def test_28_stopped_beyond_its_session_its_late_work_counts_nothing(self):
        count = 20_000
        source, target, group = self.topic(2), self.topic(2), self.name("group")
        self.fill(source, count)
        busy = "for i = 1, 200000 do end"   # so that most of them are still inside whenever it is stopped
        first = self.copy("first.yaml", source, target, group, f"{group}-1", script=busy)
        first.wait_for(lambda: self.committed(group, source) > 500, 60, "something is committed")
        first.process.send_signal(signal.SIGSTOP)
        try:
            self.assertLess(self.committed(group, source), count, "it was stopped in the middle")
            second = self.copy("second.yaml", source, target, group, f"{group}-2")
            second.wait_log("assigned 2 partitions", 60)
            # What the first left open hides what is behind it from readers of committed records, not from the group.
            second.wait_for(lambda: self.committed(group, source) == count, 90, "the second has committed everything")
        finally:
            first.process.send_signal(signal.SIGCONT)
        first.wait_log("starting over from what is committed", 60)
        first.wait_log("assigned 1 partition", 60)   # it is a member again
        first.stop(exit=None)
        self.assertIn(first.process.returncode, (0, 3))   # 3: it was told to stop before it had started over
        second.stop()
        self.assertEqual(self.committed(group, source), count, "its late work moved no offset")
        self.judge_target(target, count)

    def test_29_the_same_transactional_id_twice(self):
        """The one that comes later takes over; the zombie halts, and nothing of its open transaction counts."""
        source, target, group = self.topic(2), self.topic(2), self.name("group")
        end = self.feed(source, lambda: self.committed(group, source))
        first = self.copy("first.yaml", source, target, group, group, script=BUSY, every="2s")
        first.wait_for(lambda: self.count(target) > 500, 60, "the first is at work")
        second = self.copy("second.yaml", source, target, group, group)
        first.wait(exit=1, seconds=60)
        self.assertRegex(first.stderr, "another instance with the same transactional_id has taken over")
        count = end()
        second.wait_for(lambda: self.committed(group, source) == count, 90, "the second has committed everything")
        second.stop()
        self.judge_target(target, count)
