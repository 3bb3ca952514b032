"""Ticks made from real bars, and the rows that DuckDB computes from them.

Nothing here shares code with the product: rows are SQL over the NDJSON that the product reads.

Usage:
  golden.py ticks BARS.csv DIRECTORY      writes the same ticks in several layouts, prints where
  golden.py odd DIRECTORY                 writes ticks with tickers that are hard to put in a path
  golden.py compare ROWS_DIR TICKS.ndjson [BEFORE]
                                          compares a table with DuckDB's rows, windows before BEFORE only
  golden.py parquet ROWS_DIR              what DuckDB and pyarrow read back, value by value
"""

import datetime
import gzip
import json
import math
import pathlib
import random
import sys
import urllib.parse

import duckdb
import pyarrow
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet

BEGIN = datetime.datetime(2024, 1, 2, 14, 30, tzinfo=datetime.timezone.utc)
# Between two ticks. 35 a minute are 7 a minute for each of the five tickers.
STEP = datetime.timedelta(milliseconds=1700)
# Ticks are out of order within a block (34 s, below the watermark delay) and in order between blocks, so that a file
# may end after any block and no tick is late.
BLOCK = 20
SEED = 20240102
FIELDS = ("open", "high", "low", "close")
# Every function; `close` is always there, the others are absent in many bars of AAPL and AMD.
AGGREGATES = [
    ("avg_close", "avg", "close"),
    ("last_close", "last", "close"),
    ("first_close", "first", "close"),
    ("min_close", "min", "close"),
    ("max_close", "max", "close"),
    ("stddev_close", "stddev", "close"),
    ("vwap_close", "vwap", "close"),
    ("count_close", "count", "close"),
    ("sum_volume", "sum", "volume"),
    ("count_volume", "count", "volume"),
    ("last_volume", "last", "volume"),
    ("first_open", "first", "open"),
    ("max_high", "max", "high"),
    ("min_low", "min", "low"),
    ("avg_high", "avg", "high"),
    ("stddev_open", "stddev", "open"),
    ("vwap_low", "vwap", "low"),
    ("count_high", "count", "high"),
]
# first and last follow the order of the ticks (their ordinal), and look at ticks that carry the field.
SQL = {
    "avg": "avg({f})",
    "sum": "sum({f})",
    "min": "min({f})",
    "max": "max({f})",
    "first": "arg_min({f}, ordinal) FILTER ({f} IS NOT NULL)",
    "last": "arg_max({f}, ordinal) FILTER ({f} IS NOT NULL)",
    "count": "count({f})",
    "stddev": "stddev_samp({f})",
    "vwap": "sum({f} * volume) FILTER ({f} IS NOT NULL AND volume IS NOT NULL)"
    " / nullif(sum(volume) FILTER ({f} IS NOT NULL AND volume IS NOT NULL), 0)",
}
RELATIVE = 1e-9
TYPES = {
    "ticker": "VARCHAR",
    "date": "VARCHAR",
    "timestamp": "VARCHAR",
    "open": "DOUBLE",
    "high": "DOUBLE",
    "low": "DOUBLE",
    "close": "DOUBLE",
    "volume": "DOUBLE",
    "ordinal": "BIGINT",
}


def iso(time):
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def ticks_of(bars):
    rows = duckdb.sql(
        f"SELECT * FROM read_csv('{bars}', all_varchar=true) ORDER BY date, ticker"
    )
    names = rows.columns
    ticks = []
    for row in rows.fetchall():
        bar = dict(zip(names, row))
        tick = {"ticker": bar["ticker"], "date": bar["date"]}
        tick |= {f: float(bar[f]) for f in FIELDS if bar[f] is not None}
        if bar["volume"] is not None:
            tick["volume"] = int(float(bar["volume"]))
        ticks.append(tick)
    for index, tick in enumerate(ticks):
        tick["timestamp"] = iso(BEGIN + index * STEP)
    shuffle = random.Random(SEED)
    mixed = []
    for start in range(0, len(ticks), BLOCK):
        block = ticks[start : start + BLOCK]
        shuffle.shuffle(block)
        mixed += block
    for ordinal, tick in enumerate(mixed):
        tick["ordinal"] = ordinal
    return mixed


def ndjson(ticks):
    return "".join(json.dumps(tick, ensure_ascii=False) + "\n" for tick in ticks).encode()


def table(ticks):
    columns = {name: [tick.get(name) for tick in ticks] for name in TYPES}
    kinds = {"VARCHAR": pyarrow.string(), "DOUBLE": pyarrow.float64(), "BIGINT": pyarrow.int64()}
    return pyarrow.table(
        {name: pyarrow.array(values, kinds[TYPES[name]]) for name, values in columns.items()}
    )


