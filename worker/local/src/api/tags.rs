//! Tags of streams and consumers, by both families of operations.

use std::collections::BTreeMap;

use super::consumers::{ConsumerArn, no_consumer};
use super::control::{check_stream, limit_or, page};
use super::limits::Scope;
use super::validate::Constraints;
use super::*;
use crate::log::{ConsumerMeta, Settings};

/// Tags of one resource (Kinesis API reference, AddTagsToStream).
const MAX_TAGS: usize = 50;

type Tags = BTreeMap<String, String>;

/// What an ARN names.
enum Resource {
    Stream(String),
    Consumer {
        stream: String,
        name: String,
        arn_seconds: u64,
    },
}

/// Refuses what a resource's tags may not be: too many, or with characters that aren't allowed
/// (Kinesis API reference, TagResource).
pub(super) fn check_tags(tags: &Tags) -> Result<(), KinesisError> {
    let allowed = |character: char| {
        character.is_alphanumeric() || character.is_whitespace() || "_.:/=+-@".contains(character)
    };
    for (key, value) in tags {
        if !key.chars().chain(value.chars()).all(allowed) {
            return Err(KinesisError::invalid_argument(format!(
                "The tag '{key}' has characters that aren't allowed. Allowed are Unicode letters, digits, white space, and \
                 _ . : / = + - @"
            )));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(KinesisError::invalid_argument(format!(
                "The tag key '{key}' begins with 'aws:', which is reserved."
            )));
        }
    }
    if tags.len() > MAX_TAGS {
        return Err(KinesisError::invalid_argument(format!(
            "A resource can have {MAX_TAGS} tags; there would be {}.",
            tags.len()
        )));
    }
    Ok(())
}

fn add(tags: &mut Tags, more: &Tags) -> Result<(), KinesisError> {
    tags.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
    check_tags(tags)
}

fn remove(tags: &mut Tags, keys: &[String]) {
    tags.retain(|key, _| !keys.contains(key));
}

fn views<'a>(tags: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<TagView> {
    tags.map(|(key, value)| TagView {
        key: key.clone(),
        value: value.clone(),
    })
    .collect()
}

impl Kinesis {
    /// Adds or overwrites tags of a stream.
    ///
    /// # Errors
    /// A field is invalid, there are too many tags, there is no such stream or it isn't active, or the
    /// disk failed.
    pub fn add_tags_to_stream(&self, request: &AddTagsRequest) -> Result<Done, KinesisError> {
        let mut constraints = Constraints::new();
        check_stream(&mut constraints, &request.stream);
        constraints.required("tags", request.tags.as_ref());
        constraints.tags("tags", request.tags.as_ref());
        constraints.finish()?;
        self.admit(Operation::AddTagsToStream, &request.stream)?;
        let more = request.tags.clone().unwrap_or_default();
        self.change_tags(&Resource::Stream(self.name_of(&request.stream)?), |tags| {
            add(tags, &more)
        })
    }

    /// Removes tags of a stream; keys it doesn't have are ignored.
    ///
    /// # Errors
    /// A field is invalid, there is no such stream or it isn't active, or the disk failed.
    pub fn remove_tags_from_stream(
        &self,
        request: &RemoveTagsRequest,
    ) -> Result<Done, KinesisError> {
        let mut constraints = Constraints::new();
        check_stream(&mut constraints, &request.stream);
        constraints.tag_keys("tagKeys", request.tag_keys.as_ref());
        constraints.finish()?;
        self.admit(Operation::RemoveTagsFromStream, &request.stream)?;
        let keys = request.tag_keys.clone().unwrap_or_default();
        self.change_tags(&Resource::Stream(self.name_of(&request.stream)?), |tags| {
            remove(tags, &keys);
            Ok(())
        })
    }

    /// Lists a stream's tags by key.
    ///
    /// # Errors
    /// A field is invalid, or there is no such stream.
    pub fn list_tags_for_stream(
        &self,
        request: &ListTagsForStreamRequest,
    ) -> Result<ListTagsForStreamOutcome, KinesisError> {
        let mut constraints = Constraints::new();
        check_stream(&mut constraints, &request.stream);
        constraints.text(
            "exclusiveStartTagKey",
            request.exclusive_start_tag_key.as_ref(),
            128,
        );
        constraints.number("limit", request.limit, 1, 50);
        constraints.finish()?;
        self.admit(Operation::ListTagsForStream, &request.stream)?;
        let tags = self.resolve(&request.stream)?.settings().tags;
        let after = request.exclusive_start_tag_key.as_ref();
        let rest = tags
            .iter()
            .filter(|(key, _)| after.is_none_or(|after| *key > after));
        let (tags, has_more_tags) = page(rest, limit_or(request.limit, MAX_TAGS, MAX_TAGS));
        Ok(ListTagsForStreamOutcome {
            tags: views(tags.into_iter()),
            has_more_tags,
        })
    }

