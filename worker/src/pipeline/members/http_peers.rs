//! Peers over TCP and HTTP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::http_server::{NUDGE_PATH, TOKEN_HEADER};
use super::peers::{Nudge, PeerError, Peers, Probe};

/// Time for one attempt to connect.
const CONNECT_WITHIN: Duration = Duration::from_millis(300);
/// Time for a nudge and its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024;

/// Peers at their HTTP ports.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpPeers;

#[async_trait]
impl Peers for HttpPeers {
    async fn probe(&self, address: &str) -> Probe {
        match timeout(CONNECT_WITHIN, connect(address)).await {
            Ok(Ok(_)) => Probe::Open,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Probe::Refused
            }
            Ok(Err(_)) | Err(_) => Probe::Unknown,
        }
    }

    async fn nudge(&self, address: &str, token: &str, nudge: &Nudge) -> Result<bool, PeerError> {
        let failed = |detail: String| PeerError {
            address: address.to_owned(),
            detail,
        };
        let body = serde_json::to_vec(nudge).map_err(|error| failed(error.to_string()))?;
        match timeout(ANSWER_WITHIN, post(address, token, body)).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(failed(format!("no answer within {ANSWER_WITHIN:?}"))),
        }
    }
}

async fn post(address: &str, token: &str, body: Vec<u8>) -> Result<bool, String> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(NUDGE_PATH)
        .header(HOST, address)
        .header(CONTENT_TYPE, "application/json")
        .header(TOKEN_HEADER, token)
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let body = exchange(address, request, MAX_ANSWER).await?;
    Ok(&body[..] == b"true")
}

/// What a worker answers at a path of its HTTP server, from JSON. At most `most` bytes are read.
///
/// # Errors
/// That it couldn't be asked, or what it answered.
pub async fn get_json<T: DeserializeOwned>(
    address: &str,
    path: &str,
    most: usize,
) -> Result<T, PeerError> {
    let failed = |detail: String| PeerError {
        address: address.to_owned(),
        detail,
    };
    let request = Request::builder()
        .uri(path)
        .header(HOST, address)
        .body(Full::new(Bytes::new()))
        .map_err(|error| failed(error.to_string()))?;
    let answer = timeout(ANSWER_WITHIN, exchange(address, request, most)).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {ANSWER_WITHIN:?}")));
    let bytes = answer.map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))
}

/// Connects to where a member says that it listens. Whoever may write into the state path may say anything: what no worker
/// can be reached at isn't asked, least of all the addresses at which clouds hand out credentials.
async fn connect(address: &str) -> io::Result<TcpStream> {
    let places: Vec<SocketAddr> = lookup_host(address).await?.collect();
    if let Some(place) = places.iter().find(|place| !may_be_a_worker(place.ip())) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} is no address of a worker: it isn't asked", place.ip()),
        ));
    }
    TcpStream::connect(&places[..]).await
}

fn may_be_a_worker(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            // 169.254.0.0/16 has the instance metadata of nearly every cloud, and EKS's pod identity; the other is Alibaba's.
            let is_of_alibaba = ip.octets() == [100, 100, 100, 200];
            !(is_of_alibaba
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.is_unspecified())
        }
        IpAddr::V6(ip) => {
            // fd00:ec2::/32 has the same of AWS, fd20:ce::/32 of Google; 64:ff9b::/96 leads to IPv4.
            let is_of_a_cloud = matches!(
                ip.segments()[..2],
                [0xfd00, 0x0ec2] | [0xfd20, 0x00ce] | [0x0064, 0xff9b]
            );
            !(is_of_a_cloud
                || ip.is_unicast_link_local()
                || ip.is_multicast()
                || ip.is_unspecified())
        }
    }
}

async fn exchange(
    address: &str,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Bytes, String> {
    let stream = timeout(CONNECT_WITHIN, connect(address)).await;
    let stream = stream
        .map_err(|_| format!("no connection within {CONNECT_WITHIN:?}"))?
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), most).collect().await;
        Ok::<_, hyper::Error>((status, body.map(|body| body.to_bytes())))
    };
    tokio::pin!(connection);
    let (status, body) = tokio::select! {
        biased;
        answer = exchange => answer.map_err(|error| error.to_string())?,
        ended = &mut connection => return Err(format!("the connection ended: {ended:?}")),
    };
    if !status.is_success() {
        return Err(format!("it answered {status}"));
    }
    body.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_at_which_clouds_hand_out_credentials_are_no_workers() {
        for ip in [
            "169.254.169.254",
            "169.254.170.23",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "fd20:ce::254",
            "64:ff9b::a9fe:a9fe",
            "100.100.100.200",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
        ] {
            assert!(!may_be_a_worker(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "10.0.3.7",
            "127.0.0.1",
            "172.31.0.9",
            "192.168.1.2",
            "::1",
            "fd12::7",
            "2001:db8::1",
        ] {
            assert!(may_be_a_worker(ip.parse().unwrap()), "{ip}");
        }
    }

    #[tokio::test]
    async fn such_an_address_is_not_asked_and_the_error_names_it() {
        let asked = get_json::<serde_json::Value>("169.254.169.254:80", "/api/state", 100).await;
        let detail = asked.unwrap_err().detail;
        assert!(
            detail.contains("169.254.169.254 is no address of a worker"),
            "{detail}"
        );
    }
}
