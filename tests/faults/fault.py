"""What the fault tests share: judged results, chance that can be repeated, and servers behind a proxy."""

import concurrent.futures
import contextlib
import json
import os
import random
import signal
import threading
import time

import oracle
import servers
import support
from proxy import Kafka as KafkaFrames, Postgres as PostgresAnswers, Proxy

LONG = bool(os.environ.get("PLUMBLINE_LONG"))
BUSY = "for i = 1, 20000 do end"   # in a script: a tenth of a millisecond or so, so that records pile up before it
# AddressSanitizer keeps what was freed: how much memory such a build takes tells nothing.
SANITIZED = support.sanitized()


class Fault(support.Case):

    KILLS = 100 if LONG else 10

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

    def kill_lives(self, begin, progress, least_s=0.2):
        """Starts it and kills it, again and again, each time at a random point after progress() has grown."""
        for _ in range(self.KILLS):
            before, run = progress(), begin()
            run.wait_for(lambda: progress() > before, 60, "it goes on")
            time.sleep(least_s + self.random.random() * 0.6)
            run.kill()

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


class StoreFault(Fault):
    """A table of the run's shared PostgreSQL, or of a server of the test's own."""

    def setUp(self):
        super().setUp()
        self.server = support.shared("postgres", servers.Postgres)
        self.table = self.name("t")

    def stored(self, server=None):
        return (server or self.server).count(self.table)

    def judge_table(self, count, server=None):
        """Each row is there once, and nothing is a dead letter."""
        found = oracle.of_table((server or self.server).sql(f"SELECT n FROM {self.table}"))
        self.judge(found, range(count))
        self.assertEqual(self.dead_letters(), [])

    @contextlib.contextmanager
    def proxied(self, kinds, every, times):
        """A proxy that loses answers, and the address that leads through it: in clear, for the proxy reads along."""
        with Proxy(self.server.port, PostgresAnswers) as proxy:
            proxy.lose_answers(kinds, every=every, times=times)
            yield proxy, self.server.dsn.replace(f":{self.server.port}/", f":{proxy.port}/") + "?sslmode=disable&gssencmode=disable"

    def kill_backend(self, run, server):
        """Kills the server's process that serves the run's only session; the server then ends every session, and starts anew."""
        (backend,) = [int(row[0]) for row in server.sql(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'plumbline/%'")]
        os.kill(backend, signal.SIGKILL)
        run.wait_log("warn t: ", 60)
        servers.wait_until(server.ready, 60, "the server is itself again")


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

    def fill(self, topic, count, keys=50, first=0):
        """So many records, n = first, first + 1, ..., with keys k0, k1, ...; by kcat, so not by what is tested."""
        self.kafka.produce(topic, [(f"k{n % keys}", json.dumps({"n": n, "k": f"k{n % keys}"})) for n in range(first, first + count)])

    def feed(self, topic, done, ahead=20_000):
        """Fills the topic for as long as the test wants: there are always so many records more than done() tells. So what reads
        them is in the middle of them however quick the machine is. -> a function that ends it and tells how many there are."""
        ended = threading.Event()
        self.fill(topic, ahead)

        def go_on():
            count = ahead
            while not ended.wait(0.2):
                due = count
                with contextlib.suppress(servers.ServerError):   # it asks a server that is down at times
                    due = done() + ahead
                if due > count:
                    self.fill(topic, due - count, first=count)
                    count = due
            return count
        pool = concurrent.futures.ThreadPoolExecutor(1)
        fed = pool.submit(go_on)
        self.addCleanup(pool.shutdown)
        self.addCleanup(ended.set)

        def end():
            ended.set()
            return fed.result()
        return end

    def committed(self, group, topic):
        """How many records of the topic the group has done."""
        return sum(max(0, offset) for offset in self.kafka.group_offsets(group, topic).values())

    def member(self, topic, group, name=None, session_ms=6000, more=""):
        """A source, as pipelines want it, that reads the topic as a member of the group; under a name it is a static member."""
        static = f', group.instance.id: "{name}"' if name else ""
        return (f'{{ plugin: kafka, with: {{ brokers: "{self.kafka.bootstrap}", topics: {topic}, group: {group}, {more} librdkafka: '
                f"{{ heartbeat.interval.ms: 500, session.timeout.ms: {session_ms}{static} }} }} }}")


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
