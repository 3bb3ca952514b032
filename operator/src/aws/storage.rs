//! Looking at the buckets of a pipeline: can what exactly-once rests on be had there?
//!
//! Owns the operator's probe, which is smaller than a worker's own: is the bucket there, may be written, and does a second
//! create fail. Must never touch what a pipeline wrote.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, Delete, ExpirationStatus, ObjectIdentifier, ServerSideEncryption,
};
use aws_types::SdkConfig;
use stockstream_crds::Pipeline;
use stockstream_crds::pipeline::ObjectEncryption;

use super::calls::Call;
use super::count::CountRequests;
use super::error::{AwsError, AwsErrorKind};
use super::{Standing, State};
use crate::failpoint::{Point, meet};

/// The field of the state.
const STATE: &str = "spec.state.path";

/// Says, below the path of the state, whose it is.
const DOCUMENT: &str = "pipeline.json";

/// Says, below the path of rows, whose they are.
const OWNER_MARK: &str = "_stockstream.json";

/// What is read of `pipeline.json` and `_stockstream.json`.
#[derive(serde::Deserialize)]
struct StateDocument {
    #[serde(rename = "stateId")]
    state_id: String,
    /// Of `pipeline.json`.
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

/// What the probe creates, below the path; readers of Hive layouts skip such names, and workers use the same folder.
const PROBE: &str = "_stockstream-probe/operator";

/// A bucket and a prefix in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The field that names it.
    pub field: &'static str,
    /// The bucket.
    pub bucket: String,
    /// Empty, or with a slash at its end.
    pub prefix: String,
}

/// Where a pipeline writes in S3: state, rows, rejects. Paths of a disk are the pods' own and not looked at.
pub fn places(pipeline: &Pipeline) -> Vec<Place> {
    [
        (STATE, &pipeline.state().path),
        ("spec.output.path", &pipeline.output().path),
        ("spec.output.rejectsPath", &pipeline.output().rejects_path),
    ]
    .into_iter()
    .filter_map(|(field, path)| {
        let text = path.to_string();
        let rest = text.strip_prefix("s3://")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        Some(Place {
            field,
            bucket: bucket.to_owned(),
            prefix: match prefix {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            },
        })
    })
    .collect()
}

/// S3, by one configuration.
#[derive(Clone, Debug)]
pub struct Buckets {
    client: Client,
}

impl Buckets {
    /// Servers that stand in for S3 have no names for their buckets: they are asked by path.
    pub fn new(config: &SdkConfig, count: CountRequests) -> Self {
        let stands_in = config.endpoint_url().is_some()
            || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some()
            || std::env::var_os("AWS_ENDPOINT_URL").is_some();
        let config = aws_sdk_s3::config::Builder::from(config)
            .force_path_style(stands_in)
            .interceptor(count)
            .build();
        Self {
            client: Client::from_conf(config),
        }
    }

    /// Looks at every place. The first trouble is the standing; advice comes with a good one.
    pub async fn look(&self, places: &[Place], encryption: Option<&ObjectEncryption>) -> Standing {
        let mut advice: Vec<String> = Vec::new();
        for place in places {
            if let Err(standing) = self.probe(place, encryption).await {
                return standing;
            }
            meet(Point::StorageProbed);
        }
        let mut buckets: Vec<&str> = places.iter().map(|place| place.bucket.as_str()).collect();
        buckets.sort_unstable();
        buckets.dedup();
        for bucket in &buckets {
            advice.extend(self.advice(bucket).await);
        }
        let mut message = match buckets.as_slice() {
            [] => "nothing of this pipeline lies in S3".to_owned(),
            buckets => format!(
                "{} can be written, and a second create fails as it must",
                buckets.join(", ")
            ),
        };
        for advice in advice {
            message.push_str("; ");
            message.push_str(&advice);
        }
        Standing::new(State::Ready, "Writable", message)
    }

