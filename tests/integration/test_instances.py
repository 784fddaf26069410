"""pipelines/accuracy.yaml by two instances: they share the partitions of both topics, and when one of them goes, the other
builds its state again. The comparisons are those that one instance makes, and those of an independent computation."""

import json
import random
import time

import support
from market import reference

ACCURACY = support.REPO / "pipelines" / "accuracy.yaml"
PAIRS = [f"P{n}-USD" for n in range(9)]
SETTLE_S = 2
# How soon the others hear of a member that came, and of one that was killed.
QUICK = '{ heartbeat.interval.ms: "500", session.timeout.ms: "6000" }'


class Instances(support.Case):

    def setUp(self):
        super().setUp()
        if support.sanitized():
            self.skipTest("it takes minutes, and the fault tests have several instances, too")
        self.kafka = support.kafka()
        self.api, self.contract = self.name("api"), self.name("contract")
        self.random = random.Random("instances")
        self.records, self.rounds = [], 0

    def words(self, out, group):
        sets = {"sources.prices.with.topics": f"[{self.api}, {self.contract}]", "sources.prices.with.group": group,
                "sources.prices.with.librdkafka": QUICK,
                "sinks.price_deviation.plugin": "kafka", "sinks.price_deviation.with": f"{{ topic: {out} }}",
                "sinks.alerts.with.topic": f"{out}_alerts", "sinks.rejected.with.topic": f"{out}_rejected"}
        return [ACCURACY, *(word for path, value in sets.items() for word in ("--set", f"{path}={value}"))]

    def env(self):
        return {"KAFKA_BROKERS": self.kafka.bootstrap, "SETTLE": f"{SETTLE_S}s", "IDLE": "4s"}

    def begin(self, name, out, group):
        return self.start("run", *self.words(out, group), "--data-dir", f"state-{name}", env=self.env())

    def produce(self, looks):
        """For each pair and look: two API values, and in one look of three a new round."""
        api, contract = [], []
        for _ in range(looks):
            at, self.rounds = time.time() - 1, self.rounds + 1
            for pair in PAIRS:
                price = 2000 + self.random.randrange(-30, 30)
                updated = self.stamp(at - 0.5 - self.random.random() / 4)
                for source in "ab":
                    api.append({"kind": "api", "schema": 1, "source": source, "pair": pair, "price": str(price + self.random.randrange(9)),
                                "fetched_at": self.stamp(at + self.random.random() / 4)})
                if self.random.random() < 1 / 3 or self.rounds == 1:
                    contract.append({"kind": "contract", "schema": 1, "chain_id": 1, "feed": pair, "phase_id": 1,
                                     "agg_round": str(self.rounds), "pair": pair, "price": str(price),
                                     "answer_raw": f"{price}00000000", "decimals": 8, "started_at": updated,
                                     "updated_at": updated, "observed_at": self.stamp(at + 0.3)})
            time.sleep(0.3)
        for topic, records in ((self.contract, contract), (self.api, api)):
            self.kafka.produce(topic, [(r["pair"], json.dumps(r)) for r in records])
        self.records += api + contract

    @staticmethod
    def stamp(seconds):
        return reference.stamp(int(seconds * 1000) * 10**6)

    def rows(self, out):
        """What a table with that key would hold: the last row of each, but for those that are no longer in force."""
        last = {}
        for r in self.kafka.read_json(out, seconds=30):
            last[tuple(r[f] for f in ("basis", "pair", "feed", "phase_id", "agg_round", "at"))] = r
        return {key: {f: v for f, v in r.items() if f != "revision"} for key, r in last.items() if r["verdict"] != "superseded"}

    def wait_all(self, run, out):
        """Until each expected row is there as it should be, and no other."""
        expected = reference.compare(self.records, settle=SETTLE_S * reference.S)
        wrong = []

        def complete():
            wrong[:] = reference.differences(self.rows(out), expected)
            return not wrong
        try:
            run.wait_for(complete, 90, "every comparison is there")
        except self.failureException as failed:
            self.fail(f"{failed}\n{len(wrong)} differences of {len(expected)}:\n" + "\n".join(wrong[:10]))
        self.assertGreater(len(expected), 10 * len(PAIRS))

    def share(self, leave):
        out, group = self.name("out"), self.name("g")
        self.plumbline("topics", "--apply", *self.words(out, group), env=self.env())
        first = self.begin("first", out, group)
        first.wait_log("assigned 6 partitions")
        self.produce(6)
        second = self.begin("second", out, group)
        second.wait_log("assigned [24] partitions")
        first.wait_log("(?s)assigned 6 partitions.*assigned [24] partitions")
        self.produce(6)
        second.wait_log("rewound by 10800 s of event time")
        ends = self.kafka.ends(out)
        self.produce(3)
        second.wait_for(lambda: all(self.kafka.ends(out)[p] > end for p, end in ends.items()), 60,
                        "both give out comparisons: each pair's partition grows")
        leave(second)
        self.produce(6)
        first.wait_log("(?s)assigned 6 partitions.*assigned [24] partitions.*assigned 6 partitions", seconds=60)
        self.wait_all(first, out)
        first.stop()
        alone = self.name("alone")
        self.plumbline("topics", "--apply", *self.words(alone, group), env=self.env())
        one = self.begin("one", alone, self.name("g"))
        self.wait_all(one, alone)
        one.stop()
        self.assertEqual(self.rows(out), self.rows(alone), "the same as one alone makes")
        for run in (first, one):
            self.assertEqual(run.components["rejected"]["delivered"], 0)
        return second

    def test_one_leaves(self):
        second = self.share(lambda run: run.stop())
        self.assertGreater(second.components["price_deviation"]["delivered"], 0)

    def test_one_is_killed(self):
        self.share(lambda run: run.kill())
