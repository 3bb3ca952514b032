//! Why partitions can't be registered, in words that say what to do.

/// A call to the catalog failed as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// There is no such database or table.
    #[error(
        "the Glue table {table} in {region} isn't there ({detail}): create it, or correct spec.catalog.glue; \
         new partitions wait and are registered then"
    )]
    Missing {
        /// `database.table`.
        table: String,
        /// The region that was asked.
        region: String,
        /// The catalog's words.
        detail: String,
    },
    /// The caller may not.
    #[error(
        "access denied to the Glue table {table}: allow {action} on the catalog, the database and the table \
         (arn:aws:glue:{region}:ACCOUNT:catalog, …:database/DATABASE, …:table/DATABASE/TABLE), and in Lake Formation where \
         it governs the table ({detail})"
    )]
    Denied {
        /// `database.table`.
        table: String,
        /// The region that was asked.
        region: String,
        /// The IAM action.
        action: &'static str,
        /// The catalog's words.
        detail: String,
    },
    /// The table's partition columns aren't the pipeline's.
    #[error(
        "the Glue table {table} has the partition columns [{found}], but spec.output.partitionBy writes [{expected}]: \
         correct spec.catalog.glue, or make the table anew with these partition columns in this order"
    )]
    OtherKeys {
        /// `database.table`.
        table: String,
        /// What the table has.
        found: String,
        /// What the spec says.
        expected: String,
    },
    /// Too many calls for now.
    #[error("Glue throttles {operation} on {table} ({detail}); trying again")]
    Throttled {
        /// The operation.
        operation: &'static str,
        /// `database.table`.
        table: String,
        /// The catalog's words.
        detail: String,
    },
    /// It doesn't answer, or fails for now.
    #[error("{operation} on the Glue table {table} failed ({detail}); trying again")]
    Unavailable {
        /// The operation.
        operation: &'static str,
        /// `database.table`.
        table: String,
        /// The catalog's words.
        detail: String,
    },
    /// No credentials, or wrong ones.
    #[error(
        "{operation} on the Glue table {table} wasn't accepted ({detail}): check the AWS credentials (aws sts \
         get-caller-identity says whose they are)"
    )]
    Credentials {
        /// The operation.
        operation: &'static str,
        /// `database.table`.
        table: String,
        /// The catalog's words.
        detail: String,
    },
    /// One of the call's partitions exists.
    #[error("a partition of the Glue table {table} exists already ({detail})")]
    Exists {
        /// `database.table`.
        table: String,
        /// The catalog's words.
        detail: String,
    },
    /// The catalog refuses what it was sent.
    #[error("Glue refuses {operation} on {table}: {detail}")]
    Refused {
        /// The operation.
        operation: &'static str,
        /// `database.table`.
        table: String,
        /// The catalog's words.
        detail: String,
    },
}

impl CatalogError {
    /// A short stable reason, for conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            CatalogError::Missing { .. } => "TableMissing",
            CatalogError::Denied { .. } => "AccessDenied",
            CatalogError::OtherKeys { .. } => "PartitionKeysDiffer",
            CatalogError::Throttled { .. } => "Throttled",
            CatalogError::Unavailable { .. } => "Unavailable",
            CatalogError::Credentials { .. } => "Credentials",
            CatalogError::Exists { .. } => "Exists",
            CatalogError::Refused { .. } => "Refused",
        }
    }

    /// True when it may pass without anybody's action.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            CatalogError::Throttled { .. } | CatalogError::Unavailable { .. }
        )
    }

    /// True when it may be about one partition of the call: a smaller call finds out which.
    pub fn is_about_content(&self) -> bool {
        matches!(
            self,
            CatalogError::Exists { .. } | CatalogError::Refused { .. }
        )
    }
}