    /// A create, and another that must fail: the only conditional write that workers rely on.
    /// Encrypted as the workers' objects are: a bucket may refuse others.
    async fn probe(
        &self,
        place: &Place,
        encryption: Option<&ObjectEncryption>,
    ) -> Result<(), Standing> {
        let (kind, key_id, bucket_key) = match encryption {
            None => (None, None, None),
            Some(ObjectEncryption::SseS3) => (Some(ServerSideEncryption::Aes256), None, None),
            Some(ObjectEncryption::SseKms { key_id, bucket_key }) => (
                Some(ServerSideEncryption::AwsKms),
                key_id.clone(),
                *bucket_key,
            ),
        };
        let key = format!("{}{PROBE}", place.prefix);
        let target = format!("s3://{}/{key}", place.bucket);
        let mut refused = 0;
        for _ in 0..2 {
            let created = self
                .client
                .put_object()
                .bucket(&place.bucket)
                .key(&key)
                .if_none_match("*")
                .set_server_side_encryption(kind.clone())
                .set_ssekms_key_id(key_id.clone())
                .set_bucket_key_enabled(bucket_key)
                .body(ByteStream::from_static(
                    b"A probe by stockstream-operator. It may be deleted.\n",
                ))
                .send()
                .await;
            match created {
                Ok(_) => {}
                Err(error) => match error.code() {
                    Some("PreconditionFailed" | "ConditionalRequestConflict") => refused += 1,
                    Some("NoSuchBucket") => {
                        return Err(Standing::new(
                            State::Stuck,
                            "NoSuchBucket",
                            format!(
                                "{}: there is no bucket {}: make it (the operator makes none), or name another",
                                place.field, place.bucket
                            ),
                        ));
                    }
                    Some("NotImplemented") => return Err(unsound(place)),
                    Some("PermanentRedirect" | "AuthorizationHeaderMalformed") => {
                        return Err(Standing::new(
                            State::Stuck,
                            "WrongRegion",
                            format!(
                                "{}: the bucket {} lies in another region than the stream: name one of the stream's region",
                                place.field, place.bucket
                            ),
                        ));
                    }
                    _ => {
                        let error = AwsError::of(Call::PutObject, &target, &error);
                        let standing = error.standing();
                        let message = format!("{}: {}", place.field, standing.message);
                        return Err(Standing {
                            message,
                            ..standing
                        });
                    }
                },
            }
        }
        match refused {
            0 => Err(unsound(place)),
            _ => Ok(()),
        }
    }

    /// What would be better otherwise. What can't be seen is told, and is no trouble.
    async fn advice(&self, bucket: &str) -> Vec<String> {
        let mut advice = Vec::new();
        let versioning = self
            .client
            .get_bucket_versioning()
            .bucket(bucket)
            .send()
            .await;
        let is_versioned = match versioning {
            Ok(answer) => answer.status == Some(BucketVersioningStatus::Enabled),
            Err(error) => {
                advice.push(unseen(Call::GetBucketVersioning, bucket, &error));
                false
            }
        };
        let lifecycle = self
            .client
            .get_bucket_lifecycle_configuration()
            .bucket(bucket)
            .send()
            .await;
        let rules = match lifecycle {
            Ok(answer) => answer.rules.unwrap_or_default(),
            Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => Vec::new(),
            Err(error) => {
                advice.push(unseen(Call::GetLifecycleConfiguration, bucket, &error));
                return advice;
            }
        };
        let mut rules = rules
            .iter()
            .filter(|rule| rule.status == ExpirationStatus::Enabled);
        if is_versioned
            && !rules
                .clone()
                .any(|rule| rule.noncurrent_version_expiration.is_some())
        {
            advice.push(format!(
                "advice: {bucket} is versioned and keeps old versions of checkpoints for ever: let noncurrent versions expire after a day"
            ));
        }
        if rules.any(|rule| {
            rule.expiration
                .as_ref()
                .is_some_and(|one| one.days.is_some())
        }) {
            advice.push(format!(
                "advice: {bucket} has a rule that lets objects expire: make sure that it doesn't meet spec.state.path, where the newest checkpoint of an ended shard may be old"
            ));
        }
        advice
    }

    /// The id of the state that lies at the pipeline's state path; `None` when no worker ever wrote there, or that of another
    /// pipeline did, whose data isn't ours to delete.
    ///
    /// # Errors
    /// When it couldn't be read.
    pub async fn state_id(
        &self,
        places: &[Place],
        (namespace, name): (&str, &str),
    ) -> Result<Option<String>, AwsError> {
        let Some(place) = places.iter().find(|place| place.field == STATE) else {
            return Ok(None);
        };
        let document = self.read(place, DOCUMENT).await?;
        Ok(document
            .filter(|document| document.namespace == namespace && document.name == name)
            .map(|document| document.state_id))
    }

    /// A document of a worker; `None` when there is none.
    async fn read(&self, place: &Place, name: &str) -> Result<Option<StateDocument>, AwsError> {
        let key = format!("{}{name}", place.prefix);
        let target = format!("s3://{}/{key}", place.bucket);
        let found = self
            .client
            .get_object()
            .bucket(&place.bucket)
            .key(&key)
            .send()
            .await;
        let body = match found {
            Ok(found) => found.body.collect().await,
            Err(error) if matches!(error.code(), Some("NoSuchKey" | "NoSuchBucket")) => {
                return Ok(None);
            }
            Err(error) => return Err(AwsError::of(Call::GetObject, &target, &error)),
        };
        let unreadable = |detail: String| AwsError {
            call: Call::GetObject,
            target: target.clone(),
            kind: AwsErrorKind::Unavailable,
            detail,
        };
        let bytes = body
            .map_err(|error| unreadable(error.to_string()))?
            .into_bytes();
        let document =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        Ok(Some(document))
    }

