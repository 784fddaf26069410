"""The profile `zookeeper` of compose.yaml as processes: Kafka 3.9 with the command that stands there.

The image's own two configuration files are not at hand; what the broker needs of them is written here.
"""

import os
import re
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import model
from servers import free_port, wait_until
from servers.cache import kafka_jars
from test_services import Moved, Part, tools

JAVA = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{kafka_jars('3.9.0')}/*"]
CLASSES = {"zookeeper-server-start.sh": "org.apache.zookeeper.server.quorum.QuorumPeerMain",
           "kafka-server-start.sh": "kafka.Kafka"}


class Zookeeper(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="plumbline-compose-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.moved = Moved(self.folder)
        self.moved.ports = {"kafka-zookeeper:9092": free_port(), "zookeeper:2181": free_port()}
        self.moved.changes |= {"localhost:2181": "zookeeper:2181", "/tmp/kafka-logs": f"{self.folder}/logs",
                               "/opt/kafka/config/": f"{self.folder}/", "localhost:9092": "kafka-zookeeper:9092",
                               "listeners=PLAINTEXT://:9092": "listeners=PLAINTEXT://kafka-zookeeper:9092"}
        tools(self.folder)
        self.services = model.load({"ETH_RPC_URL": "x", "KAFKA_BROKERS": "kafka-zookeeper:9092"})["services"]

    def start(self, name, properties):
        """The service's entry point and command, the script in them replaced by the class that it starts."""
        script, config, *words = map(self.moved, [*self.services[name]["entrypoint"], *self.services[name].get("command", [])])
        with open(config, "w", encoding="utf-8") as file:
            file.write(properties)
        part = Part(self.folder, name, [*JAVA, CLASSES[os.path.basename(script)], config, *words], {})
        self.addCleanup(part.stop)
        return part.start()

    def ran(self, argv, env):
        return subprocess.run(list(map(self.moved, argv)), env={"PATH": os.environ["PATH"], **env}, capture_output=True,
                              text=True, timeout=120)

    def test_the_broker_runs_and_gets_its_topics(self):
        self.start("zookeeper", f"dataDir={self.folder}/zookeeper-data\nadmin.enableServer=false\n"
                                f"clientPort={self.moved.ports['zookeeper:2181']}\nclientPortAddress=127.0.0.1\n")
        broker = self.start("kafka-zookeeper", "broker.id=0\nlog.dirs=/nowhere\nzookeeper.connect=localhost:1\n"
                                               "offsets.topic.replication.factor=1\n")
        check = self.services["kafka-zookeeper"]["healthcheck"]["test"][1:]
        wait_until(lambda: self.ran(check, {}).returncode == 0, 60, "the broker is healthy", broker._check_alive)
        topics = self.services["topics"]
        env = {key: self.moved(value) for key, value in topics["environment"].items()}
        done = self.ran([*topics["entrypoint"], *topics["command"]], env)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        listed = self.ran(["/opt/kafka/bin/kafka-topics.sh", "--bootstrap-server", "kafka-zookeeper:9092", "--list"], {}).stdout
        self.assertEqual(set(re.findall(r"^\w+$", listed, re.M)), {"api_price", "contract_price", "price_alert", "dead_letter"})


if __name__ == "__main__":
    unittest.main()
