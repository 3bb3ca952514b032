//! AWS Glue behind [`Catalog`].
//!
//! Owns the calls, their errors, and the storage descriptor that partitions take over from their table.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_glue::Client;
use aws_sdk_glue::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_glue::types::{PartitionInput, StorageDescriptor};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::CatalogError;
use super::{Catalog, NewPartition, Refusal, RefusalKind, TableLayout};

/// The table is read again after this long: its columns may have changed.
const TABLE_LIFETIME: Duration = Duration::from_secs(60);

const GET_TABLE: &str = "GetTable";
const BATCH_CREATE: &str = "BatchCreatePartition";

/// A table in Glue.
pub struct GlueTables {
    client: Client,
    database: String,
    table: String,
    /// `database.table`.
    name: String,
    region: String,
    read: Mutex<Option<ReadTable>>,
}

struct ReadTable {
    at: Instant,
    layout: TableLayout,
    descriptor: StorageDescriptor,
}

impl GlueTables {
    /// A table. Nothing is asked yet.
    pub fn new(client: Client, database: &str, table: &str, region: &str) -> Self {
        GlueTables {
            client,
            database: database.to_owned(),
            table: table.to_owned(),
            name: format!("{database}.{table}"),
            region: region.to_owned(),
            read: Mutex::new(None),
        }
    }

    /// The table as it was within the last minute.
    async fn read(&self) -> Result<(TableLayout, StorageDescriptor), CatalogError> {
        let mut read = self.read.lock().await;
        if let Some(read) = read
            .as_ref()
            .filter(|read| read.at.elapsed() < TABLE_LIFETIME)
        {
            return Ok((read.layout.clone(), read.descriptor.clone()));
        }
        *read = None;
        let found = self
            .client
            .get_table()
            .database_name(&self.database)
            .name(&self.table)
            .send()
            .await
            .map_err(|error| self.error(GET_TABLE, &error))?
            .table
            .ok_or_else(|| self.missing("the answer holds no table".to_owned()))?;
        let layout = TableLayout {
            keys: found
                .partition_keys
                .unwrap_or_default()
                .into_iter()
                .map(|column| column.name)
                .collect(),
            projected: found.parameters.as_ref().is_some_and(is_projected),
        };
        let descriptor = found
            .storage_descriptor
            .unwrap_or_else(|| StorageDescriptor::builder().build());
        *read = Some(ReadTable {
            at: Instant::now(),
            layout: layout.clone(),
            descriptor: descriptor.clone(),
        });
        Ok((layout, descriptor))
    }

    fn missing(&self, detail: String) -> CatalogError {
        CatalogError::Missing {
            table: self.name.clone(),
            region: self.region.clone(),
            detail,
        }
    }

    fn error<E>(&self, operation: &'static str, error: &SdkError<E>) -> CatalogError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let table = self.name.clone();
        let code = error.code().unwrap_or_default();
        let detail = match (code, error.message()) {
            ("", _) => DisplayErrorContext(error).to_string(),
            (code, Some(message)) => format!("{code}: {message}"),
            (code, None) => code.to_owned(),
        };
        let detail: String = detail.chars().take(MAX_DETAIL_CHARS).collect();
        match code {
            "EntityNotFoundException" => self.missing(detail),
            "AccessDeniedException" | "AccessDenied" => CatalogError::Denied {
                table,
                region: self.region.clone(),
                action: match operation {
                    GET_TABLE => "glue:GetTable",
                    _ => "glue:BatchCreatePartition",
                },
                detail,
            },
            "AlreadyExistsException" => CatalogError::Exists { table, detail },
            "ThrottlingException"
            | "Throttling"
            | "RequestLimitExceeded"
            | "TooManyRequestsException" => CatalogError::Throttled {
                operation,
                table,
                detail,
            },
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "ExpiredTokenException"
            | "InvalidSignatureException"
            | "MissingAuthenticationTokenException"
            | "IncompleteSignatureException" => CatalogError::Credentials {
                operation,
                table,
                detail,
            },
            "InvalidInputException" | "ValidationException" => CatalogError::Refused {
                operation,
                table,
                detail,
            },
            _ => CatalogError::Unavailable {
                operation,
                table,
                detail,
            },
        }
    }
}

/// The longest text of Glue that goes into a message.
const MAX_DETAIL_CHARS: usize = 400;

fn is_projected(parameters: &std::collections::HashMap<String, String>) -> bool {
    parameters
        .get("projection.enabled")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

#[async_trait]
impl Catalog for GlueTables {
    fn full_name(&self) -> &str {
        &self.name
    }

    async fn layout(&self) -> Result<TableLayout, CatalogError> {
        Ok(self.read().await?.0)
    }

    async fn create(&self, partitions: &[NewPartition]) -> Result<Vec<Refusal>, CatalogError> {
        let (_, descriptor) = self.read().await?;
        let inputs = partitions.iter().map(|partition| {
            let mut own = descriptor.clone();
            own.location = Some(partition.location.clone());
            // Those are the table's, whole.
            own.additional_locations = None;
            PartitionInput::builder()
                .set_values(Some(partition.values.clone()))
                .storage_descriptor(own)
                .build()
        });
        let answer = self
            .client
            .batch_create_partition()
            .database_name(&self.database)
            .table_name(&self.table)
            .set_partition_input_list(Some(inputs.collect()))
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                // It may be another table than the one that was read.
                *self.read.lock().await = None;
                return Err(self.error(BATCH_CREATE, &error));
            }
        };
        let errors = answer.errors.unwrap_or_default();
        Ok(errors
            .into_iter()
            .map(|error| {
                let detail = error.error_detail;
                let code = detail.as_ref().and_then(|detail| detail.error_code.clone());
                let message = detail.and_then(|detail| detail.error_message);
                let code = code.unwrap_or_default();
                Refusal {
                    values: error.partition_values.unwrap_or_default(),
                    kind: kind(&code),
                    detail: match message {
                        Some(message) => format!("{code}: {message}"),
                        None => code,
                    },
                }
            })
            .collect())
    }
}

fn kind(code: &str) -> RefusalKind {
    match code {
        "AlreadyExistsException" => RefusalKind::Exists,
        "InvalidInputException" | "ValidationException" => RefusalKind::Invalid,
        _ => RefusalKind::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exists_is_told_from_what_is_refused_and_what_may_pass() {
        assert_eq!(kind("AlreadyExistsException"), RefusalKind::Exists);
        assert_eq!(kind("InvalidInputException"), RefusalKind::Invalid);
        for code in ["InternalServiceException", "OperationTimeoutException", ""] {
            assert_eq!(kind(code), RefusalKind::Transient, "{code}");
        }
    }

    #[test]
    fn projection_counts_only_when_it_is_on() {
        let with = |value: &str| [("projection.enabled".to_owned(), value.to_owned())].into();
        assert!(is_projected(&with("true")));
        assert!(is_projected(&with("TRUE")));
        assert!(!is_projected(&with("false")));
        assert!(!is_projected(&[].into()));
    }
}
