"""The servers from a shell: see --help."""

import argparse
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile

from . import Anvil, Feeds, Kafka, Postgres, ServerError, Timescale, fill, wait_until

SERVERS = ("kafka", "postgres", "timescale", "anvil")
_USAGE = """\
  python3 -m servers run kafka postgres -- COMMAND ARGUMENTS...   run a command while they are up; its status is ours
  python3 -m servers run kafka anvil                              run until Ctrl-C or SIGTERM
  python3 -m servers install [SERVER...]                          fill the cache (install.sh also installs packages)

`run` prints one NAME=VALUE line for each address, and gives them to the command as environment variables:
  BROKERS   kafka      host:port[,...]
  DSN       postgres or timescale, the one named last: a libpq URI
  RPC_URL   anvil      with the three mainnet feeds in place
"""


def _arguments():
    parser = argparse.ArgumentParser(prog="python3 -m servers", epilog=_USAGE,
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description="Start real servers on free loopback ports.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    install = verbs.add_parser("install", help="download what the servers need")
    install.add_argument("servers", nargs="*", metavar="SERVER", help=", ".join(SERVERS))
    run = verbs.add_parser("run", help="start servers", usage="python3 -m servers run [OPTIONS] SERVER... [-- COMMAND]")
    run.add_argument("--dir", type=pathlib.Path, help="keep data and logs here (default: a temporary directory)")
    run.add_argument("--brokers", type=int, default=1, metavar="N", help="Kafka brokers (default 1)")
    run.add_argument("--zookeeper", action="store_true", help="Kafka 3.9 with ZooKeeper instead of 4.1 with KRaft")
    run.add_argument("--topic", action="append", default=[], metavar="NAME[:PARTITIONS]", help="create a Kafka topic")
    run.add_argument("servers", nargs="+", metavar="SERVER", help=", ".join(SERVERS))
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:split])
    options.command = words[split + 1:]
    for name in options.servers:
        if name not in SERVERS:
            parser.error(f"no server is called {name}; expected {', '.join(SERVERS)}")
    return options


def _start(name, directory, options, stack):
    if name == "kafka":
        kafka = stack.enter_context(Kafka(directory, brokers=options.brokers, zookeeper=options.zookeeper))
        for topic in options.topic:
            title, _, partitions = topic.partition(":")
            kafka.create_topic(title, int(partitions or 1))
        return "BROKERS", kafka.bootstrap
    if name == "postgres":
        return "DSN", stack.enter_context(Postgres(directory)).dsn
    if name == "timescale":
        return "DSN", stack.enter_context(Timescale(directory)).dsn
    node = stack.enter_context(Anvil(directory))
    Feeds(node)
    return "RPC_URL", node.url


def _run(options):
    with contextlib.ExitStack() as stack:
        home = options.dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="plumbline-servers-"))
        addresses = {}
        for name in options.servers:
            key, value = _start(name, pathlib.Path(home) / name, options, stack)
            addresses[key] = value
            print(f"{key}={value}", flush=True)
        if options.command:
            return subprocess.run(options.command, env=os.environ | addresses).returncode
        wait_until(lambda: False, float("inf"), "the end")
    return 0


def main():
    options = _arguments()
    try:
        if options.verb == "install":
            fill(options.servers or SERVERS)
            return 0
        return _run(options)
    except ServerError as error:
        print(f"servers: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


sys.exit(main())
