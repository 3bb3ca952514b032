//! Which operations there are, by AWS's names. Everything that depends on an operation's name asks here.

use std::fmt;
use std::str::FromStr;

macro_rules! operations {
    ($($name:ident),+ $(,)?) => {
        /// What is served.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the Kinesis API reference describes each by this name")]
        pub enum Operation {
            $($name),+
        }

        impl Operation {
            /// All of them, by name.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// AWS's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name)),+
                }
            }
        }

        impl FromStr for Operation {
            type Err = NotServed;

            fn from_str(name: &str) -> Result<Self, NotServed> {
                match name {
                    $(stringify!($name) => Ok(Self::$name),)+
                    _ => Err(NotServed),
                }
            }
        }
    };
}

operations!(
    AddTagsToStream,
    CreateStream,
    DecreaseStreamRetentionPeriod,
    DeleteStream,
    DeregisterStreamConsumer,
    DescribeLimits,
    DescribeStream,
    DescribeStreamConsumer,
    DescribeStreamSummary,
    GetRecords,
    GetShardIterator,
    IncreaseStreamRetentionPeriod,
    ListShards,
    ListStreamConsumers,
    ListStreams,
    ListTagsForResource,
    ListTagsForStream,
    MergeShards,
    PutRecord,
    PutRecords,
    RegisterStreamConsumer,
    RemoveTagsFromStream,
    SplitShard,
    StartStreamEncryption,
    StopStreamEncryption,
    SubscribeToShard,
    TagResource,
    UntagResource,
    UpdateShardCount,
    UpdateStreamMode,
);

/// No operation of that name is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not served")]
pub struct NotServed;

impl Operation {
    /// A sentence that names what is served.
    #[must_use]
    pub fn served() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|operation| operation.name()).collect();
        format!("Served are: {}.", names.join(", "))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
