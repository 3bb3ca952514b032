#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn pipeline(more: &str, glue: &str) -> Pipeline {
    let yaml = format!(
        "apiVersion: stockstream.dev/v1alpha1
kind: StockStream
metadata: {{name: p}}
spec:
  source: {{kinesis: {{streamName: s}}}}
  output: {{path: s3://lake/rows{more}}}
  state: {{path: s3://lake/state}}
  window: {{aggregates: [{{name: avg_close, function: avg, field: close}}, {{name: ticks, function: count, field: close}}]}}
  catalog: {{glue: {{database: db, table: rows{glue}}}}}"
    );
    stockstream_crds::parse(&yaml).expect("a sound pipeline")
}

fn facts(wish: &TableWish) -> TableFacts {
    TableFacts {
        location: wish.location.clone(),
        columns: wish.columns.clone(),
        keys: wish.keys.clone(),
        parameters: wish.parameters.clone(),
    }
}

#[test]
fn rows_late_ticks_and_dead_letters_have_a_table_each() {
    let tables = tables(&pipeline("", ""));
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["rows", "rows_late", "rows_dead_letters"]);
    let columns: Vec<String> = tables[0]
        .columns
        .iter()
        .map(|column| format!("{} {}", column.name, column.kind))
        .collect();
    assert_eq!(
        columns,
        [
            "window_start timestamp",
            "window_end timestamp",
            "avg_close double",
            "ticks bigint"
        ]
    );
    assert_eq!(tables[0].keys, ["ticker", "trade_date"]);
    assert_eq!(tables[0].location, "s3://lake/rows/");
    assert_eq!(tables[1].location, "s3://lake/rows-rejects/late/");
    assert_eq!(tables[2].location, "s3://lake/rows-rejects/dead-letters/");
}

/// A column is a folder or stands in the files, never both and never neither.
#[test]
fn what_is_no_folder_is_a_column() {
    for partitions in ["[]", "[ticker]", "[trade_date]", "[trade_date, ticker]"] {
        let tables = tables(&pipeline(&format!(", partitionBy: {partitions}"), ""));
        let rows = &tables[0];
        for column in ["ticker", "trade_date"] {
            let is_key = rows.keys.iter().any(|key| key == column);
            let is_column = rows.columns.iter().any(|own| own.name == column);
            assert!(is_key != is_column, "{column} by {partitions}");
        }
    }
}

#[test]
fn a_table_that_lacks_a_column_gets_it_and_keeps_all_it_has() {
    let wish = &tables(&pipeline("", ""))[0];
    assert_eq!(next_step(wish, None), TableStep::Create);
    assert_eq!(next_step(wish, Some(&facts(wish))), TableStep::None);
    let mut found = facts(wish);
    let lacking = found.columns.pop().unwrap();
    found.columns.push(Column::new("theirs", "string"));
    found.parameters.insert("theirs".to_owned(), "1".to_owned());
    assert_eq!(
        next_step(wish, Some(&found)),
        TableStep::Update {
            columns: vec![lacking],
            parameters: BTreeMap::new(),
        }
    );
}

#[test]
fn a_table_of_something_else_is_never_changed() {
    let wish = &tables(&pipeline("", ""))[0];
    let elsewhere = TableFacts {
        location: "s3://other/rows".to_owned(),
        ..facts(wish)
    };
    let mut other_type = facts(wish);
    other_type.columns[2].kind = "string".to_owned();
    let mut other_keys = facts(wish);
    other_keys.keys.reverse();
    for found in [elsewhere, other_type, other_keys] {
        assert!(
            matches!(next_step(wish, Some(&found)), TableStep::Mismatch(_)),
            "{found:?}"
        );
    }
    let without_slash = TableFacts {
        location: "s3://lake/rows".to_owned(),
        ..facts(wish)
    };
    assert_eq!(next_step(wish, Some(&without_slash)), TableStep::None);
}

#[test]
fn tickers_that_are_listed_let_athena_work_out_the_partitions() {
    let projected = pipeline("", ", projection: {tickers: [AAPL, MSFT]}");
    let rows = &tables(&projected)[0];
    assert_eq!(rows.parameters["projection.enabled"], "true");
    assert_eq!(rows.parameters["projection.ticker.values"], "AAPL,MSFT");
    assert_eq!(rows.parameters["projection.trade_date.type"], "date");
    let plain = tables(&pipeline("", ""));
    assert!(plain[0].parameters.is_empty());
    match next_step(rows, Some(&facts(&plain[0]))) {
        TableStep::Update {
            columns,
            parameters,
        } => {
            assert!(columns.is_empty());
            assert_eq!(parameters, rows.parameters);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn projection_that_isn_t_wanted_any_more_is_switched_off_where_it_was_ours() {
    let rows = &tables(&pipeline("", ""))[0];
    let projected = &tables(&pipeline("", ", projection: {tickers: [AAPL]}"))[0];
    let theirs = facts(projected);
    assert_eq!(next_step(rows, Some(&theirs)), TableStep::None);
    let mut ours = theirs;
    ours.parameters.insert(MADE_FOR.to_owned(), "1".to_owned());
    assert_eq!(
        next_step(rows, Some(&ours)),
        TableStep::Update {
            columns: Vec::new(),
            parameters: BTreeMap::from([(PROJECTED.to_owned(), "false".to_owned())]),
        }
    );
    ours.parameters
        .insert(PROJECTED.to_owned(), "false".to_owned());
    assert_eq!(next_step(rows, Some(&ours)), TableStep::None);
}
