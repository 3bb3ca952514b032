//! Operations that change what a stream is: retention, encryption, mode, number of shards; and the
//! account's limits.

use std::sync::{Arc, PoisonError};

use super::control::{MAX_ON_DEMAND_STREAMS, MAX_SHARDS, MODES, check_stream, on_demand};
use super::limits::Scope;
use super::shards::open_shards;
use super::validate::Constraints;
use super::*;
use crate::log::{Change, Reshard, Settings, Stream, StreamMeta, StreamMode};

/// Hours (Kinesis API reference, IncreaseStreamRetentionPeriod).
pub(super) const DEFAULT_RETENTION: u32 = 24;
const MAX_RETENTION: i64 = 8760;

/// Open shards a stream may be scaled to (Kinesis API reference, UpdateShardCount).
const MAX_STREAM_SHARDS: i64 = 10_000;
/// How often a stream may be scaled in 24 hours (the same).
const MAX_SCALINGS: usize = 10;
const DAY_MILLIS: u64 = 24 * 3_600_000;

impl Kinesis {
    /// Keeps records longer.
    ///
    /// # Errors
    /// The period is invalid or shorter, there is no such stream, or the disk failed.
    pub fn increase_stream_retention_period(
        &self,
        request: &RetentionRequest,
    ) -> Result<Done, KinesisError> {
        self.admit(Operation::IncreaseStreamRetentionPeriod, &request.stream)?;
        self.change_retention(request, true)
    }

    /// Keeps records shorter; older ones are trimmed.
    ///
    /// # Errors
    /// The period is invalid or not shorter, there is no such stream, or the disk failed.
    pub fn decrease_stream_retention_period(
        &self,
        request: &RetentionRequest,
    ) -> Result<Done, KinesisError> {
        self.admit(Operation::DecreaseStreamRetentionPeriod, &request.stream)?;
        self.change_retention(request, false)
    }

    fn change_retention(&self, request: &RetentionRequest, up: bool) -> Result<Done, KinesisError> {
        let mut constraints = Constraints::new();
        check_stream(&mut constraints, &request.stream);
        constraints.required(
            "retentionPeriodHours",
            request.retention_period_hours.as_ref(),
        );
        constraints.finish()?;
        let hours = request.retention_period_hours.unwrap_or_default();
        if !(i64::from(DEFAULT_RETENTION)..=MAX_RETENTION).contains(&hours) {
            let bound = if hours > MAX_RETENTION {
                "Maximum"
            } else {
                "Minimum"
            };
            let limit = if hours > MAX_RETENTION {
                MAX_RETENTION
            } else {
                i64::from(DEFAULT_RETENTION)
            };
            return Err(KinesisError::invalid_argument(format!(
                "{bound} allowed retention period is {limit} hours. Requested retention period ({hours} hours) is not allowed."
            )));
        }
        let stream = self.resolve(&request.stream)?;
        self.check_active(&stream)?;
        let change = |settings: &mut Settings| {
            let current = i64::from(settings.retention_hours);
            if (up && hours <= current) || (!up && hours >= current) {
                let wanted = if up { "more" } else { "less" };
                return Err(KinesisError::invalid_argument(format!(
                    "Requested retention period ({hours} hours) for stream {} must be {wanted} than the existing retention \
                     period ({current} hours).",
                    stream.name()
                )));
            }
            settings.retention_hours = u32::try_from(hours).unwrap_or(DEFAULT_RETENTION);
            Ok(())
        };
        stream.change(change, |meta| self.save(meta))?;
        Ok(Done)
    }

    /// Says that records are encrypted from now on. They aren't: there is no KMS here.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream or it isn't active, or the disk failed.
    pub fn start_stream_encryption(
        &self,
        request: &EncryptionRequest,
    ) -> Result<Done, KinesisError> {
        let stream = self.check_encryption(Operation::StartStreamEncryption, request)?;
        let key = request.key_id.clone();
        let delay = self.options.delays.updating;
        self.begin(&stream, Change::Encrypt(key), delay, |meta| {
            self.admit_change(Operation::StartStreamEncryption, meta)
        })?;
        Ok(Done)
    }

    /// Says that records aren't encrypted any more.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream or it isn't active, or the disk failed.
    pub fn stop_stream_encryption(
        &self,
        request: &EncryptionRequest,
    ) -> Result<Done, KinesisError> {
        let stream = self.check_encryption(Operation::StopStreamEncryption, request)?;
        let delay = self.options.delays.updating;
        self.begin(&stream, Change::Encrypt(None), delay, |meta| {
            self.admit_change(Operation::StopStreamEncryption, meta)
        })?;
        Ok(Done)
    }

