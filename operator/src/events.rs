//! Events of a StockStream, as `kubectl describe` shows them.
//!
//! Owns that each change of state is told once. Must never hold anything up: an event that can't be written is logged.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource as _;
use kube::runtime::events::{Event, EventType};
use stockstream_crds::StockStream;

use crate::context::Context;
use crate::status;

/// The API server takes 1 kB.
const MOST_BYTES: usize = 1_000;

/// Tells what changed between two lists of conditions.
pub async fn transitions(
    context: &Context,
    resource: &StockStream,
    before: &[Condition],
    after: &[Condition],
) {
    for change in status::transitions(before, after) {
        let kind = match change.is_warning {
            true => EventType::Warning,
            false => EventType::Normal,
        };
        publish(
            context,
            resource,
            kind,
            &change.kind,
            &change.reason,
            change.note,
        )
        .await;
    }
}

/// Tells a step that was taken.
pub async fn step(context: &Context, resource: &StockStream, reason: &str, note: String) {
    publish(
        context,
        resource,
        EventType::Normal,
        "Provision",
        reason,
        note,
    )
    .await;
}

/// Tells what somebody should look at.
pub async fn warning(context: &Context, resource: &StockStream, reason: &str, note: String) {
    publish(
        context,
        resource,
        EventType::Warning,
        "Reconcile",
        reason,
        note,
    )
    .await;
}

async fn publish(
    context: &Context,
    resource: &StockStream,
    kind: EventType,
    action: &str,
    reason: &str,
    note: String,
) {
    let level = match kind {
        EventType::Normal => "normal",
        EventType::Warning => "warning",
    };
    tracing::info!(
        event = "pipeline_changed",
        namespace = resource.metadata.namespace,
        name = resource.metadata.name,
        reason,
        level,
        note
    );
    let event = Event {
        type_: kind,
        reason: reason.to_owned(),
        note: Some(shortened(note)),
        // Part of what tells events apart: conditions of the same reason are events of their own.
        action: action.to_owned(),
        secondary: None,
    };
    let reference = resource.object_ref(&());
    if let Err(error) = context.recorder.publish(&event, &reference).await {
        tracing::warn!(event = "event_not_written", reason, %error);
    }
}

fn shortened(mut note: String) -> String {
    if note.len() > MOST_BYTES {
        let end = (0..=MOST_BYTES - 3)
            .rev()
            .find(|end| note.is_char_boundary(*end));
        note.truncate(end.unwrap_or(0));
        note.push('…');
    }
    note
}
