//! Every object key of the product, in one place.
//!
//! Owns names under the state, output and rejects paths, and the Hive escaping of partition values. Must never
//! talk to a store. Keys are relative to their root path and use `/`.

use std::fmt::Write as _;

use crate::row::{PartitionColumn, PartitionPart};

/// Digits of a version in a checkpoint's key: keys sort as versions do.
pub const VERSION_DIGITS: usize = 20;

/// Names the output's owner; lies in the output's root. Readers of Hive layouts skip names that begin with `_`.
pub const OUTPUT_OWNER: &str = "_stockstream.json";

/// Names the pipeline; lies in the state's root.
pub const PIPELINE: &str = "pipeline.json";

/// One life of a stream, as keys write it: letters and digits only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(String);

impl Incarnation {
    /// Of a Kinesis stream: its creation time in milliseconds since the epoch.
    pub fn of_stream(created_millis: i64) -> Self {
        Incarnation(format!("k{created_millis}"))
    }

    /// Of a list of files: a hash of (path, size, ETag), as hex.
    pub fn of_files(digest: &str) -> Self {
        let short: String = digest
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(16)
            .collect();
        Incarnation(format!("f{short}"))
    }

    /// From a key or a stored document; `None` unless it is letters and digits, at most 64.
    pub fn parse(text: &str) -> Option<Self> {
        let sound = !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        sound.then(|| Incarnation(text.to_owned()))
    }

    /// As keys write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Incarnation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Keys under `state.path` for one incarnation of the stream.
#[derive(Clone, Debug)]
pub struct StateKeys {
    incarnation: Incarnation,
}

impl StateKeys {
    /// The keys of an incarnation.
    pub fn new(incarnation: Incarnation) -> Self {
        StateKeys { incarnation }
    }

    /// Where reading began.
    pub fn roots(&self) -> String {
        format!("shards/{}/roots.json", self.incarnation)
    }

    /// The files that a bounded pipeline reads.
    pub fn files(&self) -> String {
        format!("shards/{}/files.json", self.incarnation)
    }

    /// Says that every root has its first version.
    pub fn started(&self) -> String {
        format!("shards/{}/started", self.incarnation)
    }

    /// The folder of all chains of this incarnation, without a trailing slash.
    pub fn chains(&self) -> String {
        format!("shards/{}", self.incarnation)
    }

    /// The folder of a shard's chain, without a trailing slash.
    pub fn chain(&self, shard: &str) -> String {
        format!("shards/{}/{shard}", self.incarnation)
    }

    /// A version of a shard's chain.
    pub fn checkpoint(&self, shard: &str, version: u64) -> String {
        format!(
            "shards/{}/{shard}/{version:0width$}.ckpt",
            self.incarnation,
            width = VERSION_DIGITS
        )
    }
}

/// The folder of all incarnations' chains.
pub const SHARDS: &str = "shards";

/// The folder of the workers that say that they live.
pub const MEMBERS: &str = "members";

/// A member's beat: a counter that changes with every heartbeat.
pub fn member_beat(member: &str) -> String {
    format!("{MEMBERS}/{member}/beat")
}

/// What a member says of itself; see [`crate::member::MemberInfo`].
pub fn member_info(member: &str) -> String {
    format!("{MEMBERS}/{member}/info")
}

/// The member that a key under [`MEMBERS`] belongs to, and the object's name; `None` for any other key.
pub fn member_of(key: &str) -> Option<(&str, &str)> {
    let rest = key.strip_prefix(MEMBERS)?.strip_prefix('/')?;
    rest.split_once('/').filter(|(_, name)| !name.contains('/'))
}

/// The version that a checkpoint's file name names; `None` for any other name.
pub fn version_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".ckpt")?;
    let sound = digits.len() == VERSION_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    sound.then(|| digits.parse().ok()).flatten()
}

/// What names a batch's files: the same batch always gets the same names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchName {
    /// The pipeline's random id.
    pub state_id: String,
    /// The stream's life.
    pub incarnation: Incarnation,
    /// The shard.
    pub shard: String,
    /// The version that sealed the batch.
    pub version: u64,
}

impl BatchName {
    fn stem(&self) -> String {
        format!(
            "{}-{}-{}-{}",
            self.state_id, self.incarnation, self.shard, self.version
        )
    }

    /// The key, under the output path, of the batch's file in a partition.
    pub fn rows(&self, columns: &[PartitionColumn], parts: &[PartitionPart]) -> String {
        partition_folder(columns, parts) + &self.stem() + ".parquet"
    }

    /// The key, under the rejects path, of the batch's late ticks.
    pub fn late(&self) -> String {
        format!("late/{}.parquet", self.stem())
    }

    /// The key, under the rejects path, of the batch's dead letters.
    pub fn dead_letters(&self) -> String {
        format!("{DEAD_LETTERS}/{}{DEAD_LETTERS_SUFFIX}", self.stem())
    }
}

/// The folder, under the rejects path, of all dead letters.
pub const DEAD_LETTERS: &str = "dead-letters";

/// How names of files of dead letters end.
pub const DEAD_LETTERS_SUFFIX: &str = ".ndjson";