    fn check_encryption(
        &self,
        operation: Operation,
        request: &EncryptionRequest,
    ) -> Result<Arc<Stream>, KinesisError> {
        let mut constraints = Constraints::new();
        check_stream(&mut constraints, &request.stream);
        constraints.required("encryptionType", request.encryption_type.as_ref());
        constraints.one_of(
            "encryptionType",
            request.encryption_type.as_ref(),
            &["NONE", "KMS"],
        );
        constraints.required("keyId", request.key_id.as_ref());
        constraints.text("keyId", request.key_id.as_ref(), 2048);
        constraints.finish()?;
        if request.encryption_type.as_deref() != Some("KMS") {
            return Err(KinesisError::invalid_argument(
                "EncryptionType must be KMS: it is the only valid value.",
            ));
        }
        self.admit(operation, &request.stream)?;
        let stream = self.resolve(&request.stream)?;
        let key = request.key_id.as_deref().unwrap_or_default();
        if !is_key_id(key) {
            return Err(KinesisError::new(
                ErrorKind::KmsNotFound,
                format!(
                    "Invalid keyId '{key}': a key's id (a UUID), its ARN, an alias (alias/NAME) or an alias' ARN is expected."
                ),
            ));
        }
        Ok(stream)
    }

    /// Changes who decides the number of shards; the shards stay.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream or it isn't active, there are too many on-demand
    /// streams, or the disk failed.
    pub fn update_stream_mode(
        &self,
        request: &UpdateStreamModeRequest,
    ) -> Result<Done, KinesisError> {
        let details = request.stream_mode_details.as_ref();
        let mode = details.and_then(|details| details.stream_mode.as_ref());
        let mut constraints = Constraints::new();
        constraints.required("streamARN", request.stream_arn.as_ref());
        constraints.text("streamARN", request.stream_arn.as_ref(), 2048);
        constraints.required("streamModeDetails", details);
        if details.is_some() {
            constraints.required("streamModeDetails.streamMode", mode);
        }
        constraints.one_of("streamModeDetails.streamMode", mode, &MODES);
        constraints.finish()?;
        let reference = StreamRef {
            stream_name: None,
            stream_arn: request.stream_arn.clone(),
        };
        self.admit(Operation::UpdateStreamMode, &reference)?;
        let stream = self.resolve(&reference)?;
        let mode = match mode.map(String::as_str) {
            Some("ON_DEMAND") => StreamMode::OnDemand,
            _ => StreamMode::Provisioned,
        };
        if mode == StreamMode::OnDemand && stream.settings().mode != mode {
            self.check_on_demand_limit(on_demand(self.all_streams().iter()))?;
        }
        let delay = self.options.delays.updating;
        self.begin(&stream, Change::Mode(mode), delay, |meta| {
            match meta.settings.mode == mode {
                true => Ok(()),
                false => self.admit_change(Operation::UpdateStreamMode, meta),
            }
        })?;
        Ok(Done)
    }

    /// Sets the number of open shards, by splits and merges to shards of equal width.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream, it isn't active or is on demand, a limit of scaling
    /// is passed, or the disk failed.
    pub fn update_shard_count(
        &self,
        caller: &Caller,
        request: &UpdateShardCountRequest,
    ) -> Result<UpdateShardCountOutcome, KinesisError> {
        let mut constraints = Constraints::new();
        check_stream(&mut constraints, &request.stream);
        constraints.required("targetShardCount", request.target_shard_count.as_ref());
        constraints.number("targetShardCount", request.target_shard_count, 1, i64::MAX);
        constraints.required("scalingType", request.scaling_type.as_ref());
        constraints.one_of(
            "scalingType",
            request.scaling_type.as_ref(),
            &["UNIFORM_SCALING"],
        );
        constraints.finish()?;
        self.admit(Operation::UpdateShardCount, &request.stream)?;
        let stream = self.resolve(&request.stream)?;
        let asked = request.target_shard_count.unwrap_or_default();
        let target = u32::try_from(asked).unwrap_or(u32::MAX);
        let now = self.now();
        let shards_of_all = self.open_shard_count();
        let mut current = 0;
        let scale = Change::Reshard(Reshard::Scale { target });
        self.begin(&stream, scale, self.options.delays.updating, |meta| {
            self.check_provisioned(meta)?;
            let open = meta.shards.iter().filter(|shard| shard.closed.is_none());
            current = open.count();
            check_scaling(asked, current)?;
            self.check_shard_limit(shards_of_all, (target as usize).saturating_sub(current))?;
            note_scaling(meta, now)
        })?;
        Ok(UpdateShardCountOutcome {
            stream_name: stream.name().to_owned(),
            current_shard_count: current,
            target_shard_count: target,
            stream_arn: self.arn(caller, stream.name()),
        })
    }

