//! Serves the embedded Kinesis until Ctrl-C: `serve [ADDR:PORT] [DIRECTORY]`. Without a directory
//! the records are in memory. Prints the endpoint.
#![allow(clippy::print_stdout, reason = "an example's output is for its reader")]

use std::error::Error;

use stockstream_local::{DiskOptions, Server, ServerOptions, Storage};

const TEN_GIBIBYTES: u64 = 10 << 30;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut options = ServerOptions::default();
    if let Some(listen) = arguments.next() {
        options.listen = listen.parse()?;
    }
    if let Some(directory) = arguments.next() {
        options.kinesis.storage = Storage::Directory(DiskOptions::new(directory, TEN_GIBIBYTES));
    }
    let server = Server::start(options).await?;
    println!("{}", server.endpoint());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
