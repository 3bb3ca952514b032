//! The catalog in which the table's partitions are registered, so that Athena sees new ones at once.
//!
//! Owns asking the catalog and what its answers mean. Must never hold up reading or publishing, and never writes, changes
//! or deletes anything but partitions that it adds: the table is the operator's, or its owner's.

mod error;
mod glue;
mod registrar;

use async_trait::async_trait;

pub use error::CatalogError;
pub use glue::GlueTables;
pub use registrar::{Registrar, Round, Standing};

/// The most partitions that [`Catalog::create`] takes: Glue's limit for BatchCreatePartition.
pub const MOST_AT_ONCE: usize = 100;

/// What a table says about its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLayout {
    /// Names of the partition columns, in order.
    pub keys: Vec<String>,
    /// True when readers work partitions out by themselves (partition projection) and ignore registered ones.
    pub projected: bool,
}

/// A partition to be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartition {
    /// Values of the partition columns, in order, as they are (not escaped).
    pub values: Vec<String>,
    /// URL of its folder, with a slash at its end.
    pub location: String,
}

/// Why one partition of a call wasn't registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its values.
    pub values: Vec<String>,
    /// What kind of refusal it is.
    pub kind: RefusalKind,
    /// The catalog's words.
    pub detail: String,
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// It is registered already.
    Exists,
    /// Worth another attempt.
    Transient,
    /// The partition itself is refused.
    Invalid,
}

/// A table in a catalog.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// The table for people: `database.table`.
    fn full_name(&self) -> &str;

    /// What the table says about its partitions.
    ///
    /// # Errors
    /// [`CatalogError`].
    async fn layout(&self) -> Result<TableLayout, CatalogError>;

    /// Registers at most [`MOST_AT_ONCE`] partitions and returns those that weren't.
    ///
    /// # Errors
    /// [`CatalogError`] when the whole call failed. Some partitions may be registered all the same.
    async fn create(&self, partitions: &[NewPartition]) -> Result<Vec<Refusal>, CatalogError>;
}
