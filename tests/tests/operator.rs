//! The operator on a real Kubernetes of one node, with workers in real pods, and AWS emulated in the cluster's network: our own
//! Kinesis, and moto's S3 and Glue.
//!
//! One cluster and one operator for all trials, each in a namespace of its own. `make suite SUITE=operator` runs it.

#![allow(clippy::print_stderr, missing_docs)]

#[path = "operator/alone.rs"]
mod alone;
#[path = "operator/aws.rs"]
mod aws;
#[path = "operator/life.rs"]
mod life;
#[path = "operator/measure.rs"]
mod measure;
#[path = "operator/rights.rs"]
mod rights;
#[path = "operator/scheduling.rs"]
mod scheduling;
#[path = "operator/stage.rs"]
mod stage;
#[path = "operator/steps.rs"]
mod steps;
#[path = "operator/upkeep.rs"]
mod upkeep;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use libtest_mimic::{Arguments, Failed, Trial};

use stage::{Stage, Tenant};

/// Trials at once: they mostly wait, and a cluster has few cores to share.
const AT_ONCE: usize = 3;

type Check = fn(&Tenant<'_>) -> anyhow::Result<()>;

/// What takes long and no change breaks easily: `make e2e` runs it, and `make test` doesn't.
const LONG: &[(&str, Check)] = &[
    ("an_idle_pipeline_writes_nothing", upkeep::idle),
    (
        "a_drained_node_takes_one_worker_at_a_time",
        scheduling::drain,
    ),
    ("an_autoscaler_s_word_counts", scheduling::autoscaler),
];

/// The longest first, so that the others run beside them.
const TRIALS: &[(&str, Check)] = &[
    (
        "killed_deleted_and_cut_off_workers_lose_no_row",
        life::kills,
    ),
    (
        "the_example_gives_the_rows_of_what_was_replayed",
        life::example,
    ),
    ("from_one_yaml_to_rows_that_are_right", life::quickstart),
    (
        "suspended_and_resumed_it_goes_on_where_it_was",
        life::suspend,
    ),
    (
        "kubectl_scale_and_never_more_workers_than_shards",
        life::scale,
    ),
    ("a_changed_spec_rolls_workers_and_loses_no_row", life::roll),
    (
        "what_drifts_is_put_right_and_what_others_own_is_left",
        upkeep::drift,
    ),
    ("what_isn_t_wanted_any_more_is_pruned", upkeep::prune),
    (
        "the_younger_of_two_that_claim_one_thing_touches_nothing",
        upkeep::conflict,
    ),
    (
        "what_only_the_operator_can_check_is_told_with_its_field",
        upkeep::invalid,
    ),
    (
        "a_stream_that_is_throttled_holds_up_nothing_else",
        aws::throttled,
    ),
    ("what_somebody_else_made_is_not_taken", upkeep::theirs),
    (
        "a_roll_out_that_can_t_go_on_is_told",
        upkeep::stuck_roll_out,
    ),
    (
        "a_stream_that_another_reads_outlives_its_maker",
        aws::shared,
    ),
    (
        "a_stream_that_doesn_t_answer_holds_up_nothing_else",
        aws::silent,
    ),
    ("what_aws_refuses_is_told_with_its_field", aws::refused),
    (
        "a_deletion_that_can_t_go_on_is_told_and_let_go",
        aws::blocked,
    ),
    ("what_others_manage_is_used_and_left_alone", aws::external),
    ("stream_and_table_have_what_the_spec_says", aws::settings),
    (
        "a_running_pipeline_that_is_refused_goes_on_and_can_be_suspended",
        upkeep::refused,
    ),
    ("retain_keeps_all_that_lies_in_aws", aws::retain),
    ("delete_takes_what_was_made_and_nothing_more", aws::delete),
    ("shards_follow_the_spec", aws::reshard),
    ("tables_are_made_and_grow", aws::tables),
    (
        "a_bucket_that_isn_t_there_is_told_and_holds_up_no_other",
        aws::no_bucket,
    ),
];

/// What ends, changes or restarts the operator: one after the other, once all others are done.
const ALONE: &[(&str, Check)] = &[
    (
        "an_operator_that_is_killed_again_and_again_gets_there",
        upkeep::killed_operator,
    ),
    (
        "rights_that_are_too_small_are_told_and_given_back",
        alone::rights_too_small,
    ),
];

/// The same, in `make e2e` only.
const ALONE_AND_LONG: &[(&str, Check)] = &[
    (
        "an_operator_that_is_killed_at_each_step_goes_on_there",
        steps::killed_at_each_step,
    ),
    (
        "of_two_operators_one_leads_whatever_happens",
        alone::two_operators,
    ),
    ("one_namespace_is_served_and_no_other", alone::namespaced),
    (
        "where_prometheus_has_its_kind_it_is_told_of_the_workers",
        alone::service_monitor,
    ),
    (
        "the_chart_is_upgraded_rolled_back_removed_and_installed_again",
        alone::chart_life,
    ),
];

/// What `make bench-operator` and `make operator-rights` run instead, one after the other.
const MEASUREMENTS: &[(&str, Check)] = &[
    ("apply_to_ready", measure::apply_to_ready),
    ("recovery", measure::recovery),
    ("roll", measure::roll),
    ("operator_restart", measure::operator_restart),
    ("many", measure::many),
    ("each_right_that_is_taken_away_is_missed", rights::rights),
];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(101),
        Err(error) => {
            eprintln!("operator: {error:#}");
            ExitCode::from(101)
        }
    }
}

fn run() -> anyhow::Result<bool> {
    let arguments = Arguments::from_args();
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let parts: &[(&[(&str, Check)], usize)] = if is_set("STOCKSTREAM_MEASURE") {
        &[(MEASUREMENTS, 1)]
    } else if is_set("STOCKSTREAM_SHORT") {
        &[(TRIALS, AT_ONCE), (ALONE, 1)]
    } else {
        &[
            (LONG, AT_ONCE),
            (TRIALS, AT_ONCE),
            (ALONE, 1),
            (ALONE_AND_LONG, 1),
        ]
    };
    let shared = Arc::new(OnceLock::new());
    let mut all_passed = true;
    for (chosen, at_once) in parts {
        let trials = chosen.iter().map(|&(name, check)| {
            let shared = Arc::clone(&shared);
            Trial::test(name, move || {
                let stage: &anyhow::Result<Stage> = shared.get_or_init(Stage::set);
                let stage = stage
                    .as_ref()
                    .map_err(|error| Failed::from(format!("no stage: {error:#}")))?;
                stage.judge(name, check)
            })
        });
        let mut arguments = arguments.clone();
        match at_once {
            // Whatever is asked for: they would meet.
            1 => arguments.test_threads = Some(1),
            at_once => drop(arguments.test_threads.get_or_insert(*at_once)),
        }
        let conclusion = libtest_mimic::run(&arguments, trials.collect());
        all_passed &= !conclusion.has_failed();
    }
    let stage = Arc::into_inner(shared).context("a trial still runs")?;
    if let Some(Ok(stage)) = stage.into_inner() {
        stage.strike()?;
    }
    Ok(all_passed)
}
