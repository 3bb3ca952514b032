//! The tables of a pipeline, and the next step towards each.
//!
//! Owns what Athena is told of rows, late ticks and dead letters, and what is made of a table that says something else. Pure.
//! Must never drop a column or change its type: queries and old files have it.

use std::collections::BTreeMap;

use stockstream_crds::Pipeline;
use stockstream_crds::spec::{AggregateFunction, PartitionColumn};

/// Parameter that names who a table belongs to: `namespace/name`.
pub const OWNER: &str = "stockstream.dev/owner";
/// Parameter of a table that the operator made: the StockStream's uid.
pub const MADE_FOR: &str = "stockstream.dev/made-for";

const PROJECTED: &str = "projection.enabled";

/// What Athena's partition projection looks through: every day since.
const FIRST_DAY: &str = "2000-01-01";

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its Hive type.
    pub kind: String,
}

impl Column {
    fn new(name: &str, kind: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
        }
    }
}

/// How files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Parquet.
    Parquet,
    /// A JSON object a line.
    Json,
}

/// A table as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableWish {
    /// Its name.
    pub name: String,
    /// For people.
    pub description: &'static str,
    /// Where its files lie.
    pub location: String,
    /// How they are written.
    pub format: Format,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its partition columns, all strings.
    pub keys: Vec<String>,
    /// Parameters that it shall have, beside whatever others set.
    pub parameters: BTreeMap<String, String>,
}

/// A table as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableFacts {
    /// Where its files lie.
    pub location: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its partition columns.
    pub keys: Vec<String>,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableStep {
    /// Nothing.
    None,
    /// Make it.
    Create,
    /// Add these columns and set these parameters.
    Update {
        /// Columns that it lacks.
        columns: Vec<Column>,
        /// Parameters that it lacks or has otherwise.
        parameters: BTreeMap<String, String>,
    },
    /// It is something else, in a way that can't be put right without harm.
    Mismatch(String),
}

/// The tables of a pipeline: rows first, then late ticks and dead letters. None without a catalog.
pub fn tables(pipeline: &Pipeline) -> Vec<TableWish> {
    let Some(catalog) = pipeline.catalog() else {
        return Vec::new();
    };
    let rejects = slashed(&pipeline.output().rejects_path.to_string());
    let late = [
        ("ticker", "string"),
        ("trade_date", "string"),
        ("event_time", "timestamp"),
        ("arrival_time", "timestamp"),
        ("watermark", "timestamp"),
        ("sequence_number", "string"),
        ("shard", "string"),
        ("data", "binary"),
    ];
    let letters = [
        ("reason", "string"),
        ("detail", "string"),
        ("shard", "string"),
        ("sequence_number", "string"),
        ("arrival_time", "string"),
        ("data_base64", "string"),
    ];
    let columns = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        pairs.map(|(name, kind)| Column::new(name, kind)).collect()
    };
    vec![
        rows(
            pipeline,
            &catalog.table,
            catalog.projected_tickers.as_deref(),
        ),
        TableWish {
            name: format!("{}_late", catalog.table),
            description: "Ticks whose window was closed when they came",
            location: format!("{rejects}late/"),
            format: Format::Parquet,
            columns: columns(&late),
            keys: Vec::new(),
            parameters: BTreeMap::new(),
        },
        TableWish {
            name: format!("{}_dead_letters", catalog.table),
            description: "Ticks that can't be used, and why",
            location: format!("{rejects}dead-letters/"),
            format: Format::Json,
            columns: columns(&letters),
            keys: Vec::new(),
            parameters: BTreeMap::new(),
        },
    ]
}

