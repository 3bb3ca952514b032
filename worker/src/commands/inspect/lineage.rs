//! The splits and merges of a stream's shards, as a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;
use stockstream_core::hash::HashRange;
use stockstream_core::sequence::Position;

use super::Picture;
use super::chains::{self, Newest};
use crate::cli::{ExitStatus, Failure};
use crate::observe::terminal::text::{count, visible};
use crate::storage::Store;

/// Longest name printed for people.
const MAX_NAME: usize = 60;

/// All shards that have a chain.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Lineage {
    nodes: Vec<Node>,
}

/// A shard.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    incarnation: String,
    shard: String,
    state: State,
    /// Percent of the hash keys.
    keys: f64,
    first_key: String,
    last_key: String,
    parents: Vec<String>,
    children: Vec<String>,
    owner: String,
    epoch: u64,
    ticks: u64,
    /// Batches that are sealed and not yet published.
    outbox_batches: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Where a shard is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
enum State {
    /// It is read.
    #[default]
    Open,
    /// It was read to its end.
    Ended,
    /// The stream was deleted under it.
    StreamGone,
    /// Its newest version can't be read.
    Unreadable,
}

/// Reads them.
///
/// # Errors
/// The store's fault, or that there are none.
pub(super) async fn load(store: &Store) -> Result<Lineage, Failure> {
    let newest = chains::newest(store).await?;
    Ok(Lineage {
        nodes: newest.into_iter().map(node).collect(),
    })
}

fn node(newest: Newest) -> Node {
    let known = Node {
        incarnation: newest.incarnation,
        shard: newest.shard,
        ..Node::default()
    };
    let checkpoint = match newest.checkpoint {
        Ok(checkpoint) => *checkpoint,
        Err(error) => {
            return Node {
                state: State::Unreadable,
                error: Some(error),
                ..known
            };
        }
    };
    Node {
        state: match checkpoint.position {
            Position::ShardEnd => State::Ended,
            Position::StreamGone => State::StreamGone,
            _ => State::Open,
        },
        keys: percent(&checkpoint.range),
        first_key: checkpoint.range.start().to_string(),
        last_key: checkpoint.range.end().to_string(),
        parents: checkpoint.parents,
        children: checkpoint.children,
        owner: checkpoint.owner,
        epoch: checkpoint.epoch,
        ticks: checkpoint.counters.ticks,
        outbox_batches: checkpoint.outbox.len(),
        ..known
    }
}

/// The part of all hash keys, in percent.
#[allow(clippy::cast_precision_loss, reason = "for people")]
fn percent(range: &HashRange) -> f64 {
    (range.end() - range.start()) as f64 / u128::MAX as f64 * 100.0
}

impl Picture for Lineage {
    fn text(&self) -> String {
        let mut text = String::new();
        let lives: BTreeSet<&String> = self.nodes.iter().map(|node| &node.incarnation).collect();
        for life in &lives {
            if lives.len() > 1 {
                let _ = writeln!(text, "{life}"); // writing to a String can't fail
            }
            let nodes = self.nodes.iter().filter(|node| node.incarnation == **life);
            Tree::of(nodes).draw(&mut text);
        }
        text
    }

    fn status(&self) -> ExitStatus {
        match self.nodes.iter().any(|node| node.error.is_some()) {
            true => ExitStatus::Failed,
            false => ExitStatus::Done,
        }
    }
}

/// The shards of one life of the stream.
struct Tree<'a> {
    nodes: BTreeMap<&'a str, &'a Node>,
    /// A parent's children, those too that haven't begun.
    children: BTreeMap<&'a str, BTreeSet<&'a str>>,
    drawn: BTreeSet<&'a str>,
}

impl<'a> Tree<'a> {
    fn of(nodes: impl Iterator<Item = &'a Node>) -> Self {
        let nodes: BTreeMap<&str, &Node> = nodes.map(|node| (node.shard.as_str(), node)).collect();
        let mut children: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for node in nodes.values() {
            for parent in &node.parents {
                children.entry(parent).or_default().insert(&node.shard);
            }
            let own = children.entry(&node.shard).or_default();
            own.extend(node.children.iter().map(String::as_str));
        }
        Tree {
            nodes,
            children,
            drawn: BTreeSet::new(),
        }
    }

