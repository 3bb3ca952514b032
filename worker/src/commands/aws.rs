//! Clients for AWS and for what stands in for it.
//!
//! Owns how credentials, region and endpoint are found: as every AWS tool does, but for the machine's own endpoints,
//! which take any credentials.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;

use crate::cli::Failure;

/// The region of a server that takes any, when nobody names one.
pub const LOCAL_REGION: &str = "us-east-1";

/// The standard AWS configuration, with the region and endpoint that the caller knows better.
pub async fn configuration(region: Option<&str>, endpoint: Option<&str>) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts());
    let endpoint = endpoint.map(str::to_owned).or_else(kinesis_endpoint);
    let local = endpoint.as_deref().is_some_and(is_loopback);
    if local && !has_credentials() {
        loader = loader.credentials_provider(local_credentials());
    }
    match region {
        Some(region) => loader = loader.region(Region::new(region.to_owned())),
        // The standard chain would go on to ask the cloud that this machine may not be in.
        None if local => {
            let chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                .or_else(ProfileFileRegionProvider::new())
                .or_else(Region::from_static(LOCAL_REGION));
            loader = loader.region(chain);
        }
        None => {}
    }
    loader.load().await
}

/// A Kinesis client.
///
/// # Errors
/// Without a region nothing can be signed.
pub async fn kinesis(
    region: Option<&str>,
    endpoint: Option<&str>,
) -> Result<aws_sdk_kinesis::Client, Failure> {
    let shared = configuration(region, endpoint).await;
    if shared.region().is_none() {
        return Err(Failure::bad_input("no AWS region is known").hint(
            "set --region or AWS_REGION, or a region in the profile that AWS_PROFILE names",
        ));
    }
    let mut config = aws_sdk_kinesis::config::Builder::from(&shared);
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    Ok(aws_sdk_kinesis::Client::from_conf(config.build()))
}

/// A Glue client.
pub async fn glue(region: &str) -> aws_sdk_glue::Client {
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts())
        .region(Region::new(region.to_owned()));
    aws_sdk_glue::Client::new(&loader.load().await)
}

/// A client of the embedded Kinesis, whatever the environment says about AWS.
pub fn embedded(region: &str, endpoint: &str) -> aws_sdk_kinesis::Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .credentials_provider(local_credentials())
        .timeout_config(timeouts())
        .endpoint_url(endpoint)
        .build();
    aws_sdk_kinesis::Client::from_conf(config)
}

/// Without these a silent network holds a worker for ever: the SDK's own default has no limit on an answer.
/// GetRecords of 10 MiB takes a second or two on a slow link.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(Duration::from_secs(10))
        .operation_timeout(Duration::from_secs(30))
        .build()
}

/// Credentials for servers that take any.
fn local_credentials() -> Credentials {
    Credentials::new("local", "local", None, None, "stockstream")
}

fn kinesis_endpoint() -> Option<String> {
    ["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
}

fn has_credentials() -> bool {
    const SOURCES: [&str; 5] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ];
    SOURCES.iter().any(|name| std::env::var_os(name).is_some())
}

fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    ["localhost", "127.", "[::1]"]
        .iter()
        .any(|host| authority.starts_with(host))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn an_endpoint_of_this_machine_needs_no_region() {
        let endpoint = "http://127.0.0.1:4567";
        let found = configuration(None, Some(endpoint)).await;
        assert!(found.region().is_some());
        let named = configuration(Some("eu-central-1"), Some(endpoint)).await;
        assert_eq!(named.region().unwrap().as_ref(), "eu-central-1");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for url in [
            "http://127.0.0.1:4567",
            "http://localhost",
            "http://[::1]:80/x",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "https://kinesis.us-east-1.amazonaws.com",
            "http://10.0.0.1",
            "http://example.org/127.",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
