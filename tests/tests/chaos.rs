//! Chaos with real processes: three to six workers, the embedded Kinesis, an S3 server that nobody here wrote, and a proxy
//! before it that fails.
//!
//! A seed decides what happens when: kill -9, SIGSTOP, SIGTERM, more and fewer workers, splits, merges, an S3 that throttles,
//! resets, loses replies, is slow or is gone. Meanwhile a reader lists and reads; at the end the rows are those of one
//! worker that nothing happened to, each once. `make chaos` is the long form; here each kind happens once.
//!
//! Times until shards are read again are measured and printed beside the goals; nothing is asserted about them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "chaos/crew.rs"]
mod crew;
#[path = "chaos/disturbance.rs"]
mod disturbance;
#[path = "chaos/recovery.rs"]
mod recovery;

use std::time::{Duration, Instant};

use stockstream_tests::restart::{
    Market, Pace, Pipeline, Random, Reader, Stream, TICKERS, seed, tell,
};
use stockstream_tests::servers::{Faults, S3Server};
use stockstream_tests::{Binary, scratch};

use crew::Crew;
use disturbance::{Disturbance, Weather};
use recovery::{Journal, Waiting};

/// Ticks sent at once, and the pause after them: about 200 a second.
const TICKS: usize = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// A shard that nobody has read for so long is a failure, whatever the weather.
const LONGEST_SILENCE: Duration = Duration::from_secs(90);

/// Workers at the beginning.
const WORKERS: usize = 4;

#[test]
fn rows_are_those_of_one_undisturbed_worker_whatever_happens_to_workers_shards_and_s3() {
    let plan = Plan::from_environment();
    let seed = seed("chaos", "chaos");
    let mut random = Random::new(seed);
    let folder = scratch().unwrap();
    let stream = Stream::start(folder.path().join("kinesis")).unwrap();
    let s3 = S3Server::SeaweedfsOpen.start().unwrap();
    let faults = Faults::before(&s3.endpoint).unwrap();
    let pipeline = Pipeline::over_stream_in_s3(
        stream.endpoint(),
        &s3.endpoint,
        &faults.endpoint,
        "disturbed",
        Pace::Deployed,
    )
    .unwrap();
    let reader = Reader::start(&pipeline);
    let mut stage = Stage {
        market: Market::new(random.number()),
        crew: Crew::start(&pipeline, WORKERS).unwrap(),
        stream,
        faults,
        reader,
        journal: Journal::default(),
    };

    // Everything that is read has an owner before the first blow falls.
    let first = stage.crew.expecting_all_open(&stage.stream).unwrap();
    stage.until_read_again(first);
    let began = Instant::now();
    let mut queue = Vec::new();
    while !plan.is_done(began.elapsed(), stage.journal.count()) {
        if queue.is_empty() {
            queue = Disturbance::all_in_some_order(&mut random);
        }
        if let Some(next) = queue.pop() {
            stage.disturb(next, &mut random);
        }
    }
    stage.faults.set(&Weather::fair()).unwrap();
    tell(&stage.journal.report());

    stage.stream.send(&Market::sentinels()).unwrap();
    let records = stage.stream.sent() - TICKERS.len() as u64;
    stage.reader.until_records(records).unwrap();
    stage.crew.stop_all().unwrap();
    let (looks, files) = stage.reader.looks();
    let found = stage.reader.finish().unwrap();
    tell(&format!(
        "{records} records, {} rows, {files} files; the reader looked {looks} times",
        found.rows.len()
    ));

    let alone = Pipeline::over_stream(stage.stream.endpoint(), Pace::Busy).unwrap();
    let reader = Reader::start(&alone);
    let worker = alone.worker(Binary::Product, &[]).unwrap();
    reader.until_records(records).unwrap();
    worker.stop().unwrap();
    found.must_equal(&reader.finish().unwrap()).unwrap();
    assert!(!found.rows.is_empty() && !found.late.is_empty() && !found.dead.is_empty());
}

/// How long it goes on.
struct Plan {
    seconds: u64,
    disturbances: usize,
}

impl Plan {
    /// `STOCKSTREAM_CHAOS=SECONDS,DISTURBANCES`, both at least; else each kind once.
    fn from_environment() -> Plan {
        let short = Plan {
            seconds: 0,
            disturbances: Disturbance::ALL.len(),
        };
        let Ok(text) = std::env::var("STOCKSTREAM_CHAOS") else {
            return short;
        };
        let (seconds, disturbances) = text.split_once(',').expect("SECONDS,DISTURBANCES");
        Plan {
            seconds: seconds.parse().expect("seconds"),
            disturbances: disturbances.parse().expect("a number of disturbances"),
        }
    }