    /// Deletes what the pipeline's workers wrote, within the time: rows, rejects and probes by the name that the state's id
    /// gives them, then the state itself. True when all has gone.
    ///
    /// # Errors
    /// When listing or deleting fails.
    pub async fn delete_data(
        &self,
        places: &[Place],
        state_id: &str,
        within: Duration,
    ) -> Result<bool, AwsError> {
        let begun = tokio::time::Instant::now();
        let mine = format!("{state_id}-");
        for place in places.iter().filter(|place| place.field != STATE) {
            let left = within.saturating_sub(begun.elapsed());
            let mark = self.read(place, OWNER_MARK).await?;
            let is_marked = mark.is_some_and(|mark| mark.state_id == state_id);
            let is_ours = |name: &str| {
                let file = name.rsplit('/').next().unwrap_or(name);
                file.starts_with(&mine)
                    || (is_marked && name == OWNER_MARK)
                    || name.starts_with("_stockstream-probe/")
            };
            if !self.delete_below(place, left, is_ours).await? {
                return Ok(false);
            }
        }
        // The state goes after them, and last the document that names it: while something is left, it is known whose it is.
        let rest = |name: &str| name != DOCUMENT;
        for place in places.iter().filter(|place| place.field == STATE) {
            let left = within.saturating_sub(begun.elapsed());
            let all_gone = self.delete_below(place, left, rest).await?
                && self
                    .delete_below(place, left, |name| name == DOCUMENT)
                    .await?;
            if !all_gone {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Deletes every object below the place whose name `is_ours` says may go, within the time. True when all have gone.
    ///
    /// # Errors
    /// When listing or deleting fails.
    pub async fn delete_below(
        &self,
        place: &Place,
        within: Duration,
        is_ours: impl Fn(&str) -> bool,
    ) -> Result<bool, AwsError> {
        let begun = tokio::time::Instant::now();
        let target = format!("s3://{}/{}", place.bucket, place.prefix);
        let mut token = None;
        loop {
            let listed = self
                .client
                .list_objects_v2()
                .bucket(&place.bucket)
                .prefix(&place.prefix)
                .set_continuation_token(token)
                .send()
                .await;
            let listed = match listed {
                Ok(listed) => listed,
                Err(error) if error.code() == Some("NoSuchBucket") => return Ok(true),
                Err(error) => return Err(AwsError::of(Call::ListBucket, &target, &error)),
            };
            let keys = listed.contents().iter().filter_map(|object| object.key());
            let ours: Vec<ObjectIdentifier> = keys
                .filter(|key| is_ours(key.strip_prefix(&place.prefix).unwrap_or(key)))
                .filter_map(|key| ObjectIdentifier::builder().key(key).build().ok())
                .collect();
            if !ours.is_empty() {
                if begun.elapsed() > within {
                    return Ok(false);
                }
                self.delete_objects(place, &target, ours).await?;
            }
            token = listed.next_continuation_token;
            if token.is_none() {
                return Ok(true);
            }
        }
    }

    async fn delete_objects(
        &self,
        place: &Place,
        target: &str,
        objects: Vec<ObjectIdentifier>,
    ) -> Result<(), AwsError> {
        let failed = |detail: String| AwsError {
            call: Call::DeleteObject,
            target: target.to_owned(),
            kind: AwsErrorKind::Unavailable,
            detail,
        };
        let objects = Delete::builder()
            .set_objects(Some(objects))
            .quiet(true)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let answer = self
            .client
            .delete_objects()
            .bucket(&place.bucket)
            .delete(objects)
            .send()
            .await
            .map_err(|error| AwsError::of(Call::DeleteObject, target, &error))?;
        match answer.errors().first() {
            None => {
                meet(Point::ObjectsDeleted);
                Ok(())
            }
            Some(error) => Err(AwsError {
                kind: match error.code() {
                    Some("AccessDenied") => AwsErrorKind::Denied,
                    _ => AwsErrorKind::Unavailable,
                },
                ..failed(format!(
                    "{}: {}",
                    error.key().unwrap_or_default(),
                    error.message().unwrap_or_default()
                ))
            }),
        }
    }
}

/// What is said of a setting that can't be seen.
fn unseen<E>(call: Call, bucket: &str, error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let error = AwsError::of(call, bucket, error);
    match error.kind {
        AwsErrorKind::Denied => format!(
            "no advice on a setting of {bucket}: allow {} in the operator's IAM role to get it",
            call.action()
        ),
        _ => {
            tracing::debug!(event = "no_advice", bucket, %error);
            format!(
                "no advice on a setting of {bucket} just now: {} had no good answer",
                call.action()
            )
        }
    }
}

fn unsound(place: &Place) -> Standing {
    Standing::new(
        State::Stuck,
        "NoConditionalWrites",
        format!(
            "{}: the store behind {} lets an object be created twice, so that nothing would be exactly once: use one with create-if-absent (If-None-Match: *), as Amazon S3 has",
            place.field, place.bucket
        ),
    )
}

#[cfg(test)]
mod tests;
