#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::super::merge::{Answer, Facts, merge};
use super::super::view::Served;
use super::*;
use crate::observe::fixtures::{busy_observer, identity};

fn view() -> PipelineView {
    let report = busy_observer(3).report();
    let answer = Answer {
        report: Some(Arc::clone(&report)),
        trouble: None,
    };
    merge(&Facts {
        identity: &identity(),
        served_by: Served {
            kind: "worker".to_owned(),
            member_id: None,
            version: String::new(),
        },
        at: 0,
        members: &[],
        answers: &BTreeMap::from([("a".to_owned(), answer)]),
        chains: &[],
        trouble: None,
    })
}

/// As the page applies a change: worker/web/src/model.ts.
fn apply(view: &mut Value, change: &Value) {
    let keyed = |value: &Value, name: &str| -> BTreeMap<String, Value> {
        let items = value.as_array().cloned().unwrap_or_default();
        items
            .into_iter()
            .map(|item| (item[name].as_str().unwrap().to_owned(), item))
            .collect()
    };
    for (field, value) in change.as_object().unwrap() {
        let list = LISTS.iter().find(|(list, _)| list == field);
        match (field.as_str(), list) {
            ("gone", _) => {
                for (list, names) in value.as_object().unwrap() {
                    let name = LISTS.iter().find(|(known, _)| known == list).unwrap().1;
                    let mut items = keyed(&view[list], name);
                    for gone in names.as_array().unwrap() {
                        items.remove(gone.as_str().unwrap());
                    }
                    view[list] = items.into_values().collect();
                }
            }
            (_, Some((list, name))) => {
                let mut items = keyed(&view[*list], name);
                for item in value.as_array().unwrap() {
                    let key = item[*name].as_str().unwrap().to_owned();
                    let known = items.entry(key).or_insert_with(|| json!({}));
                    for (field, value) in item.as_object().unwrap() {
                        known[field] = value.clone();
                    }
                }
                view[*list] = items.into_values().collect();
            }
            _ => view[field] = value.clone(),
        }
    }
}

#[test]
fn of_a_ticker_only_the_fields_that_changed_are_sent() {
    let before = view();
    let mut after = before.clone();
    after.tickers[1].latest_close = Some(2.5);
    after.tickers.remove(2);
    let changes = Parts::of(&before)
        .unwrap()
        .changes(&Parts::of(&after).unwrap());
    assert_eq!(
        changes,
        json!({
            "tickers": [{"ticker": "T0001", "latestClose": 2.5}],
            "gone": {"tickers": ["T0002"]}
        })
    );
    let none = Parts::of(&after)
        .unwrap()
        .changes(&Parts::of(&after).unwrap());
    assert_eq!(none, json!({}));
}

proptest! {
    #[test]
    fn who_applies_every_change_has_the_newest_view(
        steps in proptest::collection::vec((any::<u8>(), any::<bool>(), proptest::option::of(0.0..9.0f64), 0usize..4), 1..20)
    ) {
        let mut now = view();
        let spare = now.tickers.clone();
        let mut shown = serde_json::to_value(&now).unwrap();
        for (ticks, gone, close, which) in steps {
            let before = Parts::of(&now).unwrap();
            now.totals.ticks += u64::from(ticks);
            now.watermark = close.map(|close| close as i64);
            now.shards[0].epoch += u64::from(ticks % 2);
            match (gone, now.tickers.get_mut(which)) {
                (true, Some(_)) => { now.tickers.remove(which); }
                (false, Some(ticker)) => ticker.latest_close = close,
                (_, None) => now.tickers = spare.clone(),
            }
            apply(&mut shown, &before.changes(&Parts::of(&now).unwrap()));
            prop_assert_eq!(&shown, &serde_json::to_value(&now).unwrap());
        }
    }
}
