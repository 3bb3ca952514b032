//! A pipeline over bounded files: one shard, whose order is the files' merge, through the same chain as a stream.
//!
//! Owns the shard's name, the document that lists the files, and where a restart goes on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stockstream_core::chain::ShardChain;
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::hash::HashRange;
use stockstream_core::layout::{Incarnation, SHARDS, StateKeys};
use stockstream_core::member::LeaseTiming;
use stockstream_core::sequence::{Position, SequenceNumber};
use stockstream_core::state::ParsedRecords;
use stockstream_crds::Pipeline;
use tokio::sync::{mpsc, watch};

use super::actions::load_newest;
use super::context::Context;
use super::coordinator::Company;
use super::error::PipelineError;
use super::feed::{Input, Parsed};
use super::members::{Membership, MembershipHandle, NoPeers, leave};
use super::ownership::parse;
use super::settings::Settings;
use super::shard::{Charge, Ended, Orders, ShardRunner, StartFeed, fenced_pause};
use super::start::{Host, Stores, claim_stores};
use crate::clock::micros;
use crate::observe::{Event, PipelinePhase};
use crate::source::files::{
    self, Block, BlockLimits, FileList, FileSource, ParsedBlock, Resume, Taken,
};
use crate::storage::{Created, Store};

/// The one shard of a file source.
pub const SHARD: &str = "files";

/// A pipeline over files that may read.
pub struct FilesPipeline {
    context: Arc<Context>,
    list: FileList,
    inputs: files::Stores,
    expiry: Duration,
    company: Option<Company>,
}

impl FilesPipeline {
    /// Prepares a pipeline over `list`.
    ///
    /// # Errors
    /// Whatever keeps it from reading; a list that isn't the one the state knows is refused.
    pub async fn start(
        pipeline: &Pipeline,
        stores: Stores,
        list: FileList,
        inputs: files::Stores,
        host: &Host,
    ) -> Result<Self, PipelineError> {
        stockstream_allocator::give_back_at_once();
        let settings = Arc::new(Settings::of(pipeline));
        let state_id = claim_stores(pipeline, &settings, &stores).await?;
        let incarnation = list.incarnation();
        let keys = StateKeys::new(incarnation.clone());
        refuse_another_list(&stores.state, &incarnation, &list).await?;
        let document =
            serde_json::to_vec_pretty(&list).map_err(|error| PipelineError::Document {
                url: stores.state.url_of(&keys.files()),
                detail: error.to_string(),
            })?;
        // Existing bytes are those of the same list: the incarnation is its hash.
        let _: Created = stores
            .state
            .create(&keys.files(), Bytes::from(document))
            .await?;
        let context = host.context(settings, stores, state_id, incarnation);
        Ok(FilesPipeline {
            context: Arc::new(context),
            list,
            inputs,
            expiry: pipeline.state().expiry,
            company: None,
        })
    }

    /// The same, told to whoever lists the state path's members: that is how a dashboard finds it.
    #[must_use]
    pub fn in_company(mut self, company: Company) -> Self {
        self.company = Some(company);
        self
    }

    /// Runs until every file has been read and everything is published, or until ordered to stop.
    ///
    /// # Errors
    /// Why it can't go on; everything committed before is safe, and the same command goes on from there.
    pub async fn run(self, orders: watch::Receiver<Orders>) -> Result<(), PipelineError> {
        let observer = self.context.observer.clone();
        observer.set_phase(PipelinePhase::Running, None);
        let told = self.announce().await;
        let ended = self.run_to_the_end(orders).await;
        if let Some(told) = told {
            told.stop();
            if let Err(error) = leave(&self.context.state, &self.context.member).await {
                tracing::debug!(event = "leave_failed", cause = %error, "its missing beats tell it");
            }
        }
        if let Err(error) = &ended {
            let event = Event::Failed {
                cause: error.to_string(),
            };
            observer.emit(&event, self.context.clock.wall().0);
            observer.set_phase(PipelinePhase::Failed, Some(error.to_string()));
        }
        ended
    }

    /// Nothing depends on it: a fault is told and no more.
    async fn announce(&self) -> Option<MembershipHandle> {
        let (company, context) = (self.company.as_ref()?, &self.context);
        let timing = LeaseTiming::new(micros(company.heartbeat), micros(company.expiry));
        let me = company.info(context);
        let (store, clock) = (context.state.clone(), context.clock.clone());
        let joined = Membership::join(store, clock, timing, me, Arc::new(NoPeers)).await;
        joined
            .inspect_err(|error| {
                tracing::warn!(event = "not_announced", cause = %error, "a dashboard won't find this worker");
            })
            .ok()
    }

