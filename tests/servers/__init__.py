"""Real servers for the tests, the demo and the benchmarks: each on free loopback ports, in a directory you give.

    import sys; sys.path.insert(0, "<repository>/tests")
    from servers import Kafka, Postgres, Timescale, Anvil, Feeds, ServerError

    with Kafka(directory) as kafka:                  # 4.1.0 KRaft; Kafka(d, brokers=3); Kafka(d, zookeeper=True) is 3.9.0
        kafka.bootstrap                              # "127.0.0.1:20311[,...]"
        kafka.create_topic("api_price", partitions=3)
        kafka.produce("api_price", [("ETH/USD", '{"price":"1800.1"}')])   # (key, value) pairs, or values
        kafka.read("api_price")                      # [{partition, offset, ts, key, payload, headers?}, ...], the whole topic
        kafka.read_json("api_price")                 # [{"price": "1800.1"}, ...]
        kafka.topics()                               # {"api_price": 3}
        kafka.ends("api_price")                      # {partition: next offset}
        kafka.grow_topic("api_price", 4)
        kafka.group_offsets("my-group", "api_price") # {partition: next offset}
        kafka.brokers[0].kill(); kafka.brokers[0].start()

    with Postgres(directory) as pg:                  # database kafka_sink, unless database="..." says otherwise
        pg.dsn, pg.socket_dsn                        # libpq connection strings: URI over TCP, keywords over the Unix socket
        pg.sql("SELECT * FROM api_price")            # rows as lists of text, through psql
        pg.backends()                                # pids of the client sessions

    with Timescale(directory) as ts:                 # the same, with the extension timescaledb (PostgreSQL 17); no COPY, no TLS
        ts.dsn; ts.sql("...")

    with Anvil(directory, timestamp=1700000000) as node:   # an Ethereum node that says it is mainnet
        node.url                                     # "http://127.0.0.1:20312"
        node.rpc("eth_blockNumber")                  # any JSON-RPC method; raises RpcError
        feeds = Feeds(node)                          # our aggregators behind the mainnet proxy addresses; see feeds.py
        feeds["ETH/USD"].push("1800.12345678", updated_at=1700000100)

Every server (and every kafka.brokers[i]) has start(), stop(), restart(), kill() (SIGKILL), pause() (SIGSTOP), resume(),
running(), pid, log_path and log_tail(). start() returns when the server answers a real request, or raises ServerError
with its last log lines. Addresses and data stay the same from one start to the next. Whatever happens to the program
that started them (its end, Ctrl-C, SIGTERM, kill -9), the servers end with it.

From a shell, see `python3 -m servers --help` (in tests/), or tests/servers/README.md.
"""

from .anvil import Anvil, RpcError
from .cache import cache_dir, fill
from .feeds import Feeds, MAINNET
from .kafka import Broker, Kafka
from .process import Process, ServerError, free_port, wait_until
from .postgres import Postgres, psql
from .timescale import Timescale

__all__ = ["Anvil", "Broker", "Feeds", "Kafka", "MAINNET", "Postgres", "Process", "RpcError", "ServerError", "Timescale",
           "cache_dir", "fill", "free_port", "psql", "wait_until"]
