//! The commands: what `stockstream …` does, put together from the other modules.
//!
//! Owns order of start-up and shut-down, and what is printed. Must never hold logic that a test would want to call.

mod aws;
mod dashboard;
mod dev;
mod files;
mod inspect;
mod kinesis;
mod replay;
mod session;
mod signals;
mod validate;
mod worker;

use crate::cli::{
    Commands, DashboardArgs, DevArgs, GlobalArgs, InspectArgs, KinesisArgs, Outcome, ValidateArgs,
    WorkerArgs,
};
use crate::observe::log::LogOutput;
use crate::replay::ReplayArgs;

/// The real commands.
#[derive(Debug)]
pub struct Program {
    /// The process's log.
    pub log: LogOutput<std::io::Stderr>,
}

impl Commands for Program {
    async fn dev(&self, global: &GlobalArgs, args: DevArgs) -> Outcome {
        dev::run(self, global, args).await
    }

    async fn worker(&self, global: &GlobalArgs, args: WorkerArgs) -> Outcome {
        worker::run(self, global, args).await
    }

    async fn kinesis(&self, _: &GlobalArgs, args: KinesisArgs) -> Outcome {
        kinesis::run(args).await
    }

    async fn replay(&self, _: &GlobalArgs, args: ReplayArgs) -> Outcome {
        replay::run(args).await
    }

    async fn inspect(&self, _: &GlobalArgs, args: InspectArgs) -> Outcome {
        inspect::run(args).await
    }

    async fn dashboard(&self, _: &GlobalArgs, args: DashboardArgs) -> Outcome {
        dashboard::run(args).await
    }

    async fn validate(&self, _: &GlobalArgs, args: ValidateArgs) -> Outcome {
        validate::run(&args)
    }
}
