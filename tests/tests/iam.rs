//! The IAM policies of `deploy/iam`, on servers that enforce policies: under them everything works, and without any one of
//! their actions something doesn't, and says which action it lacks.
//!
//! A trial is a role on a server, under its whole policy or one without an action: the worker runs a pipeline, the
//! operator's AWS part a stream's, a catalog's and a bucket's life, through its library, for the program itself needs a
//! cluster. What a server can't show stands in `stage::gap`, with the reason.

#![allow(clippy::print_stderr, missing_docs)]

#[path = "iam/documents.rs"]
mod documents;
#[path = "iam/operator.rs"]
mod operator;
#[path = "iam/sources.rs"]
mod sources;
#[path = "iam/stage.rs"]
mod stage;
// `support` itself, for what a worker answers.
mod support;
#[path = "iam/worker.rs"]
mod worker;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use stockstream_operator::cli::Role;

use stage::{Run, Server, Stage};

/// Trials at once: workers mostly wait.
const AT_ONCE: usize = 6;

type Shared = Arc<OnceLock<anyhow::Result<Stage>>>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let mut trials = vec![
        plain(
            "every_action_is_tried_on_a_server",
            stage::every_action_is_tried,
        ),
        plain(
            "every_call_in_the_sources_is_in_the_list",
            sources::calls_are_listed,
        ),
        plain(
            "every_action_in_the_list_is_called",
            sources::actions_are_called,
        ),
        plain(
            "the_page_s_policy_is_that_of_a_worker_without_a_catalog",
            documents::page_has_the_policy,
        ),
    ];
    for server in Server::ALL {
        let shared = Shared::default();
        let runs = Run::all().into_iter();
        trials.extend(
            runs.filter(|run| run.gap(server).is_none())
                .map(|run| trial(server, run, &shared)),
        );
    }
    // The longest ones first.
    trials.sort_by_key(|trial| !trial.name().contains("under_its_policy"));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn plain(name: &str, check: fn() -> anyhow::Result<()>) -> Trial {
    Trial::test(name, move || Ok(check()?))
}

fn trial(server: Server, run: Run, shared: &Shared) -> Trial {
    let shared = Arc::clone(shared);
    let name = format!("{}::{}", server.name(), run.name());
    Trial::test(name, move || {
        let stage = shared.get_or_init(|| Stage::set(server));
        let stage = stage
            .as_ref()
            .map_err(|error| Failed::from(format!("no stage: {error:#}")))?;
        let judged = match run.role {
            Role::Operator => operator::judge(stage, run),
            Role::Worker => worker::judge(stage, run),
        };
        judged.map_err(|error| Failed::from(format!("{error:#}")))
    })
}
