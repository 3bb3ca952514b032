//! The page in a headless Chromium: what a person sees, while real processes run.
//!
//! Nothing here sleeps or is tried again: every step waits for what must come.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use stockstream_tests::browser::{Browser, Look};
use stockstream_tests::{PATIENCE, repository, scratch};

mod support;
use support::{Kinesis, Running, Spec, run_files, text};

/// 2024-01-02T14:00:00Z, in seconds.
const BEGIN: i64 = 1_704_204_000;

/// A tick of a minute (and second) after [`BEGIN`].
fn tick(ticker: &str, minute: i64, second: i64, close: f64) -> Value {
    let at = jiff::Timestamp::from_second(BEGIN + minute * 60 + second).unwrap();
    json!({"ticker": ticker, "date": "2024-01-02", "timestamp": at.to_string(), "close": close})
}

fn as_json(text: &str) -> String {
    Value::from(text).to_string()
}

/// A stream of two shards that ticks are put into.
struct Market {
    kinesis: Kinesis,
    directory: tempfile::TempDir,
    sent: usize,
}

impl Market {
    fn open() -> Market {
        let market = Market {
            kinesis: Kinesis::start().unwrap(),
            directory: scratch().unwrap(),
            sent: 0,
        };
        market.kinesis.boto3(&["create", "ticks", "2"]).unwrap();
        market
    }

    fn send(&mut self, ticks: &[Value]) {
        let lines: Vec<String> = ticks.iter().map(Value::to_string).collect();
        let file = self.directory.path().join(format!("{}.ndjson", self.sent));
        std::fs::write(&file, lines.join("\n")).unwrap();
        let file = text(&file).unwrap();
        self.kinesis.boto3(&["produce", "ticks", &file]).unwrap();
        self.sent += 1;
    }

    /// A pipeline whose windows close without delay.
    fn yaml(&self) -> String {
        let directory = self.directory.path();
        let spec = Spec::of_stream(directory, "ticks")
            .window("watermarkDelay: 0s")
            .window("idleTimeout: 1h")
            .record("maxAhead: unbounded");
        spec.write(&directory.join("pipeline.yaml")).unwrap()
    }

    fn worker(&self, yaml: &str, name: &str) -> Running {
        self.worker_at(yaml, name, "127.0.0.1:0")
    }

    fn worker_at(&self, yaml: &str, name: &str, listen: &str) -> Running {
        Running::start(&[
            "worker",
            "-f",
            yaml,
            "--endpoint-url",
            &self.kinesis.endpoint,
            "--listen",
            listen,
            "--name",
            name,
        ])
        .unwrap()
    }
}

/// `stockstream dashboard`.
fn dashboard(yaml: &str) -> Running {
    let mut command = stockstream_tests::Binary::Product.command().unwrap();
    command.args(["dashboard", "-f", yaml, "--listen", "127.0.0.1:0"]);
    let mut process = stockstream_tests::Process::spawn(&mut command).unwrap();
    let line = process.wait_for_line(PATIENCE, |line| line.contains("\"page at "));
    let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
    let url = line["url"].as_str().unwrap().to_owned();
    Running { process, url }
}

fn no_trouble(browser: &mut Browser) {
    let troubles = browser.troubles().unwrap();
    assert!(troubles.is_empty(), "{troubles:#?}");
}

/// Errors that a server which is away causes, and no other.
fn only_lost_connections(browser: &mut Browser) {
    let mut troubles = browser.troubles().unwrap();
    troubles.retain(|trouble| !trouble.contains("net::ERR_"));
    assert!(troubles.is_empty(), "{troubles:#?}");
}

/// The table of minutes: time and state of the figures, newest first, then the first figure.
const MINUTES: &str = "[...document.querySelectorAll('#minutes tbody tr')].map((row) => [...row.children].slice(0, 3).map((cell) => cell.textContent))";

fn row_of(minute: &str, state: &str, figure: &str) -> String {
    format!(
        "JSON.stringify({MINUTES}).includes({})",
        as_json(&json!([minute, state, figure]).to_string())
    )
}

