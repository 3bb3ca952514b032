//! Stockstream's custom resources: types, validation, generated schemas.
//!
//! Owns the spec of a pipeline from its YAML to a value in which nothing can be wrong any more. It
//! must never talk to a cluster and does no I/O; only the generator binary writes files.

pub mod duration;
pub mod path;
pub mod quantity;
pub mod spec;

pub use spec::{StockStream, StockStreamSpec, StockStreamStatus};
