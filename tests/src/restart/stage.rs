//! A stream, a pipeline over it, and a reader that looks on.
//!
//! Owns how a run ends: everything is out, and it is what one worker alone puts out.

use anyhow::ensure;

use super::{Market, Pace, Pipeline, Random, Reader, Stream, TICKERS, Worker, seed};
use crate::{Binary, PATIENCE, scratch, wait_until};

/// A stream, a pipeline, and its reader.
pub struct Stage {
    _folder: tempfile::TempDir,
    /// Decides what the test leaves to chance.
    pub random: Random,
    /// Where ticks come from.
    pub market: Market,
    /// Where they go.
    pub stream: Stream,
    /// What is tested.
    pub pipeline: Pipeline,
    /// Never looks away.
    pub reader: Reader,
}

impl Stage {
    /// A new stream and pipeline; what is left to chance follows the seed of suite and test.
    ///
    /// # Errors
    /// When something can't be started.
    pub fn set(suite: &str, test: &str, pace: Pace) -> anyhow::Result<Stage> {
        let mut random = Random::new(seed(suite, test));
        let folder = scratch()?;
        let stream = Stream::start(folder.path().join("kinesis"))?;
        let pipeline = Pipeline::over_stream(stream.endpoint(), pace)?;
        Ok(Stage {
            _folder: folder,
            market: Market::new(random.number()),
            random,
            stream,
            reader: Reader::start(&pipeline),
            pipeline,
        })
    }

    /// Sends ticks.
    ///
    /// # Errors
    /// When the stream doesn't take them.
    pub fn send(&mut self, ticks: usize) -> anyhow::Result<()> {
        self.stream.send(&self.market.ticks(ticks))
    }

    /// Sends what closes every window but its own; returns how many records will be out then.
    ///
    /// # Errors
    /// When the stream doesn't take them.
    pub fn send_sentinels(&mut self) -> anyhow::Result<u64> {
        self.stream.send(&Market::sentinels())?;
        Ok(self.stream.sent() - TICKERS.len() as u64)
    }

    /// Sends ticks until the output grows: somebody reads, commits and publishes.
    ///
    /// # Errors
    /// When it doesn't, or the reader has seen what must not be.
    pub fn send_until_more_is_out(&mut self) -> anyhow::Result<()> {
        let before = self.reader.records()?;
        wait_until("more output", PATIENCE, || {
            self.stream.send(&self.market.ticks(50))?;
            Ok((self.reader.records()? > before).then_some(()))
        })
    }

    /// Ends one of the workers, by SIGTERM or by SIGKILL, and puts another in its place: which, and how, is left to chance.
    ///
    /// # Errors
    /// When one that was told to end fails, or the new one doesn't start.
    pub fn replace_one(
        &mut self,
        workers: &mut Vec<Worker>,
        start: impl FnOnce(&Stage) -> Worker,
    ) -> anyhow::Result<()> {
        let ends = usize::try_from(self.random.below(workers.len() as u64))?;
        let ended = workers.swap_remove(ends);
        match self.random.one_in(2) {
            true => drop(ended), // kill -9
            false => drop(ended.stop()?),
        }
        workers.push(start(self));
        Ok(())
    }

    /// Waits until everything is out, stops the workers, and compares with one worker alone.
    ///
    /// # Errors
    /// Any difference.
    pub fn finish(self, records: u64, workers: Vec<Worker>) -> anyhow::Result<()> {
        self.reader.until_records(records)?;
        for worker in workers {
            worker.stop()?;
        }
        let found = self.reader.finish()?;

        let alone = Pipeline::over_stream(self.stream.endpoint(), Pace::Busy)?;
        let reader = Reader::start(&alone);
        let worker = alone.worker(Binary::Product, &[])?;
        reader.until_records(records)?;
        worker.stop()?;
        found.must_equal(&reader.finish()?)?;
        ensure!(
            !found.rows.is_empty() && !found.late.is_empty() && !found.dead.is_empty(),
            "the market made no rows, no late ticks or no dead letters"
        );
        Ok(())
    }
}
