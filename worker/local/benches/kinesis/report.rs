//! The figures as Markdown.

use std::time::Duration;

use crate::Options;
use crate::load::{Run, median};
use crate::parts::Kind;

/// What this must reach (puts and reads a second in memory; durable: half of it).
const PUTS: f64 = 200_000.0;
const READS: f64 = 400_000.0;

/// ferrokinesis 0.7, from the project's notes on machines of this kind: it isn't run here.
const FERROKINESIS: [&str; 2] = ["47,000–59,000", "113,000–177,000"];

pub fn head(options: &Options) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "Client and server share {cores} cores; load of the machine at the start: {}. {} callers, 500 records of \
         157 bytes a call, 4 shards; reads of 10,000 records a call, a reader a shard.",
        load.split(' ').next().unwrap_or("unknown"),
        options.callers
    );
}

/// A figure and what it must reach.
pub struct Line {
    name: String,
    value: f64,
    goal: String,
    reached: bool,
    unit: &'static str,
}

impl Line {
    pub fn below(name: &str, value: f64, most: f64, unit: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            value,
            goal: format!("< {} {unit}", thousands(most)),
            reached: value < most,
            unit,
        }
    }

    fn at_least(name: &str, value: f64, least: f64, unit: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            value,
            goal: format!("≥ {} {unit}", thousands(least)),
            reached: value >= least,
            unit,
        }
    }
}

pub fn lines(title: &str, lines: &[Line]) {
    println!("\n### {title}\n\n| | measured | goal | |\n|---|---:|---:|---|");
    for line in lines {
        let reached = if line.reached {
            "reached"
        } else {
            "**not reached**"
        };
        println!(
            "| {} | {} {} | {} | {reached} |",
            line.name,
            thousands(line.value),
            line.unit,
            line.goal
        );
    }
}

/// 1234567.8 as `1,234,568`.
pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value <= -0.5 {
        format!("-{text}")
    } else {
        text
    }
}

/// Rounds of puts and reads.
#[derive(Default)]
pub struct Throughput {
    rounds: Vec<(Kind, Run, Run)>,
}

/// Medians over rounds.
#[derive(Clone, Copy)]
struct Medians {
    per_second: f64,
    /// Processor time a record: µs of the server, of the client.
    server: f64,
    client: f64,
}

impl Medians {
    fn of(runs: &[Run]) -> Option<Self> {
        if runs.is_empty() {
            return None;
        }
        let of = |figure: &dyn Fn(&Run) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(figure).collect();
            median(&mut values)
        };
        let micros =
            |run: &Run, time: Duration| time.as_secs_f64() * 1e6 / run.records.max(1) as f64;
        Some(Self {
            per_second: of(&Run::per_second),
            server: of(&|run| micros(run, run.server.total())),
            client: of(&|run| micros(run, run.client.total())),
        })
    }
}

impl Throughput {
    pub fn add(&mut self, kind: Kind, put: Run, read: Run) {
        self.rounds.push((kind, put, read));
    }

    fn medians(&self, kind: Kind) -> Option<[Medians; 2]> {
        let rounds = || self.rounds.iter().filter(|(of, ..)| *of == kind);
        let puts: Vec<Run> = rounds().map(|(_, put, _)| *put).collect();
        let reads: Vec<Run> = rounds().map(|(_, _, read)| *read).collect();
        Some([Medians::of(&puts)?, Medians::of(&reads)?])
    }

    pub fn print(&self) {
        let peer = self.medians(Kind::Peer);
        println!(
            "\n### Throughput: medians of {} rounds, alternating\n\n\
             | server | puts/s | × kinesis-local | records/s read | × kinesis-local | processor µs a put: server + client | a read: server + client |\n\
             |---|---:|---:|---:|---:|---:|---:|",
            self.rounds
                .iter()
                .filter(|(kind, ..)| *kind == Kind::Memory)
                .count()
        );
        let mut goals = Vec::new();
        for (kind, name, share) in [
            (Kind::Memory, "ours, in memory", 1.0),
            (Kind::Durable, "ours, durable", 0.5),
            (Kind::Peer, "kinesis-local", 0.0),
        ] {
            let Some([put, read]) = self.medians(kind) else {
                continue;
            };
            let ratio = |ours: Medians, which: usize| match peer {
                Some(peer) => format!("{:.0}", ours.per_second / peer[which].per_second),
                None => "–".to_owned(),
            };
            println!(
                "| {name} | {} | {} | {} | {} | {:.2} + {:.2} | {:.2} + {:.2} |",
                thousands(put.per_second),
                ratio(put, 0),
                thousands(read.per_second),
                ratio(read, 1),
                put.server,
                put.client,
                read.server,
                read.client
            );
            if share > 0.0 {
                let line = |what: &str, figure: Medians, goal: f64| {
                    Line::at_least(
                        &format!("{what}, {name}"),
                        figure.per_second,
                        goal * share,
                        "a second",
                    )
                };
                goals.push(line("puts", put, PUTS));
                goals.push(line("reads", read, READS));
            }
        }
        let [puts, reads] = FERROKINESIS;
        println!(
            "| ferrokinesis 0.7, not run here: the field notes' figures, 2 cores, one process, in memory | {puts} | | {reads} | | | |"
        );
        lines("Goals of throughput", &goals);
    }
}

/// Times at places of a small and a large shard.
#[derive(Default)]
pub struct Latency {
    rows: Vec<(Kind, String, usize, Duration, Duration)>,
}

impl Latency {
    pub fn add(&mut self, kind: Kind, what: &str, place: usize, small: Duration, large: Duration) {
        self.rows.push((kind, what.to_owned(), place, small, large));
    }

    pub fn print(&self, many: usize) {
        println!(
            "\n### Latency through the SDK, by the number of records in the shard (medians)\n\n\
             | call | log | at | 10,000 records, µs | {} records, µs | ratio |\n|---|---|---|---:|---:|---:|",
            thousands(many as f64)
        );
        for (kind, what, place, small, large) in &self.rows {
            let log = if *kind == Kind::Memory {
                "memory"
            } else {
                "durable"
            };
            println!(
                "| {what} | {log} | {} | {} | {} | {:.2} |",
                ["beginning", "middle", "end"][*place],
                small.as_micros(),
                large.as_micros(),
                large.as_secs_f64() / small.as_secs_f64()
            );
        }
    }
}
