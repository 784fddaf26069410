"""A topic into a table as it is commonly written in Python: confluent-kafka, json, psycopg; batches of 500 by
executemany, one transaction each, then the offsets. Usage: python_way.py, with the variables of kafka_timescale.yaml;
until SIGTERM."""

import json
import os
import signal
import sys

import psycopg
import psycopg.sql
from confluent_kafka import Consumer

COLUMNS = ("source", "pair", "updated_at", "feed", "round_id", "price", "volume_24h")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    table = psycopg.sql.Identifier(os.environ["TABLE"])
    insert = psycopg.sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
        table, psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, COLUMNS)),
        psycopg.sql.SQL(", ").join(psycopg.sql.Placeholder() * len(COLUMNS)))
    consumer = Consumer({"bootstrap.servers": os.environ["BROKERS"], "group.id": os.environ["GROUP"],
                         "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([os.environ["IN_TOPIC"]])
    try:
        with psycopg.connect(os.environ["DSN"]) as store:
            while True:
                messages = [m for m in consumer.consume(500, 0.5) if not m.error()]
                if not messages:
                    continue
                records = [json.loads(m.value()) for m in messages]
                with store.cursor() as cursor:
                    cursor.executemany(insert, [[record[name] for name in COLUMNS] for record in records])
                store.commit()
                consumer.commit(asynchronous=False)
    finally:
        consumer.close()


main()