    /// Tells the limits of the account and what is used of them.
    ///
    /// # Errors
    /// Asked for too often.
    pub fn describe_limits(
        &self,
        _request: &DescribeLimitsRequest,
    ) -> Result<DescribeLimitsOutcome, KinesisError> {
        self.admit(Operation::DescribeLimits, Scope::Account)?;
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        let open = open_shards(streams.values());
        Ok(DescribeLimitsOutcome {
            shard_limit: MAX_SHARDS,
            open_shard_count: open,
            on_demand_stream_count: on_demand(streams.values()),
            on_demand_stream_count_limit: MAX_ON_DEMAND_STREAMS,
        })
    }
}

/// A key's id, its ARN, an alias or an alias' ARN (Kinesis API reference, StartStreamEncryption).
fn is_key_id(text: &str) -> bool {
    let named =
        text.split_once(":kms:")
            .map_or(text, |(arn, rest)| match rest.splitn(3, ':').nth(2) {
                Some(resource) if arn.starts_with("arn:aws") => {
                    resource.strip_prefix("key/").unwrap_or(resource)
                }
                _ => "",
            });
    let uuid = || {
        let parts: Vec<usize> = named.split('-').map(str::len).collect();
        // Multi-region keys: mrk- and 32 hexadecimal digits.
        (parts == [8, 4, 4, 4, 12] || (named.starts_with("mrk-") && named.len() == 36))
            && named
                .trim_start_matches("mrk-")
                .bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
    };
    let alias = || {
        named.strip_prefix("alias/").is_some_and(|alias| {
            !alias.is_empty()
                && alias
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte))
        })
    };
    uuid() || alias()
}

/// Double and half at most, and the limit of a stream (Kinesis API reference, UpdateShardCount).
fn check_scaling(target: i64, current: usize) -> Result<(), KinesisError> {
    let current = i64::try_from(current).unwrap_or(i64::MAX);
    let counts = format!("Current open shard count: {current}. Target shard count: {target}.");
    let refused = if target > MAX_STREAM_SHARDS {
        format!("UpdateShardCount cannot scale to more than {MAX_STREAM_SHARDS} shards. {counts}")
    } else if target > current.saturating_mul(2) {
        format!(
            "UpdateShardCount cannot scale up over double your current open shard count. {counts}"
        )
    } else if target.saturating_mul(2) < current {
        format!(
            "UpdateShardCount cannot scale down below half your current open shard count. {counts}"
        )
    } else {
        return Ok(());
    };
    Err(KinesisError::new(ErrorKind::LimitExceeded, refused))
}

/// Counts a scaling, if another one is allowed in these 24 hours.
fn note_scaling(meta: &mut StreamMeta, now: u64) -> Result<(), KinesisError> {
    let name = &meta.name;
    let scaled = &mut meta.settings.scaled_millis;
    // One in the future stands from before the clock was set back: it counts as of now.
    scaled.retain(|at| now.saturating_sub(*at) < DAY_MILLIS);
    if scaled.len() >= MAX_SCALINGS {
        return Err(KinesisError::new(
            ErrorKind::LimitExceeded,
            format!(
                "Stream {name} has been scaled {MAX_SCALINGS} times in the last 24 hours: no more are allowed. SplitShard and \
                 MergeShards have no such limit."
            ),
        ));
    }
    scaled.push(now);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_are_those_of_the_api_reference() {
        for key in [
            "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012",
            "arn:aws:kms:us-east-1:123456789012:alias/MyAliasName",
            "12345678-1234-1234-1234-123456789012",
            "mrk-1234abcd12ab34cd56ef1234567890ab",
            "alias/MyAliasName",
            "alias/aws/kinesis",
        ] {
            assert!(is_key_id(key), "{key}");
        }
        for key in [
            "",
            "k",
            "alias/",
            "MyAliasName",
            "arn:aws:kms:us-east-1:1",
            "arn:aws:s3:::b",
        ] {
            assert!(!is_key_id(key), "{key}");
        }
    }

    #[test]
    fn double_and_half_are_the_bounds_of_scaling() {
        for (target, current) in [
            (1, 1),
            (2, 1),
            (1, 2),
            (4, 2),
            (2, 3),
            (6, 3),
            (10_000, 5_000),
        ] {
            assert_eq!(
                check_scaling(target, current),
                Ok(()),
                "{target} of {current}"
            );
        }
        for (target, current) in [(3, 1), (1, 3), (7, 3), (10_001, 9_000)] {
            assert!(
                check_scaling(target, current).is_err(),
                "{target} of {current}"
            );
        }
    }
}
