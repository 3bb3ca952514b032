//! First versions of chains, and the last ones of those that are no longer needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::decide::Inheritance;
use super::heritage::{Heritage, gather};
use super::{Head, Root, Roots, ShardInfo, is_drained, not_taken_over};
use crate::checkpoint::{Checkpoint, Counters, Pending};
use crate::hash::HashRange;
use crate::mutants::{Mutant, broken};
use crate::sequence::Position;
use crate::time::Micros;

/// Who writes a version, and for which pipeline and life of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The pipeline's random id.
    pub state_id: String,
    /// The stream's life.
    pub incarnation: String,
    /// The member id.
    pub owner: String,
    /// The release.
    pub writer: String,
    /// The pipeline's window size in microseconds; it never changes for one state path.
    pub window_size: i64,
}

/// An ended chain and the keys that are taken over from it.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// Its newest version.
    pub checkpoint: &'a Checkpoint,
    /// The keys.
    pub ranges: Vec<HashRange>,
}

/// A first version that must not be made. Each of these is a fault of the caller or of the stored state; nothing may
/// be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineageError {
    /// The shard is no root.
    #[error(
        "{shard} is no root of incarnation {incarnation}: its first version comes from its parents"
    )]
    NotARoot {
        /// The shard.
        shard: String,
        /// The incarnation.
        incarnation: String,
    },
    /// A chain to take over from has not ended.
    #[error("{child} can't begin: the chain of {parent} stands at {position} and must end first")]
    ParentNotEnded {
        /// The shard that would begin.
        child: String,
        /// The chain that has not ended.
        parent: String,
        /// Where it stands.
        position: Position,
    },
    /// The chains to take over from aren't those that the decision names.
    #[error(
        "{child} takes over from {expected}, not from {found}: give the newest versions of exactly these chains"
    )]
    WrongSources {
        /// The shard that would begin.
        child: String,
        /// The shards expected.
        expected: String,
        /// The shards given.
        found: String,
    },
    /// A chain belongs to another pipeline.
    #[error(
        "the chain of {shard} belongs to the state id {found}, this pipeline's is {expected}: check spec.state.path"
    )]
    ForeignState {
        /// The chain's shard.
        shard: String,
        /// Its state id.
        found: String,
        /// This pipeline's.
        expected: String,
    },
    /// Two chains hold the same window.
    #[error(
        "two chains hold the open window of {ticker:?} that starts at {start}: their keys overlap"
    )]
    WindowTwice {
        /// The ticker.
        ticker: Arc<str>,
        /// The window's start.
        start: Micros,
    },
    /// Two chains mean different things by an output name.
    #[error(
        "spec.window.aggregates: {name:?} means different figures in the chains of {shards}, which become one shard. \
         Start the pipeline with a new state path, and give one of the figures another name"
    )]
    FigureConflict {
        /// The output name.
        name: String,
        /// The shards.
        shards: String,
    },
}

/// The first version of a root.
///
/// # Errors
/// [`LineageError::NotARoot`].
pub fn first_version_of_root(
    author: &Author,
    roots: &Roots,
    shard: &str,
) -> Result<Checkpoint, LineageError> {
    first_version_after_recreation(author, roots, shard, &[])
}

/// The first version of a root of a stream made anew. `old` holds the newest version of every chain of the incarnation
/// before, all ended: the root takes over, by range, what no child's chain among them has taken over.
///
/// When the stream was made anew twice in a row, the incarnation between must have had the first versions of all its
/// roots, and those must have ended, before: else windows of the first one would be left behind.
///
/// # Errors
/// [`LineageError`].
pub fn first_version_after_recreation(
    author: &Author,
    roots: &Roots,
    shard: &str,
    old: &[Checkpoint],
) -> Result<Checkpoint, LineageError> {
    let root = roots.get(shard).ok_or_else(|| LineageError::NotARoot {
        shard: shard.to_owned(),
        incarnation: author.incarnation.clone(),
    })?;
    if let Some(open) = old.iter().find(|chain| !chain.position.is_final()) {
        return Err(not_ended(shard, open));
    }
    let sources: Vec<Source<'_>> = old
        .iter()
        .map(|chain| {
            let chains = old.iter();
            let chains = chains.map(|other| (other.range, other.parents.as_slice()));
            Source {
                checkpoint: chain,
                ranges: not_taken_over(&chain.shard, chain.range, chains),
            }
        })
        .collect();
    check_pipeline(author, &sources)?;
    let heritage = gather(&sources, root.range, author.window_size)?;
    let mut first = first_version(author, root, heritage);
    // Nothing of this stream has been read: what is owed begins at its start.
    first.read_through = Some(Micros::from_millis(roots.start_millis));
    Ok(first)
}

