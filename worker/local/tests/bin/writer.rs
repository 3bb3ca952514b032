//! Appends to the durable log in the directory given until it is killed, and prints each record's
//! shard, sequence number and data once its put has returned. Owned by `tests/log/durable.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helper, whose output is its answer"
)]

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use stockstream_local::api::{Blob, PutRecordsEntry, PutRecordsRequest, PutRecordsResult};
use stockstream_local::{DiskOptions, Kinesis, KinesisOptions, Storage};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().unwrap());
    let stream = arguments.next().unwrap();
    let kinesis = Kinesis::open(KinesisOptions {
        storage: Storage::Directory(DiskOptions::new(path, 1 << 30)),
        ..KinesisOptions::default()
    })
    .unwrap();
    let kinesis = Arc::new(kinesis);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (kinesis, stream) = (kinesis.clone(), stream.clone());
            std::thread::spawn(move || write(&kinesis, &stream, writer))
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
}

fn write(kinesis: &Kinesis, stream: &str, writer: usize) {
    for round in 0.. {
        let data: Vec<String> = (0..20)
            .map(|place| format!("{writer}-{round}-{place}-{}", "x".repeat(150)))
            .collect();
        let entry = |data: &String| PutRecordsEntry {
            data: Some(Blob(data.clone().into_bytes())),
            partition_key: Some(data[..data.len() - 150].to_owned()),
            explicit_hash_key: None,
        };
        let request = PutRecordsRequest {
            stream_name: Some(stream.to_owned()),
            stream_arn: None,
            records: Some(data.iter().map(entry).collect()),
            dry_run: None,
        };
        let outcome = kinesis.put_records(&request).unwrap();
        let mut lines = String::new();
        for (result, data) in outcome.records.iter().zip(&data) {
            let PutRecordsResult::Written {
                shard_id,
                sequence_number,
            } = result
            else {
                continue;
            };
            lines.push_str(&format!("{shard_id} {sequence_number} {data}\n"));
        }
        let mut out = std::io::stdout().lock();
        out.write_all(lines.as_bytes()).unwrap();
        out.flush().unwrap();
    }
}
