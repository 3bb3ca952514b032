//! Opening S3 and servers that speak its protocol.
//!
//! Owns the bridge from aws-config to object_store: region, endpoint and credentials are found as every AWS SDK
//! finds them (environment, profiles, SSO, IRSA, Pod Identity, instance roles). Retries are left to the store above.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_types::service_config::ServiceConfigKey;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, S3ConditionalPut};
use object_store::{ClientOptions, CredentialProvider, ObjectStore, RetryConfig};
use stockstream_crds::pipeline::ObjectEncryption;
use tokio::sync::Mutex;

use super::StoreOptions;
use super::error::StoreError;

/// Credentials are renewed this long before they expire, as the AWS SDKs do.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// Credentials without an expiry are asked for again after this: a profile's file may have been edited.
const REREAD_AFTER: Duration = Duration::from_secs(900);

/// Opens a bucket.
pub(super) async fn open(
    bucket: &str,
    url: &str,
    options: &StoreOptions,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let config = match &options.aws {
        Some(config) => config.clone(),
        None => load_config(options).await,
    };
    let mut builder = builder(bucket, options, &config);
    for (name, value) in options.encryption.iter().flat_map(encryption_settings) {
        let key = name
            .parse::<AmazonS3ConfigKey>()
            .map_err(|error| StoreError::Open {
                url: url.to_owned(),
                detail: error.to_string(),
            })?;
        builder = builder.with_config(key, value);
    }
    let store = builder.build().map_err(|error| StoreError::Open {
        url: url.to_owned(),
        detail: format!("{error}; check the AWS_… environment variables and the endpoint"),
    })?;
    Ok(Arc::new(store))
}

async fn load_config(options: &StoreOptions) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
    if let Some(region) = &options.region {
        let found = aws_config::default_provider::region::DefaultRegionChain::builder().build();
        let region = found
            .region()
            .await
            .unwrap_or_else(|| Region::new(region.clone()));
        loader = loader.region(region);
    }
    loader.load().await
}

fn builder(bucket: &str, options: &StoreOptions, config: &SdkConfig) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        });
    if let Some(region) = config.region() {
        builder = builder.with_region(region.as_ref());
    }
    let endpoint = options.endpoint.clone().or_else(|| endpoint_of(config));
    let client = ClientOptions::new()
        .with_timeout(options.policy.attempt)
        .with_connect_timeout(options.policy.attempt.min(CONNECT))
        .with_allow_http(
            endpoint
                .as_deref()
                .is_some_and(|url| url.starts_with("http://")),
        );
    builder = builder.with_client_options(client);
    builder = match &endpoint {
        // Path style: other servers rarely have a host name per bucket.
        Some(url) => builder
            .with_config(AmazonS3ConfigKey::S3Endpoint, url)
            .with_virtual_hosted_style_request(false),
        // A dot in the bucket's name would break the certificate of https://BUCKET.s3.….
        None => builder.with_virtual_hosted_style_request(!bucket.contains('.')),
    };
    if let Some(provider) = config.credentials_provider() {
        builder = builder.with_credentials(Arc::new(SdkCredentials::new(provider)));
    }
    builder
}

/// The endpoint, where the AWS SDKs look for it and in their order: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile's
/// section for S3, the profile; or one that the configuration was given.
fn endpoint_of(config: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let found = match (key, config.service_config()) {
        (Ok(key), Some(service)) => service.load_config(key),
        _ => None,
    };
    found.or_else(|| config.endpoint_url().map(str::to_owned))
}

/// object_store's names for how S3 encrypts; its own type for them is private.
fn encryption_settings(encryption: &ObjectEncryption) -> Vec<(&'static str, String)> {
    const HOW: &str = "aws_server_side_encryption";
    match encryption {
        ObjectEncryption::SseS3 => vec![(HOW, "AES256".to_owned())],
        ObjectEncryption::SseKms { key_id, bucket_key } => {
            let mut settings = vec![(HOW, "aws:kms".to_owned())];
            settings.extend(key_id.clone().map(|key| ("aws_sse_kms_key_id", key)));
            let enabled = bucket_key.map(|enabled| enabled.to_string());
            settings.extend(enabled.map(|enabled| ("aws_sse_bucket_key_enabled", enabled)));
            settings
        }
    }
}

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The AWS SDK's credentials for object_store, kept until shortly before they expire.
struct SdkCredentials {
    provider: SharedCredentialsProvider,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    credential: Arc<AwsCredential>,
    renew_at: SystemTime,
    expires: Option<SystemTime>,
}

