"""The kafka source and sink on a real broker: nothing lost, nothing doubled, and one clear message when it can't be."""

import collections
import json
import re
import subprocess
import time

import servers
import support


def murmur2(key):
    """Austin Appleby's MurmurHash2 with the seed of Kafka's Java client, written from its published description."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at:at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    rest = key[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & mask


def java_partition(key, partitions):
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def numbers(records):
    return [json.loads(r["payload"])["n"] for r in records]


class Kafka(support.Case):

    def setUp(self):
        super().setUp()
        self.kafka = support.kafka()

    def env(self, **more):
        return {"BROKERS": self.kafka.bootstrap} | more

    def topic(self, partitions=1, **options):
        name = self.name("topic")
        self.kafka.create_topic(name, partitions=partitions, **options)
        return name

    def write_numbers(self, count, keys=10, path="in.jsonl"):
        lines = (json.dumps({"n": n, "k": f"key-{n % keys}", "at": int(time.time())}) for n in range(count))
        self.write(path, "\n".join(lines) + "\n")

    def to_kafka(self, path="to.yaml", extra="", source="plugin: file, with: { path: in.jsonl }"):
        self.pipeline(path, f'''
            sources: {{ in: {{ {source} }} }}
            sinks:
              out:
                from: in
                plugin: kafka
                with: {{ brokers: "${{BROKERS}}", topic: "${{TOPIC}}" {extra} }}
        ''')
        return path

    def from_kafka(self, path="from.yaml", extra="", more=""):
        self.pipeline(path, f'''
            sources:
              in:
                plugin: kafka
                with: {{ brokers: "${{BROKERS}}", topics: "${{TOPIC}}", group: "${{GROUP}}" {extra} }}
                {more}
            sinks: {{ out: {{ from: in, plugin: file, with: {{ path: out.jsonl }} }} }}
        ''')
        return path

    def seen(self, path="out.jsonl"):
        """How often each n is in the file. A line that a SIGKILL cut is not there: it was not flushed."""
        found = collections.Counter()
        for line in self.lines(path):
            try:
                found[json.loads(line)["n"]] += 1
            except ValueError:
                pass
        return found

    def wait_lines(self, run, count, seconds=60, path="out.jsonl"):
        run.wait_for(lambda: len(self.lines(path)) >= count, seconds, f"{path} has {count} lines")


class RoundTrip(Kafka):

    def test_fifty_thousand_records_nothing_lost_or_doubled(self):
        self.write_numbers(50000)
        env = self.env(TOPIC=self.name("round"), GROUP=self.name("g"))
        run = self.plumbline("run", self.to_kafka(extra=", key: k, create_topic: { partitions: 3 }"), env=env)
        self.assertEqual(run.components["out"]["delivered"], 50000)
        self.assertEqual(self.kafka.topics()[env["TOPIC"]], 3)
        reader = self.start("run", self.from_kafka(), env=env)
        self.wait_lines(reader, 50000)
        reader.stop()
        self.assertEqual(reader.components["in"]["read"], 50000)
        last = {}
        for record in self.records("out.jsonl"):
            self.assertGreater(record["n"], last.get(record["k"], -1), "a key keeps its order")
            last[record["k"]] = record["n"]
        self.assertEqual(self.seen(), collections.Counter(range(50000)))

    def test_committed_offsets_are_where_reading_goes_on(self):
        self.write_numbers(1000)
        env = self.env(TOPIC=self.topic(2), GROUP=self.name("g"))
        self.plumbline("run", self.to_kafka(extra=", key: k"), env=env)
        reader = self.start("run", self.from_kafka(), env=env)
        self.wait_lines(reader, 1000)
        reader.stop()
        ends = collections.Counter(r["partition"] for r in self.kafka.read(env["TOPIC"]))
        self.assertEqual(self.kafka.group_offsets(env["GROUP"], env["TOPIC"]), dict(ends))
        self.plumbline("run", "to.yaml", env=env)
        again = self.start("run", "from.yaml", env=env)
        self.wait_lines(again, 2000)
        again.stop()
        self.assertEqual(again.components["in"]["read"], 1000)

    def test_a_key_chooses_the_partition_that_java_would(self):
        keys = ["ETH-USD", "BTC-USD", "LINK-USD", "", "é", "a", "ab", "abc", "abcd", *(f"k{n}" for n in range(200))]
        self.write("in.jsonl", "".join(json.dumps({"n": n, "k": k}) + "\n" for n, k in enumerate(keys)))
        env = self.env(TOPIC=self.topic(7))
        self.plumbline("run", self.to_kafka(extra=", key: k"), env=env)
        found = self.kafka.read(env["TOPIC"])
        self.assertEqual(len(found), len(keys))
        for record in found:
            self.assertEqual(record["key"], json.loads(record["payload"])["k"])
            self.assertEqual(record["partition"], java_partition(record["key"].encode(), 7), record["key"])

    def test_keys_that_are_no_text(self):
        self.write("in.jsonl", '{"k":7}\n{"k":0.1000}\n{"k":true}\n{"k":null}\n{"x":1}\n{"k":115792089237316195423570985}\n')
        env = self.env(TOPIC=self.topic())
        self.plumbline("run", self.to_kafka(extra=", key: k"), env=env)
        self.assertEqual([r["key"] for r in self.kafka.read(env["TOPIC"])],
                         ["7", "0.1000", "true", None, None, "115792089237316195423570985"])

    def test_a_topic_by_template(self):
        self.write("in.jsonl", '{"k":"a"}\n{"k":"b"}\n{"k":"a b"}\n{"x":1}\n{"k":"a"}\n')
        stem = self.name("by")
        run = self.plumbline("run", self.to_kafka(extra=", create_topic: {}"), env=self.env(TOPIC=stem + ".{k}"))
        self.assertEqual(len(self.kafka.read(stem + ".a")), 2)
        self.assertEqual(len(self.kafka.read(stem + ".b")), 1)
        self.assertEqual(run.components["out"]["dead_lettered"], 2)

    def test_history_is_not_written_with_timestamps_that_the_broker_deletes_by(self):
        source = "plugin: generate, with: { count: 3, start: '2022-04-01T00:00:00Z', template: '{\"n\":{n}}' }"
        env = self.env(TOPIC=self.topic())
        self.plumbline("run", self.to_kafka(source=source), env=env)
        self.plumbline("run", self.to_kafka(source=source, extra=", timestamp: event"), env=env)
        found = [record["ts"] for record in self.kafka.read(env["TOPIC"])]
        self.assertTrue(all(abs(ts - time.time() * 1000) < 600_000 for ts in found[:3]), found)
        self.assertEqual(found[3:], [1648771200000, 1648771200001, 1648771200002])

    def odd_records(self, topic):
        def kcat(data, *argv):
            subprocess.run(["kcat", "-b", self.kafka.bootstrap, "-P", "-t", topic, *argv], input=data, check=True,
                           timeout=30)
        kcat(b'{"n":1}', "-H", "trace=abc", "-H", "trace=def", "-H", "empty=", "-k", "k1")
        kcat(b"k2:", "-K:", "-Z")                    # a key and no payload at all
        kcat(b"\xff\xfe:\x00\x01\xfd", "-K:", "-D\n")  # neither is text

    def pass_through(self, source, target, extra=""):
        self.pipeline("p.yaml", f'''
            sources:
              in:
                plugin: kafka
                with: {{ brokers: "${{BROKERS}}", topics: "${{SOURCE}}", group: "${{GROUP}}" {extra} }}
                codec: bytes
            sinks: {{ out: {{ from: in, plugin: kafka, with: {{ brokers: "${{BROKERS}}", topic: "${{TARGET}}" }} }} }}
        ''')
        run = self.start("run", "p.yaml", env=self.env(SOURCE=source, TARGET=target, GROUP=self.name("g")))
        run.wait_for(lambda: len(self.kafka.read(target)) == 3, 30, "three records arrived")
        run.stop()

    def raw(self, topic):
        return subprocess.run(["kcat", "-b", self.kafka.bootstrap, "-C", "-t", topic, "-e", "-q", "-f",
                               "%k|%S|%s|%h|%T\n"], capture_output=True, check=True, timeout=30).stdout

    def test_headers_tombstones_and_bytes_pass_through(self):
        source, target = self.topic(), self.topic()
        self.odd_records(source)
        self.pass_through(source, target)
        self.assertEqual(self.raw(target), self.raw(source))
        self.assertIn(b"k1|7|{\"n\":1}|trace=abc,trace=def,empty=|", self.raw(target))
        self.assertIn(b"k2|-1||", self.raw(target))

    def test_headers_are_left_out_where_asked(self):
        source, target = self.topic(), self.topic()
        self.odd_records(source)
        self.pass_through(source, target, ", headers: false")
        self.assertEqual(self.raw(target), self.raw(source).replace(b"trace=abc,trace=def,empty=", b""))


class Faults(Kafka):

    def test_reader_killed_and_started_again(self):
        count = 30000
        env = self.env(TOPIC=self.topic(3), GROUP=self.name("g"))
        source = f"plugin: generate, with: {{ count: {count}, template: '{{\"n\":{{n}}}}' }}"
        self.plumbline("run", self.to_kafka(source=source), env=env)
        slow = 'transforms: { slow: { from: in, lua: "function on_record(r) for i = 1, 4000 do end return r end" } }\n'
        text = self.from_kafka(extra=', commit_every: 100ms, librdkafka: { session.timeout.ms: "6000" }')
        text = (self.dir / text).read_text().replace("from: in,", "from: slow,") + slow
        self.write("from.yaml", text)
        for lines in (2000, 8000):
            reader = self.start("run", "from.yaml", env=env)
            self.wait_lines(reader, lines)
            reader.kill()
        reader = self.start("run", "from.yaml", env=env)
        reader.wait_for(lambda: len(self.seen()) == count, 90, "every record arrived")
        reader.stop()
        self.assertEqual(set(self.seen()), set(range(count)))

    def test_two_members_share_and_hand_over(self):
        env = self.env(TOPIC=self.topic(4), GROUP=self.name("g"))
        run = self.start("run", self.to_kafka(source="plugin: generate, with: { rate: 5000, keys: 100, template: '{\"n\":{n}}' }"),
                         env=env)
        quick = ', librdkafka: { heartbeat.interval.ms: "500" }'   # how soon the first hears of the second
        first = self.start("run", self.from_kafka(extra=quick), env=env)
        first.wait_log("assigned 4 partitions")
        self.write("second.yaml", (self.dir / "from.yaml").read_text().replace("out.jsonl", "second.jsonl"))
        second = self.start("run", "second.yaml", env=env)
        self.wait_lines(second, 500, path="second.jsonl")
        second.stop()
        first.wait_log("(?s)assigned 4 partitions.*assigned 2 partitions.*assigned 4 partitions")
        run.stop()
        count = run.components["out"]["delivered"]
        both = lambda: self.seen() + self.seen("second.jsonl")
        first.wait_for(lambda: sum(both().values()) >= count, 60, "all arrived")
        first.stop()
        numbers = sorted(both())
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + count)))
        self.assertEqual(set(both().values()), {1}, "an orderly hand-over doubles nothing either")

    def test_a_full_queue_holds_back_and_drops_nothing(self):
        self.write_numbers(5000)
        env = self.env(TOPIC=self.topic())
        run = self.plumbline("run", self.to_kafka(extra=', librdkafka: { queue.buffering.max.messages: "200" }'), env=env)
        self.assertEqual(run.components["out"]["delivered"], 5000)
        self.assertEqual(numbers(self.kafka.read(env["TOPIC"])), list(range(5000)))

    def test_a_record_too_large_goes_to_the_dead_letter_alone(self):
        self.write("in.jsonl", "".join(json.dumps({"n": n, "pad": "x" * (2_000_000 if n == 50 else 10)}) + "\n"
                                       for n in range(100)))
        env = self.env(TOPIC=self.topic())
        source = "plugin: file, with: { path: in.jsonl, max_record: 4MiB }"
        run = self.plumbline("run", self.to_kafka(source=source), env=env)
        self.assertEqual(run.components["out"]["dead_lettered"], 1)
        self.assertEqual(numbers(self.kafka.read(env["TOPIC"])), [n for n in range(100) if n != 50])
        letters = [json.loads(line) for path in self.dir.rglob("*dead*.jsonl") for line in path.read_text().splitlines()]
        self.assertIn("more than librdkafka's message.max.bytes, 1000000", json.dumps(letters))

    def test_a_broker_that_hangs_does_not_hold_up_the_end(self):
        broker = self.kafka.brokers[0]
        env = self.env(TOPIC=self.topic(), GROUP=self.name("g"))
        source = "plugin: generate, with: { rate: 2000, template: '{\"n\":{n}}' }"
        run = self.start("run", self.to_kafka(source=source), "--set", "shutdown_deadline=2s", env=env)
        reader = self.start("run", self.from_kafka(), "--set", "shutdown_deadline=2s", env=env)
        self.wait_lines(reader, 1000)
        broker.pause()
        try:
            time.sleep(1)
            run.stop(exit=3, seconds=20)
            reader.stop(exit=None, seconds=20)
        finally:
            broker.resume()
        self.assertIn(reader.process.returncode, (0, 3))


class Messages(Kafka):

    def test_a_source_makes_its_topics_where_asked(self):
        env = self.env(TOPIC=self.name("made"), GROUP=self.name("g"))
        extra = ', create_topic: { partitions: 4, config: { retention.ms: "-1" } }'
        reader = self.start("run", self.from_kafka(extra=extra), env=env)
        reader.wait_log("assigned 4 partitions")
        self.assertEqual(self.kafka.topics()[env["TOPIC"]], 4)
        other = self.start("run", self.from_kafka("other.yaml", extra=extra), env=env | {"GROUP": self.name("g")})
        other.wait_log("assigned 4 partitions")   # the topic is there already, which is as good
        self.kafka.produce(env["TOPIC"], ['{"n":1}'])
        self.wait_lines(reader, 2)
        reader.stop()
        other.stop()

    def test_brokers_that_do_not_answer_are_told_once(self):
        self.write_numbers(5)
        env = {"BROKERS": "127.0.0.1:1,127.0.0.1:2", "TOPIC": "t", "GROUP": "g"}
        run = self.start("run", self.to_kafka(), "--set", "shutdown_deadline=1s", env=env)
        reader = self.start("run", self.from_kafka(), env=env)
        time.sleep(5)
        run.stop(exit=3)
        reader.stop()
        for each in (run, reader):
            self.assertEqual(len(re.findall("no broker of 127.0.0.1:1,127.0.0.1:2 answers", each.stderr)), 1, each.stderr)
            self.assertLess(len(each.stderr.splitlines()), 8, each.stderr)

    def test_properties_that_are_wrong_are_found_without_connecting(self):
        self.to_kafka(extra=", librdkafka: { linger.msec: 5 }", path="a.yaml")
        self.to_kafka(extra=", librdkafka: { acks: 1 }", path="b.yaml")
        self.from_kafka(extra=", librdkafka: { enable.auto.commit: true }", path="c.yaml")
        self.from_kafka(extra=", librdkafka: { fetch.wait.max.ms: soon }", path="d.yaml")
        env = {"BROKERS": "127.0.0.1:1", "TOPIC": "t", "GROUP": "g"}
        said = "".join(self.plumbline("check", f"{name}.yaml", env=env, exit=2).stderr for name in "abcd")
        self.assertRegex(said, r"a\.yaml:7:\d+: .*no property linger\.msec; did you mean linger\.ms\?")
        self.assertRegex(said, r"b\.yaml:7:\d+: .*acks cannot be set here: fewer acknowledgements than all lose records")
        self.assertRegex(said, r"c\.yaml:5:\d+: .*enable\.auto\.commit cannot be set here")
        self.assertRegex(said, r"d\.yaml:5:\d+: .*fetch\.wait\.max\.ms")


class Rewind(Kafka):

    def test_state_is_rebuilt_from_what_was_committed(self):
        env = self.env(TOPIC=self.topic(2), GROUP=self.name("g"))
        self.pipeline("p.yaml", '''
            sources:
              in: { plugin: kafka, with: { brokers: "${BROKERS}", topics: "${TOPIC}", group: "${GROUP}" } }
            transforms:
              sum:
                from: in
                state: { rebuild: 1h }
                lua: |
                  state.sum = state.sum or 0
                  function on_record(r)
                    state.sum = state.sum + r.n
                    r.sum = state.sum
                    return r
                  end
            sinks: { out: { from: sum, plugin: file, with: { path: out.jsonl } } }
        ''')
        self.kafka.produce(env["TOPIC"], [(f"k{n}", json.dumps({"n": 1})) for n in range(500)])
        first = self.start("run", "p.yaml", env=env)
        self.wait_lines(first, 500)
        first.stop()
        self.assertEqual(self.records("out.jsonl")[-1]["sum"], 500)
        second = self.start("run", "p.yaml", env=env)
        second.wait_log("rewound by 3600 s of event time")
        time.sleep(2)
        self.kafka.produce(env["TOPIC"], [("x", json.dumps({"n": 1000}))])
        self.wait_lines(second, 501)
        second.stop()
        found = self.records("out.jsonl")
        self.assertEqual(len(found), 501, "what is read again to rebuild is not given out again")
        self.assertEqual(found[-1]["sum"], 1500)
        self.assertEqual(second.components["in"]["replayed"], 500)


class Copartitioned(Kafka):
    """Topics that are read together for a state."""

    def setUp(self):
        super().setUp()
        self.topics = (self.topic(2), self.topic(3))
        self.pipeline("p.yaml", '''
            sources:
              in:
                plugin: kafka
                with: { brokers: "${BROKERS}", topics: ["${ONE}", "${TWO}"], group: "${GROUP}", copartitioned: "${MUST:-auto}" }
            transforms: { join: { from: in, state: { rebuild: 1h }, lua: "function on_record(r) return r end" } }
            sinks: { out: { from: join, plugin: file, with: { path: out.jsonl } } }
        ''')

    def env(self, **more):
        return super().env(ONE=self.topics[0], TWO=self.topics[1], GROUP=self.name("g")) | more

    def test_unlike_ones_halt_the_start_with_both_counts(self):
        one, two = self.topics
        said = fr"error in: topics '{one}' \(2 partitions\) and '{two}' \(3\) are joined, .*copartitioned: false"
        self.kafka.produce(one, ['{"n":1}'])
        self.assertRegex(self.plumbline("run", "p.yaml", env=self.env(), exit=1).stderr, said)
        stateless = ("--set", "transforms.join.state=")
        self.assertRegex(self.plumbline("run", "p.yaml", *stateless, env=self.env(MUST="true"), exit=1).stderr, said)
        self.assertEqual(self.lines("out.jsonl"), [], "halted before anything was read")
        for words, env in ((("p.yaml",), self.env(MUST="false")), (("p.yaml", *stateless), self.env())):
            with self.subTest(words=words):
                self.write("out.jsonl", "")
                run = self.start("run", *words, env=env)
                self.wait_lines(run, 1)
                run.stop()

    def test_one_that_grows_alone_halts_who_joins_it(self):
        env = self.env(TWO=self.topic(2))
        run = self.start("run", "p.yaml", env=env)
        run.wait_log("rewound by 3600 s")
        self.kafka.grow_topic(env["TWO"], 4)
        run.wait(exit=1)
        self.assertRegex(run.stderr, fr"'{env['ONE']}' \(2 partitions\) and '{env['TWO']}' \(4\) are joined")

    def test_a_strategy_that_parts_a_key_is_refused(self):
        parted = ("--set", "sources.in.with.librdkafka={ partition.assignment.strategy: roundrobin }")
        run = self.plumbline("check", "p.yaml", *parted, env=self.env(MUST="true"), exit=2)
        self.assertRegex(run.stderr, "need partition.assignment.strategy range")
        run = self.plumbline("run", "p.yaml", *parted, env=self.env(), exit=2)
        self.assertRegex(run.stderr, "need partition.assignment.strategy range")


def _secured(directory):
    """A broker that also listens with SASL PLAIN (user plumbline, password right) and with TLS."""
    kafka = servers.Kafka(directory)
    broker = kafka.brokers[0]
    kafka.sasl, kafka.tls = (f"127.0.0.1:{servers.free_port()}" for _ in range(2))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", directory / "key.pem", "-out",
                    directory / "ca.pem"], check=True, capture_output=True, timeout=30)
    (directory / "both.pem").write_text((directory / "key.pem").read_text() + (directory / "ca.pem").read_text())
    public = f"PLAINTEXT://{broker.address},SASL_PLAINTEXT://{kafka.sasl},SSL://{kafka.tls}"
    kafka.settings |= {
        "listeners": f"{public},CONTROLLER://127.0.0.1:{broker.controller_port}",
        "advertised.listeners": public,
        "listener.security.protocol.map":
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config":
            'org.apache.kafka.common.security.plain.PlainLoginModule required user_plumbline="right";',
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": directory / "both.pem",
    }
    return kafka


class Security(Kafka):

    def setUp(self):
        support.Case.setUp(self)
        self.kafka = support.shared("kafka_secured", _secured)
        self.write_numbers(10)

    def login(self, password):
        return (", librdkafka: { security.protocol: SASL_PLAINTEXT, sasl.mechanisms: PLAIN, sasl.username: plumbline, "
                f"sasl.password: {password} }}")

    def test_plain_with_the_right_password(self):
        env = {"BROKERS": self.kafka.sasl, "TOPIC": self.topic(), "GROUP": self.name("g")}
        self.plumbline("run", self.to_kafka(extra=self.login("right")), env=env)
        reader = self.start("run", self.from_kafka(extra=self.login("right")), env=env)
        self.wait_lines(reader, 10)
        reader.stop()

    def test_a_wrong_password_halts_and_is_not_printed(self):
        env = {"BROKERS": self.kafka.sasl, "TOPIC": self.topic(), "GROUP": self.name("g")}
        for name in (self.to_kafka(extra=self.login("dArK")), self.from_kafka(extra=self.login("dArK"))):
            run = self.plumbline("run", name, env=env, exit=1)
            self.assertRegex(run.stderr, "(?i)error (in|out): .*authentication failed")
            self.assertNotIn("dArK", run.stderr)

    def test_topics_are_looked_at_with_the_same_login(self):
        env = {"BROKERS": self.kafka.sasl, "TOPIC": self.topic(), "GROUP": self.name("g")}
        self.plumbline("topics", "--check", self.to_kafka(extra=self.login("right")), env=env)
        run = self.plumbline("topics", self.from_kafka(extra=self.login("dArK")), env=env, exit=1)
        self.assertRegex(run.stderr, "(?i)^plumbline topics: source 'in' .*authentication failed")
        self.assertNotIn("dArK", run.stderr)

    def test_tls_with_our_own_authority(self):
        authority = support.shared_dir() / "kafka_secured" / "ca.pem"
        extra = f", librdkafka: {{ security.protocol: SSL, ssl.ca.location: {authority} }}"
        env = {"BROKERS": self.kafka.tls, "TOPIC": self.topic(), "GROUP": self.name("g")}
        self.plumbline("run", self.to_kafka(extra=extra), env=env)
        reader = self.start("run", self.from_kafka(extra=extra), env=env)
        self.wait_lines(reader, 10)
        reader.stop()

    def test_a_certificate_that_is_not_trusted_is_told_and_nothing_is_sent(self):
        env = {"BROKERS": self.kafka.tls, "TOPIC": self.topic()}
        run = self.start("run", self.to_kafka(extra=", librdkafka: { security.protocol: SSL }"), "--set",
                         "shutdown_deadline=1s", env=env)
        run.wait_log("no broker of .* answers.*certificate verify failed")
        run.stop(exit=3)
        self.assertEqual(self.kafka.read(env["TOPIC"]), [])
