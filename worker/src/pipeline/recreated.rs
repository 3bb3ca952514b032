//! A stream that was deleted and made anew under the same name.
//!
//! Owns bringing the chains of earlier lives to their end: what they closed is published, their windows stay open, and
//! the new life's roots take them over by hash range. Nothing of the new life is read before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use stockstream_core::chain::ShardChain;
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::layout::{Incarnation, SHARDS, StateKeys};
use stockstream_core::lineage::{Decision, Roots, plan_end_of_incarnation};
use tokio::sync::{mpsc, watch};

use super::actions::load_newest;
use super::context::Context;
use super::error::PipelineError;
use super::feed::Input;
use super::first::first_version_of_root;
use super::shard::{Charge, Ended, Orders, ShardRunner, StartFeed, fenced_pause};
use super::start::load_heads;

/// Ends every earlier life of the stream, oldest first. Returns the newest version of every chain of the last of them;
/// nothing when this is the stream's first life.
///
/// # Errors
/// The store's fault, or a chain of an earlier life that can't be read.
pub async fn end_earlier_lives(
    context: &Context,
    stream: &str,
) -> Result<Vec<Checkpoint>, PipelineError> {
    let mut chains = Vec::new();
    for incarnation in earlier_lives(context, stream).await? {
        let earlier = Context {
            keys: StateKeys::new(incarnation.clone()),
            incarnation,
            ..context.clone()
        };
        tracing::warn!(
            event = "stream_made_anew",
            incarnation = %earlier.incarnation,
            "the stream was made anew: this life of it is brought to its end, its open windows go on in the new one"
        );
        chains = end_life(Arc::new(earlier), &chains).await?;
    }
    Ok(chains)
}

/// The lives of the stream in the state that began before the present one, by age.
///
/// # Errors
/// A life in the state that began later: then the stream at hand is not the newest, and nothing may be ended.
async fn earlier_lives(context: &Context, stream: &str) -> Result<Vec<Incarnation>, PipelineError> {
    let listed = context.state.list(SHARDS).await?;
    let names: BTreeSet<&str> = listed
        .iter()
        .filter(|object| object.key.ends_with("/roots.json"))
        .filter_map(|object| object.key.split('/').nth(1))
        .filter(|name| *name != context.incarnation.as_str())
        .collect();
    let mut lives: Vec<Incarnation> = names.into_iter().filter_map(Incarnation::parse).collect();
    lives.sort_by_key(age);
    match lives.last() {
        Some(newest) if age(newest) > age(&context.incarnation) => {
            Err(PipelineError::Ownership(format!(
                "the state under {} knows a newer life of the stream {stream:?} ({newest}) than the one found ({}): this is \
                 another stream of that name. Check the endpoint, the region and the account; to read this stream, use a new \
                 state.path and a new output.path",
                context.state.url(),
                context.incarnation
            )))
        }
        _ => Ok(lives),
    }
}

/// Orders lives by their creation time: `k` and milliseconds, of which the shorter number is the older.
fn age(life: &Incarnation) -> (usize, String) {
    (life.as_str().len(), life.to_string())
}

async fn end_life(
    context: Arc<Context>,
    before: &[Checkpoint],
) -> Result<Vec<Checkpoint>, PipelineError> {
    let url = context.state.url_of(&context.keys.roots());
    let bytes = context.state.get(&context.keys.roots()).await?;
    let roots =
        Roots::decode(&bytes.unwrap_or_default()).map_err(|error| PipelineError::Document {
            url,
            detail: error.to_string(),
        })?;
    let started = context.state.get(&context.keys.started()).await?.is_some();
    let heads = load_heads(&context).await?;
    for (shard, decision) in plan_end_of_incarnation(&roots, started, &heads) {
        let newest = match decision {
            Decision::Finished => continue,
            Decision::StateLost => {
                return Err(PipelineError::StateLost {
                    shard,
                    url: context.state.url_of(&context.keys.started()),
                });
            }
            Decision::CreateFirst(_) => {
                Some(first_version_of_root(&context, &shard, &roots, before)?)
            }
            _ => load_newest(&context, &shard).await?,
        };
        if let Some(newest) = newest {
            end_chain(context.clone(), newest).await?;
        }
    }
    let mut chains = Vec::new();
    for shard in load_heads(&context).await?.keys() {
        chains.extend(load_newest(&context, shard).await?);
    }
    Ok(chains)
}

/// Before a chain that another worker was just at is looked at again.
const FENCED_PAUSE: Duration = Duration::from_secs(1);

/// A life that is over has nothing more to publish.
fn is_drained(newest: &Checkpoint) -> bool {
    newest.outbox.is_empty() && newest.unregistered.is_empty()
}

async fn end_chain(context: Arc<Context>, first: Checkpoint) -> Result<(), PipelineError> {
    let (_orders, run) = watch::channel(Orders::Run);
    let shard = first.shard.clone();
    let mut newest = first;
    let mut fenced = 0;
    loop {
        let charge = Charge::alone(run.clone()).in_format(context.settings.format);
        let runner = ShardRunner::take(context.clone(), newest, charge, gone())?;
        match runner.run().await.0 {
            Ended::Finished | Ended::Released => return Ok(()),
            Ended::Failed(error) => return Err(error),
            // Several workers find a stream made anew at the same time: one of them ends the chain.
            Ended::Fenced { .. } => {
                tokio::time::sleep(fenced_pause(FENCED_PAUSE, fenced)).await;
                fenced += 1;
            }
            Ended::Abandoned => {}
        }
        match load_newest(&context, &shard).await? {
            Some(now) if now.position.is_final() && is_drained(&now) => return Ok(()),
            Some(now) => newest = now,
            None => return Ok(()),
        }
    }
}

/// There is nothing to read in a stream that is gone.
fn gone() -> StartFeed {
    Box::new(|_: &mut ShardChain| {
        let (sender, receiver) = mpsc::channel(1);
        // The channel was made with room for one.
        let _ = sender.try_send(Input::Gone);
        Ok(receiver)
    })
}
