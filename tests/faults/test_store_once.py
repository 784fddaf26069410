"""Kafka to PostgreSQL exactly once, into a table without any unique key: whatever is stored twice shows."""

import os
import signal
import time

import oracle
import servers
import support
from fault import KafkaFault, LONG
from proxy import Postgres as PostgresAnswers, Proxy


class Once(KafkaFault):
    """Lost and doubled are 0 in all of these, whatever is done to them."""

    def setUp(self):
        super().setUp()
        self.server = support.shared("postgres", servers.Postgres)
        self.table, self.topic_name, self.group = self.name("t"), None, self.name("group")
        self.addCleanup(lambda: self.server.sql(f"DROP TABLE IF EXISTS {self.table}, {self.table}_positions"))

    def begin(self, path="once.yaml", count=None, group=None, member=None, script="", server=None, dsn=None, partitions=3):
        """The pipeline `once` from the topic, which is filled first where a count is given; started."""
        if count:
            self.topic_name = self.topic(partitions)
            self.fill(self.topic_name, count)
        static = f', group.instance.id: "{member}"' if member else ""
        self.pipeline(path, f'''
            pipeline: once
            data_dir: {path}.state
            delivery: exactly_once
            commit_every: 200ms
            dead_letter: rejected
            sources:
              in:
                plugin: kafka
                with:
                  brokers: "{self.kafka.bootstrap}"
                  topics: {self.topic_name}
                  group: {group or self.group}
                  librdkafka: {{ heartbeat.interval.ms: 500, session.timeout.ms: 6000 {static} }}
            transforms: {{ work: {{ from: in, lua: "function on_record(r) {script} return r end" }} }}
            sinks:
              t:
                from: work
                plugin: timescale
                with:
                  dsn: "${{DSN}}"
                  table: {self.table}
                  positions: {self.table}_positions
                  create: true
                  key: []
                  columns: [{{ name: n, type: bigint }}, {{ name: k }}]
              rejected: {{ plugin: file, with: {{ path: rejected.jsonl }} }}
        ''')
        return self.start("run", path, env={"DSN": dsn or (server or self.server).dsn})

    def stored(self, server=None):
        server = server or self.server
        if server.sql("SELECT to_regclass(:'t') IS NULL", {"t": self.table}) == [["t"]]:
            return 0
        return int(server.sql(f"SELECT count(*) FROM {self.table}")[0][0])

    def end(self, run, count, server=None):
        run.wait_for(lambda: self.stored(server) >= count, 120, "everything is stored")
        run.stop()
        self.judge_table(count, server)

    def judge_table(self, count, server=None):
        server = server or self.server
        self.judge(oracle.of_table(server.sql(f"SELECT n FROM {self.table}")), range(count))
        self.assertEqual(self.dead_letters(), [])
        self.check_positions(count, server)

    def check_positions(self, count, server=None):
        """They are those of the rows: the topic's ends."""
        sum_of = f"SELECT sum(position + 1) FROM {self.table}_positions"
        self.assertEqual((server or self.server).sql(sum_of), [[str(count)]])


class Killed(Once):

    KILLS = 100 if LONG else 10

    def test_19_killed_at_random_points_exactly_once(self):
        count = 20_000 * self.KILLS
        run = self.begin(count=count, member="the-only-one", script="for i = 1, 20000 do end")
        for kill in range(self.KILLS):
            before = self.stored()
            run.wait_for(lambda: self.stored() > before, 60, "it goes on")
            time.sleep(self.random.random() * 0.6)
            run.kill()
            last = kill + 1 == self.KILLS
            run = self.begin(member="the-only-one", script="" if last else "for i = 1, 20000 do end")
        self.assertLess(self.stored(), count, "each kill came in the middle")
        self.end(run, count)