/// The first version of a shard that isn't a root, as [`Decision::StartChild`] says. `chains` holds the newest version
/// of each chain that `from` names, in any order.
///
/// [`Decision::StartChild`]: super::Decision::StartChild
///
/// # Errors
/// [`LineageError`].
pub fn first_version_of_child(
    author: &Author,
    child: &ShardInfo,
    from: &[Inheritance],
    chains: &[Checkpoint],
) -> Result<Checkpoint, LineageError> {
    let given: BTreeMap<&str, &Checkpoint> = chains
        .iter()
        .map(|chain| (chain.shard.as_str(), chain))
        .collect();
    let wanted: BTreeMap<&str, &Inheritance> =
        from.iter().map(|own| (own.shard.as_str(), own)).collect();
    if !given.keys().eq(wanted.keys()) {
        let list = |shards: Vec<&str>| match shards.is_empty() {
            true => "no chain".to_owned(),
            false => shards.join(", "),
        };
        return Err(LineageError::WrongSources {
            child: child.id.clone(),
            expected: list(wanted.into_keys().collect()),
            found: list(given.into_keys().collect()),
        });
    }
    if let Some(open) = given
        .values()
        .find(|chain| chain.position != Position::ShardEnd && !broken(Mutant::ChildBeforeParent))
    {
        return Err(not_ended(&child.id, open));
    }
    let sources: Vec<Source<'_>> = given
        .values()
        .zip(wanted.values())
        .map(|(checkpoint, own)| Source {
            checkpoint,
            ranges: own.ranges.clone(),
        })
        .collect();
    check_pipeline(author, &sources)?;
    let root = Root {
        shard: child.id.clone(),
        range: child.range,
        position: Position::TrimHorizon,
    };
    let heritage = gather(&sources, child.range, author.window_size)?;
    let mut first = first_version(author, &root, heritage);
    // The chains taken over from stand among the parents: that is how others see that these keys are taken.
    let parents = child.parents.iter().map(String::as_str);
    let parents: BTreeSet<&str> = parents.chain(wanted.into_keys()).collect();
    first.parents = parents.into_iter().map(str::to_owned).collect();
    Ok(first)
}

fn first_version(author: &Author, shard: &Root, heritage: Heritage) -> Checkpoint {
    Checkpoint {
        state_id: author.state_id.clone(),
        incarnation: author.incarnation.clone(),
        shard: shard.shard.clone(),
        version: 1,
        epoch: 1,
        owner: author.owner.clone(),
        writer: author.writer.clone(),
        handover: None,
        range: shard.range,
        parents: Vec::new(),
        children: Vec::new(),
        position: shard.position.clone(),
        read_through: heritage.read_through,
        watermark: heritage.watermark,
        floors: match broken(Mutant::NoFloors) {
            true => Vec::new(),
            false => heritage.floors,
        },
        generations: heritage.generations,
        windows: heritage.windows,
        latest: heritage.latest,
        unsealed: Pending::default(),
        outbox: Vec::new(),
        unregistered: Vec::new(),
        counters: Counters::default(),
        file_marks: Vec::new(),
    }
}

fn check_pipeline(author: &Author, sources: &[Source<'_>]) -> Result<(), LineageError> {
    let foreign = sources
        .iter()
        .find(|source| source.checkpoint.state_id != author.state_id);
    foreign.map_or(Ok(()), |source| {
        Err(LineageError::ForeignState {
            shard: source.checkpoint.shard.clone(),
            found: source.checkpoint.state_id.clone(),
            expected: author.state_id.clone(),
        })
    })
}

fn not_ended(child: &str, parent: &Checkpoint) -> LineageError {
    LineageError::ParentNotEnded {
        child: child.to_owned(),
        parent: parent.shard.clone(),
        position: parent.position.clone(),
    }
}

/// Whether an ended chain may be rewritten without what its children have taken over.
#[derive(Clone, Debug, PartialEq)]
pub enum Tombstone {
    /// Write this as the next version. Its owner and epoch are those of the newest version.
    Rewrite(Box<Checkpoint>),
    /// Not yet: it hasn't ended, has work left, its retention hasn't passed, or a child's chain is missing.
    NotYet,
    /// It is one already.
    Done,
}

/// The tombstone of a chain: a further version without windows and `latest`.
///
/// `heads` holds every chain of the incarnation, by shard; together the chains that came from this one must hold all of
/// its keys. `retention_passed` says that the stream's retention has passed since the chain ended.
pub fn tombstone(
    ended: &Checkpoint,
    heads: &BTreeMap<String, Head>,
    retention_passed: bool,
) -> Tombstone {
    if ended.position != Position::ShardEnd || !retention_passed {
        return Tombstone::NotYet;
    }
    let chains = heads.values();
    let chains = chains.map(|head| (head.range, head.parents.as_slice()));
    let children_exist = ended.children.iter().all(|id| heads.contains_key(id))
        && not_taken_over(&ended.shard, ended.range, chains).is_empty();
    if !children_exist || !is_drained(ended) {
        return Tombstone::NotYet;
    }
    if ended.windows.is_empty() && ended.latest.is_empty() {
        return Tombstone::Done;
    }
    Tombstone::Rewrite(Box::new(Checkpoint {
        version: ended.version + 1,
        windows: Vec::new(),
        latest: Vec::new(),
        ..ended.clone()
    }))
}