    fn is_done(&self, elapsed: Duration, disturbances: usize) -> bool {
        elapsed.as_secs() >= self.seconds && disturbances >= self.disturbances
    }
}

struct Stage<'a> {
    market: Market,
    crew: Crew<'a>,
    stream: Stream,
    faults: Faults,
    reader: Reader,
    journal: Journal,
}

impl Stage<'_> {
    /// Makes one disturbance, and goes on when every shard is read again.
    fn disturb(&mut self, what: Disturbance, random: &mut Random) {
        let waiting = match what {
            Disturbance::Kill => self.crew.kill(random),
            Disturbance::Stop => self.crew.stop_one_and_start_another(random),
            Disturbance::Pause => self.crew.pause(random),
            Disturbance::More => self.crew.start_more(random),
            Disturbance::Fewer => self.crew.stop_some(random),
            Disturbance::Split => self.split(random),
            Disturbance::Merge => self.merge(random),
            Disturbance::KillStream => self
                .stream
                .kill_and_restart()
                .and_then(|()| self.crew.expecting_all_open(&self.stream)),
            Disturbance::Weather(weather) => {
                self.faults.set(&weather.rules()).unwrap();
                self.send_for(Duration::from_millis(1_000 + random.below(2_000)));
                self.clear_up(weather);
                self.crew.expecting_all_open(&self.stream)
            }
            Disturbance::KillInBadWeather => {
                self.faults.set(&Weather::Throttled.rules()).unwrap();
                let waiting = self.crew.kill(random);
                self.send_for(Duration::from_secs(2));
                self.clear_up(Weather::Throttled);
                waiting
            }
        };
        let waiting = waiting.unwrap_or_else(|error| panic!("{what:?}: {error:?}"));
        if waiting.over().is_some() {
            self.journal.note_idle(what);
            self.crew.set_right(random).unwrap();
            return;
        }
        let since = waiting.moment();
        let took = self.until_read_again(waiting);
        if let Some(goal) = what.goal().filter(|goal| took > *goal) {
            let logs = self.crew.logs_since(since);
            tell(&format!(
                "{what:?} at {since} took {took:?}, longer than {goal:?}:{logs}"
            ));
        }
        self.journal.note(what, took);
        self.crew.set_right(random).unwrap();
        self.send_for(random.duration(Duration::from_millis(500)));
    }

    /// Ends bad weather, which must have been felt.
    fn clear_up(&mut self, weather: Weather) {
        let fired = self.faults.fired().unwrap();
        assert!(fired > 0, "{weather:?} hit no request");
        self.journal.note_faults(fired);
        self.faults.set(&Weather::fair()).unwrap();
    }

    fn split(&mut self, random: &mut Random) -> anyhow::Result<Waiting> {
        let open = self.stream.open_shards()?;
        // Eight are enough; then two of them become one.
        if open.len() >= 8 {
            return self.merge(random);
        }
        let shard = usize::try_from(random.below(open.len() as u64))?;
        self.stream.split(&open[shard])?;
        self.crew.expecting_all_open(&self.stream)
    }

    fn merge(&mut self, random: &mut Random) -> anyhow::Result<Waiting> {
        let open = self.stream.open_shards()?;
        if open.len() < 2 {
            return self.split(random);
        }
        let first = usize::try_from(random.below(open.len() as u64 - 1))?;
        self.stream.merge(&open[first].0, &open[first + 1].0)?;
        self.crew.expecting_all_open(&self.stream)
    }

    /// Ticks flow until somebody has read every shard past the moment of the disturbance. Returns how long that took.
    fn until_read_again(&mut self, mut waiting: Waiting) -> Duration {
        loop {
            self.send();
            self.crew.see(&mut waiting).unwrap();
            if let Some(took) = waiting.over() {
                return took;
            }
            assert!(
                waiting.elapsed() < LONGEST_SILENCE,
                "nobody reads {:?}; {}",
                waiting.shards(),
                self.crew.logs()
            );
        }
    }

    fn send_for(&mut self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            self.send();
        }
        // The reader's findings end the run where they arise.
        self.reader.records().unwrap();
    }

    fn send(&mut self) {
        self.stream.send(&self.market.ticks(TICKS)).unwrap();
        std::thread::sleep(PAUSE);
    }
}
