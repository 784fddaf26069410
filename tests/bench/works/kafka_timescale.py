"""A topic into a table of seven columns with a natural key, ON CONFLICT DO NOTHING, on PostgreSQL with fsync on. Timed
from the first commit to the last, by the server's commit timestamps; \\copy by its own time, as it is one transaction."""

import contextlib
import csv
import json

from servers import Postgres

from support import peers
from support.broker import Broker
from support.context import BENCH
from support.measure import BenchError, Process, Subject, sample_of

RECORDS = 300_000
PAIRS = 7
BASELINE = "plumbline"
COLUMNS = ["rate", "spread", "cpu_per_million_s", "peak_rss_kb", "speed", "cpu"]
COPY, PYTHON = "psql \\copy", "Python: confluent-kafka, json, psycopg"
NAMES = ("source", "pair", "updated_at", "feed", "round_id", "price", "volume_24h")


@contextlib.contextmanager
def servers(ctx):
    settings = {"fsync": "on", "full_page_writes": "on", "track_commit_timestamp": "on", "shared_buffers": "256MB",
                "max_wal_size": "2GB"}
    with Broker(ctx) as ctx.broker, Postgres(ctx.directory / f"pg{ctx.serial()}", settings=settings) as ctx.store:
        yield


def make_table(ctx):
    name = f"t{ctx.serial()}"
    ctx.store.sql(f"CREATE TABLE {name} (source text NOT NULL, pair text NOT NULL, updated_at timestamptz NOT NULL, "
                  f"feed text, round_id bigint, price numeric, volume_24h numeric, UNIQUE (source, pair, updated_at))")
    return name


def drop_table(ctx, name, wanted):
    rows = int(ctx.store.sql(f"SELECT count(*) FROM {name}")[0][0])
    ctx.store.sql(f"DROP TABLE {name}")
    if rows != wanted:
        raise BenchError(f"{rows} rows in the table, not {wanted}")


def commit_seconds(ctx, name):
    found = ctx.store.sql("SELECT extract(epoch FROM max(t) - min(t)) FROM (SELECT pg_xact_commit_timestamp(x::xid) AS t "
                          f"FROM (SELECT DISTINCT xmin::text AS x FROM {name}) AS d) AS s")[0][0]
    return max(float(found), 0.001)


def from_topic(ctx, argv):
    def sample(records):
        topic, group, table = ctx.broker.input(records), f"bench{ctx.serial()}", make_table(ctx)
        env = {"BROKERS": ctx.broker.address, "IN_TOPIC": topic, "GROUP": group, "DSN": ctx.store.dsn, "TABLE": table}
        process = Process(ctx, argv(), env)
        process.until(lambda: ctx.broker.committed(group, topic) >= records, 300, f"{records} committed offsets")
        found = process.stop()
        seconds = commit_seconds(ctx, table)
        drop_table(ctx, table, records)
        return sample_of(found, records, seconds)
    return sample


def copy(ctx):
    made = {}

    def rows(records):
        if records not in made:
            made[records] = ctx.directory / f"rows.{records}.csv"
            with open(ctx.input(records)) as lines, open(made[records], "w", newline="") as file:
                writer = csv.writer(file)
                for line in lines:
                    record = json.loads(line, parse_float=str)
                    writer.writerow([record[name] for name in NAMES])
        return made[records]

    def sample(records):
        table, file = make_table(ctx), rows(records)
        found = Process(ctx, ["psql", "--no-psqlrc", "--quiet", "-d", ctx.store.dsn, "-c",
                              f"\\copy {table} ({', '.join(NAMES)}) FROM '{file}' CSV"]).finish()
        drop_table(ctx, table, records)
        return sample_of(found, records)
    return sample


def subjects(ctx):
    found = [Subject("plumbline", from_topic(ctx, lambda: ctx.run_argv("kafka_timescale"))),
             Subject(COPY, copy(ctx), note="no Kafka, no JSON, one transaction")]
    python = peers.python(ctx, PYTHON)
    if python:
        found.append(Subject(PYTHON, from_topic(ctx, lambda: [python, BENCH / "programs" / "python_way.py"]), 0.1))
    return found


def judge(by_name):
    ours, found = by_name["plumbline"], []
    for name, wanted in ((COPY, 0.6), (PYTHON, 5)):
        if name in by_name:
            ratio = ours["rate"] / by_name[name]["rate"]
            found.append((f"at least {wanted} times {name}", f"{ratio:.2f}", ratio >= wanted))
    return found