fn rows(pipeline: &Pipeline, name: &str, tickers: Option<&[String]>) -> TableWish {
    let partitions = &pipeline.output().partition_by;
    let in_file = [PartitionColumn::Ticker, PartitionColumn::TradeDate];
    let in_file = in_file.into_iter().filter(|own| !partitions.contains(own));
    let mut columns: Vec<Column> = in_file
        .map(|column| Column::new(column_name(column), "string"))
        .collect();
    columns.push(Column::new("window_start", "timestamp"));
    columns.push(Column::new("window_end", "timestamp"));
    for aggregate in &pipeline.window().aggregates {
        let kind = match aggregate.function {
            AggregateFunction::Count => "bigint",
            _ => "double",
        };
        columns.push(Column::new(&aggregate.name, kind));
    }
    let keys: Vec<String> = partitions
        .iter()
        .map(|column| column_name(*column).to_owned())
        .collect();
    TableWish {
        name: name.to_owned(),
        description: "One row a ticker and window",
        location: slashed(&pipeline.output().path.to_string()),
        format: Format::Parquet,
        columns,
        parameters: projection(partitions, tickers),
        keys,
    }
}

/// Athena's parameters of partition projection (its documentation, "Set up partition projection").
fn projection(
    partitions: &[PartitionColumn],
    tickers: Option<&[String]>,
) -> BTreeMap<String, String> {
    let Some(tickers) = tickers.filter(|_| !partitions.is_empty()) else {
        return BTreeMap::new();
    };
    let mut parameters = BTreeMap::from([(PROJECTED.to_owned(), "true".to_owned())]);
    let mut set = |name: &str, value: String| {
        parameters.insert(format!("projection.{name}"), value);
    };
    for column in partitions {
        match column {
            PartitionColumn::Ticker => {
                set("ticker.type", "enum".to_owned());
                set("ticker.values", tickers.join(","));
            }
            PartitionColumn::TradeDate => {
                set("trade_date.type", "date".to_owned());
                set("trade_date.format", "yyyy-MM-dd".to_owned());
                set("trade_date.range", format!("{FIRST_DAY},NOW+1DAYS"));
            }
        }
    }
    parameters
}

const fn column_name(column: PartitionColumn) -> &'static str {
    match column {
        PartitionColumn::Ticker => "ticker",
        PartitionColumn::TradeDate => "trade_date",
    }
}

fn slashed(path: &str) -> String {
    match path.ends_with('/') {
        true => path.to_owned(),
        false => format!("{path}/"),
    }
}

/// The next step towards a table.
pub fn next_step(wish: &TableWish, found: Option<&TableFacts>) -> TableStep {
    let Some(found) = found else {
        return TableStep::Create;
    };
    if slashed(&found.location) != wish.location {
        return TableStep::Mismatch(format!(
            "its files lie in {}, not in {}",
            found.location, wish.location
        ));
    }
    if found.keys != wish.keys {
        return TableStep::Mismatch(format!(
            "it is partitioned by [{}], not by [{}]",
            found.keys.join(", "),
            wish.keys.join(", ")
        ));
    }
    let mut columns = Vec::new();
    for column in &wish.columns {
        let own = found.columns.iter().find(|own| own.name == column.name);
        match own {
            None => columns.push(column.clone()),
            Some(own) if own.kind != column.kind => {
                return TableStep::Mismatch(format!(
                    "its column {} is {}, not {}",
                    own.name, own.kind, column.kind
                ));
            }
            Some(_) => {}
        }
    }
    let mut parameters: BTreeMap<String, String> = wish
        .parameters
        .iter()
        .filter(|(name, value)| found.parameters.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // Else Athena would go on to look for the tickers of before, and for none of the partitions that workers register.
    let is_projected = found
        .parameters
        .get(PROJECTED)
        .is_some_and(|on| on == "true");
    if is_projected && wish.parameters.is_empty() && found.parameters.contains_key(MADE_FOR) {
        parameters.insert(PROJECTED.to_owned(), "false".to_owned());
    }
    if columns.is_empty() && parameters.is_empty() {
        return TableStep::None;
    }
    TableStep::Update {
        columns,
        parameters,
    }
}

#[cfg(test)]
mod tests;
