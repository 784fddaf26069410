"""The services of compose.yaml as processes: its commands, its environments, its health checks, on real servers.

What differs from Docker is only where things are: names of hosts become loopback ports, paths of the image become paths
of this machine. Not run here: Adminer, and the containers' own isolation.
"""

import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import model
from servers import Process, Timescale, free_port, wait_until
from servers.cache import kafka_jars

BUILD = os.environ.get("PLUMBLINE_BUILD", os.path.join(model.ROOT, "build"))
KAFKA = "4.1.0"
TOOLS = {"kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
         "kafka-broker-api-versions.sh": "org.apache.kafka.tools.BrokerApiVersionsCommand"}
HASTE = {"CHAIN_EVERY": "1s", "SETTLE": "2s", "IDLE": "5s"}     # the simulated market is faster than the real one
SERVICES = ("api_producer", "producer", "api_consumer", "consumer", "accuracy")


class Moved:
    """Where what the containers know by name is on this machine: text in, text out."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = {"kafka:9092": free_port(), "kafka:9093": free_port(), "localhost:29092": free_port()}
        self.changes = {"/opt/kafka/bin/": f"{folder}/bin/", "/var/lib/kafka/data": f"{folder}/kafka-data",
                        "/usr/local/share/plumbline": model.ROOT, "localhost:9092": "kafka:9092"}

    def __call__(self, text):
        for old, new in self.changes.items():
            text = text.replace(old, new)
        for name, port in self.ports.items():
            text = text.replace(name, f"127.0.0.1:{port}")
        return text


class Part(Process):
    """One service as a process."""

    def __init__(self, folder, name, argv, env, ready=lambda: True):
        self.name, self._argv, self._env, self._ready = name, argv, env, ready
        super().__init__(os.path.join(folder, name))

    def argv(self):
        return self._argv

    def environment(self):
        return {"PATH": os.environ["PATH"], **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")},
                **self._env}

    def ready(self):
        return self._ready()


def tools(folder):
    """bin/ as in Kafka's image, for the commands that compose.yaml uses."""
    os.makedirs(f"{folder}/bin")
    for name, main in TOOLS.items():
        path = f"{folder}/bin/{name}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "{kafka_jars(KAFKA)}/*" {main} "$@"\n')
        os.chmod(path, stat.S_IRWXU)


def properties(env, moved):
    """What Kafka's image makes of KAFKA_* variables: a.b.c from KAFKA_A_B_C."""
    lines = []
    for name, value in env.items():
        value = moved(value)
        if name == "KAFKA_LISTENERS":      # ports of all interfaces become ports of loopback
            value = re.sub(r"://:(9092|9093)", lambda m: f"://127.0.0.1:{moved.ports['kafka:' + m[1]]}", value)
            value = value.replace("://:29092", f"://127.0.0.1:{moved.ports['localhost:29092']}")
        lines.append(f"{name.removeprefix('KAFKA_').lower().replace('_', '.')}={value}\n")
    return "".join(lines)


class Services(unittest.TestCase):
    """One topology for all tests; the tests only look."""

    @classmethod
    def setUpClass(cls):
        cls.enterClassContext(cls._folder())
        cls.moved = Moved(cls.folder)
        tools(cls.folder)
        cls.store = cls.enterClassContext(Timescale(os.path.join(cls.folder, "store")))
        cls.parts = {}
        cls.addClassCleanup(cls._stop)
        market = Part(cls.folder, "market", [sys.executable, os.path.join(model.ROOT, "tests/market/market.py"), "--speed", "120"],
                      {}, lambda: market.log_path.read_text().endswith("\n"))
        cls.parts["market"] = market.start()
        cls.at = json.loads(market.log_path.read_text())
        cls.file = model.load({"ETH_RPC_URL": cls.at["rpc"], "POLL_EVERY": "1s"})["services"]
        cls._start_kafka()
        for name in SERVICES:
            cls.start_service(name)

    @classmethod
    def _folder(cls):
        folder = tempfile.TemporaryDirectory(prefix="plumbline-compose-")
        cls.folder = folder.name
        return folder

    @classmethod
    def _stop(cls):
        for part in reversed(cls.parts.values()):
            part.stop()

    @classmethod
    def _start_kafka(cls):
        config = os.path.join(cls.folder, "server.properties")
        with open(config, "w", encoding="utf-8") as file:
            file.write(properties(cls.file["kafka"]["environment"], cls.moved))
        java = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{kafka_jars(KAFKA)}/*"]
        done = subprocess.run([*java, "kafka.tools.StorageTool", "format", "-t", "cGx1bWJsaW5lLXBsdW1ibA", "-c", config],
                              capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise AssertionError(f"formatting Kafka's log directory failed:\n{done.stdout}{done.stderr}")
        cls.parts["kafka"] = Part(cls.folder, "kafka", [*java, "kafka.Kafka", config], {}).start()
        wait_until(lambda: cls.healthy("kafka"), 60, "kafka is healthy", cls.parts["kafka"]._check_alive)
        topics = cls.file["topics"]
        done = subprocess.run([*topics["entrypoint"], *map(cls.moved, topics["command"])], capture_output=True, text=True,
                              timeout=120, env={"PATH": os.environ["PATH"], **cls.environment("topics")})
        if done.returncode:
            raise AssertionError(f"creating the topics failed:\n{done.stdout}{done.stderr}")

    @classmethod
    def environment(cls, name):
        env = {key: cls.moved(value) for key, value in cls.file[name].get("environment", {}).items()}
        if "PG_DSN" in env:
            env["PG_DSN"] = cls.store.dsn
        return env

    @classmethod
    def start_service(cls, name):
        """As the image would: its entry point, the service's command and environment, a state directory of its own."""
        state = os.path.join(cls.folder, name)
        env = {"STATE_DIRECTORY": state, **cls.environment(name), **HASTE}
        if name == "api_producer":          # the APIs themselves cannot be reached from a test
            env |= {"COINGECKO_URL": cls.at["coingecko"], "COINPAPRIKA_URL": cls.at["coinpaprika"]}
        argv = [os.path.join(BUILD, "plumbline"), *map(cls.moved, cls.file[name]["command"])]
        cls.parts[name] = Part(cls.folder, name, argv, env).start()

    @classmethod
    def healthy(cls, name):
        """The service's own health check, once."""
        _, *words = cls.file[name]["healthcheck"]["test"]
        part = cls.parts.get(name)
        env = {"PATH": os.environ["PATH"], **cls.environment(name), "HEALTHY_PID": str(part.pid if part else 0)}
        if words[0] == "plumbline-healthy":
            ports = {"9092": str(cls.moved.ports["kafka:9092"]), "5432": re.search(r":(\d+)/", cls.store.dsn)[1]}
            words = [os.path.join(HERE, "healthy.sh"), *(ports[word] for word in words[1:])]
        elif words[0] == "pg_isready":
            words += ["--host", "127.0.0.1", "--port", re.search(r":(\d+)/", cls.store.dsn)[1]]
        return subprocess.run(list(map(cls.moved, words)), env=env, capture_output=True, timeout=30).returncode == 0

    def rows(self, query, enough, seconds=60):
        """Waits until the query's first number is at least `enough`."""
        def look():
            found = self.store.sql(query)
            return found if found and float(found[0][0] or 0) >= enough else None

        def alive():
            for name in SERVICES:
                self.parts[name]._check_alive()

        def asked():
            exists = self.store.sql("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname IN "
                                    "('api_price', 'contract_price', 'price_deviation')")
            return look() if exists[0][0] == "3" else None
        return wait_until(asked, seconds, query, alive)

    def test_the_store_is_healthy(self):
        self.assertTrue(self.healthy("store"))

    def test_every_service_becomes_healthy(self):
        for name in SERVICES:
            with self.subTest(name):
                wait_until(lambda: self.healthy(name), 60, f"{name} is healthy", self.parts[name]._check_alive)

    def test_values_arrive(self):
        self.rows("SELECT count(DISTINCT (source, pair)) FROM api_price", 6)
        self.rows("SELECT count(DISTINCT pair) FROM contract_price", 3)

    def test_deviations_arrive(self):
        self.rows("SELECT count(DISTINCT pair) FROM price_deviation WHERE basis = 'now' AND deviation_pct IS NOT NULL", 3)

    def test_topics_have_the_partitions_that_were_asked_for(self):
        said = subprocess.run([f"{self.folder}/bin/kafka-topics.sh", "--bootstrap-server",
                               f"127.0.0.1:{self.moved.ports['kafka:9092']}", "--describe", "--topic", "api_price"],
                              capture_output=True, text=True, timeout=60).stdout
        self.assertIn("PartitionCount: 3", said)

    def test_z_a_service_that_ended_is_not_healthy(self):
        part = self.parts["consumer"]
        pid = part.pid
        wait_until(lambda: self.healthy("consumer"), 60, "consumer is healthy", part._check_alive)
        part.kill()
        self.assertFalse(self.healthy("consumer"), pid)
        self.start_service("consumer")
        wait_until(lambda: self.healthy("consumer"), 60, "consumer is healthy again", self.parts["consumer"]._check_alive)

    def test_z_a_service_stops_within_its_grace_period(self):
        part = self.parts["api_consumer"]
        begun = time.monotonic()
        os.kill(part.pid, 15)
        self.assertEqual(part._child.wait(30), 0)
        self.assertLess(time.monotonic() - begun, 30)
        self.start_service("api_consumer")


if __name__ == "__main__":
    unittest.main()
