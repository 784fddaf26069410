"""Kafka's brokers die, fall silent, fill up and grow."""

import contextlib
import re
import resource
import subprocess
import time

import oracle
import servers
import support
from fault import KafkaFault, proxied_kafka

MIB = 1 << 20

# librdkafka doubles its pause before it connects again, up to 10 s: right for a cluster, long for a test.
SOON = ", librdkafka: { reconnect.backoff.max.ms: 500 }"


class Sending(KafkaFault):

    def send(self, topic, count, rate, keys=20, brokers=None, more=""):
        """A pipeline that writes n = 0 .. count-1, by key, started."""
        self.pipeline("send.yaml", f'''
            sources:
              in: {{ plugin: generate, with: {{ count: {count}, rate: {rate}, keys: {keys}, template: '{{"n":{{n}},"k":"{{key}}"}}' }} }}
            sinks:
              out: {{ from: in, plugin: kafka, with: {{ brokers: "{brokers or self.kafka.bootstrap}", topic: {topic} {more} }} }}
        ''')
        return self.start("run", "send.yaml")

    def read_into(self, topic, path, group, more=""):
        """A pipeline that reads a topic into a file, started."""
        self.pipeline(f"{path}.yaml", f'''
            sources:
              in: {{ plugin: kafka, with: {{ brokers: "{self.kafka.bootstrap}", topics: {topic}, group: {group} {more} }} }}
            sinks: {{ out: {{ from: in, plugin: file, with: {{ path: {path} }} }} }}
        ''')
        return self.start("run", f"{path}.yaml")

    def judge_topic(self, topic, count, duplicates=0):
        found = self.kafka.read(topic)
        self.judge(oracle.of_topic(found, "partition"), range(count), duplicates)
        return self.judge(oracle.of_topic(found, "key"), range(count), duplicates)


