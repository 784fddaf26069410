"""Kafka: 4.1 in KRaft mode with one broker or several, and 3.9 with ZooKeeper, the shape of older clusters."""

import base64
import json
import os
import pathlib
import re
import signal
import subprocess
import time
import uuid

from . import kafka_wire
from .cache import kafka_jars
from .process import Process, ServerError, free_port, port_answers, wait_until

# How long the cluster goes on believing in a broker that was killed; until then it refuses the same broker back.
# Kafka's own defaults (9 s KRaft, 18 s ZooKeeper) would make every test with a kill that much longer.
_SESSION_MS = 4000

# Record and key separators for kcat: control characters that JSON text can't contain unescaped.
_RECORD_END, _KEY_END = "\x1e", "\x1f"


def _java(jars, memory, quick, logged):
    """The command line up to the class name. `quick` trades peak speed for an earlier start."""
    options = [f"-Xmx{memory}", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xshare:auto",
               "-Djava.net.preferIPv4Stack=true", f"-Dorg.slf4j.simpleLogger.defaultLogLevel={logged}",
               "-Dorg.slf4j.simpleLogger.showDateTime=true",
               "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"]
    if quick:
        options.append("-XX:TieredStopAtLevel=1")
    return ["java", *options, "-cp", f"{jars}/*"]


class _ZooKeeper(Process):
    name = "zookeeper"

    def __init__(self, directory, jars):
        super().__init__(directory)
        self._jars = jars
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        (self.directory / "zoo.cfg").write_text(
            f"dataDir={self.directory}/data\nclientPort={self.port}\nclientPortAddress=127.0.0.1\n"
            "tickTime=500\nmaxClientCnxns=0\nadmin.enableServer=false\n")

    def argv(self):
        return [*_java(self._jars, "128m", True, "warn"), "org.apache.zookeeper.server.quorum.QuorumPeerMain",
                str(self.directory / "zoo.cfg")]

    def ready(self):
        return port_answers(self.port)


