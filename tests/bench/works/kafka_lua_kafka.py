"""Topic to topic through the reference script: one partition, 242-byte records, at least once, idempotent producer.
Timed from the first record of the output topic to its last, by the broker's clock; CPU is the client's, the broker's
is not counted (it shares the cores)."""

from support import peers, streams
from support.broker import Broker
from support.measure import Process, Subject, sample_of

RECORDS = 1_000_000
PAIRS = 7
BASELINE = "plumbline"
COLUMNS = ["rate", "spread", "cpu_per_million_s", "peak_rss_kb", "speed", "cpu"]
LIMIT = "bare librdkafka copy in C"


def servers(ctx):
    ctx.broker = Broker(ctx)
    return ctx.broker


def to_topic(ctx, argv, wanted, partitions=1, **options):
    """A subject that runs until the output topic holds all. argv(environment) gives the command line; wanted(records)
    how many come out of so many."""
    def sample(records):
        broker = ctx.broker
        out = broker.output(partitions)
        env = {"BROKERS": broker.address, "IN_TOPIC": broker.input(records, partitions, **options), "OUT_TOPIC": out,
               "GROUP": f"bench{ctx.serial()}"}
        expected = wanted(records)
        process = Process(ctx, argv(env), env)
        process.until(lambda: broker.ends(out, partitions) >= expected, 180, f"{expected} records in the topic")
        found = process.stop()
        seconds = broker.seconds(out, partitions)
        broker.drop(out)
        return sample_of(found, records, seconds)
    return sample


def kept(ctx, **options):
    """How many of so many input records the script lets through: counted once, by the hand-written program. Options are
    the input's."""
    counts = {}

    def count(records):
        if records not in counts:
            from works.file_lua_file import Reference
            counts[records] = Reference(ctx, **options).expected(records)[1]
        return counts[records]
    return count


def subjects(ctx):
    ours = to_topic(ctx, lambda env: ctx.run_argv("kafka_lua_kafka"), kept(ctx))
    copy = to_topic(ctx, lambda env: [ctx.program("limit_kafka"), *(env[k] for k in ("BROKERS", "GROUP", "IN_TOPIC",
                                                                                    "OUT_TOPIC"))], lambda n: n)
    found = [Subject("plumbline", ours), Subject(LIMIT, copy, note="no script")]
    binary = peers.telegraf(ctx)
    if binary:
        argv = [binary, "--config", peers.config("telegraf", "kafka_lua_kafka"), "--non-strict-env-handling"]
        found.append(Subject("Telegraf, Starlark", to_topic(ctx, lambda env, a=argv: a, kept(ctx)), 0.1, "floats"))
    argv = streams.kafka_streams(ctx, "Kafka Streams, Java")
    if argv:
        found.append(Subject("Kafka Streams, Java", to_topic(ctx, lambda env, a=argv: a, kept(ctx)), 0.5, "exact decimals"))
    for name, argv in peers.all_given(ctx, "kafka_lua_kafka"):
        found.append(Subject(name, to_topic(ctx, lambda env, a=argv: a, kept(ctx)), 0.1))
    return found


def judge(by_name):
    if LIMIT not in by_name:
        return []
    ours, copy = by_name["plumbline"], by_name[LIMIT]
    speed, cpu = ours["rate"] / copy["rate"], ours["cpu_per_million_s"] / copy["cpu_per_million_s"]
    found = [("at least 0.75 of the bare copy, or CPU per record at most 1.5 times its own",
              f"{speed:.2f} of its records/s, {cpu:.2f} times its CPU", speed >= 0.75 or cpu <= 1.5)]
    for name, peer in by_name.items():
        if name not in ("plumbline", LIMIT):
            found.append((f"ahead of {name}", f"{ours['rate'] / peer['rate']:.1f} times", ours["rate"] > peer["rate"]))
    return found
