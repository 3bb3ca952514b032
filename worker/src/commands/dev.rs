//! `stockstream dev`: a whole pipeline on this machine, without AWS.
//!
//! Owns putting the embedded Kinesis, the producer and a worker into one process. The worker is the one that production
//! runs, and talks to the stream through the AWS SDK.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use stockstream_crds::path::StoragePath;
use stockstream_crds::pipeline::{KinesisSettings, StreamCapacity};
use stockstream_crds::spec::{Consumer, OnDataLoss};
use stockstream_crds::{Pipeline, SourceSettings};
use stockstream_local::{KinesisOptions, Server};
use tokio::task::JoinHandle;

use super::session::{Manner, Session, host_name, shared};
use super::validate::load;
use super::{Program, aws, files, kinesis};
use crate::cli::{DevArgs, Failure, GlobalArgs, Outcome};
use crate::pipeline::{Orders, PipelineError, Stores, StreamSource, run_stream};
use crate::replay::options::ReplayOptions;
use crate::replay::progress::{ConsoleObserver, Observer as ReplayObserver, Silent};
use crate::source::kinesis::{SdkStream, consumer_name};
use crate::storage::{Store, StoreOptions};

/// Shards of a stream that scales on demand when it is made here, as on AWS.
const ON_DEMAND_SHARDS: u32 = 4;

/// Hours that a new stream keeps its records, as on AWS.
const NEW_STREAM_RETENTION: i32 = 24;

/// `stockstream dev`.
pub async fn run(program: &Program, global: &GlobalArgs, args: DevArgs) -> Outcome {
    let pipeline = load(&args.pipeline.file)?;
    if pipeline.catalog().is_some() {
        tracing::info!(
            event = "no_catalog",
            field = "spec.catalog",
            "on one machine there is no catalog: partitions aren't registered anywhere"
        );
    }
    let pipeline = pipeline.without_catalog();
    if let Some(input) = &args.replay {
        crate::replay::check_input(input).map_err(Failure::bad_input)?;
    }
    // A stream in memory begins anew with each run. Its state must not meet that of a stream that stays.
    let place = match args.memory {
        true => args.data_dir.join("memory"),
        false => args.data_dir.clone(),
    };
    let stores = open_stores(&pipeline, &place).await?;
    match pipeline.source() {
        SourceSettings::Files(_) => read_files(program, global, args, &pipeline, stores).await,
        SourceSettings::Kinesis(settings) => {
            stream(program, global, args, &pipeline, settings, stores).await
        }
    }
}

async fn read_files(
    program: &Program,
    global: &GlobalArgs,
    args: DevArgs,
    pipeline: &Pipeline,
    stores: Stores,
) -> Outcome {
    if args.replay.is_some() {
        return Err(Failure::bad_input(
            "--replay sends ticks to a stream, but this pipeline reads files",
        ));
    }
    let mut session = Session::begin(pipeline, &stores, manner(&args, None)).await?;
    let task = files::start(pipeline, stores, &mut session).await?;
    session.until_end(program, global, task).await?;
    session.end(true).await
}

async fn stream(
    program: &Program,
    global: &GlobalArgs,
    args: DevArgs,
    pipeline: &Pipeline,
    settings: &KinesisSettings,
    stores: Stores,
) -> Outcome {
    let server = embedded_kinesis(&args).await?;
    let endpoint = server.endpoint();
    let client = aws::embedded(&settings.region, &endpoint);
    make_stream(&client, settings, &args.data_dir).await?;
    let mut session = Session::begin(pipeline, &stores, manner(&args, Some(&endpoint))).await?;
    session.tell_listening("Kinesis", endpoint.clone());
    let mut reader = SdkStream::new(client.clone(), settings.stream_name.as_str());
    if settings.consumer == Consumer::EnhancedFanOut {
        let consumer = consumer_name(pipeline.namespace(), pipeline.name());
        reader = reader.with_consumer(consumer);
    }
    let source = StreamSource {
        pipeline: pipeline.clone(),
        stores,
        client: shared(reader),
        host: session.host.clone(),
        // The embedded stream stands still while nobody runs it: a laptop that was closed for a week has lost nothing.
        on_data_loss: Some(OnDataLoss::Continue),
    };
    let Some(started) = session.unless_stopped(source.start()).await else {
        server.shutdown().await;
        return session.end(args.once).await;
    };
    let started = started.map_err(Failure::failed)?;
    let company = session.company(pipeline);
    let orders = session.orders.subscribe();
    let worker = tokio::spawn(run_stream(source, started, company, orders));
    let producing = start_replay(&args, &client, settings, &session);
    let ran = match producing {
        Some(producer) => with_producer(program, global, &args, &session, worker, producer).await,
        None => session.until_end(program, global, worker).await,
    };
    tell_of_late_replay(&args, &session);
    let ended = match ran {
        Ok(()) => session.end(args.once).await,
        Err(failure) => Err(failure),
    };
    server.shutdown().await;
    ended
}