class Broker(Process):
    """One broker; all of Process's verbs (kill, pause, restart ...) work on it alone."""

    def __init__(self, cluster, node):
        self.name = f"kafka-{node}"
        super().__init__(cluster.directory / self.name)
        self._cluster = cluster
        self.node = node
        self._killed_at = None
        self.port = free_port()
        self.controller_port = 0 if cluster.zookeeper else free_port()
        self.address = f"127.0.0.1:{self.port}"

    def configure(self):
        cluster, many = self._cluster, len(self._cluster.brokers)
        copies = min(3, many)
        settings = {
            "log.dirs": f"{self.directory}/data",
            "auto.create.topics.enable": "false",
            "min.insync.replicas": min(2, many),
            "default.replication.factor": copies,
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": 3,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": min(2, many),
            "transaction.state.log.num.partitions": 3,
            "group.initial.rebalance.delay.ms": 0,
            "num.network.threads": 2,
            "num.io.threads": 4,
            "log.cleaner.dedupe.buffer.size": 4 << 20,
            "delete.topic.enable": "true",
        }
        if cluster.zookeeper:
            settings |= {"broker.id": self.node, "zookeeper.connect": cluster.zookeeper.address,
                         "zookeeper.session.timeout.ms": _SESSION_MS,
                         "listeners": f"PLAINTEXT://{self.address}",
                         "advertised.listeners": f"PLAINTEXT://{self.address}"}
        else:
            voters = ",".join(f"{b.node}@127.0.0.1:{b.controller_port}" for b in cluster.brokers)
            settings |= {"process.roles": "broker,controller", "node.id": self.node,
                         "controller.quorum.voters": voters,
                         "broker.session.timeout.ms": _SESSION_MS, "broker.heartbeat.interval.ms": 1000,
                         "listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{self.controller_port}",
                         "advertised.listeners": f"PLAINTEXT://{self.address}",
                         "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                         "inter.broker.listener.name": "PLAINTEXT", "controller.listener.names": "CONTROLLER"}
        settings |= cluster.settings
        lines = [f"{key}={value}\n" for key, value in settings.items()]
        (self.directory / "server.properties").write_text("".join(lines))

    def format(self):
        """What StorageTool does, once: the log directory learns which cluster it belongs to."""
        if self._cluster.zookeeper or (self.directory / "data" / "meta.properties").exists():
            return
        done = subprocess.run([*_java(self._cluster.jars, "128m", True, "warn"), "kafka.tools.StorageTool", "format",
                               f"--cluster-id={self._cluster.cluster_id}", "-c", str(self.directory / "server.properties")],
                              capture_output=True, text=True, errors="replace", timeout=120)
        if done.returncode:
            raise ServerError(f"formatting {self.name} failed (status {done.returncode}):\n{done.stdout}{done.stderr}")

    def launch(self):
        if self._cluster.zookeeper and self._killed_at is not None:
            # A broker whose former session ZooKeeper still holds ends at once ("NodeExists").
            time.sleep(max(0.0, self._killed_at + _SESSION_MS / 1000 + 1 - time.monotonic()))
        self._killed_at = None
        super().launch()

    def kill(self):
        if self.running():
            self._killed_at = time.monotonic()
        super().kill()

    def argv(self):
        cluster = self._cluster
        return [*_java(cluster.jars, cluster.memory, cluster.quick, "info"), "kafka.Kafka",
                str(self.directory / "server.properties")]

    def ready(self):
        """It is known to the cluster, itself included, knows who the controller is, and knows the topics it holds."""
        try:
            found = kafka_wire.metadata(("127.0.0.1", self.port), timeout=5)
        except OSError:
            return False
        if self.node not in found["brokers"] or found["controller"] < 0:
            return False
        # A broker that comes back answers before the controller has told it of its topics ("unknown topic"). With
        # other brokers, a partition may rightly be without a leader for longer than a start should wait.
        alone = len(self._cluster.brokers) == 1
        return all(topic in found["topics"] and (not alone or found["topics"][topic].get(partition, -1) >= 0)
                   for topic, partition in self._held())

    def _held(self):
        """The (topic, partition) pairs that its log directory has, Kafka's own topics aside."""
        for path in (self.directory / "data").glob("*-*"):
            topic, _, partition = path.name.rpartition("-")
            if partition.isdigit() and not topic.startswith("__"):
                yield topic, int(partition)


class Kafka:
    """A cluster: `with Kafka(directory) as kafka: kafka.bootstrap`.

    brokers    how many; each is broker and controller in one
    version    "4.1.0" or "3.9.0" (fetched from Maven Central on first use)
    zookeeper  True runs a ZooKeeper 3.8.4 beside it instead of KRaft (3.9.0 only)
    settings   more lines of server.properties, e.g. {"log.retention.ms": 1000}
    memory     Java heap of each broker
    quick      start sooner, with the simple compiler only; give False for benchmarks
    """

    def __init__(self, directory, brokers=1, version=None, zookeeper=False, settings=None, memory="256m", quick=True):
        self.directory = pathlib.Path(directory).absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.version = version or ("3.9.0" if zookeeper else "4.1.0")
        if zookeeper and not self.version.startswith("3."):
            raise ServerError(f"Kafka {self.version} has no ZooKeeper mode; expected version 3.9.0")
        self.jars = kafka_jars(self.version)
        self.settings, self.memory, self.quick = dict(settings or {}), memory, quick
        self.cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self.zookeeper = _ZooKeeper(self.directory / "zookeeper", self.jars) if zookeeper else None
        self.brokers = []
        for node in range(1, brokers + 1):
            self.brokers.append(Broker(self, node))
        self.bootstrap = ",".join(broker.address for broker in self.brokers)

    def start(self):
        """Start all of it and wait until every broker knows every other. Returns self."""
        try:
            if self.zookeeper:
                self.zookeeper.start()
            for broker in self.brokers:
                broker.configure()
                broker.format()
            for broker in self.brokers:
                if not broker.running():
                    broker.launch()
            for broker in self.brokers:
                broker.wait_ready()
            wait_until(self._complete, 60, f"all {len(self.brokers)} Kafka brokers are known")
        except BaseException:
            self.kill()
            raise
        return self

    def _complete(self):
        return len(self.metadata()["brokers"]) == len(self.brokers)

    def stop(self):
        """Orderly end of all brokers (and ZooKeeper)."""
        # All at once: each broker holds a vote of the quorum that the others need for an orderly end.
        for broker in self.brokers:
            broker.signal_group(signal.SIGTERM)
        for broker in self.brokers:
            broker.stop()
        if self.zookeeper:
            self.zookeeper.stop()

    def kill(self):
        """kill -9 of all brokers (and ZooKeeper)."""
        for server in [*self.brokers, *([self.zookeeper] if self.zookeeper else [])]:
            server.kill()

    def restart(self):
        """Orderly stop and start: same addresses, same data."""
        self.stop()
        return self.start()

    def pause(self):
        """SIGSTOP all brokers."""
        for broker in self.brokers:
            broker.pause()

    def resume(self):
        """SIGCONT all brokers."""
        for broker in self.brokers:
            broker.resume()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # Topics.
    def _any(self):
        for broker in self.brokers:
            if broker.running():
                return "127.0.0.1", broker.port
        raise ServerError("no Kafka broker is running")

    def metadata(self):
        """See kafka_wire.metadata."""
        return kafka_wire.metadata(self._any())

    def topics(self):
        """{name: number of partitions}, without Kafka's own topics."""
        return {name: len(parts) for name, parts in self.metadata()["topics"].items() if not name.startswith("__")}

    def create_topic(self, name, partitions=1, replication=None, config=None):
        """Create a topic and wait until each of its partitions has a leader."""
        kafka_wire.create_topic(self._any(), name, partitions, replication or min(3, len(self.brokers)), config)
        self._wait_leaders(name, partitions)

    def grow_topic(self, name, partitions):
        """Raise the number of partitions and wait until the new ones have a leader."""
        kafka_wire.grow_topic(self._any(), name, partitions)
        self._wait_leaders(name, partitions)

    def delete_topic(self, name):
        kafka_wire.delete_topic(self._any(), name)

    def _wait_leaders(self, name, partitions):
        def led():
            found = self.metadata()["topics"].get(name, {})
            return len(found) == partitions and all(leader >= 0 for leader in found.values())
        wait_until(led, 20, f"topic {name} has {partitions} partitions with a leader")

    def group_offsets(self, group, topic):
        """{partition: committed offset} of a consumer group; empty for a group that nobody has used yet."""
        found = {}

        def known():
            # 14, 15, 16: the coordinator is loading, not there yet (the broker now makes its topic), or has moved.
            try:
                found.update(kafka_wire.group_offsets(self._any(), group, topic, self.topics().get(topic, 0)))
                return True
            except kafka_wire.KafkaError as error:
                if error.code not in (14, 15, 16):
                    raise
                return False

        wait_until(known, 20, f"the coordinator of group {group} answers")
        return found

    # Records, through kcat.
    def _kcat(self, *argv, data=None, seconds=120):
        done = subprocess.run(["kcat", "-b", self.bootstrap, *argv], input=data, capture_output=True, timeout=seconds,
                              env=os.environ | {"LC_ALL": "C.UTF-8"})
        if done.returncode:
            raise ServerError(f"kcat {' '.join(argv)} failed (status {done.returncode}): "
                              f"{done.stderr.decode(errors='replace')}")
        return done.stdout

    def ends(self, topic):
        """{partition: the offset that the next record will get}."""
        asked = [word for partition in range(self.topics()[topic]) for word in ("-t", f"{topic}:{partition}:-1")]
        said = self._kcat("-Q", *asked).decode()
        found = {int(partition): int(end) for partition, end in re.findall(r"\[(\d+)\] offset (\d+)$", said, re.M)}
        if len(found) != len(asked) // 2:     # of a partition without a leader kcat says so, and ends well
            raise ServerError(f"kcat does not know each end of {topic}:\n{said}")
        return found

    def produce(self, topic, records, partition=None):
        """Write records: each a value, or a pair (key, value); text or bytes. Waits for all acknowledgements."""
        def text(part):
            return part if isinstance(part, bytes) else str(part).encode()
        end, key_end = _RECORD_END.encode(), _KEY_END.encode()
        records = list(records)
        keyed = any(isinstance(record, tuple) for record in records)
        lines = [text(r[0]) + key_end + text(r[1]) if isinstance(r, tuple) else text(r) for r in records]
        for line in lines:
            if end in line:
                raise ValueError("a record to produce may not contain the byte 0x1e")
        if not lines:
            return
        argv = ["-P", "-t", topic, "-D", _RECORD_END, "-X", "enable.idempotence=true",
                "-X", "topic.partitioner=murmur2_random"]
        if keyed:
            argv += ["-K", _KEY_END]
        if partition is not None:
            argv += ["-p", str(partition)]
        self._kcat(*argv, data=end.join(lines) + end)

    def read(self, topic, committed_only=False, seconds=120):
        """The whole topic, as it is now: a list of dicts {partition, offset, ts, key, payload, headers?}.

        Ordered by partition, then offset. payload and key are text, or None where the record has none."""
        argv = ["-C", "-t", topic, "-e", "-q", "-J", "-o", "beginning",
                "-X", f"isolation.level={'read_committed' if committed_only else 'read_uncommitted'}"]
        lines = self._kcat(*argv, seconds=seconds).decode(errors="surrogateescape").split("\n")
        found = [json.loads(line) for line in lines if line]
        return sorted(found, key=lambda record: (record["partition"], record["offset"]))

    def read_json(self, topic, **options):
        """The payloads of read(), parsed, numbers that are not integers kept as text (str) so that digits survive."""
        return [json.loads(record["payload"], parse_float=str) for record in self.read(topic, **options)]
