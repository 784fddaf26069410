"""SIGKILL in the middle of a join on Kafka whose state is rebuilt: after the restart the store holds every comparison that
an independent computation gives, once, and none else."""

import json
import re
import sqlite3

import support

DATA = support.REPO / "tests" / "scenarios" / "replay_seeded"


def comparison(row):
    """A row of the store, or of the expected file: the store writes microseconds, and numbers without trailing zeros."""
    at = re.sub(r"\.?0*Z$", "Z", row["at"]) if "." in row["at"] else row["at"]
    price, deviation = (row.get(c) and round(float(row[c]), digits) for c, digits in (("ref_price", 9), ("deviation_pct", 6)))
    return (row["basis"], row["pair"], row["feed"], int(row["phase_id"]), int(row["agg_round"]), at, price, deviation,
            int(row["n_sources"]), row["verdict"])


class Restart(support.Case):

    def setUp(self):
        super().setUp()
        self.kafka = support.kafka()
        self.topics = {kind: self.name(kind) for kind in ("api", "contract")}
        for kind, topic in self.topics.items():
            self.kafka.create_topic(topic, partitions=2)
            self.pipeline("fill.yaml", f'''
                sources: {{ in: {{ plugin: file, with: {{ path: "{DATA}/{kind}.jsonl" }} }} }}
                sinks: {{ out: {{ from: in, plugin: kafka, with: {{ brokers: "{self.kafka.bootstrap}", topic: {topic}, key: pair, librdkafka: {{ batch.num.messages: 10 }} }} }} }}
            ''')
            self.plumbline("run", "fill.yaml")

    def accuracy(self, path, store, group):
        """The service's pipeline, slow enough to be killed in the middle: a busy script, and small fetches before it."""
        self.write("slow.lua", "function on_record(r) local t = 0 for i = 1, 300000 do t = t + i end return r end\n")
        self.pipeline(path, f'''
            pipeline: accuracy
            data_dir: {path}.state
            include: ["{support.REPO}/pipelines/include/table_price_deviation.yaml"]
            sources:
              prices:
                plugin: kafka
                with: {{ brokers: "{self.kafka.bootstrap}", topics: [{", ".join(self.topics.values())}], group: {group}, commit_every: 50ms,
                         librdkafka: {{ max.partition.fetch.bytes: 1024, session.timeout.ms: 6000 }} }}
                time: [observed_at, fetched_at]
            transforms:
              slow: {{ from: prices, script: slow.lua }}
              accuracy:
                from: slow
                script: "{support.REPO}/scripts/accuracy.lua"
                order: {{ by: time, slack: 6m, idle: 15s }}
                state: {{ rebuild: 24h }}
            sinks:
              price_deviation:
                from: accuracy
                plugin: sqlite
                batch: {{ records: 20 }}
                with: {{ path: {store}, create: true }}
        ''')
        return path

    def rows(self, store):
        try:
            base = sqlite3.connect(f"file:{self.dir / store}?mode=ro", uri=True, timeout=5)
            base.row_factory = sqlite3.Row
            return [dict(row) for row in base.execute("SELECT * FROM price_deviation")]
        except sqlite3.Error:
            return []

    def committed(self, group):
        return sum(max(offset, 0) for topic in self.topics.values()
                   for offset in self.kafka.group_offsets(group, topic).values())

    def test_killed_twice_nothing_is_missing_or_doubled(self):
        lines = (DATA / "expected.jsonl").read_text().splitlines()
        expected = {comparison(json.loads(line)) for line in lines}
        group = self.name("group")
        path = self.accuracy("accuracy.yaml", "store.sqlite", group)
        for at_least in (len(expected) // 5, len(expected) // 2):
            run = self.start("run", path)
            run.wait_for(lambda: len(self.rows("store.sqlite")) >= at_least and self.committed(group), 60,
                         f"{at_least} comparisons, and something committed")
            run.kill()
        left = len(expected) - len(self.rows("store.sqlite"))
        self.assertGreater(left, 0, "it was killed in the middle")
        run = self.start("run", path)
        run.wait_for(lambda: len(self.rows("store.sqlite")) >= len(expected), 90, "all comparisons")
        run.stop()
        replayed = run.components["accuracy"]["replayed"]
        self.assertGreater(replayed, 0, "state was rebuilt from what had been committed")
        found = [comparison(row) for row in self.rows("store.sqlite")]
        self.assertEqual(len(found), len(set(found)))
        self.assertEqual(sorted(map(str, set(found) - expected)), [])
        self.assertEqual(sorted(map(str, expected - set(found))), [])
