//! Where reading began: `roots.json`.
//!
//! Owns the choice of root shards and the document that fixes it for ever. Must never hold "latest": a restart
//! before the first commit would move it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ShardInfo;
use crate::hash::HashRange;
use crate::sequence::Position;

/// The format of `roots.json` that this release reads and writes.
const FORMAT: u32 = 1;

/// The largest `roots.json` that is read, in bytes: a few hundred bytes for each of 20,000 shards (Kinesis' highest
/// default quota for a stream).
pub const MAX_ROOTS_BYTES: usize = 8 * 1024 * 1024;

/// Where the spec wants a pipeline to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartRule {
    /// With records that arrive from now on.
    Latest,
    /// With the oldest record that the stream still has.
    TrimHorizon,
    /// With the first record that arrived at or after this time, in milliseconds since the Unix epoch.
    AtTimestamp(i64),
}

/// A shard with which reading began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The shard's id.
    pub shard: String,
    /// Its hash keys.
    pub range: HashRange,
    /// Where reading it began: a time or the trim horizon, never anything else.
    pub position: Position,
}

/// The document `roots.json`: created once for an incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roots {
    format: u32,
    /// The start, in milliseconds since the Unix epoch: records that arrived from then on are owed.
    pub start_millis: i64,
    /// The root shards, by id.
    pub roots: Vec<Root>,
}

/// Why there are no roots.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// No shard to begin with.
    #[error(
        "none of the {listed} listed shards can be a root under the start rule {rule:?}: \
         list the stream's shards again once it is ACTIVE"
    )]
    NoRoots {
        /// Shards in the listing.
        listed: usize,
        /// The rule.
        rule: StartRule,
    },
    /// Written by a newer release.
    #[error(
        "roots.json has format {found}, this release reads format {FORMAT}: run the release that wrote it, or a newer one"
    )]
    UnknownFormat {
        /// The format found.
        found: u64,
    },
    /// Not a sound document.
    #[error("roots.json can't be read: {0}. Restore it from a copy: it says where reading began")]
    Content(String),
    /// It can't be written.
    #[error("roots.json can't be encoded: {0}")]
    Encode(String),
}

/// Chooses the roots of an incarnation.
///
/// `listing` is the whole listing. `open_then` is the listing with the filter `AT_TIMESTAMP` of that time, which is what
/// tells the shards open then; it is used by [`StartRule::AtTimestamp`] only. `start_millis` is taken after the
/// listing; for a stream made anew it is the stream's creation time (with [`StartRule::TrimHorizon`]).
///
/// No root has another root as ancestor. At the very instant of a reshard the filter names parents and children:
/// then the parents are the roots, so that nothing is left out.
///
/// # Errors
/// [`RootsError::NoRoots`] when there would be none: such a document would end the pipeline for ever.
pub fn choose_roots(
    rule: StartRule,
    listing: &[ShardInfo],
    open_then: &[ShardInfo],
    start_millis: i64,
) -> Result<Roots, RootsError> {
    let known: BTreeMap<&str, &ShardInfo> = listing
        .iter()
        .chain(open_then)
        .map(|shard| (shard.id.as_str(), shard))
        .collect();
    let listed: BTreeSet<&str> = listing.iter().map(|shard| shard.id.as_str()).collect();
    let (position, candidates): (Position, Vec<&ShardInfo>) = match rule {
        StartRule::Latest => (
            Position::AtTimestamp(start_millis),
            listing.iter().filter(|shard| !shard.closed).collect(),
        ),
        StartRule::AtTimestamp(millis) => {
            (Position::AtTimestamp(millis), open_then.iter().collect())
        }
        StartRule::TrimHorizon => (
            Position::TrimHorizon,
            listing
                .iter()
                .filter(|shard| !shard.parents.iter().any(|id| listed.contains(id.as_str())))
                .collect(),
        ),
    };
    let ids: BTreeSet<&str> = candidates.iter().map(|shard| shard.id.as_str()).collect();
    let roots: BTreeMap<&str, Root> = candidates
        .into_iter()
        .filter(|shard| ancestors([shard.id.as_str()], &known).is_disjoint(&ids))
        .map(|shard| {
            let root = Root {
                shard: shard.id.clone(),
                range: shard.range,
                position: position.clone(),
            };
            (shard.id.as_str(), root)
        })
        .collect();
    if roots.is_empty() {
        return Err(RootsError::NoRoots {
            listed: listing.len(),
            rule,
        });
    }
    Ok(Roots {
        format: FORMAT,
        start_millis,
        roots: roots.into_values().collect(),
    })
}

/// Every ancestor of the shards, as far as `known` tells parents; the shards themselves are left out unless one is
/// another's ancestor.
pub(super) fn ancestors<'a>(
    shards: impl IntoIterator<Item = &'a str>,
    known: &BTreeMap<&'a str, &'a ShardInfo>,
) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = shards.into_iter().collect();
    while let Some(id) = open.pop() {
        for parent in known.get(id).map_or(&[][..], |shard| &shard.parents) {
            // A parent met before is not followed again: a cycle, which no stream has, ends too.
            if found.insert(parent.as_str()) {
                open.push(parent);
            }
        }
    }
    found
}

impl Roots {
    /// The document's bytes: JSON for people and scripts.
    ///
    /// # Errors
    /// [`RootsError::Encode`].
    pub fn encode(&self) -> Result<Vec<u8>, RootsError> {
        serde_json::to_vec_pretty(self).map_err(|error| RootsError::Encode(error.to_string()))
    }