/// A file of dead letters by its place in its chain: everything in its name before the version, and the version. A file of
/// another name is a chain of its own.
pub fn place_of_dead_letters(file_name: &str) -> (&str, u64) {
    let stem = file_name
        .strip_suffix(DEAD_LETTERS_SUFFIX)
        .unwrap_or(file_name);
    let place = stem
        .rsplit_once('-')
        .and_then(|(chain, version)| Some((chain, version.parse().ok()?)));
    place.unwrap_or((stem, 0))
}

/// The folder, beside the dead letters, of the receipts of what was sent again to a stream. Readers of tables skip names
/// that begin with `_`.
pub fn replay_receipts(stream: &str, incarnation: &Incarnation) -> String {
    format!("_replayed/{stream}/{incarnation}")
}

/// A receipt in that folder: the `number`th of a run.
pub fn replay_receipt(folder: &str, run: &str, number: u64) -> String {
    format!("{folder}/{run}-{number:06}.json")
}

/// A partition's folder under the output path, with a slash at its end; empty without partition columns.
pub fn partition_folder(columns: &[PartitionColumn], parts: &[PartitionPart]) -> String {
    let mut folder = String::new();
    for (column, part) in columns.iter().zip(parts) {
        let value = match part {
            PartitionPart::Ticker(ticker) => hive_escape(ticker),
            PartitionPart::TradeDate(date) => date.to_string(),
        };
        let _ = write!(folder, "{}={value}/", column.name()); // writing to a String can't fail
    }
    folder
}

/// Escapes a partition value as Hive does (`FileUtils.escapePathName`): control characters and
/// `" # % ' * / : = ? \ { [ ] ^` and DEL become `%XX`; an empty value becomes `__HIVE_DEFAULT_PARTITION__`.
pub fn hive_escape(value: &str) -> String {
    if value.is_empty() {
        return "__HIVE_DEFAULT_PARTITION__".to_owned();
    }
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        let special = matches!(
            character,
            '\0'..='\x1f'
                | '"'
                | '#'
                | '%'
                | '\''
                | '*'
                | '/'
                | ':'
                | '='
                | '?'
                | '\\'
                | '{'
                | '['
                | ']'
                | '^'
                | '\x7f'
        );
        if special {
            let _ = write!(escaped, "%{:02X}", u32::from(character)); // writing to a String can't fail
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::time::Date;
    use proptest::prelude::*;

    #[test]
    fn checkpoint_keys_sort_as_their_versions() {
        let keys = StateKeys::new(Incarnation::of_stream(1_700_000_000_123));
        let (nine, ten) = (
            keys.checkpoint("shardId-0", 9),
            keys.checkpoint("shardId-0", 10),
        );
        assert!(nine < ten);
        let name = ten.rsplit('/').next().unwrap();
        assert_eq!(version_of(name), Some(10));
    }

    #[test]
    fn other_names_are_no_versions() {
        for name in [
            "roots.json",
            "1.ckpt",
            "0000000000000000000x.ckpt",
            "99999999999999999999.ckpt",
        ] {
            assert_eq!(version_of(name), None, "{name}");
        }
    }

    #[test]
    fn files_are_named_by_state_incarnation_shard_and_version() {
        let name = BatchName {
            state_id: "5f2c".into(),
            incarnation: Incarnation::of_stream(17),
            shard: "shardId-000000000001".into(),
            version: 12,
        };
        let columns = [PartitionColumn::Ticker, PartitionColumn::TradeDate];
        let parts = [
            PartitionPart::Ticker("^GSPC".into()),
            PartitionPart::TradeDate(Date::parse("2024-01-02").unwrap()),
        ];
        assert_eq!(
            name.rows(&columns, &parts),
            "ticker=%5EGSPC/trade_date=2024-01-02/5f2c-k17-shardId-000000000001-12.parquet"
        );
        assert_eq!(
            name.rows(&[], &[]),
            "5f2c-k17-shardId-000000000001-12.parquet"
        );
    }

    #[test]
    fn dead_letters_are_told_apart_by_chain_and_version() {
        let name = BatchName {
            state_id: "5f2c".into(),
            incarnation: Incarnation::of_stream(17),
            shard: "shardId-000000000001".into(),
            version: 12,
        };
        let key = name.dead_letters();
        let file = key.strip_prefix("dead-letters/").unwrap();
        assert_eq!(
            place_of_dead_letters(file),
            ("5f2c-k17-shardId-000000000001", 12)
        );
        assert_eq!(place_of_dead_letters("mine.ndjson"), ("mine", 0));
    }

    #[test]
    fn hive_escaping_is_hives() {
        assert_eq!(hive_escape("BRK/B"), "BRK%2FB");
        assert_eq!(hive_escape("a=b:c"), "a%3Db%3Ac");
        assert_eq!(hive_escape(".."), "..");
        assert_eq!(hive_escape("ÄÖ €"), "ÄÖ €");
        assert_eq!(hive_escape("\u{0}\n"), "%00%0A");
    }

    proptest! {
        #[test]
        fn escaped_values_never_leave_their_folder(value in "\\PC{1,40}") {
            let escaped = hive_escape(&value);
            let outside = escaped.contains('/') || escaped.contains('\\');
            prop_assert!(!outside);
        }
    }
}
