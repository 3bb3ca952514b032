//! A reader that lists a pipeline's output and reads every file, again and again, while workers live and die.
//!
//! Owns what readers may rely on: a file that can be seen is whole, never changes and never vanishes, and nothing that a
//! `**/*.parquet` glob finds is anything but rows or late ticks, each once.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};

use super::lake::{Lake, Listed};
use super::{Outcome, Pipeline};
use crate::{PATIENCE, wait_until};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// The same where each look lists a bucket, whose server has the workers to serve too.
const PAUSE_IN_BUCKET: Duration = Duration::from_millis(300);

/// A reader at work.
#[derive(Debug)]
pub struct Reader {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Seen {
    lake: Lake,
    files: BTreeMap<PathBuf, Known>,
    outcome: Outcome,
    looks: u64,
    fault: Option<anyhow::Error>,
}

/// A file that was read.
#[derive(Debug)]
struct Known {
    content: Vec<u8>,
    tag: Option<String>,
}

impl Reader {
    /// Begins to read what a pipeline puts out.
    #[must_use]
    pub fn start(pipeline: &Pipeline) -> Self {
        let lake = pipeline.output();
        let pause = match lake {
            Lake::Folder(_) => PAUSE,
            Lake::Bucket(_) => PAUSE_IN_BUCKET,
        };
        let seen = Arc::new(Mutex::new(Seen::of(lake)));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                lock(&shared).look_unless_faulty();
                std::thread::sleep(pause);
            }
        });
        Reader {
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// Waits until that many records have ended in a row, as a late tick or as a dead letter.
    ///
    /// # Errors
    /// What the reader found wrong, or that they didn't.
    pub fn until_records(&self, records: u64) -> anyhow::Result<()> {
        let waited = wait_until("all records to be put out", PATIENCE, || {
            let found = self.records()?;
            if found > records {
                bail!("{found} records were put out of {records}");
            }
            Ok((found == records).then_some(()))
        });
        waited.with_context(|| {
            let found = lock(&self.seen).outcome.records();
            format!("{found} of {records} records were put out")
        })
    }

    /// How many records have ended in a row, as a late tick or as a dead letter.
    ///
    /// # Errors
    /// What the reader found wrong.
    pub fn records(&self) -> anyhow::Result<u64> {
        let mut seen = lock(&self.seen);
        match seen.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(seen.outcome.records()),
        }
    }

    /// How often it has looked at everything, and at how many files.
    #[must_use]
    pub fn looks(&self) -> (u64, usize) {
        let seen = lock(&self.seen);
        (seen.looks, seen.files.len())
    }

    /// Looks a last time and returns everything there is.
    ///
    /// # Errors
    /// What the reader found wrong.
    pub fn finish(mut self) -> anyhow::Result<Outcome> {
        self.end();
        let mut seen = lock(&self.seen);
        seen.look_unless_faulty();
        seen.read_all_again_unless_faulty();
        match seen.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(std::mem::take(&mut seen.outcome)),
        }
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It doesn't panic; and if it did, the last look finds out what is wrong.
            let _ = thread.join();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    fn of(lake: Lake) -> Self {
        Seen {
            lake,
            files: BTreeMap::new(),
            outcome: Outcome::default(),
            looks: 0,
            fault: None,
        }
    }

    fn look_unless_faulty(&mut self) {
        if self.fault.is_none() {
            self.fault = self.look().err();
        }
    }

    fn read_all_again_unless_faulty(&mut self) {
        if self.fault.is_none() {
            self.fault = self.read_all_again().err();
        }
    }

    fn look(&mut self) -> anyhow::Result<()> {
        // Known files first: those that vanish must not be missed for being absent from a listing.
        if matches!(self.lake, Lake::Folder(_)) {
            self.read_all_again()?;
        }
        let listed = self.lake.list()?;
        if matches!(self.lake, Lake::Bucket(_)) {
            self.must_stand_unchanged(&listed)?;
        }
        for Listed { path, tag } in listed {
            if !is_data(&path) || self.files.contains_key(&path) {
                continue;
            }
            // A listed file is there: neither is anything ever removed, nor may it be a temporary one.
            let content = self
                .lake
                .read(&path)
                .with_context(|| format!("{} was listed and can't be read", path.display()))?;
            self.outcome.add(self.lake.root(), &path, &content)?;
            self.files.insert(path, Known { content, tag });
        }
        self.looks += 1;
        Ok(())
    }

    fn read_all_again(&self) -> anyhow::Result<()> {
        for (path, known) in &self.files {
            let content = self
                .lake
                .read(path)
                .with_context(|| format!("{} was there and can't be read", path.display()))?;
            if content != known.content {
                bail!("{} has changed", path.display());
            }
        }
        Ok(())
    }

    /// A bucket's listing tells of each object what it was told before; reading all of them each time takes too long.
    fn must_stand_unchanged(&self, listed: &[Listed]) -> anyhow::Result<()> {
        let tags: BTreeMap<_, _> = listed.iter().map(|one| (&one.path, &one.tag)).collect();
        for (path, known) in &self.files {
            match tags.get(path) {
                None => bail!("{} was there and is listed no more", path.display()),
                Some(tag) if **tag != known.tag => bail!("{} has changed", path.display()),
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn is_data(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("parquet" | "ndjson"))
}

/// Every file below a directory, those whose names begin with a dot included; none when it doesn't exist.
pub(super) fn files_below(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            // Not made yet, or a probe's folder that is gone again.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| folder.display().to_string()),
        };
        for entry in entries {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::scratch;

    const LETTER: &str = "{\"shard\":\"s\",\"sequence_number\":\"1\"}\n";

    fn seen(root: &Path) -> Seen {
        Seen::of(Lake::Folder(root.to_path_buf()))
    }

    #[test]
    fn a_file_that_changes_or_vanishes_is_noticed() {
        let folder = scratch().unwrap();
        let path = folder.path().join("x.ndjson");
        std::fs::write(&path, LETTER).unwrap();
        let mut seen = seen(folder.path());
        seen.look().unwrap();
        seen.look().unwrap();
        assert_eq!(seen.outcome.records(), 1);
        std::fs::write(&path, format!("{LETTER}{LETTER}")).unwrap();
        assert!(seen.look().unwrap_err().to_string().contains("has changed"));
        std::fs::remove_file(&path).unwrap();
        assert!(seen.look().unwrap_err().to_string().contains("was there"));
    }

    #[test]
    fn a_temporary_file_that_a_glob_finds_is_noticed() {
        let folder = scratch().unwrap();
        std::fs::create_dir(folder.path().join(".staging")).unwrap();
        std::fs::write(folder.path().join(".staging/half.parquet"), "PAR1").unwrap();
        assert!(seen(folder.path()).look().is_err());
    }
}