impl SdkCredentials {
    fn new(provider: SharedCredentialsProvider) -> Self {
        SdkCredentials {
            provider,
            kept: Mutex::new(None),
        }
    }
}

impl fmt::Debug for SdkCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SdkCredentials")
    }
}

#[async_trait]
impl CredentialProvider for SdkCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        // Held while asking: one request renews for all.
        let mut kept = self.kept.lock().await;
        let now = SystemTime::now();
        if let Some(fresh) = kept.as_ref().filter(|kept| now < kept.renew_at) {
            return Ok(fresh.credential.clone());
        }
        let found = match self.provider.provide_credentials().await {
            Ok(found) => found,
            Err(error) => {
                let usable = kept
                    .as_ref()
                    .filter(|kept| kept.expires.is_none_or(|at| now < at));
                return usable
                    .map(|kept| kept.credential.clone())
                    .ok_or_else(|| unauthenticated(error));
            }
        };
        let renew_at = match found.expiry() {
            Some(expires) => expires.checked_sub(RENEW_BEFORE).unwrap_or(now),
            None => now + REREAD_AFTER,
        };
        let credential = Arc::new(AwsCredential {
            key_id: found.access_key_id().to_owned(),
            secret_key: found.secret_access_key().to_owned(),
            token: found.session_token().map(str::to_owned),
        });
        *kept = Some(Kept {
            credential: credential.clone(),
            renew_at,
            expires: found.expiry(),
        });
        Ok(credential)
    }
}

fn unauthenticated(
    error: aws_credential_types::provider::error::CredentialsError,
) -> object_store::Error {
    use aws_credential_types::provider::error::CredentialsError as E;
    match &error {
        // The provider's own service didn't answer: worth another attempt.
        E::ProviderTimedOut(_) => object_store::Error::Generic {
            store: "S3",
            source: error.into(),
        },
        _ => object_store::Error::Unauthenticated {
            path: String::new(),
            source: error.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicU32, Ordering};

    use aws_credential_types::Credentials;
    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::future;

    use super::*;

    /// Gives credentials that live `life`; fails from its third call on.
    #[derive(Debug)]
    struct Short {
        life: Duration,
        calls: Arc<AtomicU32>,
    }

    impl ProvideCredentials for Short {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let call = self.calls.fetch_add(1, Ordering::SeqCst);
            future::ProvideCredentials::ready(if call < 2 {
                let expiry = SystemTime::now() + self.life;
                Ok(Credentials::new(
                    format!("key{call}"),
                    "secret",
                    None,
                    Some(expiry),
                    "test",
                ))
            } else {
                Err(CredentialsError::not_loaded("gone"))
            })
        }
    }

    fn bridge(life: Duration) -> (SdkCredentials, Arc<AtomicU32>) {
        let calls = Arc::new(AtomicU32::new(0));
        let provider = Short {
            life,
            calls: calls.clone(),
        };
        (
            SdkCredentials::new(SharedCredentialsProvider::new(provider)),
            calls,
        )
    }

    #[tokio::test]
    async fn credentials_are_kept_until_shortly_before_they_expire() {
        let (bridge, calls) = bridge(Duration::from_secs(3600));
        for _ in 0..3 {
            assert_eq!(bridge.get_credential().await.unwrap().key_id, "key0");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn expiring_credentials_are_renewed_and_used_while_renewal_fails() {
        let (bridge, _) = bridge(Duration::from_secs(60));
        assert_eq!(bridge.get_credential().await.unwrap().key_id, "key0");
        assert_eq!(bridge.get_credential().await.unwrap().key_id, "key1");
        assert_eq!(bridge.get_credential().await.unwrap().key_id, "key1");
    }

    #[tokio::test]
    async fn without_any_credentials_the_request_is_unauthenticated() {
        let calls = Arc::new(AtomicU32::new(2));
        let provider = Short {
            life: Duration::ZERO,
            calls,
        };
        let bridge = SdkCredentials::new(SharedCredentialsProvider::new(provider));
        let error = bridge.get_credential().await.unwrap_err();
        assert!(
            matches!(error, object_store::Error::Unauthenticated { .. }),
            "{error}"
        );
    }
}
