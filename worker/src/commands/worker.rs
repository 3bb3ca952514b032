//! `stockstream worker`: one worker, against AWS or any endpoint.

use stockstream_crds::spec::Consumer;
use stockstream_crds::{Pipeline, SourceSettings};

use super::session::{Manner, Session, host_name, shared};
use super::signals::StopSignals;
use super::validate::load;
use super::{Program, aws, files};
use crate::cli::{ExitStatus, Failure, GlobalArgs, Outcome, WorkerArgs};
use crate::pipeline::{Stores, StreamSource, run_stream};
use crate::source::kinesis::{SdkStream, consumer_name};
use crate::storage::{Store, StoreOptions};

/// `stockstream worker`.
pub async fn run(program: &Program, global: &GlobalArgs, args: WorkerArgs) -> Outcome {
    let pipeline = load(&args.pipeline.file)?;
    if pipeline.is_suspended() {
        tracing::info!(
            event = "suspended",
            "spec.suspend is set: nothing is read until it is cleared and the worker started again"
        );
        StopSignals::listen()?.next().await;
        return Ok(ExitStatus::Done);
    }
    warn_of_what_comes_later(&pipeline);
    let endpoint = args.endpoint_url.as_deref();
    let manner = Manner {
        name: args.name.unwrap_or_else(host_name),
        listen: args.listen,
        advertise: args.advertise,
        endpoint,
        format: args.output.output,
    };
    let region = pipeline.kinesis().map(|kinesis| kinesis.region.as_str());
    let stores = open_stores(&pipeline, region).await?;
    let mut session = Session::begin(&pipeline, &stores, manner).await?;
    let task = match pipeline.source() {
        SourceSettings::Kinesis(kinesis) => {
            let client = aws::kinesis(region, endpoint).await?;
            let mut stream = SdkStream::new(client, kinesis.stream_name.as_str());
            if kinesis.consumer == Consumer::EnhancedFanOut {
                let consumer = consumer_name(pipeline.namespace(), pipeline.name());
                stream = stream.with_consumer(consumer);
            }
            let source = StreamSource {
                pipeline: pipeline.clone(),
                stores,
                client: shared(stream),
                host: session.host.clone(),
                on_data_loss: None,
            };
            let Some(started) = session.unless_stopped(source.start()).await else {
                return session.end(false).await;
            };
            let started = started.map_err(Failure::failed)?;
            let company = session.company(&pipeline);
            let orders = session.orders.subscribe();
            tokio::spawn(run_stream(source, started, company, orders))
        }
        SourceSettings::Files(_) => files::start(&pipeline, stores, &session).await?,
    };
    session.until_end(program, global, task).await?;
    session.end(pipeline.files().is_some()).await
}

/// Says what the YAML asks for and this release doesn't do yet, so that nobody waits for it.
fn warn_of_what_comes_later(pipeline: &Pipeline) {
    if pipeline.catalog().is_some() {
        tracing::warn!(
            event = "not_yet",
            field = "spec.catalog",
            "partitions aren't registered in Glue by this release: run MSCK REPAIR TABLE, or use partition projection"
        );
    }
}

/// Opens the pipeline's three places as the YAML names them.
async fn open_stores(pipeline: &Pipeline, region: Option<&str>) -> Result<Stores, Failure> {
    let options = StoreOptions {
        region: region.map(str::to_owned),
        ..StoreOptions::default()
    };
    let open = async |url: String| Store::open(&url, &options).await.map_err(Failure::failed);
    Ok(Stores {
        state: open(pipeline.state().path.to_string()).await?,
        output: open(pipeline.output().path.to_string()).await?,
        rejects: open(pipeline.output().rejects_path.to_string()).await?,
    })
}
