"""What the fault tests share: judged results, chance that can be repeated, and servers behind a proxy."""

import json
import os
import random

import oracle
import servers
import support
from proxy import Kafka as KafkaFrames, Proxy

LONG = bool(os.environ.get("PLUMBLINE_LONG"))
# AddressSanitizer keeps what was freed: how much memory such a build takes tells nothing.
SANITIZED = support.sanitized()


class Fault(support.Case):

    def setUp(self):
        super().setUp()
        seed = os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(10**9)
        self.random = random.Random(f"{seed}/{self.id()}")
        self.seed = seed

    def judge(self, found, sent, duplicates=0, ordered=True):
        """Nothing lost, nothing strange, at most so many duplicates, and order kept. Returns the verdict."""
        verdict = oracle.judge(found, sent)
        said = f"{verdict} (FAULT_SEED={self.seed})"
        self.assertEqual((verdict.lost, verdict.strange), (0, 0), said)
        self.assertLessEqual(verdict.duplicated, duplicates, said)
        if ordered:
            self.assertEqual(verdict.reordered, 0, said)
        return verdict

    def dead_letters(self):
        """All dead letters of this test's directory, parsed; the default place and sinks called rejected."""
        return [letter for path in sorted(self.dir.rglob("*.jsonl")) if path.stem in ("dead_letter", "rejected")
                for letter in self.records(path.relative_to(self.dir))]

    def peak_memory(self, run):
        """The most that the process has held so far, in bytes."""
        return self._status(run, "VmHWM")

    def memory(self, run):
        """What the process holds now, in bytes."""
        return self._status(run, "VmRSS")

    def check_memory(self, bytes, most):
        if not SANITIZED:
            self.assertLess(bytes, most)

    def _status(self, run, field):
        with open(f"/proc/{run.process.pid}/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field + ":"))


class KafkaFault(Fault):

    def broker(self):
        """The cluster of this test class; the run's shared one unless it says otherwise."""
        return support.kafka()

    def setUp(self):
        super().setUp()
        self.kafka = self.broker()

    def topic(self, partitions=1, stem="topic", **options):
        name = self.name(stem)
        self.kafka.create_topic(name, partitions=partitions, **options)
        return name

    def count(self, topic):
        """How many records it holds, as the broker tells; -1 while nobody can tell."""
        try:
            return sum(self.kafka.ends(topic).values())
        except servers.ServerError:
            return -1

    def stored_bytes(self, topic):
        """Bytes of the topic's segments in the first broker's log directory; works while no broker runs."""
        return sum(path.stat().st_size for path in (self.kafka.brokers[0].directory / "data").glob(f"{topic}-*/*.log"))

    def fill(self, topic, count, keys=50):
        """Records n = 0 .. count-1 with keys k0, k1, ...; by kcat, so not by what is tested."""
        self.kafka.produce(topic, [(f"k{n % keys}", json.dumps({"n": n, "k": f"k{n % keys}"})) for n in range(count)])


def proxied_kafka(directory):
    """A broker whose clients reach it through kafka.proxy only, kafka.through being the address; the tests' own requests
    go to kafka.bootstrap, beside the proxy."""
    kafka = servers.Kafka(directory)
    broker, inside = kafka.brokers[0], servers.free_port()
    kafka.proxy = Proxy(inside, KafkaFrames)
    kafka.through = f"127.0.0.1:{kafka.proxy.port}"
    kafka.close = kafka.proxy.close
    kafka.settings |= {
        "listeners": f"PLAINTEXT://{broker.address},THROUGH://127.0.0.1:{inside},CONTROLLER://127.0.0.1:{broker.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{broker.address},THROUGH://{kafka.through}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,THROUGH:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }
    return kafka