/// A replay after another can be late, which looks like a fault and is none.
fn tell_of_late_replay(args: &DevArgs, session: &Session) {
    let late = session.late();
    if args.replay.is_some() && late > 0 {
        tracing::warn!(
            event = "late_replay",
            late,
            "ticks came for windows that were closed: an earlier --once closed the minutes that were still open, or --speed \
             began in the past, before where an earlier run had got to; wait a few minutes and replay without --speed, or give each \
             replay a --data-dir of its own"
        );
    }
}

/// Runs until the worker ends; when the producer is done and `--once` was given, the worker is told to drain.
async fn with_producer(
    program: &Program,
    global: &GlobalArgs,
    args: &DevArgs,
    session: &Session,
    worker: JoinHandle<Result<(), PipelineError>>,
    producer: JoinHandle<Result<(), Failure>>,
) -> Result<(), Failure> {
    let once = args.once;
    let abort = producer.abort_handle();
    let mut producer_failed = None;
    let watched = async {
        let result = match producer.await {
            Ok(result) => result,
            Err(error) if error.is_cancelled() => Ok(()),
            Err(error) => Err(Failure::failed(error)),
        };
        if let Err(failure) = result {
            producer_failed = Some(failure);
            session.orders.send_replace(Orders::Stop);
        } else if once {
            session.drain();
        }
    };
    let running = async {
        let ended = session.until_end(program, global, worker).await;
        // Also when the worker failed: the producer must not go on alone.
        session.orders.send_replace(Orders::Stop);
        if ended.is_err() {
            abort.abort();
        }
        ended
    };
    let (ended, ()) = tokio::join!(running, watched);
    match producer_failed {
        Some(failure) => Err(failure),
        None => ended,
    }
}

fn manner<'a>(args: &DevArgs, endpoint: Option<&'a str>) -> Manner<'a> {
    Manner {
        advertise: None,
        name: host_name(),
        listen: args.listen,
        endpoint,
        format: args.output.output,
    }
}

async fn embedded_kinesis(args: &DevArgs) -> Result<Server, Failure> {
    let listen = args
        .kinesis_listen
        .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let data = args.data_dir.join("kinesis");
    let options = KinesisOptions {
        storage: kinesis::storage((!args.memory).then_some(data.as_path()), None),
        enforce_limits: args.enforce_limits,
        ..KinesisOptions::default()
    };
    kinesis::serve(listen, options, None).await
}

/// Makes the stream as the YAML wants it, unless it is there.
async fn make_stream(
    client: &aws_sdk_kinesis::Client,
    settings: &KinesisSettings,
    data_dir: &Path,
) -> Result<(), Failure> {
    let refused = |what: &str| {
        format!(
            "the embedded Kinesis refused to {what} the stream {}",
            settings.stream_name
        )
    };
    let shards = match settings.capacity {
        StreamCapacity::Provisioned { shards } => shards,
        StreamCapacity::OnDemand => ON_DEMAND_SHARDS,
    };
    let made = client
        .create_stream()
        .stream_name(&settings.stream_name)
        .shard_count(i32::try_from(shards).unwrap_or(i32::MAX))
        .send()
        .await;
    match made {
        Ok(_) => {}
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_resource_in_use_exception()) =>
        {
            return tell_of_differences(client, settings, shards, data_dir).await;
        }
        Err(error) => return Err(Failure::failed(error).hint(refused("make"))),
    }
    let retention = hours(settings.retention);
    if retention > NEW_STREAM_RETENTION {
        client
            .increase_stream_retention_period()
            .stream_name(&settings.stream_name)
            .retention_period_hours(retention)
            .send()
            .await
            .map_err(|error| Failure::failed(error).hint(refused("raise the retention of")))?;
    }
    Ok(())
}

/// Warns when the stream that is there isn't the one that the YAML describes: it isn't changed here.
async fn tell_of_differences(
    client: &aws_sdk_kinesis::Client,
    settings: &KinesisSettings,
    shards: u32,
    data_dir: &Path,
) -> Result<(), Failure> {
    let described = client
        .describe_stream_summary()
        .stream_name(&settings.stream_name)
        .send()
        .await
        .map_err(Failure::failed)?;
    let Some(found) = described.stream_description_summary else {
        return Ok(());
    };
    let differences = differences(
        (i64::from(found.open_shard_count), i64::from(shards)),
        (
            i64::from(found.retention_period_hours),
            i64::from(hours(settings.retention)),
        ),
    );
    if !differences.is_empty() {
        tracing::warn!(
            event = "stream_differs",
            stream = settings.stream_name,
            "the embedded stream is there already and stays as it is: {}; to have it made anew as the YAML says, stop and \
             remove {} (the ticks in it are lost, rows and state stay)",
            differences.join(", "),
            data_dir.join("kinesis").display()
        );
    }
    Ok(())
}

