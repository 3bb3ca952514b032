"""How fast ticks become one-minute rows, beside DuckDB and Polars: `make bench` runs it.

Each round runs every engine once, in turn, over the same file, in a process of its own; what counts is the whole process
by the clock. The first round warms the file cache and isn't counted. Rows of all engines are compared: floats to 1e-9,
all else exactly. With --input the same ticks come in another form. Prints Markdown.
"""

import argparse
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent

PIPELINE = """apiVersion: stockstream.dev/v1alpha1
kind: StockStream
metadata: {{name: bench}}
spec:
  source:
    files: {{paths: ["file://{ticks}"], format: {format}}}
  window:
    size: 1m
    aggregates:
      - {{name: avg_close, function: avg, field: close}}
      - {{name: last_close, function: last, field: close}}
      - {{name: ticks, function: count, field: close}}
      - {{name: volume, function: sum, field: volume}}
      - {{name: low, function: min, field: low}}
      - {{name: high, function: max, field: high}}
  output:
    path: file://{folder}/rows
    partitionBy: [ticker]
  state:
    path: file://{folder}/state
"""

# The name's end: the source's format, and how DuckDB writes it.
INPUTS = {
    "ndjson": ("ndjson", ""),
    "ndjson.gz": ("ndjson", "FORMAT json, COMPRESSION gzip"),
    "ndjson.zst": ("ndjson", "FORMAT json, COMPRESSION zstd"),
    "csv": ("csv", "FORMAT csv, HEADER"),
    "csv.gz": ("csv", "FORMAT csv, HEADER, COMPRESSION gzip"),
    "parquet": ("parquet", "FORMAT parquet, COMPRESSION zstd"),
}


def suffix_of(path: pathlib.Path) -> str:
    return path.name.split(".", 1)[1]


def written(cache: pathlib.Path, count: int) -> pathlib.Path:
    """So many ticks; kept from run to run."""
    ticks = cache / f"ticks-{count}.ndjson"
    if not ticks.exists():
        print(f"bench: writing {count} ticks to {ticks}", file=sys.stderr)
        cache.mkdir(parents=True, exist_ok=True)
        part = ticks.with_suffix(".part")
        subprocess.run([sys.executable, str(HERE / "ticks.py"), str(count), str(part)], check=True)
        part.rename(ticks)
    return ticks


def converted(ticks: pathlib.Path, suffix: str) -> pathlib.Path:
    """The same ticks in another form, in the same order; kept from run to run."""
    target = ticks.with_suffix(f".{suffix}")
    if suffix == "ndjson" or target.exists():
        return target
    print(f"bench: writing {target}", file=sys.stderr)
    part = target.with_name(f"part-{target.name}")
    # In a process of its own: the most memory of those that are measured begins with that of the one that starts them.
    subprocess.run([sys.executable, str(HERE / "peer.py"), INPUTS[suffix][1], str(ticks), str(part)], check=True)
    part.rename(target)
    return target


class Run:
    """What one run took."""

    def __init__(self, seconds: float, cpu: float, mebibytes: float, files: int):
        self.seconds, self.cpu, self.mebibytes, self.files = seconds, cpu, mebibytes, files