#[test]
fn provisional_figures_become_final_without_a_reload_and_a_restart_is_survived() {
    let mut market = Market::open();
    let yaml = market.yaml();
    let mut worker = market.worker(&yaml, "one");
    let mut browser = Browser::start().unwrap();
    browser.open(&worker.url, Look::WIDE).unwrap();
    browser
        .wait("document.getElementById('tickers-empty').textContent.startsWith('No ticks yet')")
        .unwrap();

    market.send(&[tick("AAPL", 0, 5, 10.0), tick("AAPL", 0, 10, 20.0)]);
    browser
        .wait(&row_of("2024-01-02 14:00", "provisional", "15.000"))
        .unwrap();
    browser
        .wait("document.getElementById('ticker-close').textContent.includes('20.000')")
        .unwrap();
    market.send(&[tick("AAPL", 0, 30, 60.0)]);
    browser
        .wait(&row_of("2024-01-02 14:00", "provisional", "30.000"))
        .unwrap();
    // A tick of the next minute closes the first.
    market.send(&[tick("AAPL", 1, 0, 40.0)]);
    browser
        .wait(&row_of("2024-01-02 14:00", "final, in a file", "30.000"))
        .unwrap();
    browser
        .wait(&row_of("2024-01-02 14:01", "provisional", "40.000"))
        .unwrap();
    browser.wait("document.getElementById('chart').getAttribute('aria-label').includes('40.000 in the minute of 2024-01-02 14:01, provisional')").unwrap();
    assert_eq!(
        browser.evaluate("window.loadedOnce").unwrap(),
        true,
        "it was loaded again"
    );
    no_trouble(&mut browser);

    // Killed, and started again at the same port, under its name.
    let listen = worker.url.trim_start_matches("http://").to_owned();
    worker.process.kill().unwrap();
    browser.wait("document.body.classList.contains('old') && document.getElementById('connection').textContent.includes('reconnecting')").unwrap();
    market.send(&[tick("AAPL", 1, 30, 50.0), tick("AAPL", 2, 0, 70.0)]);
    worker = market.worker_at(&yaml, "one", &listen);
    browser.wait("!document.body.classList.contains('old') && document.getElementById('connection').hidden").unwrap();
    browser
        .wait(&row_of("2024-01-02 14:01", "final, in a file", "45.000"))
        .unwrap();
    browser
        .wait(&row_of("2024-01-02 14:02", "provisional", "70.000"))
        .unwrap();
    browser
        .wait("document.getElementById('events').textContent.includes('taken from one-')")
        .unwrap();
    assert_eq!(
        browser.evaluate("window.loadedOnce").unwrap(),
        true,
        "it was loaded again"
    );
    only_lost_connections(&mut browser);

    // A graceful stop isn't held up by whoever watches, and the page says what happened.
    worker.process.signal(Signal::TERM).unwrap();
    browser
        .wait("document.getElementById('connection').textContent.includes('the worker has ended')")
        .unwrap();
    worker.process.wait(PATIENCE).unwrap().success().unwrap();
}

