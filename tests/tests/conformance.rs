//! One conformance suite for every Kinesis here, written against AWS's API reference: one named case for each documented
//! error of each operation, and for each promise. It runs unchanged on ours and on npm `kinesis-local`.
//!
//! A trial is a case on a server. On ours every case passes; where a server differs, `differences.rs` says what it does,
//! what AWS's documentation says, and who is right, and the trial passes only if the server differs in just that way.
//! What is served and documented but has no case fails `coverage`. The table is printed at the end and kept in
//! `docs/kinesis-conformance.md`.
//!
//! Where the reference is silent, a case takes every answer that it allows, and says so: no case is written from what
//! one of the servers does.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

#[path = "conformance/case.rs"]
mod case;
#[path = "conformance/context.rs"]
mod context;
#[path = "conformance/coverage.rs"]
mod coverage;
#[path = "conformance/differences.rs"]
mod differences;
#[path = "conformance/http.rs"]
mod http;
#[path = "conformance/judged.rs"]
mod judged;
#[path = "conformance/operations.rs"]
mod operations;
#[path = "conformance/refusal.rs"]
mod refusal;
#[path = "conformance/report.rs"]
mod report;
#[path = "conformance/servers.rs"]
mod servers;

// The cases, by family.
#[path = "conformance/consumers.rs"]
mod consumers;
#[path = "conformance/dry_run.rs"]
mod dry_run;
#[path = "conformance/faults.rs"]
mod faults;
#[path = "conformance/limits.rs"]
mod limits;
#[path = "conformance/main_path.rs"]
mod main_path;
#[path = "conformance/protocol.rs"]
mod protocol;
#[path = "conformance/reads.rs"]
mod reads;
#[path = "conformance/records.rs"]
mod records;
#[path = "conformance/scaling.rs"]
mod scaling;
#[path = "conformance/settings.rs"]
mod settings;
#[path = "conformance/shards.rs"]
mod shards;
#[path = "conformance/streams.rs"]
mod streams;
#[path = "conformance/subscribe.rs"]
mod subscribe;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::bail;
use libtest_mimic::{Arguments, Failed, Trial};

use case::{Body, Case, Needs};
use context::{Context, Shared};
use differences::listed;
use operations::By;
use report::Counts;
use servers::{Server, Servers};

/// Trials at once. They mostly wait: for states to change, for AWS's five seconds between two subscriptions.
const AT_ONCE: usize = 16;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(101),
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::from(101)
        }
    }
}

fn run() -> anyhow::Result<bool> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let model = Arc::new(coverage::model()?);
    let mut cases = coverage::generated(&model);
    for family in [
        consumers::cases(),
        dry_run::cases(),
        faults::cases(),
        limits::cases(),
        main_path::cases(),
        protocol::cases(),
        reads::cases(),
        records::cases(),
        scaling::cases(),
        settings::cases(),
        shards::cases(),
        streams::cases(),
        subscribe::cases(),
        protocol::ours(),
    ] {
        cases.extend(family);
    }
    cases.sort_by_key(Case::id);
    let suite = Arc::new(Suite {
        runtime: tokio::runtime::Runtime::new()?,
        servers: Servers::default(),
        shared: Mutex::default(),
        counts: Mutex::default(),
        model,
        cases,
    });
    let conclusion = libtest_mimic::run(&arguments, trials(&suite));
    let counts = lock(&suite.counts).clone();
    if !counts.is_empty() {
        println!("{}", report::table(&counts));
    }
    Ok(!conclusion.has_failed())
}

struct Suite {
    runtime: tokio::runtime::Runtime,
    servers: Servers,
    shared: Mutex<BTreeMap<(Server, Needs), Arc<Shared>>>,
    counts: Mutex<Counts>,
    model: Arc<coverage::Model>,
    cases: Vec<Case>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Each case on each server, and the checks of the suite itself.
fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    type Check = fn(&Suite) -> anyhow::Result<()>;
    let checks: [(&str, Check); 5] = [
        ("coverage::every_documented_error_has_a_case", |suite| {
            coverage::every_documented_error_has_a_case(&suite.model, &suite.cases)
        }),
        ("coverage::cases_have_names_of_their_own", |suite| {
            coverage::cases_have_names_of_their_own(&suite.cases)
        }),
        ("coverage::ours_serves_what_the_suite_holds", |suite| {
            let endpoint = suite.servers.endpoint(Server::Ours, Needs::Plain)?;
            let check = coverage::ours_serves_what_the_suite_holds(&suite.model, &endpoint);
            suite.runtime.block_on(check)
        }),
        ("report::differences_are_of_cases", |suite| {
            report::differences_are_of_cases(&suite.cases)
        }),
        ("report::page_is_current", |suite| {
            report::page_is_current(&suite.cases)
        }),
    ];
    let mut trials = Vec::new();
    for (name, check) in checks {
        let suite = Arc::clone(suite);
        trials.push(Trial::test(name, move || {
            check(&suite).map_err(|error| Failed::from(format!("{error:#}")))
        }));
    }
    for case in &suite.cases {
        for server in Server::ALL {
            if server != Server::Ours && case.ours_only.is_some() {
                continue;
            }
            let (suite, case) = (Arc::clone(suite), case.clone());
            let name = format!("{}@{}", case.id(), server.name());
            trials.push(Trial::test(name, move || {
                suite
                    .judge(server, &case)
                    .map_err(|error| Failed::from(format!("{error:#}")))
            }));
        }
    }
    trials
}

impl Suite {
    /// Runs a case on a server and holds the outcome against the listed differences.
    fn judge(&self, server: Server, case: &Case) -> anyhow::Result<()> {
        let outcome = self.perform(server, case);
        let verdict = match (&outcome, listed(server, &case.id())) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(_)) => Err(anyhow::anyhow!(
                "it passes now: take it out of differences.rs"
            )),
            (Err(error), Some(difference)) => {
                let text = format!("{error:#}");
                if text.contains(difference.seen) {
                    Ok(())
                } else {
                    Err(anyhow::anyhow!(
                        "it differs in another way than {:?} in differences.rs: {text}",
                        difference.seen
                    ))
                }
            }
            (Err(error), None) => Err(anyhow::anyhow!("{error:#}")),
        };
        let mut counts = lock(&self.counts);
        let count = counts.entry((case.operation.clone(), server)).or_default();
        match (&outcome, &verdict) {
            (_, Err(_)) => count.failed += 1,
            (Ok(()), Ok(())) => count.passed += 1,
            (Err(_), Ok(())) => count.differ += 1,
        }
        drop(counts);
        verdict
    }

    fn perform(&self, server: Server, case: &Case) -> anyhow::Result<()> {
        let endpoint = self.servers.endpoint(server, case.needs)?;
        let shared = lock(&self.shared)
            .entry((server, case.needs))
            .or_default()
            .clone();
        let context = Context::new(endpoint, &case.id(), case.needs, shared);
        let operation = case.operation.as_str();
        let run = async {
            match &case.body {
                Body::Written(run) => run(&context).await,
                Body::ByName => operations::found(&context, operation, By::Name).await,
                Body::ByArn => operations::found(&context, operation, By::Arn).await,
                Body::Missing => operations::not_found(&context, operation).await,
                Body::TooOften => operations::too_often(&context, operation).await,
                Body::Scripted(error) => operations::scripted(&context, operation, error).await,
            }
        };
        // A panic is a failure like any other.
        match catch_unwind(AssertUnwindSafe(|| self.runtime.block_on(run))) {
            Ok(outcome) => outcome,
            Err(_) => bail!("it panicked"),
        }
    }
}