    /// Adds or overwrites tags of a stream or consumer.
    ///
    /// # Errors
    /// As [`Kinesis::add_tags_to_stream`].
    pub fn tag_resource(&self, request: &TagResourceRequest) -> Result<Done, KinesisError> {
        let mut constraints = Constraints::new();
        check_arn(&mut constraints, request.resource_arn.as_ref());
        constraints.required("tags", request.tags.as_ref());
        constraints.tags("tags", request.tags.as_ref());
        constraints.finish()?;
        let more = request.tags.clone().unwrap_or_default();
        let resource = self.resource(Operation::TagResource, request.resource_arn.as_ref())?;
        self.change_tags(&resource, |tags| add(tags, &more))
    }

    /// Removes tags of a stream or consumer.
    ///
    /// # Errors
    /// As [`Kinesis::remove_tags_from_stream`].
    pub fn untag_resource(&self, request: &UntagResourceRequest) -> Result<Done, KinesisError> {
        let mut constraints = Constraints::new();
        check_arn(&mut constraints, request.resource_arn.as_ref());
        constraints.tag_keys("tagKeys", request.tag_keys.as_ref());
        constraints.finish()?;
        let keys = request.tag_keys.clone().unwrap_or_default();
        let resource = self.resource(Operation::UntagResource, request.resource_arn.as_ref())?;
        self.change_tags(&resource, |tags| {
            remove(tags, &keys);
            Ok(())
        })
    }

    /// Lists all tags of a stream or consumer by key.
    ///
    /// # Errors
    /// A field is invalid, or there is no such resource.
    pub fn list_tags_for_resource(
        &self,
        request: &ListTagsForResourceRequest,
    ) -> Result<ListTagsForResourceOutcome, KinesisError> {
        let mut constraints = Constraints::new();
        check_arn(&mut constraints, request.resource_arn.as_ref());
        constraints.finish()?;
        let resource = self.resource(
            Operation::ListTagsForResource,
            request.resource_arn.as_ref(),
        )?;
        let mut settings = self.stream(resource.stream())?.settings();
        let tags = self.tags_of(&resource, &mut settings)?;
        Ok(ListTagsForResourceOutcome {
            tags: views(tags.iter()),
        })
    }

    fn change_tags(
        &self,
        resource: &Resource,
        change: impl FnOnce(&mut Tags) -> Result<(), KinesisError>,
    ) -> Result<Done, KinesisError> {
        let stream = self.stream(resource.stream())?;
        self.check_active(&stream)?;
        stream.change(
            |settings| change(self.tags_of(resource, settings)?),
            |meta| self.save(meta),
        )?;
        Ok(Done)
    }

    fn tags_of<'a>(
        &self,
        resource: &Resource,
        settings: &'a mut Settings,
    ) -> Result<&'a mut Tags, KinesisError> {
        match resource {
            Resource::Stream(_) => Ok(&mut settings.tags),
            Resource::Consumer {
                stream,
                name,
                arn_seconds,
            } => {
                // A consumer made anew under the name is another one.
                let same = |found: &&mut ConsumerMeta| found.arn_seconds == *arn_seconds;
                let found = settings.consumers.get_mut(name).filter(same);
                found
                    .map(|found| &mut found.tags)
                    .ok_or_else(|| no_consumer(stream, name, &self.options.account_id))
            }
        }
    }

    /// What the ARN of a call names; the call is counted.
    fn resource(
        &self,
        operation: Operation,
        arn: Option<&String>,
    ) -> Result<Resource, KinesisError> {
        let arn = arn.map(String::as_str).unwrap_or_default();
        self.admit(operation, Scope::from_arn(arn))?;
        Ok(match ConsumerArn::parse(arn) {
            Some(consumer) => Resource::Consumer {
                stream: consumer.stream.to_owned(),
                name: consumer.name.to_owned(),
                arn_seconds: consumer.seconds,
            },
            None => Resource::Stream(self.name_in_arn(arn)?),
        })
    }
}

impl Resource {
    fn stream(&self) -> &str {
        match self {
            Self::Stream(stream) | Self::Consumer { stream, .. } => stream,
        }
    }
}

fn check_arn(constraints: &mut Constraints, arn: Option<&String>) {
    constraints.required("resourceARN", arn);
    constraints.text("resourceARN", arn, 2048);
}
