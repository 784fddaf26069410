"""1 to 64 partitions, topic to topic through the reference script; CPU of the client."""

from support.growth import judge_flat
from support.measure import Subject
from works.kafka_lua_kafka import COLUMNS, kept, servers, to_topic   # noqa: F401

RECORDS = 500_000
PAIRS = 3
BASELINE = "1 partition"
judge = judge_flat(BASELINE)


def subjects(ctx):
    argv, wanted = (lambda env: ctx.run_argv("kafka_lua_kafka")), kept(ctx, keys=1000)
    return [Subject(f"{n} partition" + "s" * (n > 1), to_topic(ctx, argv, wanted, n, keys=1000)) for n in (1, 4, 16, 64)]
