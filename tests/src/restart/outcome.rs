//! What a pipeline has put out, read back from its files.
//!
//! Owns what "the same" means: every row, late tick and dead letter once, and every figure equal to the last bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

/// A value of a column, compared bit by bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Null.
    Null,
    /// The bits of a double.
    Double(u64),
    /// An integer, or microseconds since 1970.
    Long(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A row, or a late tick: its columns by name, those in the path included.
pub type Row = BTreeMap<String, Figure>;

/// What a pipeline has put out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// By ticker and window start.
    pub rows: BTreeMap<(String, i64), Row>,
    /// By shard and sequence number.
    pub late: BTreeMap<(String, String), Row>,
    /// By shard and sequence number: the line.
    pub dead: BTreeMap<(String, String), String>,
}

impl Outcome {
    /// Records that ended in a row, as a late tick or as a dead letter.
    #[must_use]
    pub fn records(&self) -> u64 {
        let ticks = self.rows.values().map(|row| match row.get("ticks") {
            Some(Figure::Long(ticks)) => u64::try_from(*ticks).unwrap_or_default(),
            _ => 0,
        });
        ticks.sum::<u64>() + (self.late.len() + self.dead.len()) as u64
    }

    /// Adds what a file holds.
    ///
    /// # Errors
    /// When the file can't be read whole, or holds something that another file (or itself) holds already.
    pub fn add(&mut self, root: &Path, path: &Path, content: &[u8]) -> anyhow::Result<()> {
        let within = path.strip_prefix(root)?.to_path_buf();
        let read = match path.extension().and_then(|extension| extension.to_str()) {
            Some("ndjson") => self.add_dead(content),
            _ if within.starts_with("rejects") => self.add_late(content),
            _ => self.add_rows(&within, content),
        };
        read.with_context(|| format!("in {}", path.display()))
    }

    fn add_rows(&mut self, within: &Path, content: &[u8]) -> anyhow::Result<()> {
        let parts = partition_values(within)?;
        for mut row in rows(content)? {
            row.extend(parts.clone());
            let Some(Figure::Long(start)) = row.get("window_start").cloned() else {
                bail!("no window_start in {row:?}");
            };
            let key = (text(&row, "ticker")?, start);
            if let Some(before) = self.rows.insert(key.clone(), row) {
                bail!("{key:?} stands twice: {before:?}");
            }
        }
        Ok(())
    }

    fn add_late(&mut self, content: &[u8]) -> anyhow::Result<()> {
        for row in rows(content)? {
            let key = (text(&row, "shard")?, text(&row, "sequence_number")?);
            if self.late.insert(key.clone(), row).is_some() {
                bail!("the late tick {key:?} stands twice");
            }
        }
        Ok(())
    }

    fn add_dead(&mut self, content: &[u8]) -> anyhow::Result<()> {
        let content = std::str::from_utf8(content)?;
        if !content.ends_with('\n') {
            bail!("the last line is torn");
        }
        for line in content.lines() {
            let parsed: serde_json::Value = serde_json::from_str(line)?;
            let field = |name: &str| parsed[name].as_str().map(str::to_owned);
            let key = (
                field("shard").context("no shard")?,
                field("sequence_number").context("no sequence_number")?,
            );
            if self.dead.insert(key.clone(), line.to_owned()).is_some() {
                bail!("the dead letter {key:?} stands twice");
            }
        }
        Ok(())
    }

    /// Compares with what is expected.
    ///
    /// # Errors
    /// When anything is missing, is there and shouldn't be, or differs; with the first few of each.
    pub fn must_equal(&self, expected: &Outcome) -> anyhow::Result<()> {
        let mut differences = compared("row", &expected.rows, &self.rows);
        differences.extend(compared("late tick", &expected.late, &self.late));
        differences.extend(compared("dead letter", &expected.dead, &self.dead));
        if differences.is_empty() {
            return Ok(());
        }
        let (count, few) = (differences.len(), &differences[..differences.len().min(10)]);
        bail!(
            "{count} differences from the uninterrupted run:\n{}",
            few.join("\n")
        )
    }
}

