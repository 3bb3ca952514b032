//! Who of several operators works: whoever holds the Lease.
//!
//! Owns taking, renewing and giving back the Lease. Times of another machine are never compared with this one's: a holder is gone
//! when its Lease stayed the same for as long as it promised, by this machine's own clock. Whoever can't renew ends the process:
//! what it was doing may be done by another now.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// The Lease's name.
pub const LEASE: &str = "stockstream-operator";
/// A holder that hasn't renewed for so long is gone.
const DURATION: Duration = Duration::from_secs(15);
/// A holder renews this often.
const RENEW: Duration = Duration::from_secs(5);
/// And gives up when it couldn't for so long.
const GIVE_UP: Duration = Duration::from_secs(10);
/// Others look this often.
const LOOK: Duration = Duration::from_secs(2);

/// The Lease was lost, or couldn't be asked for at all.
#[derive(Debug, thiserror::Error)]
pub enum LeaderError {
    /// It couldn't be renewed in time.
    #[error(
        "the lease {namespace}/{LEASE} couldn't be renewed for {GIVE_UP:?}: another operator may lead now"
    )]
    Lost {
        /// Where it is.
        namespace: String,
    },
    /// The role lacks it.
    #[error(
        "the operator isn't allowed to {action} the lease {namespace}/{LEASE}: install the chart's RBAC again"
    )]
    Forbidden {
        /// What was tried.
        action: &'static str,
        /// Where it is.
        namespace: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

/// One operator that wants to lead.
#[derive(Clone)]
pub struct Candidate {
    api: Api<Lease>,
    namespace: String,
    identity: String,
}

/// What was seen of the Lease, and since when it has been so.
#[derive(Debug, Default)]
struct Seen {
    version: Option<String>,
    since: Option<Instant>,
}

impl Candidate {
    /// A candidate by this name, for the Lease in this namespace.
    pub fn new(client: Client, namespace: &str, identity: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            identity,
        }
    }

    /// Waits until this candidate leads.
    ///
    /// # Errors
    /// When the Lease may not be read or written.
    pub async fn lead(&self) -> Result<(), LeaderError> {
        let mut seen = Seen::default();
        loop {
            match self.take(&mut seen).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    return Err(LeaderError::Forbidden {
                        action: "get, create and update",
                        namespace: self.namespace.clone(),
                        source: Box::new(kube::Error::Api(status)),
                    });
                }
                Err(error) => tracing::warn!(event = "lease_not_taken", %error),
            }
            sleep(LOOK).await;
        }
    }

    /// Renews for as long as that works; returns when it doesn't any more.
    pub async fn hold(&self) -> LeaderError {
        let mut renewed = Instant::now();
        loop {
            let give_up = renewed + GIVE_UP;
            sleep_until((Instant::now() + RENEW).min(give_up)).await;
            // What counts is when it was asked for: the answer may come late.
            let asked = Instant::now();
            match timeout_at(give_up, self.renew()).await {
                Ok(Ok(true)) => renewed = asked,
                Ok(Ok(false)) => break, // another one has it
                Ok(Err(error)) if Instant::now() < give_up => {
                    tracing::warn!(event = "lease_not_renewed", %error);
                    sleep_until((Instant::now() + LOOK).min(give_up)).await;
                }
                Ok(Err(_)) | Err(_) => break,
            }
        }
        LeaderError::Lost {
            namespace: self.namespace.clone(),
        }
    }

    /// Gives the Lease back, so that the next one needn't wait.
    pub async fn release(&self) {
        let released = async {
            let mut lease = self.api.get(LEASE).await?;
            if !self.is_held_by_self(&lease) {
                return Ok(());
            }
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = None;
                spec.lease_duration_seconds = Some(1);
            }
            self.replace(&lease).await.map(drop)
        };
        let released: Result<Result<(), kube::Error>, _> =
            tokio::time::timeout(RENEW, released).await;
        if let Ok(Err(error)) = released {
            tracing::warn!(event = "lease_not_released", %error);
        }
    }

    async fn take(&self, seen: &mut Seen) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.api.get_opt(LEASE).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(LEASE.to_owned()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.spec(None)),
            };
            return settled(self.api.create(&PostParams::default(), &lease).await);
        };
        let version = lease.metadata.resource_version.clone();
        if seen.version != version {
            *seen = Seen {
                version,
                since: Some(Instant::now()),
            };
        }
        let spec = lease.spec.clone().unwrap_or_default();
        let promised = spec
            .lease_duration_seconds
            .unwrap_or(0)
            .max(0)
            .unsigned_abs();
        let is_gone = seen
            .since
            .is_some_and(|since| since.elapsed() > Duration::from_secs(promised.into()));
        let is_free = spec.holder_identity.as_deref().is_none_or(str::is_empty);
        if !(is_free || is_gone || self.is_held_by_self(&lease)) {
            return Ok(false);
        }
        lease.spec = Some(self.spec(Some(&spec)));
        settled(self.replace(&lease).await)
    }

    async fn renew(&self) -> Result<bool, kube::Error> {
        let mut lease = self.api.get(LEASE).await?;
        if !self.is_held_by_self(&lease) {
            return Ok(false);
        }
        if let Some(spec) = &mut lease.spec {
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        settled(self.replace(&lease).await)
    }

    /// With the version that was read: another's change in between makes it fail.
    async fn replace(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        self.api.replace(LEASE, &PostParams::default(), lease).await
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(
                before
                    .and_then(|spec| spec.lease_transitions)
                    .map_or(0, |count| count.saturating_add(1)),
            ),
            ..LeaseSpec::default()
        }
    }

    fn is_held_by_self(&self, lease: &Lease) -> bool {
        let holder = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref());
        holder == Some(self.identity.as_str())
    }
}

/// A lost race is no fault.
fn settled(written: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Runs `work` while this candidate leads.
///
/// # Errors
/// When the Lease was lost before the work was done, or couldn't be had.
pub async fn while_leading<T>(
    candidate: &Candidate,
    work: impl Future<Output = T>,
) -> Result<T, LeaderError> {
    tokio::select! {
        done = work => Ok(done),
        lost = candidate.hold() => Err(lost),
    }
}
