//! What every reconcile has at hand.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;
use stockstream_crds::StockStream;
use tokio::sync::Mutex as AsyncMutex;

use crate::apply::Owned;
use crate::aws;
use crate::aws::count::CountRequests;
use crate::aws::glue::Catalogs;
use crate::aws::kinesis::Streams;
use crate::aws::storage::Buckets;
use crate::kinds::Kind;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::settings::PodSettings;
use crate::validate::Specs;
use crate::workers::Workers;

/// The first lists of pods and Deployments are waited for so long.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// What every reconcile has at hand.
pub struct Context {
    /// Kubernetes.
    pub client: Client,
    /// What all pods have in common.
    pub settings: PodSettings,
    /// All StockStreams that the operator looks after.
    pub pipelines: Store<StockStream>,
    /// What they own.
    pub owned: Owned,
    /// Their pods.
    pub pods: Store<Pod>,
    /// Asks them.
    pub workers: Workers,
    /// AWS.
    pub aws: Regions,
    /// Events.
    pub recorder: Recorder,
    /// Counts.
    pub metrics: Metrics,
    /// Specs as they were read.
    pub specs: Specs,
    /// True once the operator ends: no look at AWS begins any more.
    pub is_ending: AtomicBool,
    /// What is kept in mind of each pipeline, by uid. One reconcile of a pipeline runs at a time: its lock is never waited for.
    pub memories: Mutex<BTreeMap<String, Arc<AsyncMutex<Memory>>>>,
}

impl Context {
    /// What is kept in mind of a pipeline.
    pub fn memory(&self, uid: &str) -> Arc<AsyncMutex<Memory>> {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.entry(uid.to_owned()).or_default().clone()
    }

    /// Forgets a pipeline that is gone.
    pub fn forget(&self, uid: &str) {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.remove(uid);
    }

    /// True once pods and Deployments have been listed: from then on, one that isn't known isn't there.
    pub async fn has_seen_pods(&self) -> bool {
        let seen = async {
            self.pods.wait_until_ready().await?;
            match self.owned.get(&Kind::Deployment) {
                Some(deployments) => deployments.wait_until_ready().await,
                None => Ok(()),
            }
        };
        matches!(tokio::time::timeout(SEEN_WITHIN, seen).await, Ok(Ok(())))
    }

    /// Forgets pipelines that are there no more.
    pub fn forget_gone(&self) {
        let known: Vec<String> = self
            .pipelines
            .state()
            .iter()
            .filter_map(|resource| resource.metadata.uid.clone())
            .collect();
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.retain(|uid, _| known.contains(uid));
        self.specs.retain(&known);
    }

    /// The API of StockStreams in a namespace.
    pub fn api(&self, namespace: &str) -> Api<StockStream> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Clients of AWS, one of each for every region that a pipeline names.
pub struct Regions {
    metrics: Metrics,
    known: AsyncMutex<BTreeMap<String, Clients>>,
}

/// Clients of one region.
#[derive(Clone)]
pub struct Clients {
    /// Kinesis.
    pub streams: Streams,
    /// Glue.
    pub catalogs: Catalogs,
    /// S3.
    pub buckets: Buckets,
}

impl Regions {
    /// None yet; their requests are counted in `metrics`.
    pub fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            known: AsyncMutex::default(),
        }
    }

    /// The clients of a region. Nothing is asked yet but for the first credentials.
    pub async fn of(&self, region: &str) -> Clients {
        let mut known = self.known.lock().await;
        if let Some(clients) = known.get(region) {
            return clients.clone();
        }
        let config = aws::configuration(region).await;
        let count = CountRequests(self.metrics.clone());
        let kinesis = aws_sdk_kinesis::config::Builder::from(&config)
            .interceptor(count.clone())
            .build();
        let glue = aws_sdk_glue::config::Builder::from(&config)
            .interceptor(count.clone())
            .build();
        let clients = Clients {
            streams: Streams::new(aws_sdk_kinesis::Client::from_conf(kinesis)),
            catalogs: Catalogs::new(aws_sdk_glue::Client::from_conf(glue)),
            buckets: Buckets::new(&config, count),
        };
        known.insert(region.to_owned(), clients.clone());
        clients
    }
}
