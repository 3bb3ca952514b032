//! The built front end, embedded. Its source is `worker/web`; `make web` renews what is here.
//!
//! Owns the bytes and the names under which they are served: each name holds a hash of its content, so that a browser
//! may keep it for ever. Must never be edited by hand: a test fails when it is stale.

use std::fmt::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// A file of the page.
#[derive(Debug)]
pub(super) struct Asset {
    /// Its path: `/assets/NAME-HASH.EXTENSION`.
    pub(super) path: String,
    pub(super) content_type: &'static str,
    pub(super) bytes: Bytes,
}

/// The page as a whole.
#[derive(Debug)]
pub(super) struct Assets {
    pub(super) html: Bytes,
    pub(super) files: Vec<Asset>,
}

const HTML: &str = include_str!("../../web/dist/index.html");
const FILES: [(&str, &str, &[u8]); 3] = [
    (
        "page.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../web/dist/assets/page.js"),
    ),
    (
        "page.css",
        "text/css; charset=utf-8",
        include_bytes!("../../web/dist/assets/page.css"),
    ),
    (
        "icon.svg",
        "image/svg+xml",
        include_bytes!("../../web/dist/assets/icon.svg"),
    ),
];

/// Names the files after their content and has the page ask for these names.
pub(super) fn assets() -> &'static Assets {
    static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
        let mut html = HTML.to_owned();
        let mut files = Vec::new();
        for (name, content_type, bytes) in FILES {
            let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
            let mut hash = String::new();
            for byte in Sha256::digest(bytes).iter().take(8) {
                let _ = write!(hash, "{byte:02x}"); // writing to a String can't fail
            }
            let hashed = format!("{stem}-{hash}.{extension}");
            html = html.replace(&format!("assets/{name}"), &format!("assets/{hashed}"));
            files.push(Asset {
                path: format!("/assets/{hashed}"),
                content_type,
                bytes: Bytes::from_static(bytes),
            });
        }
        Assets {
            html: Bytes::from(html),
            files,
        }
    });
    &ASSETS
}

#[cfg(test)]
#[path = "assets_tests.rs"]
mod tests;