class Broker(Sending):

    def test_01_killed_three_times_in_200000_records(self):
        count = 200_000
        topic = self.topic(3)
        run = self.send(topic, count, rate=20_000, more=SOON)
        broker, record = self.kafka.brokers[0], 40   # bytes of one in the log, at least
        for kill in range(1, 4):
            run.wait_for(lambda: self.stored_bytes(topic) > record * count * kill // 4, 90, f"a share of {kill}/4 is written")
            broker.kill()
            broker.start()
        run.wait(seconds=120)
        self.assertEqual(run.components["out"]["delivered"], count)
        self.judge_topic(topic, count)

    def test_04_partitions_are_added_while_it_runs(self):
        topic, group = self.topic(2), self.name("group")
        sent = 20_000
        quick = ", librdkafka: { topic.metadata.refresh.interval.ms: 1000 }"
        reader = self.read_into(topic, "out.jsonl", group, quick)
        run = self.send(topic, sent, rate=2_500, keys=1000, more=quick)
        reader.wait_for(lambda: len(self.lines("out.jsonl")) > 2000, 60, "2,000 records arrive")
        self.kafka.grow_topic(topic, 5)
        # At once, before anybody has noticed: what comes into a new partition is read from its start.
        early = range(sent, sent + 300)
        for at, partition in enumerate((2, 3, 4)):
            self.kafka.produce(topic, [f'{{"n":{n}}}' for n in early[at::3]], partition=partition)
        run.wait(seconds=60)
        total = sent + len(early)
        reader.wait_for(lambda: len(self.lines("out.jsonl")) >= total, 60, "all of them arrive")
        reader.stop()
        self.assertTrue(all(end > 100 for end in self.kafka.ends(topic).values()), "the sink uses the new partitions, too")
        # A key may change its partition when the topic grows: its order ends there. Within a partition it is kept.
        found = oracle.of_topic(self.kafka.read(topic))
        self.judge([(lane, n) for lane, n in found if n not in early], range(sent))
        self.judge(found, range(total), ordered=False)
        self.judge(oracle.of_lines(self.dir / "out.jsonl"), range(total), ordered=False)
        self.assertEqual(self.kafka.group_offsets(group, topic), self.kafka.ends(topic))


class Missing(Sending):

    def test_05_a_topic_that_is_not_there_halts(self):
        topic = self.name("nowhere")
        said = rf"error \w+: topic '{topic}' does not exist; create it or set create_topic"
        for run in (self.send(topic, 5, 0), self.read_into(topic, "out.jsonl", self.name("group"))):
            run.wait(exit=1, seconds=60)
            self.assertRegex(run.stderr, said)
            self.assertEqual(len(re.findall(" error ", run.stderr)), 1, run.stderr)
        self.assertNotIn(topic, self.kafka.topics())

    def test_05_and_is_made_where_asked(self):
        topic = self.name("made")
        made = ", create_topic: { partitions: 4 }"
        reader = self.read_into(topic, "out.jsonl", self.name("group"), made)
        reader.wait_log("assigned 4 partitions", 60)
        self.send(topic, 1000, 0, more=made).wait()
        reader.wait_for(lambda: len(self.lines("out.jsonl")) >= 1000, 60, "all of them arrive")
        reader.stop()
        self.judge_topic(topic, 1000)
        self.judge(oracle.of_lines(self.dir / "out.jsonl", lane="k"), range(1000))


class Acknowledgements(Sending):

    def broker(self):
        return support.shared("kafka_proxied", proxied_kafka)

    def test_02_acknowledgements_are_cut(self):
        """The broker has the batch, and its acknowledgement never arrives: the producer sends it again."""
        times = 8
        topic = self.topic(2)
        proxy = self.kafka.proxy
        before = proxy.lost
        proxy.lose_answers("produce", every=5, times=times)
        run = self.send(topic, 0, rate=5_000, brokers=self.kafka.through, more=SOON)
        run.wait_for(lambda: proxy.lost - before == times, 180, f"{times} of them were lost on their way")
        run.stop(seconds=60)
        self.judge_topic(topic, run.components["out"]["delivered"])


@contextlib.contextmanager
def small_disk(directory, mib):
    """A file system of so many MiB at `directory`, and a function that makes it larger."""
    directory.mkdir(parents=True, exist_ok=True)
    def mount(*words):
        subprocess.run(["mount", *words, str(directory)], check=True, capture_output=True, timeout=30)
    mount("-t", "tmpfs", "-o", f"size={mib}m", "plumbline-test")
    try:
        yield lambda more: mount("-o", f"remount,size={more}m")
    finally:
        # Lazily, for a process may still hold it open; its pages go with the last one.
        subprocess.run(["umount", "--lazy", str(directory)], check=True, capture_output=True, timeout=30)


def may_mount(directory):
    try:
        with small_disk(directory, 1):
            return True
    except subprocess.CalledProcessError:
        return False


class Full(Sending):

    def broker(self):
        return servers.Kafka(self.dir / "kafka", settings={"log.index.size.max.bytes": MIB})

    def setUp(self):
        super().setUp()
        self.addCleanup(self.kafka.kill)

    def test_03_the_only_log_directory_is_full(self):
        """The broker shuts itself down. We wait in bounded memory, and go on when it is back with room."""
        if may_mount(self.dir / "probe"):
            with small_disk(self.kafka.brokers[0].directory / "data", 48) as grow:
                self.fills_up(lambda: grow(512))
        else:
            # No right to mount (a plain container): no file may grow further than this. The write fails all the same,
            # by EFBIG instead of ENOSPC.
            self.fills_up(self.limit_files(24 * MIB))

    def limit_files(self, most):
        broker = self.kafka.brokers[0]
        broker.popen_options = lambda: {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))}
        return lambda: setattr(broker, "popen_options", dict)

    def fills_up(self, make_room):
        broker, count = self.kafka.brokers[0], 100_000
        self.kafka.start()
        topic = self.topic(1)
        self.pipeline("send.yaml", f'''
            memory: 16MiB
            sources:
              in: {{ plugin: generate, with: {{ count: {count}, payload_bytes: 1000, template: '{{"n":{{n}},"k":"{{key}}","pad":"{{pad}}"}}' }} }}
            sinks: {{ out: {{ from: in, plugin: kafka, with: {{ brokers: "{self.kafka.bootstrap}", topic: {topic} {SOON} }} }} }}
        ''')
        run = self.start("run", "send.yaml")
        servers.wait_until(lambda: not broker.running(), 120, "the broker has shut itself down")
        self.assertRegex(broker.log_path.read_text(errors="replace"), "No space left on device|File too large")
        run.wait_log("no broker of .* answers", 60)
        held = self.memory(run)
        time.sleep(3)   # whatever grows has the time to
        self.assertTrue(run.running())
        self.check_memory(self.memory(run), held + 8 * MIB)
        self.check_memory(self.peak_memory(run), 100 * MIB)
        make_room()
        broker.start()
        run.wait(seconds=120)
        self.assertEqual(run.components["out"]["delivered"], count)
        self.judge_topic(topic, count)