/// How what was found differs from what is wanted, each a pair of both.
fn differences(shards: (i64, i64), retention_hours: (i64, i64)) -> Vec<String> {
    [
        ("open shards", shards),
        ("hours of retention", retention_hours),
    ]
    .into_iter()
    .filter(|(_, (found, wanted))| found != wanted)
    .map(|(what, (found, wanted))| format!("it has {found} {what}, the YAML says {wanted}"))
    .collect()
}

/// A retention as Kinesis counts it.
fn hours(retention: Duration) -> i32 {
    i32::try_from(retention.as_secs() / 3_600).unwrap_or(i32::MAX)
}

/// Starts the producer, if `--replay` names rows. It ends with its rows, or when the pipeline is told to stop.
fn start_replay(
    args: &DevArgs,
    client: &aws_sdk_kinesis::Client,
    settings: &KinesisSettings,
    session: &Session,
) -> Option<JoinHandle<Result<(), Failure>>> {
    let input = args.replay.clone()?;
    let mut options = ReplayOptions::new(input, settings.stream_name.as_str());
    options.rate = args.rate.unwrap_or_default();
    options.speed = args.speed.unwrap_or_default();
    let client = client.clone();
    let mut orders = session.orders.subscribe();
    let on_terminal = crate::observe::terminal::is_possible();
    Some(tokio::spawn(async move {
        let stop = async move {
            // An error means that nobody gives orders any more.
            let _ = orders.wait_for(|orders| *orders != Orders::Run).await;
        };
        // Under the live table there is no room for a progress line.
        let mut observer: Box<dyn ReplayObserver + Send> = match on_terminal {
            true => Box::new(Silent),
            false => Box::new(ConsoleObserver::new()),
        };
        let summary = crate::replay::run(&client, options, observer.as_mut(), stop)
            .await
            .map_err(Failure::failed)?;
        tracing::info!(
            event = "replay_ended",
            records = summary.records,
            stopped = summary.stopped,
            "the replay has ended"
        );
        Ok(())
    }))
}

/// Opens the pipeline's three places on this machine: `s3://BUCKET/PREFIX` becomes `DATA_DIR/s3/BUCKET/PREFIX`.
async fn open_stores(pipeline: &Pipeline, data_dir: &Path) -> Result<Stores, Failure> {
    let options = StoreOptions::default();
    let open = async |path: &StoragePath| {
        let url = local_url(path, data_dir)?;
        Store::open(&url, &options).await.map_err(Failure::failed)
    };
    Ok(Stores {
        state: open(&pipeline.state().path).await?,
        output: open(&pipeline.output().path).await?,
        rejects: open(&pipeline.output().rejects_path).await?,
    })
}

pub(super) fn local_url(path: &StoragePath, data_dir: &Path) -> Result<String, Failure> {
    let Some(bucket) = path.bucket() else {
        return Ok(path.to_string());
    };
    let place = std::path::absolute(data_dir.join("s3").join(bucket).join(path.key()))
        .map_err(Failure::failed)?;
    Ok(format!("file://{}", place.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn capacity(shards: u32, retention: &str) -> KinesisSettings {
        let yaml = format!(
            "apiVersion: stockstream.dev/v1alpha1\nkind: StockStream\nmetadata: {{name: a}}\nspec:\n  source:\n    kinesis:\n      \
             streamName: s\n      retention: {retention}\n      mode: {{provisioned: {{shards: {shards}}}}}\n  output: {{path: file://./rows}}\n  \
             state: {{path: file://./state}}\n"
        );
        let pipeline = stockstream_crds::parse(&yaml).unwrap();
        pipeline.kinesis().unwrap().clone()
    }

    #[tokio::test]
    async fn a_new_stream_gets_the_shards_and_the_retention_of_the_yaml_and_an_old_one_stays() {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = kinesis::serve(listen, KinesisOptions::default(), None)
            .await
            .unwrap();
        let client = aws::embedded("us-east-1", &server.endpoint());
        for settings in [capacity(3, "48h"), capacity(5, "24h")] {
            make_stream(&client, &settings, Path::new("data"))
                .await
                .unwrap();
            let described = client.describe_stream_summary().stream_name("s").send();
            let found = described.await.unwrap().stream_description_summary.unwrap();
            assert_eq!(
                (found.open_shard_count, found.retention_period_hours),
                (3, 48)
            );
        }
        server.shutdown().await;
    }

    #[test]
    fn each_difference_names_what_was_found_and_what_is_wanted() {
        assert!(differences((2, 2), (24, 24)).is_empty());
        assert_eq!(
            differences((2, 4), (24, 48)),
            [
                "it has 2 open shards, the YAML says 4",
                "it has 24 hours of retention, the YAML says 48"
            ]
        );
    }

    #[test]
    fn rows_that_are_not_there_are_bad_input() {
        for input in ["nope.csv", "file:///no/such/nope.csv", "gs://b/x.csv"] {
            assert!(crate::replay::check_input(input).is_err(), "{input}");
        }
        crate::replay::check_input("s3://bucket/rows/").unwrap();
        crate::replay::check_input("src").unwrap();
    }
}
