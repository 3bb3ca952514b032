//! The operator's own metrics.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The operator's own metrics; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: Registry,
    reconciles: Counter,
    failures: Counter,
    requests: Counter,
    aws_requests: Counter,
    applies: Counter,
    status_writes: Counter,
    seconds: Histogram,
    leading: Gauge,
    pipelines: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("stockstream_operator");
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let reconciles = counter("reconciles", "Reconciles that came to their end");
        let failures = counter("reconcile_failures", "Reconciles that broke off");
        let requests = counter(
            "kubernetes_requests",
            "Requests of the API server, watches included",
        );
        let aws_requests = counter("aws_requests", "Requests of AWS, repeated ones included");
        let applies = counter("applies", "Objects applied or deleted in Kubernetes");
        let status_writes = counter("status_writes", "Statuses written");
        let seconds = Histogram::new(exponential_buckets(0.001, 2.0, 16));
        registry.register(
            "reconcile_seconds",
            "How long a reconcile took",
            seconds.clone(),
        );
        let leading = Gauge::default();
        registry.register(
            "leading",
            "1 while this process is the leader",
            leading.clone(),
        );
        let pipelines = Gauge::default();
        registry.register(
            "pipelines",
            "StockStreams that are looked after",
            pipelines.clone(),
        );
        Self {
            shared: Arc::new(Shared {
                registry,
                reconciles,
                failures,
                requests,
                aws_requests,
                applies,
                status_writes,
                seconds,
                leading,
                pipelines,
            }),
        }
    }
}

impl Metrics {
    /// A reconcile came to its end, after so many seconds; so many pipelines are looked after.
    pub fn reconciled(&self, seconds: f64, pipelines: usize) {
        self.shared.reconciles.inc();
        self.shared.seconds.observe(seconds);
        self.shared
            .pipelines
            .set(i64::try_from(pipelines).unwrap_or(i64::MAX));
    }

    /// A reconcile broke off.
    pub fn failed(&self) {
        self.shared.failures.inc();
    }

    /// The API server was asked.
    pub fn requested(&self) {
        self.shared.requests.inc();
    }

    /// AWS was asked.
    pub fn requested_of_aws(&self) {
        self.shared.aws_requests.inc();
    }

    /// So many objects were applied or deleted.
    pub fn applied(&self, calls: usize) {
        self.shared.applies.inc_by(calls as u64);
    }

    /// A status was written.
    pub fn status_written(&self) {
        self.shared.status_writes.inc();
    }

    /// Whether this process leads.
    pub fn lead(&self, leads: bool) {
        self.shared.leading.set(i64::from(leads));
    }

    /// All of them, as Prometheus reads them.
    ///
    /// # Errors
    /// When the text couldn't be put together.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.shared.registry)?;
        Ok(text)
    }
}
