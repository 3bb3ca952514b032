//! From a spec to a pipeline that may read: stores opened and probed, state and output claimed, roots known.
//!
//! Owns the order of these steps. Nothing is read from the stream before all of them have succeeded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::layout::{Incarnation, StateKeys};
use stockstream_core::lineage::{Head, Roots, RootsError, ShardInfo, StartRule, choose_roots};
use stockstream_core::member::{Formats, member_id};
use stockstream_core::sequence::Position;
use stockstream_crds::Pipeline;
use stockstream_crds::spec::{InitialPosition, OnDataLoss};

use super::actions::{load_newest_bytes, version_in};
use super::context::Context;
use super::error::PipelineError;
use super::feed::IncarnationGuard;
use super::ownership::{PipelineDocument, claim, random_id};
use super::recreated::end_earlier_lives;
use super::settings::Settings;
use crate::catalog::Registrar;
use crate::clock::Clock;
use crate::failpoint::{Point, meet};
use crate::observe::Observer;
use crate::source::kinesis::{
    ListedShard, Listing, ReadBudget, StreamClient, StreamDescription, StreamError,
};
use crate::storage::{Created, Store, probe};

/// How long a stream may take to become ACTIVE before the worker gives up.
const ACTIVE_WITHIN: Duration = Duration::from_secs(300);

/// Chains that are read at the same time at start.
const READ_AT_ONCE: usize = 16;

/// The three places of a pipeline.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Checkpoints.
    pub state: Store,
    /// Rows.
    pub output: Store,
    /// Late ticks and dead letters.
    pub rejects: Store,
}

/// A worker's name, and what it reports to.
#[derive(Clone)]
pub struct Host {
    /// The worker's name; a random id is added for each process.
    pub name: String,
    /// Clocks.
    pub clock: Clock,
    /// Who wants to know.
    pub observer: Observer,
    /// The checkpoint formats that this release reads; a simulation has older releases, too.
    pub reads: Formats,
    /// Registers partitions, if there is a catalog.
    pub catalog: Option<Arc<Registrar>>,
}

impl Host {
    /// A member id: the name and a random process id.
    pub fn member(&self) -> String {
        member_id(&self.name, &random_id()[..8])
    }

    /// What the shards of a claimed pipeline share.
    pub fn context(
        &self,
        settings: Arc<Settings>,
        stores: Stores,
        state_id: String,
        incarnation: Incarnation,
    ) -> Context {
        let member = self.member();
        self.observer
            .set_ids(incarnation.as_str(), state_id.as_str());
        self.observer.set_member_id(&member);
        Context {
            read_budget: ReadBudget::new(settings.max_read_ahead),
            files: Arc::default(),
            progress: Arc::default(),
            settings,
            state: stores.state,
            output: stores.output,
            rejects: stores.rejects,
            catalog: self.catalog.clone(),
            state_id,
            keys: StateKeys::new(incarnation.clone()),
            incarnation,
            name: self.name.clone(),
            member,
            clock: self.clock.clone(),
            observer: self.observer.clone(),
            reads: self.reads,
        }
    }
}

/// A Kinesis pipeline that may read.
pub struct Started {
    /// What shards share.
    pub context: Arc<Context>,
    /// Knows the stream's life.
    pub guard: Arc<IncarnationGuard>,
    /// What happens when records were lost.
    pub on_data_loss: OnDataLoss,
    /// How long the stream keeps records.
    pub retention: Duration,
    /// Where reading began.
    pub roots: Roots,
    /// True when every root has had its first version.
    pub started: bool,
    /// The newest version of every chain.
    pub heads: BTreeMap<String, Head>,
    /// The chains of the stream's life before, all ended, when there was one.
    pub before: Vec<Checkpoint>,
}

/// Checks the stores and claims them for the pipeline. Returns the state id.
///
/// # Errors
/// The store's fault, a store that exactly-once can't rest on, or another owner.
pub async fn claim_stores(
    pipeline: &Pipeline,
    settings: &Settings,
    stores: &Stores,
) -> Result<String, PipelineError> {
    for store in [&stores.output, &stores.rejects] {
        probe(store).await?;
    }
    if let Some(denied) = probe(&stores.state).await?.delete_denied {
        tracing::warn!(
            event = "delete_denied",
            cause = %denied,
            "old checkpoint versions can't be collected; the state grows"
        );
    }
    let document = PipelineDocument::of(pipeline, settings);
    claim(&document, &stores.state, &stores.output).await
}

/// Prepares a pipeline that reads a stream.
///
/// # Errors
/// Whatever keeps it from reading, in words for people.
pub async fn start_stream(
    pipeline: &Pipeline,
    stores: Stores,
    client: Arc<dyn StreamClient>,
    host: &Host,
) -> Result<Started, PipelineError> {
    let mut settings = Settings::of(pipeline);
    // Before anything is claimed: a stream that isn't there is the commonest mistake of a first start.
    let description = wait_until_active(client.as_ref()).await?;
    let state_id = claim_stores(pipeline, &settings, &stores).await?;
    settings.follow_retention(description.retention());
    let incarnation = Incarnation::of_stream(description.created_millis);
    let context = host.context(Arc::new(settings), stores, state_id, incarnation);
    // Before the chains are listed: `started` is made after every first version, so whoever sees it must see those.
    let started = context.state.get(&context.keys.started()).await?.is_some();
    let heads = load_heads(&context).await?;
    refuse_ended_life(&context, client.name(), &heads)?;
    let before = end_earlier_lives(&context, client.name()).await?;
    let (rule, on_data_loss) = match pipeline.kinesis() {
        // A stream made anew is read from its beginning, whatever the spec says: nothing of it was read before.
        Some(kinesis) if !before.is_empty() => (StartRule::TrimHorizon, kinesis.on_data_loss),
        Some(kinesis) => (start_rule(&kinesis.initial_position), kinesis.on_data_loss),
        None => (StartRule::Latest, OnDataLoss::Fail),
    };
    // Of a stream made anew everything is owed, of one met for the first time what comes from now on.
    let owed_from = (!before.is_empty()).then_some(description.created_millis);
    let roots = read_or_choose_roots(&context, client.as_ref(), rule, owed_from).await?;
    let guard = IncarnationGuard::new(client, host.clock.clone(), description.created_millis);
    Ok(Started {
        context: Arc::new(context),
        guard: Arc::new(guard),
        on_data_loss,
        retention: description.retention(),
        roots,
        started,
        heads,
        before,
    })
}

