"""PostgreSQL from the distribution's package, in a directory of its own."""

import csv
import io
import os
import pathlib
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile

from .process import Process, ServerError, free_port

# A Unix socket's path may have 107 bytes; PostgreSQL appends "/.s.PGSQL.NNNNN.lock" to the directory.
_SOCKET_DIR_MAX = 107 - len("/.s.PGSQL.65535.lock")


def find_binaries():
    """The directory with initdb and postgres: the newest under /usr/lib/postgresql, else pg_config's."""
    packaged = [path.parent for path in pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if packaged:
        return max(packaged, key=lambda path: [int(part) for part in re.findall(r"\d+", path.parent.name)])
    if shutil.which("pg_config"):
        found = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, timeout=10).stdout.strip()
        if (pathlib.Path(found) / "initdb").exists():
            return pathlib.Path(found)
    raise ServerError("PostgreSQL's server programs (initdb, postgres) were not found in /usr/lib/postgresql/*/bin "
                      "nor by pg_config; tests/servers/install.sh installs them")


def psql(dsn, query, variables=None, seconds=60):
    """Run SQL with psql; return its rows as lists of text (an SQL NULL and an empty text both come as "")."""
    settings = [f"--set={key}={value}" for key, value in (variables or {}).items()]
    done = subprocess.run(["psql", "--no-psqlrc", "--quiet", "--csv", "--tuples-only", "--set=ON_ERROR_STOP=1",
                           *settings, "--file=-", dsn], input=query, capture_output=True, text=True, timeout=seconds,
                          env=os.environ | {"PGCLIENTENCODING": "UTF8", "PGTZ": "UTC", "PGOPTIONS": ""})
    if done.returncode:
        raise ServerError(f"psql: {done.stderr.strip()}\nin: {query[:500]}")
    return list(csv.reader(io.StringIO(done.stdout)))


class Postgres(Process):
    """`with Postgres(directory) as pg: pg.dsn`: one cluster, one user, one database.

    database   its name
    settings   lines of postgresql.conf, e.g. {"fsync": "on"}. fsync is off by default: a test may kill the server,
               but not the kernel, so nothing is lost by it; benchmarks should set it on.
    """

    name = "postgres"
    stop_signal = signal.SIGINT   # "fast" shutdown: sessions are ended, what was committed is kept

    def __init__(self, directory, database="kafka_sink", settings=None):
        super().__init__(directory)
        self._bin = find_binaries()
        self.port = free_port()
        self.database, self.user, self.password = database, "plumbline", secrets.token_hex(8)
        self._settings = {"fsync": "off", "full_page_writes": "off"} | dict(settings or {})
        self._account = None
        if os.geteuid() == 0:   # postgres refuses to run as root
            try:
                self._account = pwd.getpwnam("postgres")
            except KeyError:
                raise ServerError("running as root needs the account postgres, which Debian's package makes") from None
        self._outside = self._make_outside()
        home = self._outside or self.directory
        self._data, self._sockets = home / "data", home
        self.dsn = f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"
        self.socket_dsn = (f"host={self._sockets} port={self.port} user={self.user} password={self.password} "
                           f"dbname={database}")

    def _make_outside(self):
        """A short directory that the account can reach, where the given one is too long or closed to it."""
        if self._account is None and len(os.fsencode(self.directory)) <= _SOCKET_DIR_MAX:
            return None
        outside = pathlib.Path(tempfile.mkdtemp(prefix="plumbline-pg-"))
        if self._account:
            os.chown(outside, self._account.pw_uid, self._account.pw_gid)
        return outside

    def _as_account(self):
        if self._account is None:
            return {}
        return {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": [self._account.pw_gid],
                "cwd": self._data.parent}

    def _initialise(self):
        if (self._data / "PG_VERSION").exists():
            return
        secret = self._data.parent / "password"
        secret.touch(mode=0o600)
        secret.write_text(self.password + "\n")
        if self._account:
            os.chown(secret, self._account.pw_uid, self._account.pw_gid)
        done = subprocess.run([self._bin / "initdb", "-D", self._data, "-U", self.user, "-E", "UTF8", "--locale=C",
                               "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync", "--no-instructions"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                              env=self.environment(), **self._as_account())
        secret.unlink()
        if done.returncode:
            raise ServerError(f"initdb failed (status {done.returncode}):\n{done.stdout}{done.stderr}")

    def environment(self):
        # Settings of the caller's own PostgreSQL must not leak in.
        return {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {"LC_ALL": "C"}

    def popen_options(self):
        options = self._as_account()
        options.pop("cwd", None)
        return options

    def argv(self):
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self._sockets,
                    "max_connections": 50, "shared_buffers": "32MB", "timezone": "UTC",
                    "log_timezone": "UTC"} | self._settings
        return [str(self._bin / "postgres"), "-D", str(self._data),
                *[part for key, value in settings.items() for part in ("-c", f"{key}={value}")]]

    def launch(self):
        self._initialise()
        super().launch()

    def ready(self):
        """It takes a connection and the database is there (made on the first start)."""
        admin = self.dsn[:self.dsn.rindex("/")] + "/postgres"
        probe = subprocess.run([self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "2"],
                               timeout=10)
        if probe.returncode:
            return False
        name = {"name": self.database}
        if not psql(admin, "SELECT 1 FROM pg_database WHERE datname = :'name'", name):
            psql(admin, 'CREATE DATABASE :"name"', name)
        return True

    def sql(self, query, variables=None):
        """Run SQL in the database; rows as lists of text. See psql()."""
        return psql(self.dsn, query, variables)

    def count(self, table):
        """How many rows the table has; 0 while it is not there."""
        (row,) = self.sql("SELECT to_regclass(:'table') IS NOT NULL AS there \\gset\n"
                          '\\if :there\nSELECT count(*) FROM :"table";\n\\else\nSELECT 0;\n\\endif\n', {"table": table})
        return int(row[0])

    def backends(self):
        """The pids of the client sessions on the database, except the one that asks."""
        return [int(row[0]) for row in self.sql("SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                                                "AND backend_type = 'client backend' AND pid <> pg_backend_pid()")]

    def close(self):
        if self._outside:
            shutil.rmtree(self._outside, ignore_errors=True)