def write(path, ticks):
    """Writes ticks as the path's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name
    if name.endswith(".parquet"):
        whole = table(ticks)
        # As other tools write it: a real timestamp, a real date and an integer, in small row groups.
        times = pyarrow.array(
            [datetime.datetime.fromisoformat(t["timestamp"]) for t in ticks],
            pyarrow.timestamp("us", "UTC"),
        )
        dates = pyarrow.array(
            [datetime.date.fromisoformat(t["date"]) for t in ticks], pyarrow.date32()
        )
        volumes = pyarrow.array([t.get("volume") for t in ticks], pyarrow.int64())
        for column, values in (("timestamp", times), ("date", dates), ("volume", volumes)):
            whole = whole.set_column(whole.column_names.index(column), column, values)
        pyarrow.parquet.write_table(whole, path, row_group_size=500)
    elif ".csv" in name:
        sink = pyarrow.BufferOutputStream()
        pyarrow.csv.write_csv(table(ticks), sink)
        pack(path, sink.getvalue().to_pybytes())
    else:
        pack(path, ndjson(ticks))


def pack(path, data):
    if path.name.endswith(".gz"):
        # Two members, as concatenated logs have them.
        half = len(data) // 2
        data = gzip.compress(data[:half]) + gzip.compress(data[half:])
    elif path.name.endswith(".zst"):
        sink = pyarrow.BufferOutputStream()
        with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(data)
        data = sink.getvalue().to_pybytes()
    path.write_bytes(data)


def make_ticks(bars, directory):
    ticks = ticks_of(bars)
    write(directory / "one/ticks.ndjson", ticks)
    write(directory / "csv/ticks.csv", ticks)
    write(directory / "parquet/ticks.parquet", ticks)
    tickers = sorted({tick["ticker"] for tick in ticks})
    for number, ticker in enumerate(tickers):
        own = [tick for tick in ticks if tick["ticker"] == ticker]
        write(directory / f"per-ticker/{number}.ndjson", own)
    # Many files a day, whose names sort in another order than their ticks, packed in every way.
    endings = ["ndjson", "ndjson.gz", "ndjson.zst", "csv", "csv.gz", "csv.zst", "parquet"]
    starts = list(range(0, len(ticks), 5 * BLOCK))
    names = list(range(len(starts)))
    random.Random(SEED + 1).shuffle(names)
    for index, (name, start) in enumerate(zip(names, starts)):
        folder = f"many/day={name % 3}"
        path = directory / folder / f"part-{name:03}.{endings[index % len(endings)]}"
        write(path, ticks[start : start + 5 * BLOCK])
    absent = [tick for tick in ticks if "volume" not in tick]
    yaml = [{"name": n, "function": g, "field": f} for n, g, f in AGGREGATES]
    return {
        "ticks": len(ticks),
        "tickers": tickers,
        "without_volume": sorted({tick["ticker"] for tick in absent}),
        "last_event_time": max(tick["timestamp"] for tick in ticks),
        "files": len(starts),
        "aggregates": yaml,
    }


ODD = ["^GSPC", "BRK/B", "two words", " lead", "ÄÖ €", "日本", "100%", "%2F", "..", ".", "a'b\"c", "x=y", "a:b*c?", "~", "{[]}"]


def make_odd(directory):
    ticks = []
    for minute in range(3):
        for number, ticker in enumerate(ODD):
            for second in (5, 35):
                time = BEGIN + datetime.timedelta(minutes=minute, seconds=second + number / 8)
                ticks.append(
                    {
                        "ticker": ticker,
                        "date": "2024-01-02",
                        "timestamp": iso(time),
                        # A third has no short binary form: only exact copying keeps it.
                        "close": (number + 1) / 3 + minute + second,
                        "volume": number,
                        "ordinal": len(ticks),
                    }
                )
    ticks.sort(key=lambda tick: tick["timestamp"])
    for ordinal, tick in enumerate(ticks):
        tick["ordinal"] = ordinal
    write(directory / "odd.ndjson", ticks)
    return {"ticks": len(ticks), "tickers": ODD}


def expected(path, before):
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in TYPES.items())
    figures = ",\n".join(f"{SQL[g].format(f=f)} AS {n}" for n, g, f in AGGREGATES)
    query = f"""
        WITH ticks AS (
            SELECT *, date_trunc('minute', "timestamp"::TIMESTAMP) AS window_start
            FROM read_json('{path}', format='newline_delimited', columns={{{columns}}})
        )
        SELECT ticker, epoch_us(window_start) AS window_start,
            arg_min(date, ordinal) AS trade_date, {figures}
        FROM ticks WHERE window_start < '{before}'::TIMESTAMP
        GROUP BY ticker, window_start
    """
    return fetch(query)


def actual(rows, before):
    files = sorted(str(path) for path in pathlib.Path(rows).rglob("*.parquet"))
    if not files:
        raise SystemExit(f"there are no Parquet files under {rows}")
    hive = "hive_partitioning=true, hive_types={'ticker': 'VARCHAR', 'trade_date': 'VARCHAR'}"
    if not any("ticker=" in path for path in files):
        hive = "hive_partitioning=false"
    names = ", ".join(name for name, _, _ in AGGREGATES)
    return fetch(
        f"""SELECT ticker, epoch_us(window_start) AS window_start,
            epoch_us(window_end) AS window_end, trade_date, {names}
            FROM read_parquet({files}, {hive})
            WHERE epoch_us(window_start) < epoch_us('{before}'::TIMESTAMP)"""
    )


def fetch(query):
    result = duckdb.sql(query)
    names = result.columns
    return [dict(zip(names, row)) for row in result.fetchall()]


def same(function, one, other):
    if one is None or other is None or function in ("count", "first", "last", "min", "max"):
        return one == other
    return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=0.0)


def compare(rows, ticks, before="9999-01-01"):
    wanted = {(r["ticker"], r["window_start"]): r for r in expected(ticks, before)}
    found = actual(rows, before)
    seen, wrong, doubled, unknown, nulls = set(), [], [], [], 0
    for row in found:
        key = (row["ticker"], row["window_start"])
        if key in seen:
            doubled.append(key)
        seen.add(key)
        if key not in wanted:
            unknown.append(key)
            continue
        want = wanted[key]
        if row["window_end"] != row["window_start"] + 60_000_000:
            wrong.append([*key, "window_end", row["window_end"]])
        if row["trade_date"] != want["trade_date"]:
            wrong.append([*key, "trade_date", row["trade_date"], want["trade_date"]])
        for name, function, _ in AGGREGATES:
            nulls += want[name] is None
            if not same(function, row[name], want[name]):
                wrong.append([*key, name, row[name], want[name]])
    return {
        "expected": len(wanted),
        "found": len(found),
        "figures": len(wanted) * len(AGGREGATES),
        "nulls": nulls,
        "wrong": wrong[:20],
        "missing": sorted(set(wanted) - seen)[:20],
        "unknown": unknown[:20],
        "doubled": doubled[:20],
    }


def read_back(rows):
    """Each row as DuckDB and as pyarrow see it, and each file's schema and metadata."""
    files = sorted(pathlib.Path(rows).rglob("*.parquet"))
    partitioning = pyarrow.dataset.HivePartitioning(
        pyarrow.schema([("ticker", pyarrow.string()), ("trade_date", pyarrow.string())]),
        segment_encoding="uri",
    )
    dataset = pyarrow.dataset.dataset([str(f) for f in files], partitioning=partitioning, partition_base_dir=str(rows))
    arrow = dataset.to_table().to_pylist()
    for row in arrow:
        for name, value in row.items():
            if isinstance(value, datetime.datetime):
                row[name] = iso(value)
    listed = [str(f) for f in files]
    duck = fetch(
        f"""SELECT * REPLACE (epoch_us(window_start) AS window_start, epoch_us(window_end) AS window_end)
            FROM read_parquet({listed}, hive_partitioning=true,
                hive_types={{'ticker': 'VARCHAR', 'trade_date': 'VARCHAR'}})"""
    )
    for row in duck:
        for name in ("window_start", "window_end"):
            row[name] = iso(datetime.datetime.fromtimestamp(row[name] / 1e6, datetime.timezone.utc))
    described = []
    for file in files:
        reader = pyarrow.parquet.ParquetFile(file)
        metadata = reader.metadata.metadata
        segments = file.relative_to(rows).parts[:-1]
        described.append(
            {
                "path": str(file),
                "name": file.name,
                "segments": [urllib.parse.unquote(segment) for segment in segments],
                "raw_segments": list(segments),
                "rows": reader.metadata.num_rows,
                "schema": [[field.name, str(field.type), field.nullable] for field in reader.schema_arrow],
                "parquet": [
                    [column.name, column.physical_type, str(column.logical_type)]
                    for column in (reader.schema.column(i) for i in range(len(reader.schema)))
                ],
                "compression": sorted(
                    {
                        reader.metadata.row_group(g).column(c).compression
                        for g in range(reader.metadata.num_row_groups)
                        for c in range(reader.metadata.num_columns)
                    }
                ),
                "metadata": {
                    key.decode().removeprefix("stockstream."): value.decode()
                    for key, value in (metadata or {}).items()
                    if key.startswith(b"stockstream.")
                },
            }
        )
    order = lambda row: (row["ticker"], row["window_start"])
    return {"duckdb": sorted(duck, key=order), "pyarrow": sorted(arrow, key=order), "files": described}


def main():
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "ticks":
        answer = make_ticks(arguments[0], pathlib.Path(arguments[1]))
    elif command == "odd":
        answer = make_odd(pathlib.Path(arguments[0]))
    elif command == "compare":
        answer = compare(*arguments)
    elif command == "parquet":
        answer = read_back(pathlib.Path(arguments[0]))
    else:
        raise SystemExit(f"unknown command {command}")
    json.dump(answer, sys.stdout, ensure_ascii=False)


if __name__ == "__main__":
    duckdb.sql("SET TimeZone = 'UTC'")
    main()