#[test]
fn every_worker_and_the_dashboard_show_all_workers_and_hand_overs() {
    let mut market = Market::open();
    let yaml = market.yaml();
    // Somebody worked here, and left.
    let mut before = market.worker(&yaml, "before");
    before
        .wait_for_state("it to read", |state| {
            state["shards"]
                .as_array()
                .is_some_and(|shards| shards.len() == 2)
        })
        .unwrap();
    before.interrupt().unwrap().success().unwrap();
    let viewer = dashboard(&yaml);
    let mut browser = Browser::start().unwrap();
    browser.open(&viewer.url, Look::WIDE).unwrap();
    browser
        .wait("document.getElementById('health').textContent === 'no worker lives'")
        .unwrap();
    browser
        .wait("document.getElementById('shards').textContent.includes('before-')")
        .unwrap();

    let first = market.worker(&yaml, "first");
    let tickers = ["AAPL", "MSFT", "^GSPC", "AMD", "IBM", "XOM"];
    let minute = |minute, close| tickers.map(|name| tick(name, minute, 1, close));
    let ticks = [minute(0, 5.0), minute(1, 6.0)].concat();
    market.send(&ticks);
    browser
        .wait("document.getElementById('health').textContent === 'running'")
        .unwrap();
    browser
        .wait("document.querySelectorAll('#shards tbody tr').length === 2")
        .unwrap();
    let second = market.worker(&yaml, "second");
    let both = "['first-', 'second-'].every((name) => [...document.querySelectorAll('#shards tbody td:nth-child(2)')].some((cell) => cell.textContent.startsWith(name)))";
    browser.wait(both).unwrap();
    let counted = "[...document.querySelectorAll('#figures > div')].some((pair) => pair.textContent === 'Ticks12')";
    browser.wait(counted).unwrap();
    browser
        .wait(&format!(
            "document.querySelectorAll('#tickers .row').length === {}",
            tickers.len()
        ))
        .unwrap();
    no_trouble(&mut browser);

    // The same from either worker.
    for running in [&first, &second] {
        browser.open(&running.url, Look::WIDE).unwrap();
        browser.wait(both).unwrap();
        browser.wait(counted).unwrap();
        browser
            .wait("document.querySelectorAll('#workers .worker.live').length === 2")
            .unwrap();
        no_trouble(&mut browser);
    }

    // The second is killed: the first takes its shard, and the page of the first tells.
    browser.open(&first.url, Look::WIDE).unwrap();
    browser.wait(both).unwrap();
    browser.click("#handovers-only").unwrap();
    drop(second);
    browser.wait("[...document.querySelectorAll('#shards tbody td:nth-child(2)')].every((cell) => cell.textContent.startsWith('first-'))").unwrap();
    browser
        .wait("document.getElementById('events').textContent.includes('taken from second-')")
        .unwrap();
    browser
        .wait("document.querySelectorAll('#workers .worker.dead').length === 1")
        .unwrap();
    browser.wait(counted).unwrap();
    no_trouble(&mut browser);

    // One that doesn't answer is shown as such, and the figures that it said last stay.
    let mut third = market.worker(&yaml, "third");
    browser.open(&viewer.url, Look::WIDE).unwrap();
    browser.wait("[...document.querySelectorAll('#shards tbody td:nth-child(2)')].some((cell) => cell.textContent.startsWith('third-'))").unwrap();
    browser.wait(counted).unwrap();
    third.process.signal(Signal::STOP).unwrap();
    browser.wait("[...document.querySelectorAll('#workers .worker')].some((card) => card.textContent.startsWith('third-') && (card.classList.contains('unreachable') || card.classList.contains('dead')))").unwrap();
    browser.wait(counted).unwrap();
    third.process.signal(Signal::CONT).unwrap();
    no_trouble(&mut browser);
}

/// Files with these tickers, read to their end; the directory and the YAML.
fn finished(directory: &Path, ticks: &[Value]) -> String {
    let file = directory.join("ticks.ndjson");
    let lines: Vec<String> = ticks.iter().map(Value::to_string).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let spec = Spec::of_files(directory, &[text(&file).unwrap()]).unpartitioned();
    let yaml = spec.write(&directory.join("pipeline.yaml")).unwrap();
    run_files(&yaml).unwrap();
    yaml
}