    async fn run_to_the_end(&self, orders: watch::Receiver<Orders>) -> Result<(), PipelineError> {
        let mut fenced = 0;
        loop {
            let newest = match load_newest(&self.context, SHARD).await? {
                Some(newest) => newest,
                None => self.before_first(),
            };
            let charge = Charge::alone(orders.clone()).in_format(self.context.settings.format);
            let runner = ShardRunner::take(self.context.clone(), newest, charge, self.feed())?;
            match runner.run().await.0 {
                Ended::Finished | Ended::Released => return Ok(()),
                Ended::Failed(error) => return Err(error),
                Ended::Abandoned => {}
                Ended::Fenced { .. } => {
                    let mut orders = orders.clone();
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep(fenced_pause(self.expiry, fenced)) => {}
                        _ = orders.wait_for(|orders| *orders == Orders::Stop) => return Ok(()),
                    }
                    fenced += 1;
                }
            }
        }
    }

    fn before_first(&self) -> Checkpoint {
        Checkpoint::before_first(
            &self.context.state_id,
            self.context.incarnation.as_str(),
            SHARD,
            HashRange::ALL,
            Position::TrimHorizon,
        )
    }

    fn feed(&self) -> StartFeed {
        let (list, inputs) = (self.list.clone(), self.inputs.clone());
        let context = self.context.clone();
        Box::new(move |chain: &mut ShardChain| {
            let position = chain.state().position().clone();
            let resume = resume(chain.state().file_marks());
            let mapping = &context.settings.plan.record;
            let parser = chain.state().parser();
            let limits = BlockLimits::default();
            let source = FileSource::open(&list, &inputs, mapping, &parser, resume, limits)?;
            let (sender, receiver) = mpsc::channel(1);
            crate::ambient::spawn(hand_over(source, position, sender));
            Ok(receiver)
        })
    }
}

/// Where the files go on. The chain's marks begin with the ordinal of the tick that they follow: a commit may stand
/// in the middle of a block, whose first ticks are then skipped.
fn resume(marks: &[u64]) -> Option<Resume> {
    let (ordinal, marks) = marks.split_first()?;
    Some(Resume {
        ordinal: *ordinal,
        marks: marks.to_vec(),
    })
}

async fn hand_over(mut source: FileSource, position: Position, sender: mpsc::Sender<Input>) {
    loop {
        let (input, last) = match source.next_block().await {
            Ok(Some(Taken::Block(block))) => (records(block, &position), false),
            Ok(Some(Taken::Parsed(block))) => (parsed(block, &position), false),
            Ok(None) => (Input::End, true),
            Err(error) => (Input::Failed(error.into()), true),
        };
        if sender.send(input).await.is_err() || last {
            return;
        }
    }
}

fn records(block: Block, position: &Position) -> Input {
    let mut marks = Vec::with_capacity(block.marks.len() + 1);
    let last = block.ticks.last().map(|(meta, _)| ordinal(&meta.sequence));
    marks.push(last.unwrap_or(0));
    marks.extend(block.marks);
    let mut records = block.ticks;
    if let Position::After(done) = position {
        records.retain(|(meta, _)| meta.sequence > *done);
    }
    Input::Records {
        held: None,
        records,
        millis_behind_latest: None,
        marks,
    }
}

fn parsed(block: ParsedBlock, position: &Position) -> Input {
    let last = block.first + block.block.len() as u64 - 1;
    let mut marks = Vec::with_capacity(block.marks.len() + 1);
    marks.push(last);
    marks.extend(block.marks);
    let done = match position {
        Position::After(done) => ordinal(done).min(last),
        _ => 0,
    };
    let next = usize::try_from((done + 1).saturating_sub(block.first)).unwrap_or(usize::MAX);
    Input::Parsed(Parsed {
        records: ParsedRecords::new(block.block, block.first, block.arrival, next),
        marks,
    })
}

/// A file source's sequence numbers are ordinals.
fn ordinal(sequence: &SequenceNumber) -> u64 {
    sequence.to_string().parse().unwrap_or(0)
}

/// A state that knows another list of files is refused: its rows hold some of these ticks already.
async fn refuse_another_list(
    state: &Store,
    incarnation: &Incarnation,
    list: &FileList,
) -> Result<(), PipelineError> {
    for object in state.list(SHARDS).await? {
        let other = object.key.split('/').nth(1).unwrap_or_default();
        if !object.key.ends_with(".ckpt") || other == incarnation.as_str() {
            continue;
        }
        let changes = match Incarnation::parse(other) {
            Some(other) => changes(state, &StateKeys::new(other), list).await?,
            None => None,
        };
        return Err(PipelineError::FilesChanged(format!(
            "the files are not those that the state under {} was made from: {}. Rows of both would be mixed: give the new \
             list a state.path and an output.path of its own, or restore the files",
            state.url(),
            changes.unwrap_or_else(|| "the list differs".to_owned())
        )));
    }
    Ok(())
}

async fn changes(
    state: &Store,
    keys: &StateKeys,
    now: &FileList,
) -> Result<Option<String>, PipelineError> {
    let key = keys.files();
    match state.get(&key).await? {
        Some(bytes) => Ok(parse::<FileList>(&bytes, &state.url_of(&key))?.changes(now)),
        None => Ok(None),
    }
}
