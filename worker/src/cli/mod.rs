//! The command line: what can be asked, how failures are told, and what a run says at its end.
//!
//! Owns parsing, help texts, exit codes and the form of results. Must never do a command's work: [`Commands`] does.

pub mod args;
pub mod failure;
pub mod output;
pub mod summary;
pub mod values;

use std::future::Future;
use std::sync::LazyLock;

use clap::{CommandFactory, Parser, Subcommand};

pub use args::{
    CompletionsArgs, CostArgs, DashboardArgs, DevArgs, GlobalArgs, InspectArgs, InspectWhat,
    KinesisArgs, StateArgs, ValidateArgs, WatchArgs, WorkerArgs,
};
pub use failure::{ExitStatus, Failure};
pub use output::{ColourChoice, OutputFormat};
pub use summary::RunSummary;

/// The version, with the commit when the build was told it (`STOCKSTREAM_COMMIT`; releases are).
#[must_use]
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| match option_env!("STOCKSTREAM_COMMIT") {
        Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    });
    &VERSION
}

/// One command line.
#[derive(Debug, Parser)]
#[command(
    name = "stockstream",
    version = version(),
    about = "Stock ticks from Kinesis into one-minute Parquet rows, exactly once, from one YAML file",
    after_help = args::EXAMPLES,
    max_term_width = 98,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole pipeline on this machine: embedded Kinesis, producer, worker and files
    #[command(after_help = args::DEV_EXAMPLES)]
    Dev(DevArgs),
    /// Run a worker alone, against AWS or any Kinesis endpoint
    #[command(after_help = args::WORKER_EXAMPLES)]
    Worker(WorkerArgs),
    /// Serve the embedded Kinesis alone
    #[command(after_help = args::KINESIS_EXAMPLES)]
    Kinesis(KinesisArgs),
    /// Send historical rows to a stream as ticks
    Replay(crate::replay::ReplayArgs),
    /// Print a checkpoint, the shards of a pipeline, or what a Parquet file says of itself
    #[command(after_help = args::INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
    /// Serve the page of a pipeline whose workers run elsewhere
    #[command(after_help = args::DASHBOARD_EXAMPLES)]
    Dashboard(DashboardArgs),
    /// Check a pipeline's YAML and print every error in it
    #[command(after_help = args::VALIDATE_EXAMPLES)]
    Validate(ValidateArgs),
    /// Print the completions of a shell
    #[command(after_help = args::COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
}

/// What a command came to.
pub type Outcome = Result<ExitStatus, Failure>;

/// The work behind the command line.
pub trait Commands {
    /// `stockstream dev`.
    fn dev(&self, global: &GlobalArgs, args: DevArgs) -> impl Future<Output = Outcome>;
    /// `stockstream worker`.
    fn worker(&self, global: &GlobalArgs, args: WorkerArgs) -> impl Future<Output = Outcome>;
    /// `stockstream kinesis`.
    fn kinesis(&self, global: &GlobalArgs, args: KinesisArgs) -> impl Future<Output = Outcome>;
    /// `stockstream replay`.
    fn replay(
        &self,
        global: &GlobalArgs,
        args: crate::replay::ReplayArgs,
    ) -> impl Future<Output = Outcome>;
    /// `stockstream inspect`.
    fn inspect(&self, global: &GlobalArgs, args: InspectArgs) -> impl Future<Output = Outcome>;
    /// `stockstream dashboard`.
    fn dashboard(&self, global: &GlobalArgs, args: DashboardArgs) -> impl Future<Output = Outcome>;
    /// `stockstream validate`.
    fn validate(&self, global: &GlobalArgs, args: ValidateArgs) -> impl Future<Output = Outcome>;
}

/// Runs the command that was asked for.
///
/// # Errors
/// The command's own failure.
pub async fn dispatch(cli: Cli, commands: &impl Commands) -> Outcome {
    let Cli { global, command } = cli;
    match command {
        Command::Dev(args) => commands.dev(&global, args).await,
        Command::Worker(args) => commands.worker(&global, args).await,
        Command::Kinesis(args) => commands.kinesis(&global, args).await,
        Command::Replay(args) => commands.replay(&global, args).await,
        Command::Inspect(args) => commands.inspect(&global, args).await,
        Command::Dashboard(args) => commands.dashboard(&global, args).await,
        Command::Validate(args) => commands.validate(&global, args).await,
        Command::Completions(args) => completions(&args),
    }
}

/// `stockstream completions`: the script on stdout.
fn completions(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "stockstream", &mut script);
    output::print_bytes(&script)
}

#[cfg(test)]
mod tests;
