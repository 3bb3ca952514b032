//! The worker's own loop on a paused clock.
//!
//! One seed is one run: the runtime of `stockstream`, not a model of it, as several processes on one thread, against an
//! object store, a stream and a network that go wrong as the seed says. Everything random comes from the seed, and time
//! passes only when nobody has anything to do, so a seed always gives the same run. Must never read a clock, draw
//! randomness or open a socket of the machine's.
//!
//! `docs/simulation.md` says what is checked and how to replay a seed.

pub mod clock;
pub mod director;
pub mod network;
pub mod oracle;
pub mod peers;
pub mod process;
pub mod producer;
pub mod random;
pub mod rows;
pub mod run;
pub mod scenario;
pub mod store;
pub mod stream;
pub mod trace;
pub mod watch;

pub use run::{Report, run};
pub use watch::Recovery;
