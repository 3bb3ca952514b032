//! Serves the durable log in the directory given until it is killed, and prints its endpoint. With
//! `full` as the second argument its disk has no space left. Owned by `tests/soak/kill.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helper, whose output is its answer"
)]

use stockstream_local::{DiskOptions, Server, ServerOptions, Storage};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap();
    let full = arguments.next().as_deref() == Some("full");
    let mut options = ServerOptions::default();
    options.kinesis.storage = Storage::Directory(DiskOptions {
        reserve_bytes: if full { u64::MAX } else { 0 },
        ..DiskOptions::new(path, 4 << 30)
    });
    let server = Server::start(options).await.unwrap();
    println!("{}", server.endpoint());
    // Until it is killed, or until the test that started it has gone.
    let gone = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    let _ = gone.await;
}
