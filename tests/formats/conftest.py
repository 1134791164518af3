"""A real PostgreSQL server for the tests that need one: in a temporary folder, on a unix socket, stopped at the end."""

import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda p: float(p.parts[-3]))
    on_path = shutil.which("pg_ctl")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


def _server_user() -> str | None:
    """PostgreSQL refuses to run as root: who it runs as then, or None for ourselves."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    """The folder with the socket of a server that runs while the tests do."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    pytest.importorskip("psycopg")
    user = _server_user()
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: the path of a socket may have 107 bytes
    if user:
        shutil.chown(folder, user)

    def command(*words: object) -> None:
        given = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
        done = subprocess.run([str(w) for w in words], cwd=folder, capture_output=True, text=True, timeout=120, **given)
        assert done.returncode == 0, done.stdout + done.stderr

    data = folder / "data"
    try:
        command(programs / "initdb", "-D", data, "-U", "clinnlp", "--auth", "trust", "-E", "UTF8", "--locale", "C")
        options = f"-k {folder} -F -c listen_addresses=''"
        command(programs / "pg_ctl", "-D", data, "-l", folder / "log", "-w", "-o", options, "start")
        yield folder
        command(programs / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_folder: Path) -> Callable[[], str]:
    """Empty the database; returns its URL."""
    import psycopg
    from psycopg.sql import SQL, Identifier

    def make() -> str:
        with psycopg.connect(f"host={postgres_folder} user=clinnlp dbname=postgres", autocommit=True) as connection:
            held = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)'")
            for (schema,) in held.fetchall():
                connection.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(schema)))
            connection.execute("CREATE SCHEMA public")
        return f"postgresql+psycopg://clinnlp@/postgres?host={postgres_folder}"

    return make


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """An empty SQLite database."""
    sqlite3.connect(tmp_path / "cdm.db").close()
    return f"sqlite:///{tmp_path}/cdm.db"


@pytest.fixture
def duckdb_url(tmp_path: Path) -> str:
    """An empty DuckDB database."""
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("duckdb_engine")
    duckdb.connect(tmp_path / "notes.duckdb").close()
    return f"duckdb:///{tmp_path}/notes.duckdb"


@pytest.fixture(params=["sqlite", "duckdb", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres")())
    return str(request.getfixturevalue(f"{request.param}_url"))