fn compared<K, V>(what: &str, expected: &BTreeMap<K, V>, found: &BTreeMap<K, V>) -> Vec<String>
where
    K: Ord + std::fmt::Debug,
    V: PartialEq + std::fmt::Debug,
{
    let mut differences = Vec::new();
    for (key, wanted) in expected {
        match found.get(key) {
            None => differences.push(format!("{what} {key:?} is missing: {wanted:?}")),
            Some(value) if value != wanted => {
                differences.push(format!("{what} {key:?} is {value:?}, expected {wanted:?}"))
            }
            Some(_) => {}
        }
    }
    for (key, value) in found {
        if !expected.contains_key(key) {
            differences.push(format!("{what} {key:?} shouldn't be there: {value:?}"));
        }
    }
    differences
}

fn rows(content: &[u8]) -> anyhow::Result<Vec<Row>> {
    let reader = SerializedFileReader::new(Bytes::copy_from_slice(content))?;
    let mut rows = Vec::new();
    for row in reader.get_row_iter(None)? {
        let columns = row?.into_columns().into_iter();
        let figures = columns.map(|(name, field)| Ok((name, figure(field)?)));
        rows.push(figures.collect::<anyhow::Result<Row>>()?);
    }
    Ok(rows)
}

fn figure(field: Field) -> anyhow::Result<Figure> {
    Ok(match field {
        Field::Null => Figure::Null,
        Field::Double(value) => Figure::Double(value.to_bits()),
        Field::Long(value) | Field::TimestampMicros(value) => Figure::Long(value),
        Field::Str(value) => Figure::Text(value),
        Field::Bytes(value) => Figure::Bytes(value.data().to_vec()),
        other => bail!("an unexpected kind of column: {other:?}"),
    })
}

fn text(row: &Row, name: &str) -> anyhow::Result<String> {
    match row.get(name) {
        Some(Figure::Text(text)) => Ok(text.clone()),
        other => bail!("{name} is {other:?}"),
    }
}

/// The partition columns in a path, `rows/ticker=BRK%2FB/trade_date=2024-01-02/…`.
fn partition_values(within: &Path) -> anyhow::Result<Row> {
    let folders = within.parent().map(PathBuf::from).unwrap_or_default();
    let mut values = Row::new();
    for folder in folders.iter().skip(1) {
        let folder = folder.to_str().context("a folder's name isn't UTF-8")?;
        let (name, value) = folder
            .split_once('=')
            .with_context(|| format!("{folder} is no partition"))?;
        values.insert(name.to_owned(), Figure::Text(unescaped(value)?));
    }
    Ok(values)
}

fn unescaped(value: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = after.get(..2).context("a cut escape")?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits)?, 16)?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    Ok(String::from_utf8(bytes)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn partition_values_are_unescaped() {
        let path = Path::new("rows/ticker=BRK%2FB/trade_date=2024-01-02/x.parquet");
        let values = partition_values(path).unwrap();
        assert_eq!(values["ticker"], Figure::Text("BRK/B".into()));
        assert_eq!(values["trade_date"], Figure::Text("2024-01-02".into()));
    }

    #[test]
    fn each_kind_of_difference_is_told() {
        let letters = |letters: &[(&str, &str)]| Outcome {
            dead: letters
                .iter()
                .map(|(number, line)| (("s".to_owned(), (*number).to_owned()), (*line).to_owned()))
                .collect(),
            ..Outcome::default()
        };
        let expected = letters(&[("1", "a"), ("2", "b")]);
        expected.must_equal(&expected.clone()).unwrap();
        let found = letters(&[("1", "x"), ("3", "c")]);
        let told = found.must_equal(&expected).unwrap_err().to_string();
        for part in [
            "is \"x\", expected \"a\"",
            "\"2\") is missing",
            "\"3\") shouldn't be there",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }

    #[test]
    fn a_dead_letter_that_stands_twice_is_refused() {
        let mut outcome = Outcome::default();
        let line = b"{\"shard\":\"s\",\"sequence_number\":\"1\"}\n";
        let (root, path) = (
            Path::new("/out"),
            Path::new("/out/rejects/dead-letters/x.ndjson"),
        );
        outcome.add(root, path, line).unwrap();
        let error = outcome.add(root, path, line).unwrap_err();
        assert!(format!("{error:?}").contains("stands twice"), "{error:?}");
    }
}