/// A life of the stream that the state has ended can't be read again: its windows went on elsewhere.
fn refuse_ended_life(
    context: &Context,
    stream: &str,
    heads: &BTreeMap<String, Head>,
) -> Result<(), PipelineError> {
    let ended = heads
        .values()
        .any(|head| head.position == Position::StreamGone);
    if !ended {
        return Ok(());
    }
    Err(PipelineError::Ownership(format!(
        "the state under {} has ended this life of the stream {stream:?} ({}), because another stream of that name was \
         read since. Check the endpoint, the region and the account; to read this stream, use a new state.path and a new \
         output.path",
        context.state.url(),
        context.incarnation
    )))
}

fn start_rule(position: &InitialPosition) -> StartRule {
    match position {
        InitialPosition::Latest => StartRule::Latest,
        InitialPosition::TrimHorizon => StartRule::TrimHorizon,
        InitialPosition::Timestamp(at) => StartRule::AtTimestamp(at.as_millisecond()),
    }
}

async fn wait_until_active(client: &dyn StreamClient) -> Result<StreamDescription, PipelineError> {
    let mut waited = Duration::ZERO;
    let mut pause = Duration::from_millis(200);
    loop {
        let cause = match client.describe().await {
            Ok(description) if description.is_active => return Ok(description),
            Ok(_) => StreamError::Unavailable {
                stream: client.name().to_owned(),
                operation: "DescribeStreamSummary",
                detail: "it isn't ACTIVE yet".to_owned(),
            },
            Err(error) if !error.is_transient() => return Err(error.into()),
            Err(error) => error,
        };
        if waited >= ACTIVE_WITHIN {
            return Err(cause.into());
        }
        tracing::warn!(
            event = "waiting_for_stream",
            cause = %cause,
            "the stream can't be read yet; trying again"
        );
        tokio::time::sleep(pause).await;
        waited += pause;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

async fn read_or_choose_roots(
    context: &Context,
    client: &dyn StreamClient,
    rule: StartRule,
    owed_from: Option<i64>,
) -> Result<Roots, PipelineError> {
    let (state, key) = (&context.state, context.keys.roots());
    let unreadable = |error: RootsError| PipelineError::Document {
        url: state.url_of(&key),
        detail: error.to_string(),
    };
    if let Some(bytes) = state.get(&key).await? {
        return Roots::decode(&bytes).map_err(unreadable);
    }
    let listing = infos(client.list_shards(Listing::All).await?);
    let open_then = match rule {
        StartRule::AtTimestamp(millis) => infos(client.list_shards(Listing::OpenAt(millis)).await?),
        StartRule::Latest | StartRule::TrimHorizon => Vec::new(),
    };
    // After the listing: what arrives from now on is owed, also on shards that open meanwhile.
    let start = owed_from.unwrap_or_else(|| context.clock.wall().millis());
    let roots = choose_roots(rule, &listing, &open_then, start).map_err(unreadable)?;
    let bytes = Bytes::from(roots.encode().map_err(unreadable)?);
    match state.create(&key, bytes).await? {
        Created::New | Created::AlreadyOurs => {
            meet(Point::AfterRoots);
            Ok(roots)
        }
        Created::Exists(bytes) => Roots::decode(&bytes).map_err(unreadable),
    }
}

/// The newest version of every chain of the incarnation.
pub async fn load_heads(context: &Context) -> Result<BTreeMap<String, Head>, PipelineError> {
    let shards = list_chains(context).await?;
    let heads = futures::stream::iter(shards)
        .map(|shard| async move {
            let newest = load_newest_bytes(context, &shard).await?;
            let head = newest.map(|newest| newest.head()).transpose()?;
            Ok::<_, PipelineError>(head.map(|head| (shard, head)))
        })
        .buffered(READ_AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(heads.into_iter().flatten().collect())
}

/// The shards that have a chain in the incarnation.
pub async fn list_chains(context: &Context) -> Result<BTreeSet<String>, PipelineError> {
    let chains = context.keys.chains();
    let mut shards = BTreeSet::new();
    for object in context.state.list(&chains).await? {
        let shard = object
            .key
            .strip_prefix(&chains)
            .and_then(|rest| rest.trim_start_matches('/').split_once('/'))
            .map(|(shard, _)| shard.to_owned());
        shards.extend(shard.filter(|_| version_in(&object.key).is_some()));
    }
    Ok(shards)
}

/// Listed shards as the core knows them.
pub fn infos(listed: Vec<ListedShard>) -> Vec<ShardInfo> {
    listed
        .into_iter()
        .map(|shard| ShardInfo {
            id: shard.id,
            range: shard.range,
            parents: shard.parents,
            closed: shard.closed,
        })
        .collect()
}
