//! `stockstream kinesis`: the embedded Kinesis alone.

use std::net::SocketAddr;
use std::path::Path;

use stockstream_local::faults::Script;
use stockstream_local::{Delays, DiskOptions, KinesisOptions, Server, ServerOptions, Storage};

use super::aws::LOCAL_REGION;
use super::signals::StopSignals;
use crate::cli::output::print;
use crate::cli::{ExitStatus, Failure, KinesisArgs, Outcome};

/// Bytes of records kept on disk when nobody says otherwise.
const DEFAULT_MAX_BYTES: u64 = 10 * 1024 * 1024 * 1024;

/// `stockstream kinesis`.
pub async fn run(args: KinesisArgs) -> Outcome {
    let faults = args.faults.as_deref().map(read_faults).transpose()?;
    let data = (!args.memory).then_some(args.data.as_path());
    let options = KinesisOptions {
        storage: storage(data, args.max_bytes.map(|size| size.0)),
        delays: Delays {
            creating: args.creating_delay.get(),
            updating: args.updating_delay.get(),
            deleting: args.deleting_delay.get(),
        },
        enforce_limits: args.enforce_limits,
        ..KinesisOptions::default()
    };
    let mut signals = StopSignals::listen()?;
    let server = serve(args.listen, options, faults).await?;
    let endpoint = server.endpoint();
    let place = match data {
        Some(path) => format!("data in {}", path.display()),
        None => "data in memory".to_owned(),
    };
    print(&greeting(&endpoint, &place))?;
    signals.next().await;
    server.shutdown().await;
    Ok(ExitStatus::Done)
}

/// What to set so that a client finds the server.
fn greeting(endpoint: &str, place: &str) -> String {
    format!(
        "Kinesis listens on {endpoint} ({place}). Ctrl-C stops it.\n\
         stockstream needs nothing but the endpoint, neither a region nor credentials:\n  \
         export AWS_ENDPOINT_URL_KINESIS={endpoint}\n\
         boto3 and the AWS CLI also want some region and credentials; any will do:\n  \
         export AWS_DEFAULT_REGION={LOCAL_REGION} AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any\n"
    )
}

/// Where records are kept: in a directory, or in memory without one.
pub fn storage(data: Option<&Path>, max_bytes: Option<u64>) -> Storage {
    match (data, max_bytes) {
        (Some(path), most) => {
            Storage::Directory(DiskOptions::new(path, most.unwrap_or(DEFAULT_MAX_BYTES)))
        }
        (None, Some(max_bytes)) => Storage::Memory { max_bytes },
        (None, None) => Storage::default(),
    }
}

/// The scripted faults in a file. Without them nothing is started: a test that expects faults and gets none passes
/// for the wrong reason.
fn read_faults(path: &Path) -> Result<Script, Failure> {
    let refused = |error: &dyn std::fmt::Display| {
        let message = format!("--faults {}: {error}", path.display());
        Failure::bad_input(message)
    };
    let text = std::fs::read_to_string(path).map_err(|error| refused(&error))?;
    Script::parse(&text).map_err(|error| refused(&error))
}

/// Starts the embedded Kinesis, with scripted faults if there are any to be.
pub async fn serve(
    listen: SocketAddr,
    kinesis: KinesisOptions,
    faults: Option<Script>,
) -> Result<Server, Failure> {
    let options = ServerOptions {
        listen,
        kinesis,
        faults,
    };
    Server::start(options).await.map_err(Failure::failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::ExitStatus;

    #[test]
    fn faults_that_are_no_rules_are_bad_input_with_file_rule_and_field() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("faults.json");
        let failure = read_faults(&path).unwrap_err();
        assert_eq!(failure.status(), ExitStatus::BadInput);
        std::fs::write(&path, r#"[{"fault": {"close": {}}, "probability": 2}]"#).unwrap();
        let failure = read_faults(&path).unwrap_err();
        assert_eq!(failure.status(), ExitStatus::BadInput);
        let told = format!("{failure:?}");
        let expected = "faults.json: rule 1: probability is 2; allowed is a number from 0 to 1";
        assert!(told.contains(expected), "{told}");
        std::fs::write(&path, "[]").unwrap();
        read_faults(&path).unwrap();
    }
}
