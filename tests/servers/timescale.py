"""TimescaleDB 2.23 on PostgreSQL 17, compiled to WebAssembly (PGlite): no TimescaleDB package is in Debian 12 or Ubuntu.

Several clients may connect; their transactions run one after the other (see timescale.mjs). No TLS, no password check,
no COPY from or to the client, no statement_timeout; a session's settings are shared by all.
"""

import pathlib

from .cache import npm_packages
from .postgres import psql
from .process import Process, ServerError, free_port, port_answers

HERE = pathlib.Path(__file__).resolve().parent


class Timescale(Process):
    """`with Timescale(directory) as ts: ts.dsn`. Data stays in the directory from one start to the next."""

    name = "timescale"

    def __init__(self, directory):
        super().__init__(directory)
        self._modules = npm_packages(HERE / "npm")
        self.port = free_port()
        # The name of the database is accepted whatever it is; kafka_sink is the one that the pipelines use.
        self.dsn = f"postgresql://plumbline:plumbline@127.0.0.1:{self.port}/kafka_sink"

    def argv(self):
        return ["node", str(HERE / "timescale.mjs"), str(self._modules), str(self.directory / "data"), str(self.port)]

    def ready(self):
        if not port_answers(self.port):
            return False
        found = self.sql("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
        if not found:
            raise ServerError("PGlite runs without the extension timescaledb")
        return True

    def sql(self, query, variables=None):
        """Run SQL; rows as lists of text. See postgres.psql()."""
        return psql(self.dsn, query, variables)