    fn draw(mut self, text: &mut String) {
        let is_root = |node: &&&Node| {
            let parents = &node.parents;
            !parents
                .iter()
                .any(|parent| self.nodes.contains_key(parent.as_str()))
        };
        let roots: Vec<&str> = self
            .nodes
            .values()
            .filter(is_root)
            .map(|node| node.shard.as_str())
            .collect();
        // Deep lineages must not use up the stack: the branches still to draw are kept here.
        let mut branches: Vec<Branch<'a>> = roots.into_iter().rev().map(Branch::root).collect();
        while let Some(branch) = branches.pop() {
            let again = !self.drawn.insert(branch.shard);
            let _ = writeln!(text, "{}{}", branch.trunk, self.label(branch.shard, again));
            if again {
                continue;
            }
            let children = self.children.get(branch.shard);
            let last = children.and_then(|children| children.last()).copied();
            for child in children.into_iter().flatten().rev() {
                branches.push(branch.child(child, Some(*child) == last));
            }
        }
    }

    fn label(&self, shard: &str, again: bool) -> String {
        let name = visible(shard, MAX_NAME);
        if again {
            return format!("{name}  (merged: see above)");
        }
        let Some(node) = self.nodes.get(shard) else {
            return format!("{name}  not begun");
        };
        if let Some(error) = &node.error {
            return format!("{name}  unreadable: {error}");
        }
        let left = match node.outbox_batches {
            0 => String::new(),
            batches => format!(", {batches} batches to publish"),
        };
        let ticks = count(node.ticks);
        let state = match node.state {
            State::Open => format!(
                "{} since epoch {}",
                visible(&node.owner, MAX_NAME),
                node.epoch
            ),
            State::Ended => "read to its end".to_owned(),
            State::StreamGone => "gone with the stream".to_owned(),
            State::Unreadable => String::new(),
        };
        format!(
            "{name}  {:.2} % of the keys, {ticks} ticks, {state}{left}",
            node.keys
        )
    }
}

/// A shard to draw, and what stands left of it.
struct Branch<'a> {
    shard: &'a str,
    trunk: String,
    /// What stands left of its children.
    below: String,
}

impl<'a> Branch<'a> {
    fn root(shard: &'a str) -> Self {
        Branch {
            shard,
            trunk: String::new(),
            below: String::new(),
        }
    }

    fn child(&self, shard: &'a str, is_last: bool) -> Self {
        let (turn, line) = match is_last {
            true => ("└─ ", "   "),
            false => ("├─ ", "│  "),
        };
        Branch {
            shard,
            trunk: format!("{}{turn}", self.below),
            below: format!("{}{line}", self.below),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(name: &str, state: State, parents: &[&str], children: &[&str]) -> Node {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Node {
            incarnation: "k1".to_owned(),
            shard: name.to_owned(),
            state,
            keys: 25.0,
            parents: names(parents),
            children: names(children),
            owner: "a-1".to_owned(),
            epoch: 2,
            ticks: 1_200,
            ..Node::default()
        }
    }

    #[test]
    fn splits_branch_and_merges_are_drawn_once() {
        let lineage = Lineage {
            nodes: vec![
                shard("s0", State::Ended, &[], &["s2", "s3"]),
                shard("s1", State::Ended, &[], &["s4"]),
                shard("s2", State::Open, &["s0"], &[]),
                shard("s3", State::Ended, &["s0"], &["s4"]),
                shard("s4", State::Open, &["s1", "s3"], &[]),
                shard("s5", State::Ended, &["gone"], &["s6"]),
            ],
        };
        let expected = "\
s0  25.00 % of the keys, 1,200 ticks, read to its end
├─ s2  25.00 % of the keys, 1,200 ticks, a-1 since epoch 2
└─ s3  25.00 % of the keys, 1,200 ticks, read to its end
   └─ s4  25.00 % of the keys, 1,200 ticks, a-1 since epoch 2
s1  25.00 % of the keys, 1,200 ticks, read to its end
└─ s4  (merged: see above)
s5  25.00 % of the keys, 1,200 ticks, read to its end
└─ s6  not begun
";
        assert_eq!(lineage.text(), expected);
    }

    #[test]
    fn a_long_line_of_splits_is_drawn() {
        let name = |number: u32| format!("s{number:06}");
        let nodes = (0..1_000u32).map(|number| {
            let parents = number.checked_sub(1).map(name);
            let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
            shard(&name(number), State::Ended, &parents, &[&name(number + 1)])
        });
        let lineage = Lineage {
            nodes: nodes.collect(),
        };
        assert_eq!(lineage.text().lines().count(), 1_001);
    }
}