class Dying(Once):

    def test_30_a_backend_and_the_whole_server_killed_exactly_once(self):
        count = 30_000
        with servers.Postgres(support.shared_dir() / self.name("pg")) as server:
            run = self.begin(count=count, server=server, script="for i = 1, 20000 do end")
            run.wait_for(lambda: self.stored(server) > 1_000, 60, "rows arrive")
            (backend,) = [int(row[0]) for row in server.sql(
                "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'plumbline/%'")]
            os.kill(backend, signal.SIGKILL)      # the server then ends every session
            run.wait_log("warn t: ", 60)
            servers.wait_until(server.ready, 60, "the server is itself again")
            before = self.stored(server)
            run.wait_for(lambda: self.stored(server) > before, 60, "rows arrive again")
            said = len(run.stderr)
            server.kill()
            run.wait_for(lambda: "warn t: " in run.stderr[said:], 60, "the second kill is noticed")
            server.start()
            self.end(run, count, server)


class Answers(Once):

    def proxied(self, kinds, count, times, every):
        with Proxy(self.server.port, PostgresAnswers) as proxy:
            # In clear, for the proxy reads along.
            dsn = self.server.dsn.replace(f":{self.server.port}/", f":{proxy.port}/") + "?sslmode=disable&gssencmode=disable"
            proxy.lose_answers(kinds, every=every, times=times)
            run = self.begin(count=count, dsn=dsn, script="for i = 1, 20000 do end")
            run.wait_for(lambda: proxy.lost == times, 120, "all answers were lost that should be")
            self.end(run, count)
        return run

    def test_31_the_answer_to_a_commit_is_cut_exactly_once(self):
        """The sink looks up what became of it, and goes on: nothing is read again."""
        run = self.proxied("^COMMIT$", count=30_000, times=3, every=2)
        self.assertNotRegex(run.stderr, " warn t: ")

    def test_31_the_answer_to_a_write_is_cut_exactly_once(self):
        """The transaction is gone with the connection: all of it is read again."""
        run = self.proxied("COPY|INSERT|UPDATE", count=30_000, times=4, every=5)
        self.assertRegex(run.stderr, " warn t: ")


class Refusing(Once):

    def test_11_one_bad_row_exactly_once(self):
        """Only the server knows it; the rest of its transaction stays."""
        count, bad = 3_000, 617
        self.server.sql(f"CREATE TABLE {self.table} (n bigint CHECK (n <> {bad}), k text)")
        run = self.begin(count=count)
        run.wait_for(lambda: self.stored() >= count - 1, 120, "all others are stored")
        run.stop()
        self.judge(oracle.of_table(self.server.sql(f"SELECT n FROM {self.table}")), set(range(count)) - {bad})
        (letter,) = self.dead_letters()
        self.assertEqual(letter["payload"]["n"], bad)
        self.assertRegex(letter["headers"]["plumbline.reason"], "violates check constraint.*23514")
        self.check_positions(count)


class Second(Once):

    def test_32_stopped_beyond_its_session_exactly_once(self):
        """What it had under way when it was stopped, the second does; when it wakes up, nothing of it is added."""
        count = 40_000
        first = self.begin("first.yaml", count=count, script="for i = 1, 50000 do end")
        first.wait_for(lambda: self.stored() > 500, 60, "rows arrive")
        first.process.send_signal(signal.SIGSTOP)
        try:
            self.assertLess(self.stored(), count, "it was stopped in the middle")
            second = self.begin("second.yaml")
            second.wait_for(lambda: self.stored() >= count, 90, "the second has stored everything")
        finally:
            first.process.send_signal(signal.SIGCONT)
        # Fenced when it commits what it had; or it hears first that its partitions are gone, and joins anew.
        first.wait_log("error t: fenced: another instance|assigned 1 partition|taken away before|lost the assignment", 60)
        time.sleep(1)
        self.judge_table(count)
        first.stop(exit=None)
        second.stop()
        self.judge_table(count)

    def test_32_two_at_once_in_groups_of_their_own(self):
        """Both have the partition, which no group would do: one of them stores everything."""
        count = 20_000
        both = [self.begin("first.yaml", count=count, partitions=1, script="for i = 1, 20000 do end"),
                self.begin("second.yaml", group=self.name("group"), script="for i = 1, 20000 do end")]
        def fenced():
            return [run for run in both if not run.running()]
        servers.wait_until(fenced, 90, "one of them is fenced")
        (loser,) = fenced()
        loser.wait(exit=1)
        self.assertRegex(loser.stderr, rf"error t: fenced: another instance of this pipeline stores lane .*{self.topic_name}")
        (winner,) = [run for run in both if run is not loser]
        self.end(winner, count)
