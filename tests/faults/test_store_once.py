"""Kafka to PostgreSQL exactly once, into a table without any unique key: whatever is stored twice shows."""

import signal
import time

import oracle
import servers
import support
from fault import BUSY, KafkaFault, StoreFault


class Once(KafkaFault, StoreFault):
    """Lost and doubled are 0 in all of these, whatever is done to them."""

    def setUp(self):
        super().setUp()
        self.topic_name, self.group = None, self.name("group")
        self.addCleanup(lambda: self.server.sql(f"DROP TABLE IF EXISTS {self.table}, {self.table}_positions"))

    def fed(self, partitions=3, server=None):
        """The topic holds records that come to no end. -> what ends them and tells how many they were"""
        self.topic_name = self.topic(partitions)
        return self.feed(self.topic_name, lambda: self.stored(server))

    def begin(self, path="once.yaml", count=None, group=None, member=None, script="", server=None, dsn=None):
        """The pipeline `once` from the topic, which is filled first where a count is given; started."""
        if count:
            self.topic_name = self.topic(3)
            self.fill(self.topic_name, count)
        self.pipeline(path, f'''
            pipeline: once
            data_dir: {path}.state
            delivery: exactly_once
            commit_every: 200ms
            dead_letter: rejected
            sources: {{ in: {self.member(self.topic_name, group or self.group, member)} }}
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

    def end(self, run, count, server=None):
        run.wait_for(lambda: self.stored(server) >= count, 120, "everything is stored")
        run.stop()
        self.judge_table(count, server)

    def judge_table(self, count, server=None):
        super().judge_table(count, server)
        self.check_positions(count, server)

    def check_positions(self, count, server=None):
        """They are those of the rows: the topic's ends."""
        sum_of = f"SELECT sum(position + 1) FROM {self.table}_positions"
        self.assertEqual((server or self.server).sql(sum_of), [[str(count)]])


class Killed(Once):

    def test_19_killed_at_random_points_exactly_once(self):
        end = self.fed()
        self.kill_lives(lambda: self.begin(member="the-only-one", script=BUSY), self.stored, least_s=0)
        count = end()
        self.assertLess(self.stored(), count, "each kill came in the middle")
        self.end(self.begin(member="the-only-one"), count)


class Dying(Once):

    def test_30_a_backend_and_the_whole_server_killed_exactly_once(self):
        with servers.Postgres(support.shared_dir() / self.name("pg")) as server:
            end = self.fed(server=server)
            run = self.begin(server=server, script=BUSY)
            run.wait_for(lambda: self.stored(server) > 1_000, 60, "rows arrive")
            self.kill_backend(run, server)
            before = self.stored(server)
            run.wait_for(lambda: self.stored(server) > before, 60, "rows arrive again")
            said = len(run.stderr)
            server.kill()
            run.wait_for(lambda: "warn t: " in run.stderr[said:], 60, "the second kill is noticed")
            server.start()
            self.end(run, end(), server)


class Answers(Once):

    def lose(self, kinds, every, times):
        with self.proxied(kinds, every, times) as (proxy, dsn):
            end = self.fed()
            run = self.begin(dsn=dsn, script=BUSY)
            run.wait_for(lambda: proxy.lost == times, 120, "all answers were lost that should be")
            self.end(run, end())
        return run

    def test_31_the_answer_to_a_commit_is_cut_exactly_once(self):
        """The sink looks up what became of it, and goes on: nothing is read again."""
        run = self.lose("^COMMIT$", every=2, times=3)
        self.assertNotRegex(run.stderr, " warn t: ")

    def test_31_the_answer_to_a_write_is_cut_exactly_once(self):
        """The transaction is gone with the connection: all of it is read again."""
        run = self.lose("COPY|INSERT|UPDATE", every=5, times=4)
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

    def test_11_a_commit_refused_for_good_halts_exactly_once(self):
        """A trigger of the table's own puts a constraint off until COMMIT, where no record can be blamed."""
        count = 3_000
        self.server.sql(f"""
            CREATE TABLE {self.table} (n bigint, k text, CONSTRAINT one_k UNIQUE (k) DEFERRABLE INITIALLY DEFERRED);
            CREATE FUNCTION {self.table}_off() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN NULL; END';
            CREATE TRIGGER off BEFORE INSERT ON {self.table} EXECUTE FUNCTION {self.table}_off()""")
        self.addCleanup(lambda: self.server.sql(f"DROP FUNCTION {self.table}_off() CASCADE"))
        run = self.begin(count=count)
        run.wait(exit=1)
        self.assertRegex(run.stderr, r"error t: cannot commit: duplicate key value .*one_k.*\(SQLSTATE 23505\); the pipeline stops")
        self.assertEqual(self.stored(), 0)
        self.assertEqual(self.dead_letters(), [])
        self.server.sql(f"ALTER TABLE {self.table} DROP CONSTRAINT one_k")
        self.end(self.begin(), count)


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
        end = self.fed(partitions=1)
        both = [self.begin("first.yaml", script=BUSY), self.begin("second.yaml", group=self.name("group"), script=BUSY)]
        def fenced():
            return [run for run in both if not run.running()]
        servers.wait_until(fenced, 90, "one of them is fenced")
        (loser,) = fenced()
        loser.wait(exit=1)
        self.assertRegex(loser.stderr, rf"error t: fenced: another instance of this pipeline stores lane .*{self.topic_name}")
        (winner,) = [run for run in both if run is not loser]
        self.end(winner, end())
