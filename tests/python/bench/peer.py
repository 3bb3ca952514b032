"""One run of a peer over the ticks: peer.py duckdb|polars FILE FOLDER; or the ticks in another form: peer.py 'FORMAT …' FILE TARGET

Counts one-minute figures into Parquet, one folder a ticker, with two threads. Each peer in its best form: DuckDB with
explicit columns, and `arg_max` in place of `last`, whose order isn't the file's when it runs in parallel.
"""

import os
import sys


def with_duckdb(ticks: str, folder: str) -> None:
    import duckdb

    columns = """{ticker: 'VARCHAR', "date": 'DATE', "timestamp": 'TIMESTAMPTZ', open: 'DOUBLE', high: 'DOUBLE', low: 'DOUBLE',
        close: 'DOUBLE', volume: 'BIGINT'}"""
    if ticks.endswith(".parquet"):
        read = f"read_parquet('{ticks}')"
    elif ".csv" in ticks:
        read = f"read_csv('{ticks}', header = true, columns = {columns})"
    else:
        read = f"read_ndjson('{ticks}', columns = {columns})"
    session = duckdb.connect()
    session.execute("SET threads = 2; SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
    session.execute(
        f"""
        COPY (
            SELECT ticker, time_bucket(INTERVAL 1 MINUTE, "timestamp") AS window_start,
                avg(close) AS avg_close, arg_max(close, "timestamp") AS last_close,
                count(close) AS ticks, sum(volume) AS volume, min(low) AS low, max(high) AS high
            FROM {read}
            GROUP BY ALL
        ) TO '{folder}' (FORMAT parquet, PARTITION_BY (ticker), COMPRESSION zstd)
        """
    )


def with_polars(ticks: str, folder: str) -> None:
    os.environ["POLARS_MAX_THREADS"] = "2"
    import polars

    schema = {
        "ticker": polars.String,
        "date": polars.String,
        "timestamp": polars.String,
        "open": polars.Float64,
        "high": polars.Float64,
        "low": polars.Float64,
        "close": polars.Float64,
        "volume": polars.Int64,
    }
    at = polars.col("timestamp").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us")
    close = polars.col("close")
    rows = (
        polars.scan_ndjson(ticks, schema=schema)
        .select("ticker", "close", "volume", "low", "high", at.alias("at"))
        .group_by("ticker", polars.col("at").dt.truncate("1m").alias("window_start"))
        .agg(
            close.mean().alias("avg_close"),
            close.sort_by("at").last().alias("last_close"),
            close.count().alias("ticks"),
            polars.col("volume").sum(),
            polars.col("low").min(),
            polars.col("high").max(),
        )
        .collect(engine="streaming")
    )
    rows.write_parquet(folder, partition_by="ticker", mkdir=True)


def convert(form: str, ticks: str, target: str) -> None:
    import duckdb

    # Texts stay texts, but for Parquet, which has types for time.
    time_type = "TIMESTAMPTZ" if "parquet" in form else "VARCHAR"
    session = duckdb.connect()
    session.execute("SET TimeZone = 'UTC'")
    session.execute(
        f"""COPY (SELECT * FROM read_ndjson('{ticks}', columns = {{ticker: 'VARCHAR', "date": 'VARCHAR', "timestamp": '{time_type}',
        open: 'DOUBLE', high: 'DOUBLE', low: 'DOUBLE', close: 'DOUBLE', volume: 'BIGINT'}})) TO '{target}' ({form})"""
    )


if __name__ == "__main__":
    peers = {"duckdb": with_duckdb, "polars": with_polars}
    if sys.argv[1] in peers:
        peers[sys.argv[1]](sys.argv[2], sys.argv[3])
    else:
        convert(*sys.argv[1:])
