"""PostgreSQL dies, loses its answers, deadlocks, and changes below our feet."""

import collections
import contextlib
import re
import subprocess

import oracle
import servers
import support
from fault import StoreFault


class Store(StoreFault):

    def store(self, count, rate=0, dsn=None, server=None, columns="{ name: n, type: bigint }, { name: k }", template='{"n":{n},"k":"{key}"}', more=""):
        """A pipeline that stores n = 0 .. count-1, started; it remembers what it has delivered."""
        self.pipeline("store.yaml", f'''
            dead_letter: rejected
            sources:
              in: {{ plugin: generate, with: {{ count: {count}, rate: {rate}, resume: true, template: '{template}' }} }}
            sinks:
              t:
                from: in
                plugin: timescale
                batch: {{ records: 200 }}
                with: {{ dsn: "${{DSN}}", table: {self.table}, create: true, key: [n], columns: [{columns}] {more} }}
              rejected: {{ plugin: file, with: {{ path: rejected.jsonl }} }}
        ''')
        return self.start("run", "store.yaml", env={"DSN": dsn or (server or self.server).dsn})


class Dying(Store):

    def test_07_a_backend_and_the_whole_server_killed(self):
        count = 12_000
        with servers.Postgres(support.shared_dir() / self.name("pg")) as server:
            run = self.store(count, rate=2_000, server=server)
            run.wait_for(lambda: self.stored(server) > 500, 60, "rows arrive")
            self.kill_backend(run, server)
            run.wait_for(lambda: self.stored(server) > 3_000, 60, "rows arrive again")
            server.kill()
            run.wait_log("(?s)warn t: .*warn t: ", 60)
            server.start()
            run.wait(seconds=120)
            self.judge_table(count, server)
            self.assertLess(len(re.findall(" warn t: ", run.stderr)), 8, "a line when the state changes, not one an attempt")
            self.assertEqual(run.components["t"]["delivered"], count)


class Answers(Store):

    def test_08_the_answer_to_a_commit_is_cut(self):
        """The rows are committed, and its client can't know: it writes them again."""
        count, times = 10_000, 8
        with self.proxied("COPY|INSERT|COMMIT", every=3, times=times) as (proxy, dsn):
            run = self.store(count, dsn=dsn)
            run.wait(seconds=120)
            self.assertEqual(proxy.lost, times, f"each was lost on its way {collections.Counter(kind for _, kind in proxy.answers)}")
        self.judge_table(count)
        self.assertEqual(run.components["t"]["delivered"], count)
        self.assertGreater(run.components["t"]["retries"], 0)


class Deadlocks(Store):

    def test_09_a_deadlock_is_tried_again(self):
        """Another session holds row 150 and wants row 0, which our batch has just written: one of the two must give way.
        The other session looks for deadlocks much later than ours, so it is ours."""
        count = 200
        settings = {"deadlock_timeout": "3s"}
        with servers.Postgres(support.shared_dir() / self.name("pg"), settings=settings) as server:
            server.sql(f"CREATE TABLE {self.table} (n bigint NOT NULL UNIQUE, k text)")
            with self.session(server) as say:
                say("SET deadlock_timeout = '600s'; BEGIN; INSERT INTO %s VALUES (150, 'other');" % self.table)
                waiting = lambda number: int(server.sql("SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0]) >= number
                held = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
                servers.wait_until(lambda: server.sql(held) == [["1"]], 60, "the other session has its row")
                run = self.store(count, server=server, more=", lock_timeout: 60s")
                run.wait_for(lambda: waiting(1), 60, "our batch waits for row 150")
                say("INSERT INTO %s VALUES (0, 'other');" % self.table)
                run.wait_log("SQLSTATE 40P01", 60)
                say("ROLLBACK;")
                run.wait(seconds=60)
            self.judge_table(count, server)
            self.assertEqual(server.sql(f"SELECT count(*) FROM {self.table} WHERE k = 'other'"), [["0"]])

    @contextlib.contextmanager
    def session(self, server):
        """A session of psql; what it is told it does in the background."""
        psql = subprocess.Popen(["psql", "--no-psqlrc", "--quiet", server.dsn], stdin=subprocess.PIPE, text=True,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        def say(sql):
            psql.stdin.write(sql + "\n")
            psql.stdin.flush()
        try:
            yield say
        finally:
            psql.kill()
            psql.communicate()


class Changing(Store):

    def test_10_a_column_is_dropped(self):
        """Every record would be refused, so none is: it halts, and goes on where it was once the column is back."""
        count = 4_000
        run = self.store(count, rate=1_000)
        run.wait_for(lambda: self.stored() > 300, 60, "rows arrive")
        self.server.sql(f"ALTER TABLE {self.table} DROP COLUMN k")
        run.wait(exit=1, seconds=60)
        self.assertRegex(run.stderr, rf"error t: table {self.table} in database \w+ has no column 'k'; it has n")
        self.assertEqual(len(re.findall(" error ", run.stderr)), 1, run.stderr)
        self.assertEqual(self.dead_letters(), [], "no flood")
        self.server.sql(f"ALTER TABLE {self.table} ADD COLUMN k text")
        self.store(count).wait(seconds=60)
        self.judge_table(count)

    def test_11_one_bad_row_in_a_thousand(self):
        """Only the server knows that 1000.00 does not fit numeric(5,2): the batch is halved until it stands alone."""
        count, bad = 1000, 617
        self.write("in.jsonl", "".join(f'{{"n":{n},"v":{"1000.00" if n == bad else "1.50"}}}\n' for n in range(count)))
        self.pipeline("bad.yaml", f'''
            dead_letter: rejected
            sources: {{ in: {{ plugin: file, with: {{ path: in.jsonl }} }} }}
            sinks:
              t:
                from: in
                plugin: timescale
                with:
                  dsn: "${{DSN}}"
                  table: {self.table}
                  create: true
                  key: [n]
                  columns: [{{ name: n, type: integer }}, {{ name: v, type: "numeric(5,2)" }}]
              rejected: {{ plugin: file, with: {{ path: rejected.jsonl }} }}
        ''')
        run = self.plumbline("run", "bad.yaml", env={"DSN": self.server.dsn})
        self.judge(oracle.of_table(self.server.sql(f"SELECT n FROM {self.table}")), set(range(count)) - {bad})
        (letter,) = self.dead_letters()
        self.assertEqual(letter["payload"], {"n": bad, "v": 1000.00})
        self.assertRegex(letter["headers"]["plumbline.reason"], "numeric field overflow.*22003")
        self.assertEqual(letter["headers"]["plumbline.component"], "t")
        self.assertEqual((run.components["t"]["delivered"], run.components["t"]["dead_lettered"]), (count - 1, 1))
