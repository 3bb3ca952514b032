//! Where a server fails a case, judged by AWS's documentation. The suite fails when a listed case passes, fails for
//! another reason, or an unlisted one fails: this list can't go stale.

pub use super::judged::DIFFERENCES;
use super::servers::Server;

/// Who is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server departs from what the documentation says.
    NotAsDocumented,
    /// The server lacks the facility.
    NotThere,
    /// Ours departs on purpose; `docs/local-kinesis.md` tells users.
    OnPurpose,
}

impl Verdict {
    pub fn text(self) -> &'static str {
        match self {
            Verdict::NotAsDocumented => "not as documented",
            Verdict::NotThere => "not there",
            Verdict::OnPurpose => "on purpose, see local-kinesis.md",
        }
    }
}

/// A case that fails on a server.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    pub server: Server,
    pub case: &'static str,
    /// A part of the failure's text: it must fail for this reason.
    pub seen: &'static str,
    /// What the server does.
    pub does: &'static str,
    /// What AWS's documentation says, and where.
    pub documented: &'static str,
    pub verdict: Verdict,
}

/// The difference listed for a case on a server.
pub fn listed(server: Server, case: &str) -> Option<&'static Difference> {
    DIFFERENCES
        .iter()
        .find(|difference| difference.server == server && difference.case == case)
}
