//! What a pipeline costs, from its YAML.
//!
//! Owns putting the spec and the traffic that the user names into the core's formulas.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use stockstream_core::cost::{
    Capacity, HOURS_A_MONTH, Item, LIST_PRICES, Load, PRICES_AS_OF, PRICES_REGION, files_a_round,
};
use stockstream_core::row::PartitionColumn;
use stockstream_crds::Pipeline;
use stockstream_crds::pipeline::{KinesisSettings, ObjectEncryption, StreamCapacity};
use stockstream_crds::spec::Consumer;

use super::super::validate::load as load_pipeline;
use super::table::table;
use crate::cli::output::{print, print_json};
use crate::cli::{CostArgs, Failure, Outcome, OutputFormat};
use crate::pipeline::Settings;
use crate::pipeline::small_files::{Filing, number};

/// Shards that an on-demand stream begins with (Kinesis developer guide).
const ON_DEMAND_SHARDS: u32 = 4;

/// `stockstream inspect cost`.
pub(super) fn run(args: &CostArgs, format: OutputFormat) -> Outcome {
    let pipeline = load_pipeline(&args.pipeline.file)?;
    let Some(kinesis) = pipeline.kinesis() else {
        return Err(Failure::bad_input("the pipeline reads files")
            .hint("they are read once, with one PUT for each file of rows; only a stream costs something every hour"));
    };
    let settings = Settings::of(&pipeline);
    let load = load_of(&pipeline, kinesis, &settings, args);
    let items = load.items(&LIST_PRICES);
    let filing = Filing {
        partition_by: &settings.partition_by,
        every: Duration::from_secs_f64(load.publish_every()),
        shards: load.shards,
    };
    let advice = filing.advice(load.files);
    match format {
        OutputFormat::Text => print(&text(&pipeline, &load, &items, advice, args)),
        OutputFormat::Json => print_json(&json(&load, &items, advice)),
    }
}

fn load_of(
    pipeline: &Pipeline,
    kinesis: &KinesisSettings,
    settings: &Settings,
    args: &CostArgs,
) -> Load {
    let state = pipeline.state();
    let (capacity, named) = match kinesis.capacity {
        StreamCapacity::Provisioned { shards } => (Capacity::Provisioned, shards),
        StreamCapacity::OnDemand => (Capacity::OnDemand, ON_DEMAND_SHARDS),
    };
    let shards = f64::from(args.shards.unwrap_or(named));
    let tickers = f64::from(args.tickers);
    let by_ticker = settings.partition_by.contains(&PartitionColumn::Ticker);
    let kms_each_object = matches!(
        pipeline.encryption(),
        Some(ObjectEncryption::SseKms { bucket_key, .. }) if *bucket_key != Some(true)
    );
    Load {
        workers: f64::from(args.workers.unwrap_or(pipeline.workers().replicas)),
        shards,
        heartbeat: state.heartbeat.as_secs_f64(),
        commit_interval: state.commit_interval.as_secs_f64(),
        publish_interval: pipeline.output().publish_interval.as_secs_f64(),
        window: pipeline.window().size.as_secs_f64(),
        files: files_a_round(by_ticker, tickers, shards, 1.0),
        ticks: args.ticks_per_second.map_or(tickers, f64::from),
        tick_bytes: f64::from(args.tick_bytes),
        capacity,
        fan_out: kinesis.consumer == Consumer::EnhancedFanOut,
        kms_each_object,
    }
}

fn total(items: &[Item]) -> f64 {
    items.iter().map(Item::dollars_a_month).sum()
}

fn text(
    pipeline: &Pipeline,
    load: &Load,
    items: &[Item],
    advice: Option<String>,
    args: &CostArgs,
) -> String {
    let mut text = format!(
        "{}/{}: {} workers, {} shards, {} tickers, {} ticks a second of {} bytes\n\
         list prices of {PRICES_REGION} as of {PRICES_AS_OF}, in US dollars; a month has {HOURS_A_MONTH} hours\n\n",
        pipeline.namespace(),
        pipeline.name(),
        number(load.workers),
        number(load.shards),
        number(f64::from(args.tickers)),
        number(load.ticks),
        number(load.tick_bytes),
    );
    let mut rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let per_hour = match item.per_hour < 100.0 {
                true => format!("{:.2}", item.per_hour),
                false => number(item.per_hour),
            };
            vec![
                item.service.to_owned(),
                format!("{per_hour:>12}"),
                item.unit.to_owned(),
                format!("{:>9.2}", item.dollars_a_month()),
                item.what.to_owned(),
            ]
        })
        .collect();
    rows.push(vec![
        "all".to_owned(),
        String::new(),
        String::new(),
        format!("{:>9.2}", total(items)),
        String::new(),
    ]);
    let head = ["SERVICE", "    PER HOUR", "OF", "  A MONTH", "FOR"];
    text.push_str(&table(&head, &rows));
    let _ = writeln!(
        text,
        "\nNot in it: the workers' machines, bytes stored, queries, Glue, starts and retries. Every shard is taken to be busy; \
         an idle one writes next to no checkpoints."
    );
    if let Some(advice) = advice {
        let _ = writeln!(text, "\nwarning: {advice}");
    }
    text
}

fn json(load: &Load, items: &[Item], advice: Option<String>) -> serde_json::Value {
    let requests = load.requests();
    let dollars = total(items);
    let items: Vec<serde_json::Value> = items
        .iter()
        .map(|item| {
            json!({
                "service": item.service,
                "for": item.what,
                "perHour": item.per_hour,
                "unit": item.unit,
                "dollarsEach": item.price,
                "dollarsPerMonth": item.dollars_a_month(),
            })
        })
        .collect();
    json!({
        "pricesOf": PRICES_REGION,
        "pricesAsOf": PRICES_AS_OF,
        "items": items,
        "storageRequestsPerHour": {
            "put": requests.put(),
            "list": requests.list(),
            "delete": requests.deletes,
        },
        "dollarsPerMonth": dollars,
        "warnings": advice.into_iter().collect::<Vec<_>>(),
    })
}
