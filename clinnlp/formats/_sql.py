"""A database by its URL, through SQLAlchemy: opened without downloads, its faults told in one line without values."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clinnlp.errors import ConfigError, StorageError

URL = re.compile(r"[A-Za-z][A-Za-z0-9+_]*://")
SCHEMA_COLUMNS = ("table_schema", "table_name", "column_name", "data_type", "ordinal_position")
SECONDS = 60  # to wait for a locked SQLite file
INSTALL = (
    "pip install 'clinnlp[db]'; 'clinnlp[db,postgres]' for postgresql+psycopg://, 'clinnlp[db,duckdb]' for duckdb://"
)
BUSY = "a DuckDB file takes one writer at a time: do this again when no other program has it open"
ROWS = "clinnlp_rows"  # the name of rows that DuckDB is handed
FILES = {"sqlite": "SQLite", "duckdb": "DuckDB"}  # databases that are a file
MISSING = "name the table and its schema; docs/omop.md tells how missing tables are made"


def shown(url: str) -> str:
    """A URL as messages and manifests may hold it: without password and options."""
    return re.sub("//.*@", "//", url.partition("?")[0])


@contextmanager
def opened(url: str, *, write: bool = False, create: bool = False) -> Iterator[Any]:
    """An engine for a database that is there (or, with `create`, a new file), closed at the end.

    Raises ConfigError for a URL or driver that cannot be used, StorageError for whatever the database refuses.
    """
    try:
        import sqlalchemy
    except ImportError:
        raise ConfigError("SQLAlchemy is not installed", where=shown(url), next=INSTALL) from None
    engine = _engine(url, write, create)
    try:
        yield engine
    except sqlalchemy.exc.SQLAlchemyError as error:  # its own words may hold values
        cause = getattr(error, "orig", None) or error
        code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
        told = f"{type(cause).__name__} {code}" if code else type(cause).__name__
        raise StorageError(
            f"the database refused: {told}",
            where=shown(url),
            kept="what was committed before" if write else "",
            next=BUSY if _is_busy(engine, cause) else "look this code up in the manual of the database",
        ) from None
    finally:
        engine.dispose()


def _is_busy(engine: Any, cause: BaseException) -> bool:
    """Whether a DuckDB file was held by another program, or another one's rows came between."""
    told = type(cause).__name__
    locked = told == "IOException" and "lock" in str(cause)
    return engine.dialect.name == "duckdb" and (locked or told in ("TransactionException", "ConstraintException"))


def _engine(text: str, write: bool, create: bool) -> Any:
    import sqlalchemy

    where = shown(text)
    try:
        url = sqlalchemy.engine.make_url(text)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise ConfigError(
            "this is no URL of a database", where=where, next="sqlite:///notes.db, for instance"
        ) from None
    backend = url.get_backend_name()
    if url.password is not None or any("password" in key.lower() for key in url.query):
        raise ConfigError(
            "a password in a URL is seen in process lists and kept in settings.yaml",
            where=where,
            next="leave it out and use what the driver reads, such as PGPASSFILE or PGPASSWORD",
        )
    if told := FILES.get(backend):
        file = url.database
        if not file or file == ":memory:" or file.startswith("file:"):
            raise ConfigError(f"{told} needs a file", where=where, next=f"give {backend}:///notes.db")
        if not create and not Path(file).is_file():
            raise ConfigError(
                "no such file", where=where, next=f"check the path; {backend}:////a/b is the absolute one"
            )
    try:
        # a labeling run reads for a night with long pauses: a connection that the server closed is opened again
        options = {"connect_args": {"timeout": SECONDS}} if backend == "sqlite" else {"pool_pre_ping": True}
        engine = sqlalchemy.create_engine(url, hide_parameters=True, **options)
    except (sqlalchemy.exc.ArgumentError, ImportError):
        raise ConfigError(f"no driver for {url.drivername}", where=where, next=INSTALL) from None
    if backend == "sqlite":
        _plain_sqlite(engine, "BEGIN IMMEDIATE" if write else "BEGIN")
    return engine