    /// Reads the document.
    ///
    /// # Errors
    /// [`RootsError`], which says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, RootsError> {
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        let content = |text: String| RootsError::Content(text);
        if bytes.len() > MAX_ROOTS_BYTES {
            let text = format!("{} bytes, allowed are {MAX_ROOTS_BYTES}", bytes.len());
            return Err(content(text));
        }
        // The format first: a newer document may have another shape.
        let Format { format } =
            serde_json::from_slice(bytes).map_err(|error| content(error.to_string()))?;
        if format != u64::from(FORMAT) {
            return Err(RootsError::UnknownFormat { found: format });
        }
        let roots: Roots =
            serde_json::from_slice(bytes).map_err(|error| content(error.to_string()))?;
        roots.check().map_err(content)?;
        Ok(roots)
    }

    /// The root of this id.
    pub fn get(&self, shard: &str) -> Option<&Root> {
        self.roots.iter().find(|root| root.shard == shard)
    }

    fn check(&self) -> Result<(), String> {
        if self.roots.is_empty() {
            return Err("it names no root".to_owned());
        }
        if !self.roots.is_sorted_by(|a, b| a.shard < b.shard) {
            return Err("its roots aren't in order, or one stands twice".to_owned());
        }
        for root in &self.roots {
            if !matches!(
                root.position,
                Position::TrimHorizon | Position::AtTimestamp(_)
            ) {
                let Root {
                    shard, position, ..
                } = root;
                return Err(format!("{shard} can't begin at {position}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn shard(id: &str, parents: &[&str], closed: bool) -> ShardInfo {
        ShardInfo {
            id: id.into(),
            range: HashRange::ALL,
            parents: parents.iter().map(|parent| (*parent).into()).collect(),
            closed,
        }
    }

    /// a was split into b and c; c and d were merged into e. z was a's parent and is listed no longer.
    fn listing() -> Vec<ShardInfo> {
        vec![
            shard("a", &["z"], true),
            shard("b", &["a"], false),
            shard("c", &["a"], true),
            shard("d", &[], true),
            shard("e", &["c", "d"], false),
        ]
    }

    fn chosen(rule: StartRule, open_then: &[ShardInfo]) -> Vec<(String, Position)> {
        let roots = choose_roots(rule, &listing(), open_then, 77).unwrap();
        assert_eq!(roots.start_millis, 77);
        roots
            .roots
            .into_iter()
            .map(|root| (root.shard, root.position))
            .collect()
    }

    #[test]
    fn latest_takes_open_shards_at_the_start_time() {
        let at = Position::AtTimestamp(77);
        assert_eq!(
            chosen(StartRule::Latest, &[]),
            [("b".to_owned(), at.clone()), ("e".to_owned(), at)]
        );
    }

    #[test]
    fn the_trim_horizon_takes_shards_without_a_listed_parent() {
        let horizon = Position::TrimHorizon;
        assert_eq!(
            chosen(StartRule::TrimHorizon, &[]),
            [("a".to_owned(), horizon.clone()), ("d".to_owned(), horizon)]
        );
    }

    #[test]
    fn a_timestamp_takes_what_was_open_then_and_parents_before_children() {
        let all = listing();
        // The instant of a's split: the filter names a, its children and d.
        let open_then = [
            all[2].clone(),
            all[0].clone(),
            all[1].clone(),
            all[3].clone(),
        ];
        let at = Position::AtTimestamp(5);
        assert_eq!(
            chosen(StartRule::AtTimestamp(5), &open_then),
            [("a".to_owned(), at.clone()), ("d".to_owned(), at)]
        );
    }

    #[test]
    fn no_root_is_an_error() {
        let error = choose_roots(StartRule::AtTimestamp(5), &listing(), &[], 77).unwrap_err();
        assert!(error.to_string().contains("none of the 5 listed shards"));
    }

    #[test]
    fn what_is_no_roots_document_is_named() {
        let document = |position: &str| {
            format!(
                r#"{{"format":1,"start_millis":1,"roots":[{{"shard":"a","range":"0-1","position":{position}}}]}}"#
            )
        };
        assert!(Roots::decode(document("\"trim_horizon\"").as_bytes()).is_ok());
        for (bytes, part) in [
            (document("\"shard_end\""), "can't begin at SHARD_END"),
            (document("{\"after\":\"1\"}"), "can't begin at AFTER 1"),
            ("{\"format\":1}".to_owned(), "start_millis"),
            ("{".to_owned(), "EOF"),
            (String::new(), "EOF"),
            (
                "{\"format\":1,\"start_millis\":1,\"roots\":[]}".to_owned(),
                "no root",
            ),
            (
                "{\"format\":2,\"begin\":[]}".to_owned(),
                "format 2, this release reads format 1",
            ),
            ("[]".to_owned(), "roots.json"),
        ] {
            let error = Roots::decode(bytes.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{bytes} gave {error}");
        }
    }

    proptest! {
        #[test]
        fn a_document_survives_its_bytes_and_no_cut_is_taken_for_whole(
            ids in proptest::collection::btree_set("[a-z0-9-]{1,20}", 1..20),
            start in any::<i64>(),
            at in proptest::option::of(any::<i64>()),
            keys in (any::<u128>(), any::<u128>()),
            cut in any::<prop::sample::Index>(),
        ) {
            let range = HashRange::new(keys.0.min(keys.1), keys.0.max(keys.1)).unwrap();
            let position = at.map_or(Position::TrimHorizon, Position::AtTimestamp);
            let roots = ids
                .into_iter()
                .map(|shard| Root { shard, range, position: position.clone() })
                .collect();
            let roots = Roots { format: FORMAT, start_millis: start, roots };
            let bytes = roots.encode().unwrap();
            prop_assert_eq!(Roots::decode(&bytes).unwrap(), roots);
            prop_assert!(Roots::decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(Roots::decode(&bytes).is_err());
        }
    }
}
