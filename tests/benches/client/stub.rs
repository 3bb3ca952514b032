//! A stream that answers at full speed: bodies that were made before, over HTTP/1.1 on a free loopback port.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The most of a reply (Kinesis API reference, GetRecords).
pub const RECORDS: usize = 10_000;

/// Of each record's data.
pub const DATA_BYTES: usize = 150;

/// What the names of shards begin with, and the iterators in them are, that never have records.
pub const IDLE: &str = "idle";

const TICKERS: usize = 500;

/// Answers that differ.
const BODIES: usize = 4;

/// Serves until its input ends, which it does with the process that started it.
pub fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("http://{}", listener.local_addr()?);
    let bodies = Arc::new(bodies());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let bodies = bodies.clone();
            // A connection that breaks is its client's to tell.
            std::thread::spawn(move || answer(&stream, &bodies));
        }
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

fn answer(stream: &TcpStream, bodies: &[Vec<u8>]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (BufReader::new(stream), stream);
    for turn in 0.. {
        let Some((is_get_records, length)) = head(&mut input)? else {
            return Ok(());
        };
        let mut request = String::new();
        (&mut input).take(length).read_to_string(&mut request)?;
        let body = match (is_get_records, request.contains(IDLE)) {
            (true, false) => bodies[turn % bodies.len()].as_slice(),
            (false, false) => br#"{"ShardIterator":"AAAA"}"#,
            (true, true) => br#"{"MillisBehindLatest":0,"NextShardIterator":"idle","Records":[]}"#,
            (false, true) => br#"{"ShardIterator":"idle"}"#,
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nx-amzn-requestid: stub\r\ncontent-type: application/x-amz-json-1.1\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        output.write_all(head.as_bytes())?;
        output.write_all(body)?;
    }
    Ok(())
}

/// Whether a request is GetRecords, and its body's length; `None` at the end of the connection.
fn head(input: &mut impl BufRead) -> std::io::Result<Option<(bool, u64)>> {
    let (mut is_get_records, mut length) = (false, 0);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("x-amz-target", target)) => is_get_records = target.ends_with(".getrecords"),
            Some(("content-length", text)) => length = text.parse().unwrap_or(0),
            _ if line.is_empty() => return Ok(Some((is_get_records, length))),
            _ => {}
        }
    }
}

/// Written as Kinesis writes them.
pub fn bodies() -> Vec<Vec<u8>> {
    (0..BODIES)
        .map(|number| body(number).into_bytes())
        .collect()
}

fn body(number: usize) -> String {
    let records: Vec<String> = (number * RECORDS..(number + 1) * RECORDS)
        .map(record)
        .collect();
    format!(
        r#"{{"MillisBehindLatest":86000,"NextShardIterator":"{}","Records":[{}]}}"#,
        "AAAAAAAAAAHsW8zCWf9164uy8Epue6WS3w6wmj4a4USt".repeat(5),
        records.join(",")
    )
}

fn record(number: usize) -> String {
    let ticker = format!("T{:03}", number * 7_919 % TICKERS);
    let sequence = 575_921_575_989_136_588_898u128 + number as u128;
    format!(
        r#"{{"ApproximateArrivalTimestamp":1.704205{:06}E9,"Data":"{}","PartitionKey":"{ticker}","SequenceNumber":"49590338271490256608559692538361{sequence:024}"}}"#,
        number % 1_000_000,
        BASE64_STANDARD.encode(tick(number, &ticker)),
    )
}

fn tick(number: usize, ticker: &str) -> String {
    let cents = 10_000 + number * 31 % 10_000;
    let close = format!("{}.{:02}", cents / 100, cents % 100);
    let tick = format!(
        "{{\"ticker\":\"{ticker}\",\"date\":\"2024-01-02\",\"timestamp\":\"2024-01-02T14:30:{:02}.{:06}Z\",\
         \"open\":{close},\"high\":{close},\"low\":{close},\"close\":{close},\"volume\":{}}}",
        number % 60,
        number * 6_000 % 1_000_000,
        100 + number % 900
    );
    format!("{tick:<DATA_BYTES$}")
}
