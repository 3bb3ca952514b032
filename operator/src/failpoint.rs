//! Named points at which the operator's suite ends the process.
//!
//! Compiled to nothing without the feature `failpoints`. With it, `STOCKSTREAM_FAILPOINTS` names where that happens:
//! `POINT=kill[@N]`, separated by commas: SIGKILL to this process, at the N-th time that the point is met (default: the
//! first), after a line on stderr. Every point follows a call that changed something, or stands right before one.

use crate::aws::stream_plan::Step;
use crate::kinds::Kind;

macro_rules! points {
    ($($(#[$meaning:meta])+ $point:ident = $name:literal,)+) => {
        /// A named point.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Point {
            $($(#[$meaning])+ $point,)+
        }

        /// The name of every point.
        pub const ALL: &[&str] = &[$($name,)+];

        impl Point {
            /// The name in `STOCKSTREAM_FAILPOINTS`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

points! {
    /// After the finalizer was set, before anything that it protects is made.
    FinalizerSet = "finalizer_set",
    /// After the stream was asked for.
    StreamCreate = "stream:Create",
    /// After a stream that was there was tagged.
    StreamTag = "stream:Tag",
    /// After the stream shall keep records for longer.
    StreamIncreaseRetention = "stream:IncreaseRetention",
    /// After the stream shall keep records less long.
    StreamDecreaseRetention = "stream:DecreaseRetention",
    /// After the stream shall be encrypted.
    StreamEncrypt = "stream:Encrypt",
    /// After the stream shall be scaled by hand, or by AWS.
    StreamSetMode = "stream:SetMode",
    /// After another number of shards was asked for, before anything says so.
    StreamSetShards = "stream:SetShards",
    /// After the database was made, before any table.
    DatabaseCreated = "database_created",
    /// After a table was made, before the next one.
    TableCreated = "table_created",
    /// After a table has got columns or parameters.
    TableUpdated = "table_updated",
    /// After a place in S3 was probed, before the next one.
    StorageProbed = "storage_probed",
    /// After the pipeline's YAML was applied.
    AppliedConfigMap = "applied:ConfigMap",
    /// After the service account was applied.
    AppliedServiceAccount = "applied:ServiceAccount",
    /// After a Service was applied.
    AppliedService = "applied:Service",
    /// After the NetworkPolicy was applied.
    AppliedNetworkPolicy = "applied:NetworkPolicy",
    /// After the PodDisruptionBudget was applied.
    AppliedPodDisruptionBudget = "applied:PodDisruptionBudget",
    /// After a Deployment was applied.
    AppliedDeployment = "applied:Deployment",
    /// After the ServiceMonitor was applied.
    AppliedServiceMonitor = "applied:ServiceMonitor",
    /// After an object that isn't wanted any more was deleted.
    Pruned = "pruned",
    /// Before a status that differs is written.
    BeforeStatus = "before_status",
    /// After the status was written, before its changes are told.
    StatusWritten = "status_written",
    /// At the end of a pipeline: after a Deployment was deleted.
    DeploymentDeleted = "deployment_deleted",
    /// After some objects in S3 were deleted, before the others.
    ObjectsDeleted = "objects_deleted",
    /// After all data and the state were deleted, before the tables.
    DataDeleted = "data_deleted",
    /// After a table was deleted, before the next one.
    TableDeleted = "table_deleted",
    /// After all tables were deleted, before the stream.
    TablesDeleted = "tables_deleted",
    /// After the stream's deletion was asked for.
    StreamDeletionAsked = "stream_deletion_asked",
    /// After all has gone, before the finalizer is taken away.
    BeforeRelease = "before_release",
}

impl Point {
    /// After an object of this kind was applied.
    pub const fn applied(kind: Kind) -> Self {
        match kind {
            Kind::ConfigMap => Self::AppliedConfigMap,
            Kind::ServiceAccount => Self::AppliedServiceAccount,
            Kind::Service => Self::AppliedService,
            Kind::NetworkPolicy => Self::AppliedNetworkPolicy,
            Kind::PodDisruptionBudget => Self::AppliedPodDisruptionBudget,
            Kind::Deployment => Self::AppliedDeployment,
            Kind::ServiceMonitor => Self::AppliedServiceMonitor,
        }
    }

    /// After this step towards the stream was taken; `None` when it changes nothing.
    pub const fn taken(step: &Step) -> Option<Self> {
        match step {
            Step::Create => Some(Self::StreamCreate),
            Step::Tag => Some(Self::StreamTag),
            Step::IncreaseRetention(_) => Some(Self::StreamIncreaseRetention),
            Step::DecreaseRetention(_) => Some(Self::StreamDecreaseRetention),
            Step::Encrypt(_) => Some(Self::StreamEncrypt),
            Step::SetMode { .. } => Some(Self::StreamSetMode),
            Step::SetShards(_) => Some(Self::StreamSetShards),
            Step::None
            | Step::Missing
            | Step::Wait
            | Step::Differs(_)
            | Step::BelongsToAnother(_)
            | Step::QuotaUsedUp { .. } => None,
        }
    }
}

/// Meets a point.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn meet(_point: Point) {}

#[cfg(feature = "failpoints")]
pub use active::meet;

#[cfg(feature = "failpoints")]
mod active {
    use std::collections::HashMap;
    use std::io::Write as _;
    use std::sync::{Mutex, OnceLock, PoisonError};

    use super::{ALL, Point};

    #[derive(Clone, Copy)]
    struct Rule {
        point: &'static str,
        at: u64,
    }

    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    static MET: Mutex<Option<HashMap<Point, u64>>> = Mutex::new(None);

    fn rules() -> &'static [Rule] {
        RULES.get_or_init(|| {
            let text = std::env::var("STOCKSTREAM_FAILPOINTS").unwrap_or_default();
            text.split(',').filter_map(parse).collect()
        })
    }

    fn parse(rule: &str) -> Option<Rule> {
        let (name, what) = rule.split_once('=')?;
        let (action, at) = what.split_once('@').unwrap_or((what, "1"));
        if action != "kill" {
            return None;
        }
        Some(Rule {
            point: ALL.iter().copied().find(|known| *known == name)?,
            at: at.parse().ok()?,
        })
    }

    /// Meets a point.
    pub fn meet(point: Point) {
        let met = {
            let mut counts = MET.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.get_or_insert_default().entry(point).or_default();
            *count += 1;
            *count
        };
        let is_the_end = rules()
            .iter()
            .any(|rule| rule.point == point.name() && rule.at == met);
        if is_the_end {
            let _ = writeln!(std::io::stderr(), "failpoint {}: killed", point.name());
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            // The signal is on its way; nothing may happen any more.
            loop {
                std::thread::park();
            }
        }
    }
}

#[cfg(test)]
mod tests;
