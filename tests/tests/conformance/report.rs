//! The table operation × server, printed at the end and kept in `docs/kinesis-conformance.md`.
//!
//! The page follows from the cases and the listed differences alone: each run holds both against the servers, so it can
//! be checked without one, and has nothing in it that changes from run to run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use stockstream_tests::repository;

use super::case::Case;
use super::coverage::BY_FAULT;
use super::differences::{DIFFERENCES, Difference, listed};
use super::servers::Server;

/// Set to write the page instead of checking it.
pub const UPDATE: &str = "STOCKSTREAM_UPDATE_CONFORMANCE";

/// How cases of an operation did, or must do, on a server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub passed: usize,
    pub differ: usize,
    pub failed: usize,
}

/// Counts by operation and server.
pub type Counts = BTreeMap<(String, Server), Count>;

/// What the differences say must be counted.
pub fn expected(cases: &[Case]) -> Counts {
    let mut counts = Counts::new();
    for case in cases {
        for server in Server::ALL {
            if server != Server::Ours && case.ours_only.is_some() {
                continue;
            }
            let count = counts.entry((case.operation.clone(), server)).or_default();
            match listed(server, &case.id()) {
                Some(_) => count.differ += 1,
                None => count.passed += 1,
            }
        }
    }
    counts
}

/// The table, as Markdown that reads well in a terminal too.
pub fn table(counts: &Counts) -> String {
    let mut operations: Vec<&String> = counts.keys().map(|(operation, _)| operation).collect();
    operations.dedup();
    let cell = |count: Option<&Count>| {
        count.map_or_else(
            || "–".to_owned(),
            |count| {
                let all = count.passed + count.differ + count.failed;
                let failed = match count.failed {
                    0 => String::new(),
                    failed => format!(", {failed} FAILED"),
                };
                format!("{}/{all}{failed}", count.passed)
            },
        )
    };
    let width = operations.iter().map(|name| name.len()).max().unwrap_or(0);
    let mut table = format!(
        "| {:width$} | {:>13} | {:>13} |\n|{:-<w$}|{:->15}|{:->15}|\n",
        "operation",
        Server::Ours.name(),
        Server::KinesisLocal.name(),
        "",
        ":",
        ":",
        w = width + 2
    );
    let mut row = |name: &str, ours: String, theirs: String| {
        // Writing to a String can't fail.
        let _ = writeln!(table, "| {name:width$} | {ours:>13} | {theirs:>13} |");
    };
    for operation in operations {
        let count = |server| cell(counts.get(&(operation.clone(), server)));
        row(operation, count(Server::Ours), count(Server::KinesisLocal));
    }
    let all = |server| {
        let mut all = Count::default();
        for ((_, of), count) in counts {
            if *of == server {
                all.passed += count.passed;
                all.differ += count.differ;
                all.failed += count.failed;
            }
        }
        cell(Some(&all))
    };
    row("all", all(Server::Ours), all(Server::KinesisLocal));
    table
}

/// The page.
fn page(cases: &[Case]) -> String {
    let mut page = format!(
        "<!-- Written by the conformance suite: {UPDATE}=1 make suite SUITE=conformance -->\n\
         # Conformance of the embedded Kinesis\n\n\
         One suite, written against AWS's API reference, runs unchanged on `stockstream kinesis` and on npm\n\
         `kinesis-local`, an implementation of the same API by others. There is a case for every documented error\n\
         of every operation (read from botocore's model of the API) and for every promise of the documentation.\n\
         The client is aws-sdk-kinesis; boto3 and the AWS CLI go the main path. `make suite SUITE=conformance` runs it.\n\n\
         Passed of all cases:\n\n{}\n",
        table(&expected(cases))
    );
    let of = |server| move |difference: &&Difference| difference.server == server;
    for server in Server::ALL {
        let _ = writeln!(page, "## Where {} differs\n", server.name());
        let mut any = false;
        for case in cases {
            let id = case.id();
            let mut found = DIFFERENCES.iter().filter(of(server));
            let Some(difference) = found.find(|difference| difference.case == id) else {
                continue;
            };
            if !any {
                page.push_str("| case | it | AWS's documentation | verdict |\n|---|---|---|---|\n");
                any = true;
            }
            let _ = writeln!(
                page,
                "| `{id}` | {} | {} | {} |",
                difference.does,
                difference.documented.replace('|', "\\|"),
                difference.verdict.text()
            );
        }
        page.push_str(if any { "\n" } else { "Nowhere.\n\n" });
    }
    page.push_str(
        "## Asked of ours only\n\n\
         Errors of what stands around Kinesis at AWS (permissions, KMS, AWS's own failures) come from scripted faults\n\
         (`--faults`), which only ours takes; so do these:\n\n| operation | error | why |\n|---|---|---|\n",
    );
    for (operation, error, why) in BY_FAULT {
        let _ = writeln!(page, "| {operation} | {error} | {why} |");
    }
    page.push_str("\n| case | why |\n|---|---|\n");
    for case in cases {
        if let Some(why) = case.ours_only.filter(|why| !why.contains("faults")) {
            let _ = writeln!(page, "| `{}` | {why} |", case.id());
        }
    }
    page
}

fn path() -> PathBuf {
    repository().join("docs/kinesis-conformance.md")
}

/// The page in the repository is what the cases and differences give; with [`UPDATE`] set, it is written.
pub fn page_is_current(cases: &[Case]) -> anyhow::Result<()> {
    let page = page(cases);
    let path = path();
    if std::env::var_os(UPDATE).is_some() {
        return std::fs::write(&path, page).with_context(|| path.display().to_string());
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    ensure!(
        there == page,
        "docs/kinesis-conformance.md is stale; to write it: {UPDATE}=1 make suite SUITE=conformance"
    );
    Ok(())
}

/// Each listed difference is of a case that there is, and that the server is asked.
pub fn differences_are_of_cases(cases: &[Case]) -> anyhow::Result<()> {
    for difference in DIFFERENCES {
        let case = cases.iter().find(|case| case.id() == difference.case);
        let case = case.with_context(|| format!("there is no case {}", difference.case))?;
        ensure!(
            difference.server == Server::Ours || case.ours_only.is_none(),
            "{} isn't asked of {}",
            difference.case,
            difference.server.name()
        );
    }
    Ok(())
}
