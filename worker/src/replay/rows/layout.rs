//! Which column holds which field of a tick.

use std::str::FromStr;

use super::source::Source;
use crate::replay::ReplayError;

/// A field of a tick that a column can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The ticker.
    Ticker,
    /// The trade date, with or without a time of day.
    Date,
    /// Opening price.
    Open,
    /// Highest price.
    High,
    /// Lowest price.
    Low,
    /// Closing price.
    Close,
    /// Shares traded.
    Volume,
}

impl Field {
    /// Every field, in the order of [`Layout::columns`].
    pub const ALL: [Self; 7] = [
        Self::Ticker,
        Self::Date,
        Self::Open,
        Self::High,
        Self::Low,
        Self::Close,
        Self::Volume,
    ];

    /// The name in a tick, which `--column` takes too.
    pub fn name(self) -> &'static str {
        self.usual()[0]
    }

    /// The column names that are taken for this field, in any case; earlier ones win.
    fn usual(self) -> &'static [&'static str] {
        match self {
            Self::Ticker => &["ticker", "symbol"],
            Self::Date => &["date", "trade_date", "datetime", "timestamp", "time"],
            Self::Open => &["open"],
            Self::High => &["high"],
            Self::Low => &["low"],
            Self::Close => &["close"],
            Self::Volume => &["volume"],
        }
    }
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|field| field.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|field| field.name()).collect();
                format!("`{text}` is not a field; allowed are {}", names.join(", "))
            })
    }
}

/// Column names given by the user; fields without one go by their usual names.
#[derive(Clone, Debug, Default)]
pub struct ColumnNames {
    given: Vec<(Field, String)>,
}

impl ColumnNames {
    /// Takes the column `name` for `field`; a later call for the same field wins.
    pub fn set(&mut self, field: Field, name: impl Into<String>) {
        self.given.retain(|(known, _)| *known != field);
        self.given.push((field, name.into()));
    }

    /// How well a column's name fits a field: 0 is best; `None` if it does not fit.
    fn rank(&self, field: Field, column: &str) -> Option<usize> {
        let column = column.trim_start_matches('\u{feff}').trim();
        match self.given.iter().find(|(known, _)| *known == field) {
            Some((_, name)) => name.trim().eq_ignore_ascii_case(column).then_some(0),
            None => field
                .usual()
                .iter()
                .position(|usual| usual.eq_ignore_ascii_case(column)),
        }
    }

    fn best<'a>(&self, field: Field, columns: impl Iterator<Item = &'a str>) -> Option<usize> {
        columns
            .enumerate()
            .filter_map(|(index, column)| self.rank(field, column).map(|rank| (rank, index)))
            .min()
            .map(|(_, index)| index)
    }
}

/// Where a field's value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In this column of the file.
    Column(usize),
    /// In the file's path, the same for every row.
    Path(String),
    /// Nowhere.
    Nowhere,
}

/// Where each field of a file's rows stands.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    places: [Place; 7],
}

impl Layout {
    /// Finds every field in a file's columns and path. A value of the path wins, as it does in Athena and Spark.
    ///
    /// # Errors
    /// [`ReplayError::UnknownLayout`] when ticker, date or close is nowhere.
    pub(super) fn find(
        source: &Source,
        columns: &[&str],
        names: &ColumnNames,
    ) -> Result<Self, ReplayError> {
        let layout = Self::locate(source, columns, names);
        match [Field::Ticker, Field::Date, Field::Close]
            .into_iter()
            .find(|field| !layout.has(*field))
        {
            None => Ok(layout),
            Some(field) => Err(unknown(source, columns, names, field)),
        }
    }

    /// As [`Layout::find`], with required fields possibly nowhere.
    pub(super) fn locate(source: &Source, columns: &[&str], names: &ColumnNames) -> Self {
        Self {
            places: Field::ALL.map(|field| place(source, columns, names, field)),
        }
    }

    pub(super) fn has(&self, field: Field) -> bool {
        *self.place(field) != Place::Nowhere
    }

    pub(super) fn place(&self, field: Field) -> &Place {
        &self.places[field as usize]
    }
}

fn place(source: &Source, columns: &[&str], names: &ColumnNames, field: Field) -> Place {
    let in_path = names.best(
        field,
        source.path_values.iter().map(|(key, _)| key.as_str()),
    );
    match in_path.and_then(|index| source.path_values.get(index)) {
        Some((_, value)) => Place::Path(value.clone()),
        None => names
            .best(field, columns.iter().copied())
            .map_or(Place::Nowhere, Place::Column),
    }
}

/// The error for a file whose rows lack a field that every tick needs.
pub(super) fn unknown(
    source: &Source,
    columns: &[&str],
    names: &ColumnNames,
    field: Field,
) -> ReplayError {
    let wanted = match names.given.iter().find(|(known, _)| *known == field) {
        Some((_, name)) => format!("`{name}`"),
        None => field
            .usual()
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(" or "),
    };
    let found: Vec<_> = columns
        .iter()
        .copied()
        .chain(source.path_values.iter().map(|(key, _)| key.as_str()))
        .take(50)
        .map(super::cell::shown)
        .collect();
    ReplayError::UnknownLayout {
        path: source.name.clone(),
        missing: format!("the {} (looked for {wanted})", field.name()),
        field: field.name(),
        found: if found.is_empty() {
            "none".to_owned()
        } else {
            found.join(", ")
        },
    }
}
