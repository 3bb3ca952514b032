//! Whether a StockStream can be looked after.
//!
//! Owns reading specs, and what refuses one: a spec that isn't valid, files, or another StockStream that has what it claims. Must never change
//! anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use kube::ResourceExt as _;
use stockstream_crds::spec::StockStreamStatus;
use stockstream_crds::{Pipeline, StockStream};

use crate::claims::{Claimant, Conflict, conflict};
use crate::context::Context;
use crate::names;
use crate::status::{self, refusal};

/// Why a StockStream isn't looked after.
pub enum Refused {
    /// The spec breaks a rule that the API server couldn't check.
    Invalid(String),
    /// Files aren't read in a cluster yet.
    Files,
    /// Another StockStream has what this one claims.
    Conflict(Conflict),
}

impl Refused {
    /// The status that tells it. `goes_on`: workers run that were started before; `trouble`: why they couldn't be stopped.
    pub fn status(
        &self,
        before: Option<&StockStreamStatus>,
        generation: i64,
        goes_on: bool,
        trouble: Option<&str>,
        now: Timestamp,
    ) -> StockStreamStatus {
        let (reason, mut message) = match self {
            Self::Invalid(message) => (refusal::INVALID, message.clone()),
            Self::Files => (
                refusal::FILES,
                "spec.source.files: files are read by `stockstream worker -f` where they lie; in a cluster, spec.source.kinesis is read".to_owned(),
            ),
            Self::Conflict(conflict) => (refusal::CONFLICT, conflict.message()),
        };
        if goes_on {
            message.push_str("; its workers go on by the spec before this one");
        }
        if let Some(trouble) = trouble {
            message.push_str(", for they couldn't be stopped: ");
            message.push_str(trouble);
        }
        status::refused(before, generation, reason, &message, now)
    }
}

/// Specs as they were read: reading one takes milliseconds, and each reconcile looks at all of them for what they claim.
#[derive(Debug, Default)]
pub struct Specs(Mutex<BTreeMap<String, (Option<i64>, Read)>>);

/// A pipeline, or what is wrong with its spec.
type Read = Result<Arc<Pipeline>, Arc<str>>;

impl Specs {
    /// The pipeline of a StockStream, read once for each generation of its spec.
    fn read(&self, resource: &StockStream) -> Read {
        let uid = resource.uid().unwrap_or_default();
        let generation = resource.metadata.generation;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, read)) = known.get(&uid).filter(|(own, _)| *own == generation) {
            return read.clone();
        }
        let read = Pipeline::from_resource(resource)
            .map(Arc::new)
            .map_err(|errors| Arc::from(errors.to_string()));
        known.insert(uid, (generation, read.clone()));
        read
    }

    /// Forgets those that are there no more.
    pub fn retain(&self, uids: &[String]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|uid, _| uids.contains(uid));
    }
}

/// The pipeline of a StockStream, or what refuses it.
pub fn validate(resource: &StockStream, context: &Context) -> Result<Arc<Pipeline>, Refused> {
    let specs = &context.specs;
    let pipeline = specs
        .read(resource)
        .map_err(|errors| Refused::Invalid(errors.to_string()))?;
    if pipeline.kinesis().is_none() {
        return Err(Refused::Files);
    }
    let own = claimant(resource, pipeline);
    let others: Vec<Claimant> = context
        .pipelines
        .state()
        .iter()
        // One that is being deleted has what it has until all of it is gone.
        .filter(|other| {
            other.metadata.deletion_timestamp.is_none()
                || other.finalizers().iter().any(|own| own == names::FINALIZER)
        })
        .filter_map(|other| Some(claimant(other, specs.read(other).ok()?)))
        .collect();
    match conflict(&own, &others) {
        Some(conflict) => Err(Refused::Conflict(conflict)),
        None => Ok(own.pipeline),
    }
}

fn claimant(resource: &StockStream, pipeline: Arc<Pipeline>) -> Claimant {
    Claimant {
        pipeline,
        created: resource.creation_timestamp().map(|time| time.0),
    }
}
