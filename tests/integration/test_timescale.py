"""The timescale sink on PostgreSQL and on TimescaleDB."""

import json
import os
import signal
import subprocess
import textwrap
import time
import unittest

import support
from servers import Postgres, Timescale


def postgres():
    return support.shared("postgres", Postgres)


def timescale():
    return support.shared("timescale", Timescale)


ROUND = {"kind": "contract", "schema": 1, "chain_id": 1, "feed": "ETH / USD", "pair": "ETH-USD", "phase_id": 5,
         "answer_raw": "304359857420", "decimals": 8, "price": "3043.59857420", "block_hash": "0xabc",
         "started_at": "2022-04-17T10:00:20Z", "updated_at": "2022-04-17T10:00:32Z"}


def rounds(count):
    """Two polls of each round: the table keeps the first."""
    for n in range(count):
        for poll in range(2):
            yield json.dumps(ROUND | {"agg_round": str(13078 + n), "block_number": 14600000 + 2 * n + poll,
                                      "observed_at": f"2022-04-17T{n // 60 % 24:02}:{n % 60:02}:{poll:02}.5Z"})


class Sink(support.Case):

    def tearDown(self):
        for name in ("contract_price", "t"):
            for server in self.servers:
                if server.running():
                    server.sql(f"DROP TABLE IF EXISTS {name}")

    servers = ()

    def use(self, server):
        self.servers = [*self.servers, server]
        server.sql("DROP TABLE IF EXISTS contract_price; DROP TABLE IF EXISTS t")
        return server

    def driver(self, server, name, skips):
        program = support.BUILD / "tests" / name
        done = subprocess.run([program], env=self.environment({"PL_TEST_DSN": self.use(server).dsn}), timeout=120,
                              capture_output=True, text=True)
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode, 0, said)
        self.assertEqual(said.count("[  SKIPPED ]") // 2, skips, said)   # each is told twice

    def test_unit_driver_on_postgres(self):
        self.driver(postgres(), "unit_plugins_test_timescale", 0)

    def test_unit_driver_on_timescale(self):
        self.driver(timescale(), "unit_plugins_test_timescale", 3)   # it has one session and checks no password

    def test_copy_driver_on_postgres(self):
        self.driver(postgres(), "unit_plugins_test_timescale_copy", 0)

    def test_copy_driver_on_timescale(self):
        self.driver(timescale(), "unit_plugins_test_timescale_copy", 2)   # it takes no COPY: by the insert all the same

    def test_transaction_driver_on_postgres(self):
        self.driver(postgres(), "unit_plugins_test_timescale_txn", 0)

    def test_transaction_driver_on_timescale(self):
        self.driver(timescale(), "unit_plugins_test_timescale_txn", 3)   # one session, for one transaction at a time

    def test_fence_driver_on_postgres(self):
        self.driver(postgres(), "unit_plugins_test_timescale_fence", 0)

    def test_fence_driver_on_timescale(self):
        self.driver(timescale(), "unit_plugins_test_timescale_fence", 3)   # the same

    def store_rounds(self, server):
        self.use(server)
        self.write("in.jsonl", "".join(line + "\n" for line in rounds(300)))
        self.pipeline("p.yaml", f"""
            include: [{support.REPO}/pipelines/include/table_contract_price.yaml]
            sources: {{ in: {{ plugin: file, with: {{ path: in.jsonl }} }} }}
            sinks:
              contract_price: {{ from: in, plugin: timescale, with: {{ dsn: "${{DSN}}", create: true }} }}
        """)
        for _ in range(2):   # again: what is stored stays as it is
            done = self.plumbline("run", "p.yaml", env={"DSN": server.dsn})
            self.assertEqual(done.summary["pipelines"]["p"]["components"]["contract_price"]["delivered"], 600)
            self.assertEqual(server.sql("SELECT count(*), count(DISTINCT agg_round), min(block_number) % 2, "
                                        "max(answer), max(answer_raw), min(observed_at AT TIME ZONE 'UTC') "
                                        "FROM contract_price"),
                             [["300", "300", "0", "3043.59857420", "304359857420", "2022-04-17 00:00:00.5"]])

    def test_rounds_on_postgres(self):
        self.store_rounds(postgres())

    def test_rounds_on_timescale(self):
        self.store_rounds(timescale())
        self.assertEqual(timescale().sql("SELECT count(*) FROM timescaledb_information.dimensions WHERE "
                                         "hypertable_name = 'contract_price' AND column_name = 'updated_at'"), [["1"]])

    GENERATE = """
        sources:
          in:
            plugin: generate
            with: { count: 6000, rate: 3000, resume: true, template: '{"n":{n},"at":"{time}","p":"{rand:1.0..9.9}"}' }
        sinks:
          t:
            from: in
            plugin: timescale
            with:
              dsn: "${DSN}"
              table: t
              create: true
              key: [n, at]
              columns: [{ name: n, type: bigint }, { name: at, type: timestamptz }, { name: p, type: numeric }]
    """

    def test_killed_and_restarted(self):
        server = self.use(postgres())
        self.pipeline("p.yaml", self.GENERATE.replace("count: 6000", "count: 20000"))   # more than three lives write
        for _ in range(3):
            run = self.start("run", "p.yaml", env={"DSN": server.dsn})
            before = server.count("t")
            run.wait_for(lambda: server.count("t") > before + 200, 20, "rows arrive")
            run.kill()
        self.plumbline("run", "p.yaml", env={"DSN": server.dsn})
        self.assertEqual(server.sql("SELECT count(*), count(DISTINCT n), max(n) FROM t"), [["20000", "20000", "19999"]])

    def test_sessions_that_end_in_the_middle_of_batches(self):
        """Large batches, which go by COPY; each time the session ends, the batch at hand comes again."""
        server = self.use(postgres())
        self.pipeline("p.yaml", self.GENERATE.replace("6000", "200000").replace(", rate: 3000", ""))
        run = self.start("run", "p.yaml", env={"DSN": server.dsn})
        ended = 0
        for n in range(4):
            run.wait_for(lambda: server.count("t") > 20000 * n, 60, "rows arrive")
            ended += int(server.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                                    "WHERE application_name = 'plumbline/t'")[0][0])
        run.wait(seconds=120)
        self.assertGreater(ended, 1)
        self.assertEqual(server.sql("SELECT count(*), count(DISTINCT n), max(n) FROM t"),
                         [["200000", "200000", "199999"]])

    def test_a_server_that_hangs_does_not_hold_up_the_end(self):
        with Postgres(support.shared_dir() / self.name("pg")) as server:
            self.pipeline("p.yaml", "shutdown_deadline: 1s\n" + textwrap.dedent(self.GENERATE).replace("6000", "0"))
            run = self.start("run", "p.yaml", env={"DSN": server.dsn})
            run.wait_for(lambda: server.count("t") > 300, 20, "rows arrive")
            sessions = server.backends()
            for pid in sessions:
                os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(0.5)   # some records are on their way now
                run.stop(exit=3, seconds=15)
            finally:
                for pid in sessions:
                    os.kill(pid, signal.SIGCONT)
            rows, most = server.sql("SELECT count(*), max(n) + 1 FROM t")[0]
            self.assertEqual(rows, most)   # no hole: what came is a beginning of what was made

    def test_no_table_halts_with_one_message(self):
        server = self.use(postgres())
        self.pipeline("p.yaml", self.GENERATE.replace("create: true", "create: false"))
        run = self.plumbline("run", "p.yaml", env={"DSN": server.dsn}, exit=1)
        self.assertRegex(run.stderr, r"there is no table t in database kafka_sink; `create: true` makes it")
        self.assertNotIn(server.password, run.stderr)

    def test_options_are_checked_where_they_stand(self):
        self.pipeline("p.yaml", self.GENERATE.replace("type: numeric", "type: numerical").replace("key: [n, at]", "key: [m]"))
        run = self.plumbline("check", "p.yaml", env={"DSN": "secret=geheim host=x"}, exit=2)
        said = run.stderr + run.stdout
        self.assertIn("'numerical' is not a type", said)
        self.assertNotIn("geheim", said)


if __name__ == "__main__":
    unittest.main()