def _plain_sqlite(engine: Any, begin: str) -> None:
    """Make sqlite3 begin transactions when told, and give a text that is not UTF-8 instead of failing a whole batch."""
    from sqlalchemy import event

    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))


def find_table(engine: Any, name: str, schema: str | None, columns: tuple[str, ...], where: str) -> Any:
    """The table of that name with its columns, keyed in lower case and read without conversion.

    Raises ConfigError if it, or one of the columns it must have, is not there.
    """
    import sqlalchemy

    found = _columns(engine, name, schema)
    if not found:
        raise ConfigError(f"there is no table {_named(name, schema)}", where=where, next=MISSING)
    held = {str(column["name"]).lower(): column for column in found}
    made = (sqlalchemy.Column(column["name"], key=key, info=_info(column)) for key, column in held.items())
    table = sqlalchemy.Table(name, sqlalchemy.MetaData(), *made, schema=schema)
    require(table, columns, where)
    return table


def _columns(engine: Any, name: str, schema: str | None) -> list[dict[str, Any]]:
    """Names and types of the columns of a table; none if it is not there."""
    import sqlalchemy as sa

    if engine.dialect.name != "duckdb":
        try:
            return list(sa.inspect(engine).get_columns(name, schema))
        except sa.exc.NoSuchTableError:
            return []
    # its dialect asks PostgreSQL's catalogue, of which DuckDB has not all
    held = sa.table("columns", *map(sa.column, SCHEMA_COLUMNS), schema="information_schema").c
    asked = sa.select(held.column_name, held.data_type).order_by(held.ordinal_position)
    here = sa.func.current_schema() if schema is None else sa.func.lower(schema)
    asked = asked.where(sa.func.lower(held.table_name) == name.lower(), sa.func.lower(held.table_schema) == here)
    with engine.connect() as connection:
        found = connection.execute(asked).all()
    return [{"name": column, "type": sa.BigInteger() if type == "BIGINT" else sa.Integer()} for column, type in found]


def require(table: Any, columns: tuple[str, ...], where: str) -> None:
    """Raises ConfigError if the table lacks a column."""
    if missing := [column for column in columns if column not in table.c]:
        raise ConfigError(
            f"table {_named(table.name, table.schema)} has no column {', '.join(missing)}",
            where=where,
            next="docs/omop.md holds the table as it must be",
        )


def has_table(engine: Any, name: str, schema: str | None) -> bool:
    """Whether there is a table of that name."""
    return bool(_columns(engine, name, schema))


def _named(name: str, schema: str | None) -> str:
    return repr(f"{schema}.{name}" if schema else name)


def _info(column: Any) -> dict[str, bool]:
    import sqlalchemy

    return {"big": isinstance(column["type"], sqlalchemy.BigInteger)}


def quoted(table: Any) -> str:
    """A table's name for a statement that the driver gets as it stands, without parameters."""
    return ".".join(_quoted(name) for name in (table.schema, table.name) if name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def insert(connection: Any, table: Any, rows: list[dict[str, Any]]) -> None:
    """Insert rows that all have the same columns, in the fastest way that the driver has within a transaction."""
    if not rows:
        return
    names = ", ".join(_quoted(table.c[key].name) for key in rows[0])
    if connection.engine.driver == "psycopg":
        _copy(connection, f"COPY {quoted(table)} ({names}) FROM STDIN", rows)
    elif connection.dialect.name == "duckdb":
        _from_arrow(connection, f"INSERT INTO {quoted(table)} ({names}) FROM {ROWS}", rows)
    else:
        connection.execute(table.insert(), rows)


def _copy(connection: Any, statement: str, rows: list[dict[str, Any]]) -> None:
    import psycopg
    import sqlalchemy

    try:
        with connection.connection.driver_connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(tuple(row.values()))
    except psycopg.Error as error:
        raise sqlalchemy.exc.DBAPIError("COPY", None, error, hide_parameters=True) from None


def _from_arrow(connection: Any, statement: str, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa

    connection.connection.driver_connection.register(ROWS, pa.Table.from_pylist(rows))
    connection.exec_driver_sql(statement)
    connection.connection.driver_connection.unregister(ROWS)
