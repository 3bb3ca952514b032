"""Rejects and rows as DuckDB reads them.

Usage:
  rejects.py rows ROWS_DIR              every row: ticker, window start, last close
  rejects.py sql PAGE.md DEAD LATE      runs every ```sql block of a page, with the rejects paths DEAD and LATE in place of
                                        the page's; prints the number of rows that each one gave
"""

import json
import pathlib
import re
import sys

import duckdb

PAGES_PATH = "s3://my-lake/avg_1min-rejects"


def rows(directory):
    table = f"read_parquet('{directory}/**/*.parquet', hive_partitioning = true)"
    query = f"SELECT ticker, strftime(window_start AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S'), last_close FROM {table}"
    return duckdb.sql(query).fetchall()


def sql(page, dead, late):
    counts = []
    for block in re.findall(r"^```sql\n(.*?)^```", pathlib.Path(page).read_text(), re.S | re.M):
        block = block.replace(f"{PAGES_PATH}/late", f"{late}/late").replace(PAGES_PATH, dead)
        # Counted there: Python would need another module for times with a zone.
        query = f"SELECT count(*) FROM ({block.strip().rstrip(';')})"
        counts.append(duckdb.sql(query).fetchall()[0][0])
    return counts


json.dump({"rows": rows, "sql": sql}[sys.argv[1]](*sys.argv[2:]), sys.stdout)
