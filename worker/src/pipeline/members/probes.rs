//! Looking after the next peers: who refuses connections has died, long before its beats could tell.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::beats::View;
use super::peers::{Nudge, Peers, Probe};

/// Between two rounds of probes.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// Peers that each worker looks after.
const LOOKED_AFTER: usize = 3;
/// Peers that are asked at the same time.
const PROBED_AT_ONCE: usize = 64;
/// Refusals in a row that mean death, and the pause between them: a restart of the listener can be that short.
const REFUSALS: u32 = 3;
const REFUSAL_PAUSE: Duration = Duration::from_millis(100);

/// Probes peers for ever. `suspects` names members to look at out of turn; `dead` is told who refuses.
pub(super) async fn probe_peers(
    peers: Arc<dyn Peers>,
    view: watch::Receiver<View>,
    mut suspects: mpsc::Receiver<String>,
    dead: mpsc::Sender<String>,
) {
    // At once, and everybody: who was killed before this worker came would count as live here, and only here, for as long
    // as its beats might still change. A shard that falls to it by this worker's plan, and to this worker by all others',
    // would wait so long.
    let mut first = true;
    loop {
        let pause = if first { Duration::ZERO } else { PROBE_EVERY };
        let asked = tokio::select! {
            biased;
            suspect = suspects.recv() => match suspect {
                Some(suspect) => Some(suspect),
                None => return,
            },
            () = sleep(pause) => None,
        };
        let now = view.borrow().clone();
        let looked_at = match &asked {
            Some(member) => now.reachable(member).into_iter().collect(),
            None if std::mem::take(&mut first) => now.all_reachable(),
            None => now.next_peers(LOOKED_AFTER),
        };
        let probes = looked_at
            .into_iter()
            .map(|(member, address)| refuses(peers.as_ref(), member, address));
        let mut refused = stream::iter(probes).buffer_unordered(PROBED_AT_ONCE);
        while let Some(answer) = refused.next().await {
            let Some(member) = answer else { continue };
            // The reader of `dead` outlives this task, or both end.
            let _ = dead.send(member.clone()).await;
            // Who was asked to look tells nobody else: the one who asked has done so.
            if asked.is_none() {
                tell_others(peers.as_ref(), &now, &member).await;
            }
        }
    }
}

async fn refuses(peers: &dyn Peers, member: String, address: String) -> Option<String> {
    for attempt in 0..REFUSALS {
        if attempt > 0 {
            sleep(REFUSAL_PAUSE).await;
        }
        if peers.probe(&address).await != Probe::Refused {
            return None;
        }
    }
    Some(member)
}

async fn tell_others(peers: &dyn Peers, view: &View, dead: &str) {
    let nudge = Nudge::Suspect {
        member: dead.to_owned(),
    };
    let told = view
        .live_addresses()
        .filter(|(member, _, _)| *member != dead)
        .map(|(_, address, token)| peers.nudge(address, token, &nudge));
    for error in futures::future::join_all(told)
        .await
        .into_iter()
        .filter_map(Result::err)
    {
        tracing::debug!(event = "peer_not_told", cause = %error, "its own probes and listings will tell it");
    }
}
