"""Each server does one real round trip, is killed and started again, ends, and leaves nothing behind.

    python3 tests/servers/test_servers.py [-v]       about 40 s, most of it Kafka's
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS))

from servers import Anvil, Feeds, Kafka, Postgres, RpcError, ServerError, Timescale, psql  # noqa: E402
from servers.feeds import ANSWER_UPDATED  # noqa: E402
from servers.process import group_members  # noqa: E402

GENESIS = 1_700_000_000


class ServerTest(unittest.TestCase):
    def setUp(self):
        self._home = tempfile.TemporaryDirectory(prefix="plumbline-servers-")
        self.addCleanup(self._home.cleanup)
        self.directory = pathlib.Path(self._home.name)
        self._groups = set()

    def saw(self, *servers):
        """Remember the processes of servers, so that gone() can look for them after their end."""
        self._groups.update(server.pid for server in servers)

    def gone(self):
        self.assertTrue(self._groups)
        for group in self._groups:
            self.assertEqual(group_members(group), [], "a server's processes are still there after its end")


class KafkaTest(ServerTest):
    def test_one_broker(self):
        with Kafka(self.directory) as kafka:
            self.saw(*kafka.brokers)
            kafka.create_topic("prices", partitions=3)
            kafka.produce("prices", [(f"key{n}", f'{{"n":{n},"price":1.50}}') for n in range(100)])
            self.assertEqual(sorted(r["n"] for r in kafka.read_json("prices")), list(range(100)))
            self.assertEqual({r["price"] for r in kafka.read_json("prices")}, {"1.50"})
            kafka.grow_topic("prices", 4)
            self.assertEqual(kafka.topics(), {"prices": 4})
            self.assertEqual(kafka.group_offsets("nobody", "prices"), {})
            got = subprocess.run(["kcat", "-b", kafka.bootstrap, "-G", "readers", "-c", "100", "-q", "-X",
                                  "auto.offset.reset=earliest", "prices"], capture_output=True, timeout=60)
            self.assertEqual(got.stdout.count(b"\n"), 100, got.stderr)
            self.assertEqual(sum(kafka.group_offsets("readers", "prices").values()), 100)
            kafka.brokers[0].kill()
            self.assertRaises(ServerError, kafka.topics)
            kafka.brokers[0].start()
            self.saw(*kafka.brokers)
            self.assertEqual(len(kafka.read("prices")), 100)
        self.gone()

    def test_three_brokers_go_on_without_one(self):
        with Kafka(self.directory, brokers=3) as kafka:
            self.saw(*kafka.brokers)
            kafka.create_topic("prices", partitions=6)
            self.assertEqual(set(kafka.metadata()["topics"]["prices"].values()), {1, 2, 3})
            kafka.brokers[1].kill()
            kafka.produce("prices", [(f"key{n}", str(n)) for n in range(100)])
            self.assertEqual(sorted(int(r["payload"]) for r in kafka.read("prices")), list(range(100)))
        self.gone()

    def test_zookeeper(self):
        with Kafka(self.directory, zookeeper=True) as kafka:
            self.saw(kafka.zookeeper, *kafka.brokers)
            self.assertEqual(kafka.version, "3.9.0")
            kafka.create_topic("prices")
            kafka.produce("prices", ["one", "two"])
            kafka.brokers[0].kill()
            kafka.brokers[0].start()
            self.saw(*kafka.brokers)
            self.assertEqual([r["payload"] for r in kafka.read("prices")], ["one", "two"])
            self.assertEqual([r["key"] for r in kafka.read("prices")], [None, None])
        self.gone()


class PostgresTest(ServerTest):
    def test_round_trip(self):
        with Postgres(self.directory) as pg:
            self.saw(pg)
            pg.sql("CREATE TABLE price (at timestamptz PRIMARY KEY, price numeric)")
            pg.sql("INSERT INTO price VALUES ('2026-01-01T00:00:00Z', 1800.50)")
            self.assertEqual(pg.sql("SELECT current_database(), * FROM price"),
                             [["kafka_sink", "2026-01-01 00:00:00+00", "1800.50"]])
            self.assertEqual(psql(pg.socket_dsn, "SELECT price FROM price"), [["1800.50"]])
            self.assertRaisesRegex(ServerError, "password authentication failed", psql,
                                   pg.dsn.replace(pg.password, "wrong"), "SELECT 1")
            pg.kill()
            self.assertRaises(ServerError, pg.sql, "SELECT 1")
            pg.start()
            self.saw(pg)
            self.assertEqual(pg.sql("SELECT price FROM price"), [["1800.50"]])
            home = pg.socket_dsn.split()[0].removeprefix("host=")
        self.gone()
        if home != str(self.directory):
            self.assertFalse(os.path.exists(home))


class TimescaleTest(ServerTest):
    def test_round_trip(self):
        with Timescale(self.directory) as ts:
            self.saw(ts)
            ts.sql("CREATE TABLE price (at timestamptz, pair text, price numeric, UNIQUE (pair, at));"
                   "SELECT create_hypertable('price', 'at')")
            ts.sql("INSERT INTO price SELECT '2026-01-01Z'::timestamptz + n * interval '1 minute', 'ETH/USD', n + 0.50 "
                   "FROM generate_series(0, 119) n ON CONFLICT DO NOTHING")
            self.assertEqual(ts.sql("SELECT time_bucket('1 hour', at) AS hour, count(*), max(price) FROM price "
                                    "GROUP BY 1 ORDER BY 1"),
                             [["2026-01-01 00:00:00+00", "60", "59.50"], ["2026-01-01 01:00:00+00", "60", "119.50"]])
            self.assertRaisesRegex(ServerError, "COPY .* not possible", ts.sql, "\\copy price FROM /dev/null")
            ts.kill()
            ts.start()
            self.saw(ts)
            self.assertEqual(ts.sql("SELECT count(*) FROM price"), [["120"]])
        self.gone()

    def test_transactions_of_two_clients_stay_apart(self):
        with Timescale(self.directory) as ts:
            self.saw(ts)
            ts.sql("CREATE TABLE price (price numeric)")
            first = subprocess.Popen(["psql", "-Xq", ts.dsn], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                     bufsize=1)
            self.addCleanup(first.communicate)
            first.stdin.write("BEGIN; INSERT INTO price VALUES (1);\n\\echo begun\n")
            self.assertEqual(first.stdout.readline(), "begun\n")
            seen = []
            second = threading.Thread(target=lambda: seen.extend(ts.sql("SELECT count(*) FROM price")))
            second.start()
            second.join(0.3)
            self.assertEqual(seen, [], "a second client looked into an open transaction")
            first.kill()
            second.join(20)
            self.assertEqual(seen, [["0"]], "an abandoned transaction was not rolled back")
        self.gone()


class AnvilTest(ServerTest):
    def setUp(self):
        super().setUp()
        self.node = Anvil(self.directory, timestamp=GENESIS).start()
        self.addCleanup(self.gone)
        self.addCleanup(self.node.stop)
        self.saw(self.node)
        self.feeds = Feeds(self.node)

    def test_rounds(self):
        self.assertEqual(self.node.rpc("eth_chainId"), "0x1")
        block = self.feeds.push({"ETH/USD": "1800.12345678", "BTC/USD": "30000", "LINK/USD": "7.5"}, at=GENESIS + 500)
        self.assertEqual(block["timestamp"], GENESIS + 500)
        eth = self.feeds["ETH/USD"]
        self.assertEqual(eth.latest(), {"round_id": (1 << 64) + 1, "phase_id": 1, "agg_round": 1,
                                        "answer": 180012345678, "started_at": GENESIS + 500,
                                        "updated_at": GENESIS + 500})
        eth.push("1801", started_at=GENESIS + 590, updated_at=GENESIS + 600)
        self.assertEqual((eth.latest()["started_at"], eth.latest()["updated_at"]), (GENESIS + 590, GENESIS + 600))
        eth.push(raw=-5)
        self.assertEqual(eth.latest()["answer"], -5)
        self.assertEqual([r["answer"] for r in eth.rounds()], [180012345678, 180100000000, -5])
        self.assertEqual(eth.round((1 << 64) + 2)["answer"], 180100000000)
        self.assertEqual(eth.latest(block["number"])["agg_round"], 1)
        self.assertRaises(ValueError, eth.push, "1.123456789")
        eth.set_latest(7, "1", updated_at=0)
        self.assertEqual((eth.latest()["agg_round"], eth.latest()["updated_at"]), (7, 0))

    def test_phases_and_versions(self):
        link = self.feeds["LINK/USD"]
        link.push("7.5", started_at=5, updated_at=GENESIS + 9)
        first = link.latest()
        self.assertEqual(first["started_at"], GENESIS + 9, "version 4 has one time")
        link.confirm(version=6, phase=5)
        link.push("7.6")
        self.assertEqual((link.phase(), link.latest()["round_id"]), (5, (5 << 64) + 1))
        self.assertEqual(link.round(first["round_id"]), first)
        with self.assertRaises(RpcError):
            link.round(9 << 64 | 1)
        self.assertEqual(link.round((5 << 64) + 99)["updated_at"], 0)
        link.remove_code()
        self.assertEqual(self.node.rpc("eth_call", {"to": link.proxy, "data": "0xfeaf968c"}, "latest"), "0x")

    def test_reorg(self):
        eth = self.feeds["ETH/USD"]
        eth.push("1800")
        eth.push("1801")
        before = self.node.block()
        self.node.reorg(1)
        after = self.node.block()
        self.assertEqual(after["number"], before["number"])
        self.assertNotEqual(after["hash"], before["hash"])
        self.assertEqual(eth.latest()["answer"], 180000000000)

    def test_restart_keeps_the_chain(self):
        self.feeds["ETH/USD"].push("1800")
        before = self.node.block()
        self.node.restart()
        self.saw(self.node)
        self.assertEqual(self.node.block(), before)
        self.assertEqual(self.feeds["ETH/USD"].latest()["answer"], 180000000000)

    def test_events_have_the_topics_that_readers_know(self):
        self.feeds["ETH/USD"].push("1800")
        logs = self.node.rpc("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest"})
        self.assertEqual({log["topics"][0] for log in logs},
                         {ANSWER_UPDATED, "0x0109fc6f55cf40689f02fbaad7af7fe7bbac8a3d2186600afc7d3e10cac60271",
                          "0x33745f67a407dcb785417f9c123dd3641479a102674b6e35c1f10975625b90e9"})


class ContractsTest(unittest.TestCase):
    def test_committed_bytecode_is_what_the_sources_compile_to(self):
        done = subprocess.run([TESTS / "contracts" / "compile.sh", "--check"], capture_output=True, text=True,
                              timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class EndTest(ServerTest):
    """Whatever ends the program that started a server, the server ends too."""

    def starter(self):
        code = ("import sys, time; sys.path.insert(0, sys.argv[1]); from servers import Anvil\n"
                "print(Anvil(sys.argv[2]).start().pid, flush=True); time.sleep(60)")
        program = subprocess.Popen([sys.executable, "-c", code, str(TESTS), str(self.directory)],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.addCleanup(program.communicate)
        self.addCleanup(program.kill)
        group = int(program.stdout.readline())
        self.assertTrue(group_members(group))
        return program, group

    def check(self, number):
        program, group = self.starter()
        program.send_signal(number)
        program.wait(20)
        deadline = time.monotonic() + 20
        while group_members(group) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(group_members(group), [])

    def test_sigterm(self):
        self.check(signal.SIGTERM)

    def test_sigint(self):
        self.check(signal.SIGINT)

    def test_sigkill(self):
        self.check(signal.SIGKILL)

    def test_a_server_that_cannot_start_says_why(self):
        node = Anvil(self.directory, options=["--no-such-option"])
        self.assertRaisesRegex(ServerError, "(?s)anvil ended by itself.*--no-such-option", node.start)
        self.assertFalse(node.running())

    def test_pause_and_resume(self):
        with Anvil(self.directory) as node:
            self.saw(node)
            node.pause()
            with self.assertRaises(OSError):
                node.rpc("eth_chainId", timeout=0.3)
            node.resume()
            self.assertEqual(node.rpc("eth_chainId"), "0x1")
            node.pause()
        self.gone()


if __name__ == "__main__":
    unittest.main()
