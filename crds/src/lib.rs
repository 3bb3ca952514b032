//! Stockstream's custom resources: types, validation, generated schemas.
//!
//! Owns the spec of a pipeline from its YAML to a value in which nothing can be wrong any more. It
//! must never talk to a cluster and does no I/O; only the generator binary writes files.
//!
//! [`parse`] reads text and gives a [`Pipeline`] or every mistake ([`SpecErrors`]). The types in
//! [`spec`] are the source of the CRD, the editors' schema and the reference page.

mod checks;
pub mod duration;
pub mod error;
pub mod path;
pub mod pipeline;
pub mod quantity;
pub mod reference;
pub mod schema;
pub mod spec;
mod validate;
mod walk;
mod words;
mod yaml;

pub use error::{Position, Problem, SpecError, SpecErrors};
pub use pipeline::{Pipeline, SourceSettings};
pub use spec::{StockStream, StockStreamSpec, StockStreamStatus};
pub use validate::{parse, parse_update};
pub use yaml::{MAX_DEPTH, MAX_NODES, MAX_TEXT_BYTES};
