//! The door for peers' nudges, beside what the worker shows of itself.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};

use super::peers::{Mailbox, Nudge};

/// Where nudges are posted, as JSON.
pub const NUDGE_PATH: &str = "/peers/nudge";
/// The header with the token that this worker's `info` names.
pub const TOKEN_HEADER: &str = "x-stockstream-token";

/// Takes nudges in. The answer is `true` or `false`; without the token it is 403, whatever was said.
pub fn nudge_router(mailbox: Mailbox) -> Router {
    Router::new()
        .route(NUDGE_PATH, post(nudge))
        .with_state(mailbox)
}

async fn nudge(
    State(mailbox): State<Mailbox>,
    headers: HeaderMap,
    Json(nudge): Json<Nudge>,
) -> Result<Json<bool>, StatusCode> {
    let token = headers
        .get(TOKEN_HEADER)
        .and_then(|token| token.to_str().ok());
    mailbox
        .deliver(token.unwrap_or_default(), nudge)
        .await
        .map(Json)
        .ok_or(StatusCode::FORBIDDEN)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::http_peers::HttpPeers;
    use super::super::peers::{Peers, Probe, mailbox};
    use super::*;
    use crate::observe::fixtures::observer;
    use crate::observe::http::bind;

    #[tokio::test]
    async fn a_nudge_with_the_token_arrives_and_its_answer_comes_back() {
        let (mailbox, mut incoming) = mailbox("secret");
        let bound = bind(Some("127.0.0.1:0".parse().unwrap())).await.unwrap();
        let address = bound.address().to_string();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = tokio::spawn(bound.serve(observer(), nudge_router(mailbox), async {
            let _ = stopped.await;
        }));
        let nudge = Nudge::Released {
            shard: "shardId-000000000007".to_owned(),
            epoch: 3,
        };
        let expected = nudge.clone();
        let heard = tokio::spawn(async move {
            for answer in [true, false] {
                let incoming = incoming.recv().await.unwrap();
                assert_eq!(incoming.nudge, expected);
                incoming.answer.send(answer).unwrap();
            }
            incoming.recv().await.is_none()
        });
        assert_eq!(HttpPeers.probe(&address).await, Probe::Open);
        assert!(HttpPeers.nudge(&address, "secret", &nudge).await.unwrap());
        assert!(!HttpPeers.nudge(&address, "secret", &nudge).await.unwrap());
        let refused = HttpPeers
            .nudge(&address, "guess", &nudge)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("403"), "{refused}");
        stop.send(()).unwrap();
        served.await.unwrap().unwrap();
        assert_eq!(HttpPeers.probe(&address).await, Probe::Refused);
        assert!(heard.await.unwrap(), "nothing else was heard");
    }
}
