//! A headless Chromium that a suite drives: what a person sees of the page.
//!
//! Owns the process of `tests/node/browser.mjs`, which talks to the browser, and its end. Must never retry anything: it
//! waits for what is asked until [`PATIENCE`] is over.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::{PATIENCE, file_from_environment, repository};

/// A browser with at most one page.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The person prefers dark colours.
    pub dark: bool,
}

impl Look {
    /// A laptop.
    pub const WIDE: Look = Look {
        width: 1280,
        height: 900,
        dark: false,
    };
    /// A phone.
    pub const PHONE: Look = Look {
        width: 375,
        height: 740,
        dark: false,
    };
}

impl Browser {
    /// Starts it.
    ///
    /// # Errors
    /// When the environment doesn't name Node, Chromium and playwright-core, or they can't be started.
    pub fn start() -> anyhow::Result<Browser> {
        let mut command = Command::new(file_from_environment("STOCKSTREAM_NODE")?);
        let playwright = file_from_environment("STOCKSTREAM_PLAYWRIGHT")?;
        let chromium = file_from_environment("STOCKSTREAM_CHROMIUM")?;
        command
            .arg(repository().join("tests/node/browser.mjs"))
            .env("STOCKSTREAM_PLAYWRIGHT", playwright)
            .env("STOCKSTREAM_CHROMIUM", chromium)
            .env(
                "STOCKSTREAM_PATIENCE_MILLISECONDS",
                PATIENCE.as_millis().to_string(),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("starting Node for the browser")?;
        let answers = child.stdout.take().context("no stdout")?;
        Ok(Browser {
            commands: child.stdin.take(),
            answers: BufReader::new(answers),
            child,
        })
    }

    fn ask(&mut self, command: &str, mut options: Value) -> anyhow::Result<Value> {
        options["command"] = json!(command);
        let commands = self.commands.as_mut().context("it was closed")?;
        writeln!(commands, "{options}").context("the browser has ended")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let mut answer: Value = serde_json::from_str(&line)
            .with_context(|| format!("{command} was answered by {line:?}"))?;
        if let Some(error) = answer.get("error").and_then(Value::as_str) {
            bail!("{command} {options}: {error}");
        }
        Ok(answer["ok"].take())
    }

    /// Opens a page, in place of the one before.
    ///
    /// # Errors
    /// When it can't be loaded.
    pub fn open(&mut self, url: &str, look: Look) -> anyhow::Result<()> {
        self.open_at(url, look, 1.0)
    }

    /// The same with another number of real pixels to one.
    ///
    /// # Errors
    /// When it can't be loaded.
    pub fn open_at(&mut self, url: &str, look: Look, scale: f64) -> anyhow::Result<()> {
        let Look {
            width,
            height,
            dark,
        } = look;
        let options =
            json!({"url": url, "width": width, "height": height, "dark": dark, "scale": scale});
        self.ask("open", options).map(drop)
    }

    /// Waits until a JavaScript expression is truthy, and returns it.
    ///
    /// # Errors
    /// When it isn't within [`PATIENCE`], with what the page shows then.
    pub fn wait(&mut self, expression: &str) -> anyhow::Result<Value> {
        match self.ask("wait", json!({"expression": expression})) {
            Ok(value) => Ok(value),
            Err(error) => {
                let shown = self.evaluate("document.body.innerText").unwrap_or_default();
                let troubles = self.troubles().unwrap_or_default();
                Err(error.context(format!(
                    "waiting for {expression}; troubles: {troubles:?}; the page shows:\n{}",
                    shown.as_str().unwrap_or_default()
                )))
            }
        }
    }

    /// What an expression is at this moment.
    ///
    /// # Errors
    /// When it throws.
    pub fn evaluate(&mut self, expression: &str) -> anyhow::Result<Value> {
        self.ask("evaluate", json!({"expression": expression}))
    }

    /// Types into a field, in place of what is in it.
    ///
    /// # Errors
    /// When there is no such field.
    pub fn fill(&mut self, selector: &str, text: &str) -> anyhow::Result<()> {
        self.ask("fill", json!({"selector": selector, "text": text}))
            .map(drop)
    }

    /// Clicks.
    ///
    /// # Errors
    /// When there is nothing to click on.
    pub fn click(&mut self, selector: &str) -> anyhow::Result<()> {
        self.ask("click", json!({"selector": selector})).map(drop)
    }

    /// Presses a key.
    ///
    /// # Errors
    /// When there is no such element.
    pub fn press(&mut self, selector: &str, key: &str) -> anyhow::Result<()> {
        self.ask("press", json!({"selector": selector, "key": key}))
            .map(drop)
    }

    /// Changes the person's preference of colours.
    ///
    /// # Errors
    /// When the browser has ended.
    pub fn prefer_dark(&mut self, dark: bool) -> anyhow::Result<()> {
        self.ask("dark", json!({"dark": dark})).map(drop)
    }

    /// Changes the window's size.
    ///
    /// # Errors
    /// When the browser has ended.
    pub fn resize(&mut self, look: Look) -> anyhow::Result<()> {
        let options = json!({"width": look.width, "height": look.height});
        self.ask("resize", options).map(drop)
    }

    /// A picture of what is in sight, or of the full page.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn screenshot(&mut self, path: &Path, full: bool) -> anyhow::Result<()> {
        self.ask("screenshot", json!({"path": path, "full": full}))
            .map(drop)
    }

    /// What must not happen and did, since it was asked last: errors and warnings on the console, exceptions, dialogs,
    /// requests to another origin than the page's.
    ///
    /// # Errors
    /// When the browser has ended.
    pub fn troubles(&mut self) -> anyhow::Result<Vec<String>> {
        let troubles = self.ask("troubles", json!({}))?;
        Ok(serde_json::from_value(troubles)?)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Without stdin it closes Chromium and ends; the suite is over or has failed already.
        drop(self.commands.take());
        let _ = self.child.wait();
    }
}
