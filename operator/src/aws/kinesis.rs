//! Looking at a pipeline's stream, and taking the plan's step.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{EncryptionType, ScalingType, StreamMode, StreamModeDetails};
use jiff::Timestamp;
use stockstream_crds::pipeline::{KinesisSettings, StreamCapacity};

use super::calls::Call;
use super::error::{AwsError, AwsErrorKind};
use super::stream_plan::{MADE_FOR_TAG, OWNER_TAG, Owner, Step, StreamFacts, is_ours, next_step};
use super::{Standing, State};
use crate::failpoint::{Point, meet};

/// At most so many steps at one look: a stream that is made takes two, and each is followed by a wait.
const MOST_STEPS: usize = 4;

/// What a look at the stream gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamLook {
    /// Its standing.
    pub standing: Standing,
    /// As it was seen last; `None` when there is none, or nothing could be seen.
    pub facts: Option<StreamFacts>,
    /// Changes of the number of shards that were asked for now.
    pub scaled: Vec<Timestamp>,
}

/// A stream of one region.
#[derive(Clone, Debug)]
pub struct Streams {
    client: Client,
}

impl Streams {
    /// By a client of the stream's region.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Looks, and takes steps until there is nothing to do or something to wait for.
    pub async fn reconcile(
        &self,
        wish: &KinesisSettings,
        owner: &Owner,
        scalings: &[Timestamp],
        now: Timestamp,
    ) -> StreamLook {
        let mut scalings = scalings.to_vec();
        let mut look = StreamLook {
            standing: Standing::new(State::Waiting, "Changing", ""),
            facts: None,
            scaled: Vec::new(),
        };
        for _ in 0..MOST_STEPS {
            look.facts = match self.find(&wish.stream_name).await {
                Ok(facts) => facts,
                Err(error) => {
                    look.settle(error.standing());
                    return look;
                }
            };
            let step = next_step(wish, &owner.name, look.facts.as_ref(), &scalings, now);
            if let Some(standing) = rest(wish, look.facts.as_ref(), &step) {
                look.settle(standing);
                return look;
            }
            let is_made = look.has_made();
            match self.take(wish, owner, is_made, &step).await {
                Ok(()) => {
                    if let Some(point) = Point::taken(&step) {
                        meet(point);
                    }
                    if !(is_made && step == Step::Tag) {
                        look.standing.done.push(told(wish, &step));
                    }
                    if matches!(step, Step::SetShards(_)) {
                        look.scaled.push(now);
                        scalings.push(now);
                    }
                }
                // Somebody else was faster, or it is still changing: that is seen at the next look.
                Err(error) => {
                    let standing = match (error.kind, &step) {
                        (AwsErrorKind::InUse, _) => {
                            Standing::new(State::Waiting, "Changing", error.detail)
                        }
                        _ => error.standing(),
                    };
                    look.settle(standing);
                    return look;
                }
            }
        }
        look.settle(Standing::new(
            State::Waiting,
            "Changing",
            format!("the stream {} is being changed", wish.stream_name),
        ));
        look
    }

    /// The stream as it is; `None` when there is none.
    ///
    /// # Errors
    /// When it couldn't be told.
    pub async fn find(&self, name: &str) -> Result<Option<StreamFacts>, AwsError> {
        let described = self
            .client
            .describe_stream_summary()
            .stream_name(name)
            .send()
            .await;
        let summary = match described {
            Ok(answer) => answer.stream_description_summary,
            Err(error) => {
                let error = AwsError::of(Call::DescribeStreamSummary, name, &error);
                return match error.kind {
                    AwsErrorKind::NotFound => Ok(None),
                    _ => Err(error),
                };
            }
        };
        let Some(summary) = summary else {
            return Ok(None);
        };
        let tags = self
            .client
            .list_tags_for_stream()
            .stream_name(name)
            .limit(50)
            .send()
            .await
            .map_err(|error| AwsError::of(Call::ListTagsForStream, name, &error))?;
        let tags: BTreeMap<String, String> = tags
            .tags
            .into_iter()
            .map(|tag| (tag.key, tag.value.unwrap_or_default()))
            .collect();
        let mode = summary
            .stream_mode_details
            .map(|details| details.stream_mode);
        Ok(Some(StreamFacts {
            arn: summary.stream_arn,
            status: summary.stream_status.as_str().to_owned(),
            open_shards: u32::try_from(summary.open_shard_count).unwrap_or(0),
            is_on_demand: mode == Some(StreamMode::OnDemand),
            retention_hours: summary.retention_period_hours,
            key: (summary.encryption_type == Some(EncryptionType::Kms))
                .then_some(summary.key_id)
                .flatten(),
            tags,
        }))
    }

