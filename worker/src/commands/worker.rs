//! `stockstream worker`: one worker, against AWS or any endpoint.

use std::sync::Arc;

use stockstream_crds::spec::Consumer;
use stockstream_crds::{Pipeline, SourceSettings};

use super::session::{Manner, Session, host_name, shared};
use super::signals::StopSignals;
use super::validate::load;
use super::{Program, aws, files};
use crate::catalog::{GlueTables, Registrar};
use crate::cli::{ExitStatus, Failure, GlobalArgs, Outcome, WorkerArgs};
use crate::pipeline::{Host, Settings, Stores, StreamSource, run_stream, tell_catalog};
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
    session.host.catalog = catalog(&pipeline, &stores, &session.host).await;
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
        SourceSettings::Files(_) => files::start(&pipeline, stores, &mut session).await?,
    };
    session.until_end(program, global, task).await?;
    session.end(pipeline.files().is_some()).await
}

/// What registers partitions, if the YAML names a table. The table is looked at beside the start, so that what is
/// wrong with it is told early and holds up nothing.
async fn catalog(pipeline: &Pipeline, stores: &Stores, host: &Host) -> Option<Arc<Registrar>> {
    let table = pipeline.catalog()?;
    let client = aws::glue(&table.region).await;
    let tables = GlueTables::new(client, &table.database, &table.table, &table.region);
    let columns = Settings::of(pipeline).partition_by;
    let registrar = Arc::new(Registrar::new(
        Arc::new(tables),
        columns,
        stores.output.url(),
    ));
    let (looking, host) = (registrar.clone(), host.clone());
    tokio::spawn(async move {
        let standing = looking.look().await;
        tell_catalog(&host.observer, &standing, host.clock.wall().0);
    });
    Some(registrar)
}

/// Opens the pipeline's three places as the YAML names them; their requests are counted together.
async fn open_stores(pipeline: &Pipeline, region: Option<&str>) -> Result<Stores, Failure> {
    let options = StoreOptions {
        region: region.map(str::to_owned),
        encryption: pipeline.encryption().cloned(),
        ..StoreOptions::default()
    };
    let open = async |url: String| Store::open(&url, &options).await.map_err(Failure::failed);
    Ok(Stores {
        state: open(pipeline.state().path.to_string()).await?,
        output: open(pipeline.output().path.to_string()).await?,
        rejects: open(pipeline.output().rejects_path.to_string()).await?,
    })
}
