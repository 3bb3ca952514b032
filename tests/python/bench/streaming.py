"""The job of `make bench` on Spark's Structured Streaming and on Flink, beside Stockstream: `make bench-peers` runs it.

Each run takes every engine once, in turn, over the same file, in a process of its own; what counts is the whole process by
the clock, with the start of Python and of the JVM, and beside it the job alone. The file is read once before, so that it is
cached; no run is a rehearsal. Rows of all engines are compared: floats to 1e-9, all else exactly. Prints Markdown.

Windows at the file's end: Stockstream and Flink close them when their source ends. Spark in append mode doesn't; so it alone
finds a second file with one tick, of a ticker of its own and a day later, that moves the watermark past them. Its own window stays
open and gives no row, so that every row of every engine is compared.

Most of the peers' time is fixed (starts, compiling, a file a ticker): ratios hold for the number of ticks they were taken at.

A run takes up to half a minute, in which somebody else may use the machine: the last column says how much processor time
went elsewhere (the kernel's own work too). Where it is much, the figures are of no use.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import sys
import tempfile

from main import HERE, Run, compare, measure, ours, written

CLOSING = (
    '{"ticker":"CLOSING","date":"2024-01-03","timestamp":"2024-01-03T21:00:00.000000Z",'
    '"open":1.00,"high":1.00,"low":1.00,"close":1.00,"volume":1}\n'
)


def busy() -> float:
    """The processor time that this machine has given to anybody, stolen time too; 0 where it doesn't say."""
    try:
        user, nice, system, _idle, _wait, *rest = map(int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    except OSError:
        return 0.0
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def peer(python: str, name: str, ticks: pathlib.Path, folder: pathlib.Path, *more: str) -> tuple[Run, float]:
    """The whole process, and the job alone."""
    source = folder / "in"
    source.mkdir(parents=True)
    (source / ticks.name).hardlink_to(ticks)
    if name == "spark":
        (source / "closing.ndjson").write_text(CLOSING)
    run = measure([python, str(HERE / "streaming_peer.py"), name, str(folder), *more], folder / "rows")
    # Flink's files have names without an end.
    run.files = sum(1 for path in (folder / "rows").glob("ticker=*/[!._]*") if path.is_file())
    return run, float((folder / "job-seconds").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="the stockstream to measure")
    parser.add_argument("--cache", required=True, type=pathlib.Path, help="where ticks are kept from run to run")
    parser.add_argument("--python", required=True, help="a Python with PySpark, PyFlink and a JDK")
    parser.add_argument("--jar", required=True, help="Flink's Parquet format")
    parser.add_argument("--ticks", type=int, default=400_000, help="how many (default: 400000, a tenth of `make bench`)")
    parser.add_argument("--runs", type=int, default=1, help="how many of each engine (default: 1)")
    parser.add_argument("--only", default="stockstream,spark,flink", help="stockstream and some of spark,flink")
    options = parser.parse_args()
    names = options.only.split(",")
    if "stockstream" not in names:
        parser.error("--only must have stockstream: the others' rows are compared with its rows")
    unknown = set(names) - {"stockstream", "spark", "flink"}
    if unknown:
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}; there are stockstream, spark and flink")
    ticks = written(options.cache, options.ticks)
    ticks.read_bytes()
    engines = {
        "stockstream": lambda folder: (ours(options.binary, ticks, folder), None),
        "spark": lambda folder: peer(options.python, "spark", ticks, folder),
        "flink": lambda folder: peer(options.python, "flink", ticks, folder, options.jar),
    }
    runs: dict[str, list[tuple[Run, float | None]]] = {name: [] for name in names}
    others: dict[str, list[float]] = {name: [] for name in names}
    rows = 0
    with tempfile.TemporaryDirectory(dir=options.cache) as work:
        for number in range(options.runs):
            for name in names:
                before = busy()
                run, job = engines[name](pathlib.Path(work) / f"{name}-{number}")
                others[name].append(max(0.0, busy() - before - run.cpu))
                print(
                    f"bench: run {number + 1}, {name}: {run.seconds:.2f} s, {run.cpu:.2f} processor s, "
                    f"others' {others[name][-1]:.2f}, {run.mebibytes:.0f} MiB",
                    file=sys.stderr,
                )
                runs[name].append((run, job))
        first = pathlib.Path(work) / "stockstream-0" / "rows"
        for name in names:
            if name != "stockstream":
                # Flink's files have names without an end; its rows lie in folders alone.
                rows = compare(first, pathlib.Path(work) / f"{name}-0" / "rows", "*/[!._]*" if name == "flink" else "**/*.parquet")
        shutil.rmtree(work, ignore_errors=True)
    size = ticks.stat().st_size / options.ticks
    compared = f"{rows:,} rows of each, all the same" if rows else "rows not compared"
    print(f"{options.ticks:,} ticks, NDJSON, of {size:.0f} bytes, {compared} (all windows are closed, see --help);")
    print(f"{'medians of ' if options.runs > 1 else ''}{options.runs} run{'s' if options.runs > 1 else ''}\n")
    print("| engine | ticks/s | s | the job alone, s | processor s | most memory, MiB | files ", end="")
    print("| Stockstream is × faster | × smaller | others' processor s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    seconds = {name: statistics.median(run.seconds for run, _ in own) for name, own in runs.items()}
    memory = {name: max(run.mebibytes for run, _ in own) for name, own in runs.items()}
    for name, own in runs.items():
        cpu = statistics.median(run.cpu for run, _ in own)
        alone = f"{statistics.median(job for _, job in own):.2f}" if name != "stockstream" else ""
        faster, smaller = seconds[name] / seconds["stockstream"], memory[name] / memory["stockstream"]
        print(
            f"| {name} | {options.ticks / seconds[name]:,.0f} | {seconds[name]:.2f} | {alone} | {cpu:.2f} | {memory[name]:,.0f} "
            f"| {own[0][0].files} | {faster:.1f} | {smaller:.1f} | {statistics.median(others[name]):.2f} |"
        )


if __name__ == "__main__":
    main()
