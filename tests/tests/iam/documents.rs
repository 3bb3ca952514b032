//! What the pages say of the policies.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use stockstream_operator::cli::Role;
use stockstream_tests::repository;

use crate::stage::checked_in;

fn actions(policy: &Value, without: &str) -> BTreeSet<String> {
    let statements = policy["Statement"].as_array().into_iter().flatten();
    statements
        .filter(|statement| statement["Sid"] != without)
        .filter_map(|statement| statement["Action"].as_array())
        .flatten()
        .filter_map(|action| Some(action.as_str()?.to_owned()))
        .collect()
}

/// docs/kubernetes.md gives the policy of a pipeline without a catalog.
pub fn page_has_the_policy() -> anyhow::Result<()> {
    let page = std::fs::read_to_string(repository().join("docs/kubernetes.md"))?;
    let (_, rest) = page.split_once("```json\n").context("no JSON")?;
    let (block, _) = rest.split_once("```").context("no end")?;
    let said = actions(&serde_json::from_str(block)?, "");
    let is = actions(&checked_in(Role::Worker)?, "Catalog");
    ensure!(
        said == is,
        "the page allows {said:?}, deploy/iam/worker.json {is:?}"
    );
    Ok(())
}
