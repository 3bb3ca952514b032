//! The workers of a pipeline, as they say themselves.

use std::collections::BTreeMap;

use serde::Serialize;
use stockstream_core::layout::{MEMBERS, PIPELINE, member_info, member_of};
use stockstream_core::member::MemberInfo;
use stockstream_core::time::Micros;

use super::table::table;
use super::{Picture, ago, no_pipeline};
use crate::cli::Failure;
use crate::clock::Clock;
use crate::observe::iso8601;
use crate::observe::terminal::text::visible;
use crate::storage::Store;

/// A worker whose beat is so much older than the newest object of the listing doesn't live, whatever its lease is.
const SILENT_AFTER: i64 = 60_000_000;

/// Longest name printed for people.
const MAX_NAME: usize = 40;

/// All workers.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Members {
    members: Vec<Member>,
    #[serde(skip)]
    now: Micros,
}

/// A worker.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Member {
    pub(super) member: String,
    name: String,
    pub(super) address: Option<String>,
    #[serde(skip)]
    pub(super) machine: Option<String>,
    release: String,
    incarnation: String,
    #[serde(with = "iso8601")]
    since: i64,
    /// When it beat last, by the store's stamp.
    #[serde(with = "iso8601::option")]
    beat: Option<i64>,
    /// Its beat is a minute older than the newest object that workers wrote.
    silent: bool,
    draining: bool,
    shards: Vec<Holding>,
    /// Why its info can't be read; the other fields are empty then.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A shard in its hands.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Holding {
    shard: String,
    epoch: u64,
    #[serde(with = "iso8601")]
    since: i64,
    ended: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// Reads them.
///
/// # Errors
/// The store's fault.
pub(super) async fn load(store: &Store) -> Result<Members, Failure> {
    let listed = store.list(MEMBERS).await.map_err(Failure::failed)?;
    let newest = listed.iter().map(|object| object.last_modified).max();
    let mut beats: BTreeMap<String, Option<Micros>> = BTreeMap::new();
    for object in &listed {
        if let Some((member, name)) = member_of(&object.key) {
            let beat = beats.entry(member.to_owned()).or_default();
            if name == "beat" {
                *beat = Some(object.last_modified);
            }
        }
    }
    if beats.is_empty()
        && store
            .get(PIPELINE)
            .await
            .map_err(Failure::failed)?
            .is_none()
    {
        return Err(no_pipeline(store, "workers"));
    }
    let mut members = Vec::new();
    for (member, beat) in beats {
        let silent = beat
            .zip(newest)
            .is_none_or(|(beat, newest)| newest.0 - beat.0 >= SILENT_AFTER);
        let bytes = store.get(&member_info(&member)).await;
        let info = match bytes.map_err(Failure::failed)? {
            Some(bytes) => MemberInfo::decode(&bytes).map_err(|error| error.to_string()),
            None => Err("it has no info yet, or has left".to_owned()),
        };
        members.push(of(member, beat, silent, info));
    }
    Ok(Members {
        members,
        now: Clock::system().wall(),
    })
}

fn of(
    member: String,
    beat: Option<Micros>,
    silent: bool,
    info: Result<MemberInfo, String>,
) -> Member {
    let (info, error) = match info {
        Ok(info) => (info, None),
        Err(error) => (MemberInfo::new(&member, "", "", "", Micros(0)), Some(error)),
    };
    let shards = info.shards.into_iter().map(|(shard, holding)| Holding {
        shard,
        epoch: holding.epoch,
        since: holding.since.0,
        ended: holding.ended,
        trouble: holding.trouble,
    });
    Member {
        member,
        name: info.name,
        address: info.address,
        machine: info.machine,
        release: info.release,
        incarnation: info.incarnation,
        since: info.since.0,
        beat: beat.map(|beat| beat.0),
        silent,
        draining: info.draining,
        shards: shards.collect(),
        error,
    }
}

impl Members {
    /// The workers that beat, and can be asked from here.
    pub(super) fn living(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| !member.silent)
    }
}

impl Member {
    fn state(&self) -> &'static str {
        match self {
            Member { silent: true, .. } => "silent",
            Member { draining: true, .. } => "leaving",
            Member { error: Some(_), .. } => "unreadable",
            _ => "live",
        }
    }
}

const HEAD: [&str; 8] = [
    "MEMBER",
    "STATE",
    "BEAT",
    "STARTED",
    "SHARDS",
    "IN TROUBLE",
    "ADDRESS",
    "RELEASE",
];

impl Picture for Members {
    fn text(&self) -> String {
        if self.members.is_empty() {
            return "no worker runs here\n".to_owned();
        }
        let rows: Vec<Vec<String>> = self
            .members
            .iter()
            .map(|member| {
                let trouble = member.shards.iter().filter(|held| held.trouble.is_some());
                let address = member.address.as_deref().unwrap_or("-");
                vec![
                    visible(&member.member, MAX_NAME),
                    member.state().to_owned(),
                    ago(member.beat.map(Micros), self.now),
                    ago(
                        Some(Micros(member.since)).filter(|since| since.0 > 0),
                        self.now,
                    ),
                    member.shards.len().to_string(),
                    trouble.count().to_string(),
                    visible(address, MAX_NAME),
                    visible(&member.release, MAX_NAME),
                ]
            })
            .collect();
        table(&HEAD, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_has_a_line_with_its_state_and_what_it_holds() {
        let mut info = MemberInfo::new("a-1", "a", "k1", "0.1.0", Micros(1_000_000));
        info.shards.insert(
            "s".to_owned(),
            stockstream_core::member::Holding {
                epoch: 3,
                since: Micros(5_000_000),
                ended: false,
                trouble: Some("denied".to_owned()),
            },
        );
        let members = vec![
            of("a-1".to_owned(), Some(Micros(60_000_000)), false, Ok(info)),
            of("b-2".to_owned(), None, true, Err("cut off".to_owned())),
        ];
        let members = Members {
            members,
            now: Micros(61_000_000),
        };
        let text = members.text();
        assert!(
            text.contains("a-1     live    1s ago  1m 0s ago  1       1"),
            "{text}"
        );
        assert!(
            text.contains("b-2     silent  -       -          0       0"),
            "{text}"
        );
        let json = serde_json::to_value(&members).unwrap_or_default();
        assert_eq!(json[0]["shards"][0]["epoch"], 3, "{json}");
        assert_eq!(json[1]["error"], "cut off", "{json}");
    }
}
