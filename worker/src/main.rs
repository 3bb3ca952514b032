//! The `stockstream` command.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use stockstream::cli::{self, Cli, Failure};
use stockstream::commands::Program;
use stockstream::observe::log;

/// glibc's took a fifth of a tick's time: one thread allocates what another frees. Measured in docs/performance.md.
/// Without huge pages, which took 35 MiB more and no less time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let colour = cli.global.color;
    match run(cli) {
        Ok(status) => status.into(),
        Err(failure) => {
            failure.print(colour);
            failure.status().into()
        }
    }
}

fn run(cli: Cli) -> cli::Outcome {
    let colour = cli.global.color.enabled(std::io::stderr().is_terminal());
    let log =
        log::init(cli.global.log_format, cli.global.log_level, colour).map_err(Failure::failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    let ended = runtime.block_on(cli::dispatch(cli, &Program { log }));
    // Nothing of worth runs any more; a blocked read of the terminal must not hold the process.
    runtime.shutdown_background();
    ended
}