    async fn take(
        &self,
        wish: &KinesisSettings,
        owner: &Owner,
        is_made: bool,
        step: &Step,
    ) -> Result<(), AwsError> {
        let name = wish.stream_name.as_str();
        let client = &self.client;
        match step {
            Step::Create => {
                let (mode, shards) = match wish.capacity {
                    StreamCapacity::OnDemand => (StreamMode::OnDemand, None),
                    StreamCapacity::Provisioned { shards } => {
                        (StreamMode::Provisioned, Some(shard_count(shards)))
                    }
                };
                let mode = StreamModeDetails::builder().stream_mode(mode).build().ok();
                client
                    .create_stream()
                    .stream_name(name)
                    .set_shard_count(shards)
                    .set_stream_mode_details(mode)
                    .tags(OWNER_TAG, &owner.name)
                    .tags(MADE_FOR_TAG, &owner.uid)
                    .send()
                    .await
                    .map_err(|error| AwsError::of(Call::CreateStream, name, &error))?;
            }
            Step::Tag => {
                let mut tags = HashMap::from([(OWNER_TAG.to_owned(), owner.name.clone())]);
                if is_made {
                    tags.insert(MADE_FOR_TAG.to_owned(), owner.uid.clone());
                }
                client
                    .add_tags_to_stream()
                    .stream_name(name)
                    .set_tags(Some(tags))
                    .send()
                    .await
                    .map_err(|error| AwsError::of(Call::AddTagsToStream, name, &error))?;
            }
            Step::IncreaseRetention(hours) => {
                client
                    .increase_stream_retention_period()
                    .stream_name(name)
                    .retention_period_hours(*hours)
                    .send()
                    .await
                    .map_err(|error| {
                        AwsError::of(Call::IncreaseStreamRetentionPeriod, name, &error)
                    })?;
            }
            Step::DecreaseRetention(hours) => {
                client
                    .decrease_stream_retention_period()
                    .stream_name(name)
                    .retention_period_hours(*hours)
                    .send()
                    .await
                    .map_err(|error| {
                        AwsError::of(Call::DecreaseStreamRetentionPeriod, name, &error)
                    })?;
            }
            Step::Encrypt(key) => {
                client
                    .start_stream_encryption()
                    .stream_name(name)
                    .encryption_type(EncryptionType::Kms)
                    .key_id(key)
                    .send()
                    .await
                    .map_err(|error| AwsError::of(Call::StartStreamEncryption, name, &error))?;
            }
            Step::SetMode { on_demand } => {
                let arn = self.find(name).await?.map(|facts| facts.arn);
                let mode = match on_demand {
                    true => StreamMode::OnDemand,
                    false => StreamMode::Provisioned,
                };
                let mode = StreamModeDetails::builder().stream_mode(mode).build().ok();
                client
                    .update_stream_mode()
                    .set_stream_arn(arn)
                    .set_stream_mode_details(mode)
                    .send()
                    .await
                    .map_err(|error| AwsError::of(Call::UpdateStreamMode, name, &error))?;
            }
            Step::SetShards(shards) => {
                client
                    .update_shard_count()
                    .stream_name(name)
                    .target_shard_count(shard_count(*shards))
                    .scaling_type(ScalingType::UniformScaling)
                    .send()
                    .await
                    .map_err(|error| AwsError::of(Call::UpdateShardCount, name, &error))?;
            }
            Step::None
            | Step::Missing
            | Step::Wait
            | Step::Differs(_)
            | Step::BelongsToAnother(_)
            | Step::QuotaUsedUp { .. } => {}
        }
        Ok(())
    }

    /// Leaves a stream that was made for one StockStream to another one, which goes on reading it.
    ///
    /// # Errors
    /// When it couldn't be told whose it is, or be tagged.
    pub async fn give(&self, name: &str, from: &Owner, to: &Owner) -> Result<bool, AwsError> {
        let found = self.find(name).await?;
        if !found.is_some_and(|found| is_ours(&found, from)) {
            return Ok(false);
        }
        self.client
            .add_tags_to_stream()
            .stream_name(name)
            .tags(OWNER_TAG, &to.name)
            .tags(MADE_FOR_TAG, &to.uid)
            .send()
            .await
            .map_err(|error| AwsError::of(Call::AddTagsToStream, name, &error))?;
        Ok(true)
    }

