//! Where the server's time goes: by `perf` when it is there, else by what the kernel counts.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::load::{self, Run};
use crate::parts::Scratch;
use crate::server::Process;
use crate::{Options, Outcome};

/// What a function's name says about its purpose: (purpose, parts of names), first match wins.
const PURPOSES: [(&str, &[&str]); 10] = [
    ("records' JSON (server::records)", &["server::records"]),
    ("MD5 of the partition keys", &["md5"]),
    ("base64", &["base64"]),
    (
        "allocation",
        &[
            "malloc",
            "free",
            "_int_",
            "realloc",
            "calloc",
            "unlink_chunk",
            "arena",
        ],
    ),
    (
        "storage engine",
        &[
            "fjall",
            "lsm_tree",
            "xxh",
            "skipmap",
            "DiskStore",
            "block::",
            "bytesview",
            "byteview",
        ],
    ),
    ("JSON parsing", &["serde", "from_utf8", "parse", "memchr"]),
    ("writing answers", &["fmt", "wire", "write", "encode"]),
    (
        "HTTP and the runtime",
        &["hyper", "tokio", "http", "mio", "futures"],
    ),
    (
        "copying and clearing memory",
        &["memmove", "memcpy", "memset", "copy"],
    ),
    ("the log", &["stockstream_local"]),
];

pub async fn run(options: &Options) -> Outcome<()> {
    let perf = Command::new("perf").arg("--version").output();
    let perf = perf.is_ok_and(|output| output.status.success());
    println!("\n### Where the server's time goes");
    if !perf {
        println!(
            "\nperf isn't installed here (Debian: linux-perf): no functions, only what the kernel counts."
        );
    }
    for durable in [false, true] {
        let scratch = Scratch::new(options, &format!("profile-{durable}"))?;
        let server = Process::ours(durable.then(|| scratch.path()))?;
        load::create(&load::client(&server.endpoint), 4).await?;
        let name = if durable { "durable" } else { "in memory" };
        eprintln!("profile: {name}");
        let output = scratch.path().with_extension("perf");
        let recording = perf.then(|| record(&server, &output)).transpose()?;
        let put = load::put(&server, options.many, options.callers).await?;
        show(&format!("put, {name}"), put, recording, &output)?;
        let recording = perf.then(|| record(&server, &output)).transpose()?;
        let read = load::read(&server, put.records).await?;
        show(&format!("read, {name}"), read, recording, &output)?;
    }
    Ok(())
}

/// Samples the server; cpu-clock, for machines without hardware counters.
fn record(server: &Process, output: &Path) -> Outcome<Child> {
    let child = Command::new("perf")
        .args(["record", "--quiet", "-F", "999", "-e", "cpu-clock", "-p"])
        .arg(server.id().to_string())
        .arg("-o")
        .arg(output)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // It attaches first.
    std::thread::sleep(Duration::from_millis(500));
    Ok(child)
}

fn show(what: &str, run: Run, recording: Option<Child>, output: &Path) -> Outcome<()> {
    let (server, client) = (run.server, run.client);
    let share = |part: Duration, whole: Duration| {
        100.0 * part.as_secs_f64() / whole.as_secs_f64().max(1e-9)
    };
    let both = server.total() + client.total();
    println!(
        "\n**{what}**: {:.0} records/s under the profiler; the server takes {:.0} % of the processor time ({:.2} µs a \
         record, {:.0} % of that in the kernel), the SDK's side {:.0} %.",
        run.per_second(),
        share(server.total(), both),
        server.total().as_secs_f64() * 1e6 / run.records as f64,
        share(server.system, server.total()),
        share(client.total(), both)
    );
    let Some(mut recording) = recording else {
        return Ok(());
    };
    // perf writes its file when it is interrupted.
    Command::new("kill")
        .args(["-INT", &recording.id().to_string()])
        .status()?;
    recording.wait()?;
    let report = Command::new("perf")
        .args([
            "report",
            "--stdio",
            "--no-inline",
            "--no-children",
            "-g",
            "none",
        ])
        .args(["--sort", "dso,symbol", "--field-separator", "\t", "-i"])
        .arg(output)
        .stderr(Stdio::null())
        .output()?;
    // At once: the next recording would keep it under another name.
    std::fs::remove_file(output)?;
    print_costs(&costs(&String::from_utf8_lossy(&report.stdout)));
    Ok(())
}

/// A function and its share of the samples.
struct Cost {
    percent: f64,
    purpose: &'static str,
    symbol: String,
}

/// Lines such as `12.34<tab>libc.so.6<tab>[.] malloc`.
fn costs(report: &str) -> Vec<Cost> {
    let lines = report.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut fields = line.split('\t').map(str::trim);
            let percent = fields.next()?.trim_end_matches('%').parse().ok()?;
            let (object, symbol) = (fields.next()?, fields.next()?);
            let kernel = object.contains("kernel") || symbol.starts_with("[k]");
            let symbol = symbol.get(4..).unwrap_or(symbol).to_owned();
            let lower = symbol.to_lowercase();
            let known = PURPOSES.iter().find(|(_, names)| {
                names
                    .iter()
                    .any(|name| lower.contains(&name.to_lowercase()))
            });
            let purpose = match known {
                _ if kernel => "the kernel: network, disk, memory, scheduling",
                Some((purpose, _)) => purpose,
                None => "other",
            };
            Some(Cost {
                percent,
                purpose,
                symbol,
            })
        })
        .collect()
}

fn print_costs(costs: &[Cost]) {
    let mut purposes: Vec<(&str, f64)> = Vec::new();
    for cost in costs {
        match purposes.iter_mut().find(|(name, _)| *name == cost.purpose) {
            Some((_, sum)) => *sum += cost.percent,
            None => purposes.push((cost.purpose, cost.percent)),
        }
    }
    purposes.sort_by(|a, b| b.1.total_cmp(&a.1));
    if let Some((name, percent)) = purposes.first() {
        println!("Bottleneck of the server: {name} ({percent:.0} %).");
    }
    println!("\n| purpose | % |\n|---|---:|");
    for (name, percent) in purposes.iter().filter(|(_, percent)| *percent >= 1.0) {
        println!("| {name} | {percent:.1} |");
    }
    println!("\n| function | % |\n|---|---:|");
    for cost in costs.iter().take(14) {
        println!(
            "| `{}` | {:.1} |",
            cost.symbol.replace('|', "\\|"),
            cost.percent
        );
    }
}
