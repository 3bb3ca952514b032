//! The page: the whole pipeline on one screen, whichever of its workers serves it.
//!
//! Owns the merged view of all workers, its stream of changes, one ticker's history, and the built front end. Must never
//! write anything, take part in the pipeline, or work while nobody watches: without a watcher it asks nobody and holds
//! nothing. `docs/page.md` describes it for users.

mod assets;
mod chains;
mod changes;
mod gather;
mod history;
mod hub;
mod merge;
mod published;
mod roster;
mod routes;
mod view;

pub use chains::{NewestVersion, newest_versions};
pub use gather::{Look, Peer, Roster};
pub use history::{History, HistoryRow, RowState};
pub use merge::{Answer, Facts, merge};
pub use roster::{MembersRoster, WorkerRoster};
pub use routes::{Page, PageSettings};
pub use view::{Health, PipelineView, Served, ShardView, WorkerState, WorkerView};