    /// Deletes the stream if the operator made it for this StockStream. True when nothing of it is left, or it isn't ours.
    ///
    /// # Errors
    /// When it couldn't be deleted, or be told whose it is.
    pub async fn delete(&self, name: &str, owner: &Owner) -> Result<bool, AwsError> {
        let Some(found) = self.find(name).await? else {
            return Ok(true);
        };
        if !is_ours(&found, owner) {
            return Ok(true);
        }
        if found.status == "DELETING" {
            return Ok(false);
        }
        let deleted = self
            .client
            .delete_stream()
            .stream_name(name)
            .enforce_consumer_deletion(true)
            .send()
            .await
            .map_err(|error| AwsError::of(Call::DeleteStream, name, &error));
        match deleted {
            Ok(_) => {
                meet(Point::StreamDeletionAsked);
                Ok(false)
            }
            Err(error) if error.kind == AwsErrorKind::NotFound => Ok(true),
            Err(error) if error.kind == AwsErrorKind::InUse => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl StreamLook {
    fn has_made(&self) -> bool {
        let mut done = self.standing.done.iter();
        done.any(|(reason, _)| *reason == "StreamCreated")
    }

    fn settle(&mut self, standing: Standing) {
        let done = std::mem::take(&mut self.standing.done);
        self.standing = Standing { done, ..standing };
    }
}

/// The standing when there is no step to take.
fn rest(wish: &KinesisSettings, found: Option<&StreamFacts>, step: &Step) -> Option<Standing> {
    let name = &wish.stream_name;
    let region = &wish.region;
    match step {
        Step::None => Some(Standing::new(
            State::Ready,
            "Active",
            format!(
                "the stream {name} is active, with {} open shards",
                found.map_or(0, |found| found.open_shards)
            ),
        )),
        Step::Missing => Some(Standing::new(
            State::Stuck,
            "NotFound",
            format!(
                "there is no stream {name} in {region}, and spec.source.kinesis.management is External: make it, or let the operator (Managed)"
            ),
        )),
        Step::Wait => {
            let status = found.map_or("", |found| found.status.as_str());
            Some(Standing::new(
                State::Waiting,
                match status {
                    "CREATING" => "Creating",
                    "DELETING" => "Deleting",
                    _ => "Updating",
                },
                format!("the stream {name} is {status}"),
            ))
        }
        Step::Differs(difference) => Some(Standing::new(
            State::Ready,
            "ActiveButDiffers",
            format!("the stream {name} is active; {difference}, and it is managed elsewhere"),
        )),
        Step::BelongsToAnother(other) => Some(Standing::new(
            State::Stuck,
            "BelongsToAnother",
            format!(
                "the stream {name} isn't as this spec says, and belongs to {other}, as its tag {OWNER_TAG} says: nothing was changed; agree with that one, set spec.source.kinesis.management to External, or remove the tag if that one is gone"
            ),
        )),
        Step::QuotaUsedUp { open, target } => Some(Standing::new(
            State::Failing,
            "ScalingQuotaUsedUp",
            format!(
                "the stream {name} has {open} shards instead of {target}: AWS lets it be changed ten times in 24 hours, and the operator did so already; it goes on by itself"
            ),
        )),
        _ => None,
    }
}

/// The event of a step that was taken.
fn told(wish: &KinesisSettings, step: &Step) -> (&'static str, String) {
    let name = &wish.stream_name;
    match step {
        Step::Create => ("StreamCreated", format!("asked for the stream {name}")),
        Step::Tag => (
            "StreamAdopted",
            format!("the stream {name} was there already: tagged it"),
        ),
        Step::IncreaseRetention(hours) | Step::DecreaseRetention(hours) => (
            "StreamRetentionChanged",
            format!("the stream {name} shall keep records for {hours} hours"),
        ),
        Step::Encrypt(key) => (
            "StreamEncrypted",
            format!("the stream {name} shall be encrypted with {key}"),
        ),
        Step::SetMode { on_demand } => (
            "StreamModeChanged",
            format!(
                "the stream {name} shall be {}",
                if *on_demand {
                    "on-demand"
                } else {
                    "provisioned"
                }
            ),
        ),
        Step::SetShards(shards) => (
            "StreamScaled",
            format!("the stream {name} shall have {shards} shards"),
        ),
        _ => ("StreamLookedAt", format!("looked at the stream {name}")),
    }
}

fn shard_count(shards: u32) -> i32 {
    i32::try_from(shards).unwrap_or(i32::MAX)
}
