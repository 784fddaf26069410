"""`plumbline topics` on a real broker: what is made, grown and refused, and that looking changes nothing."""

import json

import servers
import support


def _creating(directory):
    """A broker that makes a topic for whoever asks for it, as they do unless told otherwise."""
    kafka = servers.Kafka(directory)
    kafka.settings |= {"auto.create.topics.enable": "true"}
    return kafka


class Topics(support.Case):

    def setUp(self):
        super().setUp()
        self.kafka = support.shared("kafka_creating", _creating)
        self.prices, self.rounds, self.out = self.name("prices"), self.name("rounds"), self.name("out")
        self.env = {"BROKERS": self.kafka.bootstrap, "PRICES": self.prices, "ROUNDS": self.rounds, "OUT": self.out,
                    "PARTITIONS": 2}
        self.pipeline("join.yaml", '''
            defaults:
              kafka:
                brokers: ${BROKERS}
                create_topic: { partitions: "${PARTITIONS}", config: { retention.ms: "86400000" } }
            sources:
              both: { plugin: kafka, with: { topics: ["${PRICES}", "${ROUNDS}"], group: g } }
            transforms:
              join: { from: both, by: pair, workers: 2, state: { rebuild: 1h }, lua: "function on_record(r) return r end" }
            sinks:
              out: { from: join, plugin: kafka, with: { topic: "${OUT}", key: pair } }
        ''')

    def topics(self, *words, exit=0, **env):
        return self.plumbline("topics", *words, env=self.env | env, exit=exit).stdout

    def states(self, *words, exit=0, **env):
        found = json.loads(self.topics("--json", *words, exit=exit, **env))
        return {t["name"]: t["state"] for t in found["topics"]}, found

    def ours(self):
        """{topic: partitions} of those that this test names."""
        return {t: n for t, n in self.kafka.topics().items() if t in (self.prices, self.rounds, self.out)}

    def test_a_dry_run_says_what_would_be_made_and_makes_nothing(self):
        states, found = self.states("join.yaml")
        self.assertEqual(states, {t: "make" for t in (self.prices, self.rounds, self.out)})
        self.assertFalse(found["in_order"])
        self.assertEqual(found["topics"][0]["declared"],
                         {"partitions": "2", "replication": "1", "retention.ms": "86400000"})
        self.topics("--check", "join.yaml", exit=1)
        self.assertEqual(self.ours(), {}, "even a broker that makes topics on demand was not made to")

    def test_makes_once_and_then_finds_nothing_to_do(self):
        self.assertEqual(set(self.states("--apply", "join.yaml")[0].values()), {"made"})
        self.assertEqual(self.ours(), {self.prices: 2, self.rounds: 2, self.out: 2})
        states, found = self.states("--apply", "join.yaml")
        self.assertEqual(set(states.values()), {"ok"})
        self.assertTrue(found["in_order"])
        self.assertEqual(found["topics"][0]["found"]["retention.ms"], "86400000", "the setting was given to the broker")
        self.assertRegex(self.topics("--check", "join.yaml"), "all as declared\n$")

    def test_grows_only_when_told_twice_and_names_who_relies_on_it(self):
        self.topics("--apply", "join.yaml")
        said = self.topics("--apply", "join.yaml", exit=1, PARTITIONS=5)
        self.assertRegex(said, f"{self.prices} +grow ")
        self.assertRegex(said, r"relied on by transform 'join' \(join.yaml:\d+\): by: pair, state: rebuild")
        self.assertRegex(said, r"relied on by sink 'out' \(join.yaml:\d+\): key: pair")
        self.assertIn("needs --grow besides --apply", said)
        self.assertEqual(set(self.ours().values()), {2})
        self.assertEqual(set(self.states("join.yaml", PARTITIONS=5)[0].values()), {"grow"})
        self.assertEqual(set(self.ours().values()), {2})
        self.assertEqual(set(self.states("--apply", "--grow", "join.yaml", PARTITIONS=5)[0].values()), {"grown"})
        self.assertEqual(set(self.ours().values()), {5})

    def test_what_cannot_be_done_is_said_and_left_alone(self):
        self.kafka.create_topic(self.out, partitions=3)
        said = self.topics("--apply", "--grow", "join.yaml", exit=1)
        self.assertRegex(said, f"{self.out} +differs ")
        self.assertIn("partitions 3 (declared: 2)", said)
        self.assertIn("retention.ms 604800000 (declared: 86400000)", said)
        self.assertIn("a topic never shrinks", said)
        self.assertEqual(self.ours(), {self.prices: 2, self.rounds: 2, self.out: 3}, "the others were made")

    def test_more_replicas_than_brokers_is_the_brokers_own_message(self):
        run = self.plumbline("topics", "--apply", "join.yaml", "--set", "defaults.kafka.create_topic.replication=3",
                             env=self.env, exit=1)
        self.assertRegex(run.stderr, f"source 'both' .*cannot create topic '{self.prices}': .*[Rr]eplica")
        self.assertEqual(self.ours(), {})

    def test_a_broker_that_does_not_answer_is_one_message(self):
        run = self.plumbline("topics", "join.yaml", "--set", "defaults.kafka.brokers=127.0.0.1:9", env=self.env, exit=1)
        self.assertRegex(run.stderr, r"^plumbline topics: source 'both' \(join.yaml:\d+\): "
                                     r"no broker of 127.0.0.1:9 answers in time: .*refused\n$")

    def test_a_topic_that_nobody_declares_is_missing(self):
        self.kafka.create_topic(self.rounds, partitions=2)
        words = ("join.yaml", "--set", "sources.both.with.create_topic=")
        self.assertEqual(self.states("--apply", *words, exit=1)[0],
                         {self.prices: "missing", self.rounds: "ok", self.out: "made"})
        self.pipeline("other.yaml", '''
            sources: { in: { plugin: file, with: { path: in.jsonl } } }
            sinks:
              out: { from: in, plugin: kafka, with: { brokers: "${BROKERS}", topic: "${PRICES}", create_topic: { partitions: 2 } } }
        ''')
        self.assertEqual(self.states("--apply", "other.yaml", *words)[0],
                         {self.prices: "made", self.rounds: "ok", self.out: "ok"}, "another file declares it")

    def test_topics_that_are_joined_and_unlike(self):
        self.kafka.create_topic(self.prices, partitions=2)
        self.kafka.create_topic(self.rounds, partitions=3)
        words = ("--check", "join.yaml", "--set", "sources.both.with.create_topic=", "--set", "sinks.out.with.create_topic=",
                 "--set", f"sinks.out.with.topic={self.rounds}")
        states, found = self.states(*words, exit=1)
        self.assertEqual(states, {self.prices: "ok", self.rounds: "ok"})
        self.assertEqual([(u["source"], u["for"], u["property"], u["topics"]) for u in found["unlike"]],
                         [("both", "join", "partitions", {self.prices: "2", self.rounds: "3"})])
        self.assertIn("partitions is 2 and 3", self.topics(*words, exit=1))
        self.assertEqual(self.states(*words, "--set", "sources.both.with.copartitioned=false")[1]["unlike"], [])

    def test_the_services_of_this_tree_agree_about_their_topics(self):
        """plumbline topics pipelines/producer.yaml ..., as the documentation has it."""
        names = ("producer", "api_producer", "consumer", "api_consumer", "accuracy")
        words = [support.REPO / "pipelines" / f"{name}.yaml" for name in names]
        states, found = self.states("--apply", *words, KAFKA_BROKERS=self.kafka.bootstrap, ETH_RPC_URL="http://127.0.0.1:9")
        self.assertEqual(states, dict.fromkeys(("api_price", "contract_price", "price_alert", "dead_letter"), "made"))
        self.assertEqual(found["unlike"], [])
