//! A pipeline over files, for `worker` and `dev`.

use stockstream_crds::spec::FileFormat;
use stockstream_crds::{Pipeline, SourceSettings};
use tokio::task::JoinHandle;

use super::session::Session;
use crate::cli::Failure;
use crate::pipeline::{FilesPipeline, PipelineError, Stores};
use crate::source::files::{self, FileList, Format};
use crate::storage::{Store, StoreOptions};

/// Lists the files and starts the pipeline.
///
/// # Errors
/// A pattern without files is bad input; whatever else keeps it from reading is a failure.
pub async fn start(
    pipeline: &Pipeline,
    stores: Stores,
    session: &mut Session,
) -> Result<JoinHandle<Result<(), PipelineError>>, Failure> {
    let SourceSettings::Files(settings) = pipeline.source() else {
        return Err(Failure::bad_input("this pipeline reads no files"));
    };
    let format = settings.format.map(|format| match format {
        FileFormat::Ndjson => Format::Ndjson,
        FileFormat::Csv => Format::Csv,
        FileFormat::Parquet => Format::Parquet,
    });
    let mut inputs = files::Stores::default();
    for root in files::Stores::needed(&settings.paths).map_err(Failure::bad_input)? {
        let options = StoreOptions {
            create_directory: false,
            ..StoreOptions::default()
        };
        let store = Store::open(&root, &options)
            .await
            .map_err(Failure::failed)?;
        inputs = inputs.with(&root, store.objects());
    }
    let list = FileList::expand(&settings.paths, format, &inputs)
        .await
        .map_err(|error| match error {
            files::FilesError::NoMatch { .. } => Failure::bad_input(error),
            other => Failure::failed(other),
        })?;
    tracing::info!(
        event = "files_listed",
        files = list.len(),
        bytes = list.bytes(),
        incarnation = %list.incarnation(),
        "files listed"
    );
    let orders = session.orders.subscribe();
    let started = FilesPipeline::start(pipeline, stores, list, inputs, &session.host)
        .await
        .map_err(Failure::failed)?;
    let company = session.company(pipeline);
    Ok(tokio::spawn(started.in_company(company).run(orders)))
}
