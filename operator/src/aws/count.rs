//! Counts the requests of AWS.

use aws_sdk_kinesis::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};

use crate::metrics::Metrics;

/// Counts each request as it is sent: a call that is repeated counts again.
#[derive(Clone, Debug)]
pub struct CountRequests(pub Metrics);

impl Intercept for CountRequests {
    fn name(&self) -> &'static str {
        "CountRequests"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0.requested_of_aws();
        Ok(())
    }
}