#[test]
fn hostile_names_are_text_and_five_hundred_tickers_fit_a_phone() {
    let directory = scratch().unwrap();
    let long = "L".repeat(64);
    let hostile = [
        "<img src=x onerror=alert(1)>",
        "__proto__",
        "constructor",
        "a/../b?c#d&e=%00",
        "\u{202e}evil\"'`",
        &long,
    ];
    let mut ticks: Vec<Value> = Vec::new();
    for minute in 0..3 {
        let close = 100.0 + f64::from(i32::try_from(minute).unwrap());
        for number in 0..500 {
            ticks.push(tick(&format!("T{number:03}"), minute, 1, close));
        }
        ticks.extend(hostile.iter().map(|name| tick(name, minute, 2, close)));
    }
    let yaml = finished(directory.path(), &ticks);
    // The job has ended: its dashboard shows what the checkpoint and the files say.
    let viewer = dashboard(&yaml);
    let mut browser = Browser::start().unwrap();
    browser.open(&viewer.url, Look::WIDE).unwrap();
    browser
        .wait("document.getElementById('health').textContent === 'finished'")
        .unwrap();
    browser
        .wait("document.getElementById('ticker-count').textContent === '506'")
        .unwrap();
    let drawn = browser
        .evaluate("document.querySelectorAll('#tickers .row').length")
        .unwrap();
    assert!(drawn.as_u64().unwrap() < 60, "only those in sight: {drawn}");
    for name in hostile {
        browser.fill("#search", name).unwrap();
        browser.press("#search", "Enter").unwrap();
        browser
            .wait(&format!(
                "document.getElementById('ticker-name').textContent === {}",
                as_json(name)
            ))
            .unwrap();
        browser
            .wait(&row_of("2024-01-02 14:02", "final, in a file", "102.000"))
            .unwrap();
    }
    assert_eq!(
        browser
            .evaluate("document.querySelectorAll('main img, main script').length")
            .unwrap(),
        0
    );
    assert_eq!(
        browser
            .evaluate("({}).ticker === undefined && Object.keys(Object.prototype).length")
            .unwrap(),
        0
    );
    // By the keyboard alone.
    browser.fill("#search", "t49").unwrap();
    browser
        .wait("document.querySelectorAll('#tickers .row').length === 10")
        .unwrap();
    browser.press("#search", "Enter").unwrap();
    browser.press("#tickers", "End").unwrap();
    browser
        .wait("document.getElementById('ticker-name').textContent === 'T499'")
        .unwrap();
    browser.press("#search", "Escape").unwrap();
    browser
        .wait("document.querySelector('#tickers .space').clientHeight > 20000")
        .unwrap();

    browser.resize(Look::PHONE).unwrap();
    browser
        .wait("document.getElementById('chart').clientWidth < 375")
        .unwrap();
    let widths = browser
        .evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]");
    assert_eq!(widths.unwrap(), json!([375, 375]), "it overflows a phone");
    // The longest name, too.
    browser.fill("#search", &long).unwrap();
    browser.press("#search", "Enter").unwrap();
    browser
        .wait(&format!(
            "document.getElementById('ticker-name').textContent === {}",
            as_json(&long)
        ))
        .unwrap();
    let width = browser
        .evaluate("document.documentElement.scrollWidth")
        .unwrap();
    assert_eq!(width, 375, "a long name overflows a phone");

    let back = "getComputedStyle(document.body).backgroundColor";
    let light = browser.evaluate(back).unwrap();
    browser.prefer_dark(true).unwrap();
    browser
        .wait(&format!("{back} !== {}", as_json(light.as_str().unwrap())))
        .unwrap();
    no_trouble(&mut browser);
}

#[test]
fn a_name_of_three_hundred_characters_is_asked_for_in_vain_and_harmlessly() {
    let directory = scratch().unwrap();
    let yaml = finished(
        directory.path(),
        &[tick("AAPL", 0, 1, 5.0), tick("AAPL", 1, 1, 6.0)],
    );
    let viewer = dashboard(&yaml);
    let mut browser = Browser::start().unwrap();
    let name = "<script>".repeat(38);
    let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    browser
        .open(&format!("{}/#{encoded}", viewer.url), Look::WIDE)
        .unwrap();
    browser
        .wait("document.getElementById('ticker-name').textContent === 'AAPL'")
        .unwrap();
    let (status, body) =
        support::get(&format!("{}/api/history?ticker={encoded}", viewer.url)).unwrap();
    assert_eq!(status, 200, "{body}");
    let history: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&history["rows"], &history["notes"]),
        (&json!([]), &json!([])),
        "{history}"
    );
    no_trouble(&mut browser);
}

/// Where `make screenshot` wants the README's picture; elsewhere it is made and thrown away.
#[test]
fn the_page_of_the_demo_for_the_readme() {
    let directory = scratch().unwrap();
    let data = text(directory.path()).unwrap();
    let arguments = [
        "dev",
        "-f",
        "examples/quickstart.yaml",
        "--replay",
        "examples/data/daily.csv",
        "--rate",
        "100",
        "--speed",
        "60",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        &data,
    ];
    let worker = Running::start(&arguments).unwrap();
    let mut browser = Browser::start().unwrap();
    browser.open_at(&worker.url, Look::WIDE, 1.0).unwrap();
    browser
        .wait("document.querySelectorAll('#tickers .row').length === 5")
        .unwrap();
    browser
        .wait("document.querySelectorAll('#minutes tbody tr').length === 12")
        .unwrap();
    let closed = "Number([...document.querySelectorAll('#figures > div')].find((pair) => pair.textContent.startsWith('Rows')).lastChild.textContent)";
    let wanted = std::env::var_os("STOCKSTREAM_SCREENSHOT").map(|path| repository().join(path));
    // A picture wants most of the bars; a test some.
    let enough = if wanted.is_some() { 130 } else { 40 };
    browser.wait(&format!("{closed} >= {enough}")).unwrap();
    let path = wanted.unwrap_or_else(|| directory.path().join("page.png"));
    browser.screenshot(&path, false).unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    assert!((20_000..300_000).contains(&size), "{size} bytes");
    no_trouble(&mut browser);
}
