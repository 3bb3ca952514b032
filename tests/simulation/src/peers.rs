//! Workers as they reach each other.
//!
//! Owns who listens where. A process that was stopped keeps its port and answers nobody, one that was killed refuses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use stockstream::pipeline::members::{Mailbox, Nudge, PeerError, Peers, Probe};
use tokio::time::timeout;

use crate::network::{Link, Network, Peer, lock};

/// How long a probe and a nudge wait.
const PROBE_WITHIN: Duration = Duration::from_millis(300);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Who is to be found where: address, process, mailbox; no mailbox where a machine is gone and nothing answers.
#[derive(Clone, Debug, Default)]
pub struct Town(Arc<Mutex<BTreeMap<String, Doors>>>);

/// A member's, and what hears at its address when it still does.
type Doors = (String, Option<Mailbox>);

/// What is at an address.
enum Door {
    Open(Mailbox),
    Closed,
    Gone,
}

impl Town {
    /// A process listens.
    pub fn opens(&self, address: &str, process: &str, mailbox: Mailbox) {
        lock(&self.0).insert(address.to_owned(), (process.to_owned(), Some(mailbox)));
    }

    /// A process has gone with its machine.
    pub fn vanishes(&self, address: &str, process: &str) {
        if let Some((owner, mailbox)) = lock(&self.0).get_mut(address)
            && owner == process
        {
            *mailbox = None;
        }
    }

    /// A process has gone; another one may have its address already.
    pub fn closes(&self, address: &str, process: &str) {
        let mut doors = lock(&self.0);
        if doors
            .get(address)
            .is_some_and(|(owner, _)| owner == process)
        {
            doors.remove(address);
        }
    }

    fn door(&self, address: &str) -> Door {
        match lock(&self.0).get(address) {
            Some((_, Some(mailbox))) => Door::Open(mailbox.clone()),
            Some((_, None)) => Door::Gone,
            None => Door::Closed,
        }
    }
}

/// The others, as one process reaches them.
#[derive(Debug)]
pub struct SimulatedPeers {
    /// What is between.
    pub network: Arc<Network>,
    /// The process.
    pub link: Arc<Link>,
    /// Who listens where.
    pub town: Town,
}

#[async_trait]
impl Peers for SimulatedPeers {
    async fn probe(&self, address: &str) -> Probe {
        let (town, door) = (self.town.clone(), address.to_owned());
        let what = format!("probe {address}");
        let sent = self
            .network
            .request(&self.link, Peer::Worker, what, move || town.door(&door));
        match timeout(PROBE_WITHIN, sent).await {
            Ok(Ok(Door::Open(_))) => Probe::Open,
            Ok(Ok(Door::Closed)) => Probe::Refused,
            Ok(Ok(Door::Gone) | Err(_)) | Err(_) => Probe::Unknown,
        }
    }

    async fn nudge(&self, address: &str, token: &str, nudge: &Nudge) -> Result<bool, PeerError> {
        let failed = |detail: &str| PeerError {
            address: address.to_owned(),
            detail: detail.to_owned(),
        };
        let (town, door) = (self.town.clone(), address.to_owned());
        let (token, told) = (token.to_owned(), nudge.clone());
        let what = format!("nudge {address} {nudge:?}");
        let exchange = async {
            let sent = self
                .network
                .request(&self.link, Peer::Worker, what, move || {
                    let mailbox = match town.door(&door) {
                        Door::Open(mailbox) => mailbox,
                        Door::Closed => return Err("refused"),
                        Door::Gone => return Err("no route"),
                    };
                    Ok(tokio::spawn(
                        async move { mailbox.deliver(&token, told).await },
                    ))
                });
            let sent = sent.await.map_err(|_| failed("no connection"))?;
            let delivered = sent.map_err(failed)?;
            let answer = delivered.await.map_err(|_| failed("it broke down"))?;
            answer.ok_or_else(|| failed("403"))
        };
        match timeout(ANSWER_WITHIN, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(failed("timed out")),
        }
    }
}
