//! `stockstream dashboard`: the page of a pipeline whose workers run elsewhere.
//!
//! Owns no shard and writes nothing: it reads the members' directory, asks the workers, and reads rows and checkpoints.

use std::sync::Arc;

use stockstream_crds::Pipeline;
use stockstream_crds::path::StoragePath;
use tokio::sync::oneshot;

use super::dev::local_url;
use super::session::{Manner, host_name, identity};
use super::signals::StopSignals;
use super::validate::load;
use crate::cli::{DashboardArgs, ExitStatus, Failure, Outcome, OutputFormat};
use crate::clock::Clock;
use crate::observe::http;
use crate::page::{MembersRoster, Page, PageSettings, Roster};
use crate::pipeline::Settings;
use crate::storage::{Store, StoreOptions};

/// `stockstream dashboard`.
pub async fn run(args: DashboardArgs) -> Outcome {
    let pipeline = load(&args.pipeline.file)?;
    let mut signals = StopSignals::listen()?;
    let [state, output, rejects] = places(&pipeline, &args)?;
    let (state, output) = (
        open(&pipeline, &state).await?,
        open(&pipeline, &output).await?,
    );
    let clock = Clock::system();
    let bound = http::bind(args.listen).await.map_err(Failure::failed)?;
    let url = bound.url();
    let manner = Manner {
        name: host_name(),
        listen: args.listen,
        advertise: None,
        endpoint: None,
        format: OutputFormat::Text,
    };
    let places = [state.url(), output.url(), &rejects];
    let identity = identity(&pipeline, places, &manner, &url, &clock);
    let expiry = pipeline.state().expiry;
    let roster = MembersRoster::new(state.clone(), expiry, identity.aggregates.clone());
    tell_who_lives(&roster, &url, state.url()).await;
    let page = Page::new(PageSettings {
        identity,
        observer: None,
        roster: Arc::new(roster),
        state,
        output,
        settings: Settings::of(&pipeline),
        clock,
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = bound.serve_doors(page.router(), async {
        let _ = stopped.await;
    });
    let mut serving = tokio::spawn(serving);
    tokio::select! {
        () = signals.next() => {}
        ended = &mut serving => {
            ended.map_err(Failure::failed)?.map_err(Failure::failed)?;
            return Ok(ExitStatus::Done);
        }
    }
    page.stop();
    let _ = stop.send(());
    // A client that holds its connection open must not hold the process.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), serving).await;
    Ok(ExitStatus::Done)
}

/// Says at once what will be seen: a page without workers looks like a wrong path.
async fn tell_who_lives(roster: &MembersRoster, url: &str, state: &str) {
    let look = roster.look().await;
    let workers = look.peers.iter().filter(|peer| peer.member.live).count();
    if let Some(trouble) = look.trouble {
        tracing::warn!(
            event = "state_unread",
            cause = trouble,
            "trying again while somebody watches"
        );
    } else if workers == 0 {
        tracing::warn!(
            event = "no_workers",
            checkpoints = look.chains.len(),
            "no worker lives under {state}: the page shows what the checkpoints say, until one starts; with `dev`, give its \
             --data-dir"
        );
    }
    tracing::info!(
        event = "listening",
        what = "page",
        url,
        workers,
        "page at {url}"
    );
}

/// Where state, output and rejects lie.
fn places(pipeline: &Pipeline, args: &DashboardArgs) -> Result<[String; 3], Failure> {
    let place = |path: &StoragePath| match &args.data_dir {
        Some(data_dir) => local_url(path, data_dir),
        None => Ok(path.to_string()),
    };
    Ok([
        place(&pipeline.state().path)?,
        place(&pipeline.output().path)?,
        place(&pipeline.output().rejects_path)?,
    ])
}

/// Opens a place for reading: nothing is made that isn't there.
async fn open(pipeline: &Pipeline, url: &str) -> Result<Store, Failure> {
    let options = StoreOptions {
        create_directory: false,
        region: pipeline.kinesis().map(|kinesis| kinesis.region.clone()),
        ..StoreOptions::default()
    };
    Store::open(url, &options).await.map_err(|error| {
        Failure::failed(error).hint(
            "a dashboard makes nothing: start a worker first; for `stockstream dev`, give its --data-dir",
        )
    })
}
