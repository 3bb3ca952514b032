#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

fn pod(name: &str, ends: Option<i64>) -> Arc<Pod> {
    let mut pod = Pod::default();
    pod.metadata.name = Some(name.to_owned());
    pod.metadata.deletion_timestamp = ends.map(|at| Time(Timestamp::from_second(at).unwrap()));
    Arc::new(pod)
}

#[test]
fn pods_are_counted_and_one_whose_node_is_silent_is_named() {
    let now = Timestamp::from_second(1_000).unwrap();
    let said = |pods: &[Arc<Pod>]| waiting_for(pods, now);
    assert_eq!(said(&[]), None);
    // `deletionTimestamp` lies ahead as long as the grace period lasts.
    assert_eq!(said(&[pod("a", Some(1_020))]).unwrap(), "1 pod is ending");
    assert_eq!(
        said(&[pod("a", Some(1_020)), pod("b", None)]).unwrap(),
        "2 pods are ending"
    );
    let late = said(&[pod("a", Some(1_020)), pod("b", Some(960))]).unwrap();
    assert!(late.contains("kubectl delete pod b --force"), "{late}");
}