def measure(command: list[str], rows: pathlib.Path) -> Run:
    """Runs a command to its end."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"bench: {' '.join(command)} ended with {process.returncode}:\n{errors[-2000:]}")
    files = sum(1 for _ in rows.rglob("*.parquet"))
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, files)


def ours(binary: str, ticks: pathlib.Path, folder: pathlib.Path) -> Run:
    folder.mkdir()
    pipeline = folder / "pipeline.yaml"
    pipeline.write_text(PIPELINE.format(ticks=ticks, format=INPUTS[suffix_of(ticks)][0], folder=folder))
    return measure([binary, "worker", "-f", str(pipeline), "--listen", "127.0.0.1:0"], folder / "rows")


def peer(python: str, name: str, ticks: pathlib.Path, folder: pathlib.Path) -> Run:
    folder.mkdir()
    return measure([python, str(HERE / "peer.py"), name, str(ticks), str(folder / "rows")], folder / "rows")


def compare(one: pathlib.Path, other: pathlib.Path, files_of_other: str = "**/*.parquet") -> int:
    """The number of rows, when both have the same."""
    import duckdb

    session = duckdb.connect()
    session.execute("SET TimeZone = 'UTC'")
    for name, files in (("one", one / "**/*.parquet"), ("other", other / files_of_other)):
        session.execute(
            f"""CREATE TABLE {name} AS SELECT ticker::VARCHAR AS ticker, epoch_us(window_start) AS start_micros, avg_close, last_close,
            ticks::BIGINT AS ticks, volume::DOUBLE AS volume, low, high FROM read_parquet('{files}', hive_partitioning = true)"""
        )
    count, others = (session.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("one", "other"))
    same = session.execute(
        """SELECT count(*) FROM one JOIN other USING (ticker, start_micros) WHERE one.ticks = other.ticks AND one.volume = other.volume
        AND one.last_close = other.last_close AND one.low = other.low AND one.high = other.high
        AND abs(one.avg_close - other.avg_close) <= 1e-9 * abs(other.avg_close)"""
    ).fetchone()[0]
    if not count == others == same:
        sys.exit(f"bench: {one} has {count} rows, {other} {others}, {same} of them are the same")
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="the stockstream to measure")
    parser.add_argument("--cache", required=True, type=pathlib.Path, help="where ticks are kept from run to run")
    parser.add_argument("--ticks", type=int, default=4_000_000, help="how many (default: 4000000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (default: 3)")
    parser.add_argument("--only", default="stockstream,duckdb,polars", help="some of stockstream,duckdb,polars")
    parser.add_argument("--input", default="ndjson", choices=INPUTS, help="the ticks' form (default: ndjson); Polars reads ndjson only")
    options = parser.parse_args()
    unknown = set(options.only.split(",")) - {"stockstream", "duckdb", "polars"}
    if unknown:
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}; there are stockstream, duckdb and polars")
    ticks = converted(written(options.cache, options.ticks), options.input)
    engines = {
        "stockstream": lambda folder: ours(options.binary, ticks, folder),
        "duckdb": lambda folder: peer(sys.executable, "duckdb", ticks, folder),
        "polars": lambda folder: peer(sys.executable, "polars", ticks, folder),
    }
    names = [name for name in options.only.split(",") if name != "polars" or options.input == "ndjson"]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    rows = 0
    with tempfile.TemporaryDirectory(dir=options.cache) as work:
        # Folders of their own to the end: making a tree again that was just removed is slow on ext4.
        for number in range(options.rounds + 1):
            for name in names:
                folder = pathlib.Path(work) / f"{name}-{number}"
                run = engines[name](folder)
                print(f"bench: round {number}, {name}: {run.seconds:.2f} s, {run.mebibytes:.0f} MiB", file=sys.stderr)
                if number > 0:
                    runs[name].append(run)
        first = pathlib.Path(work) / f"{names[0]}-1" / "rows"
        for name in names[1:]:
            rows = compare(first, pathlib.Path(work) / f"{name}-1" / "rows")
        shutil.rmtree(work, ignore_errors=True)
    size = ticks.stat().st_size / options.ticks
    compared = f"{rows:,} rows, all the same" if rows else "rows not compared"
    print(f"{options.ticks:,} ticks, {options.input}, of {size:.0f} bytes, {compared}; medians of {options.rounds} rounds\n")
    print("| engine | ticks/s | s | processor s | most memory, MiB | files | × Stockstream |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    middle = {name: statistics.median(run.seconds for run in own) for name, own in runs.items()}
    for name, own in runs.items():
        cpu = statistics.median(run.cpu for run in own)
        memory = max(run.mebibytes for run in own)
        ratio = middle[name] / middle["stockstream"] if "stockstream" in middle else float("nan")
        print(
            f"| {name} | {options.ticks / middle[name]:,.0f} | {middle[name]:.2f} | {cpu:.2f} | {memory:.0f} | {own[0].files} | {1 / ratio:.2f} |"
        )


if __name__ == "__main__":
    main()
