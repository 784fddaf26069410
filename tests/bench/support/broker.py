"""A Kafka broker for the works that need one, its input topics, and what an output topic tells of a run."""

import json
import struct
import subprocess

from servers import Kafka, kafka_wire

from .context import run
from .measure import BenchError

_LIST_OFFSETS, _LATEST = 2, -1
_NOT_YET = (3, 6)   # a partition just made: the broker does not know it yet, or not that it leads it
# The inputs' event times are fixed; Kafka would delete by them. The outputs are stamped by the broker: that is the clock.
_KEEP = {"retention.ms": "-1"}
_STAMPED = {"retention.ms": "-1", "message.timestamp.type": "LogAppendTime"}


class Broker:
    """`with Broker(ctx) as broker:` one Kafka broker with 1 GB of heap and both compilers. broker.address"""

    def __init__(self, ctx):
        self._ctx = ctx
        self._kafka = Kafka(ctx.directory / f"kafka{ctx.serial()}", quick=False, memory="1g")
        self._inputs = {}

    def __enter__(self):
        self._kafka.start()
        self.address = self._kafka.bootstrap
        return self

    def __exit__(self, *_):
        self._kafka.stop()

    def ends(self, topic, partitions=1):
        """Offset behind the last record, over all partitions; 0 while not all of them have a leader."""
        rows = [struct.pack(">iq", index, _LATEST) for index in range(partitions)]
        name = topic.encode()
        body = (struct.pack(">iih", -1, 1, len(name)) + name + struct.pack(">i", len(rows)) + b"".join(rows))
        host, port = self.address.split(":")
        reader = kafka_wire.request((host, int(port)), _LIST_OFFSETS, 1, body)
        total = 0
        for _ in range(reader.number("i")):
            reader.string()
            for _ in range(reader.number("i")):
                _index, code, _time, offset = (reader.number(form) for form in "ihqq")
                if code in _NOT_YET:
                    return 0
                if code:
                    raise BenchError(f"the end of topic {topic}: the broker answered error {code}")
                total += offset
        return total

    def input(self, records, partitions=1, **options):
        """A topic of seeded records, keyed by pair; made once."""
        key = (records, partitions, *sorted(options.items()))
        if key not in self._inputs:
            topic = f"in{len(self._inputs)}"
            self._kafka.create_topic(topic, partitions, config=_KEEP)
            pipeline = self._ctx.directory / "make_topic.yaml"
            pipeline.write_text(json.dumps({
                "pipeline": "make_topic",
                "sources": {"load": {"plugin": "generate", "with": {"count": records, "seed": 42} | options}},
                "sinks": {"out": {"from": "load", "plugin": "kafka",
                                  "with": {"brokers": self.address, "topic": topic, "key": "pair"}}}}))
            run([self._ctx.plumbline, "run", pipeline, "--data-dir", self._ctx.directory / "data_input"],
                "making the input topic")
            if self.ends(topic, partitions) != records:
                raise BenchError(f"topic {topic} has {self.ends(topic, partitions)} records, not {records}")
            self._inputs[key] = topic
        return self._inputs[key]

    def output(self, partitions=1):
        """A fresh topic."""
        topic = f"out{self._ctx.serial()}"
        self._kafka.create_topic(topic, partitions, config=_STAMPED)
        return topic

    def committed(self, group, topic):
        """The sum of the offsets that a group has committed; 0 for a group that nobody knows yet."""
        return sum(self._kafka.group_offsets(group, topic).values())

    def drop(self, topic):
        self._kafka.delete_topic(topic)

    def _stamp_ms(self, topic, partition, offset):
        done = subprocess.run(["kcat", "-b", self.address, "-C", "-q", "-J", "-e", "-t", topic, "-p", str(partition), "-o",
                               str(offset), "-c", "1"], capture_output=True, text=True, timeout=60)
        if done.returncode or not done.stdout.strip():
            raise BenchError(f"kcat reads nothing at {topic}[{partition}]@{offset}: {done.stderr.strip()}")
        return json.loads(done.stdout.splitlines()[0])["ts"]

    def seconds(self, topic, partitions=1):
        """From the first record of an output topic to its last, by the broker's clock."""
        first = min(self._stamp_ms(topic, index, "beginning") for index in range(partitions))
        last = max(self._stamp_ms(topic, index, -1) for index in range(partitions))
        return max(last - first, 1) / 1000
