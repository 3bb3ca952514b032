//! Server-side apply of what was built, and pruning of what isn't built any more.
//!
//! Owns which calls are made: none, when nothing differs. Must never touch an object that the pipeline doesn't own, nor a field
//! that it has no opinion on.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, Preconditions,
};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::build::Desired;
use crate::failpoint::{Point, meet};
use crate::kinds::Kind;
use crate::names;

/// What is watched of every kind.
pub type Owned = BTreeMap<Kind, Store<DynamicObject>>;

/// What was applied before: a digest of what was sent, and what came back. An object that still has that version is
/// as it was applied.
#[derive(Clone, Debug, Default)]
pub struct Applied(BTreeMap<(Kind, String), Last>);

/// One object, as it was applied.
#[derive(Clone, Debug)]
struct Last {
    version: String,
    digest: [u8; 32],
    generation: Option<i64>,
}

impl Applied {
    /// The generation that an object had after it was applied.
    pub fn generation(&self, kind: Kind, name: &str) -> Option<i64> {
        self.0.get(&(kind, name.to_owned()))?.generation
    }
}

/// An object couldn't be applied or deleted.
#[derive(Debug, thiserror::Error)]
#[error("{action} {kind} {name} failed: {detail}{hint}", kind = .kind.name())]
pub struct ApplyError {
    /// `applying`, `parking`, `deleting` or `looking at`.
    pub action: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What to do, if that is known.
    pub hint: &'static str,
    /// Why, in the API server's words.
    pub detail: String,
}

impl ApplyError {
    fn new(action: &'static str, kind: Kind, name: &str, source: kube::Error) -> Self {
        let hint = match &source {
            kube::Error::Api(status) if status.code == 403 => {
                "; the operator's role lacks this: install the chart's RBAC again"
            }
            _ => "",
        };
        Self {
            action,
            kind,
            name: name.to_owned(),
            hint,
            detail: words(&source),
        }
    }
}

/// What the API server said, without what a program would look at.
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => {
            format!("{} ({} {})", status.message, status.code, status.reason)
        }
        error => crate::reconcile::chain(error),
    }
}

/// Applies every object that differs from what was applied last, and deletes the pipeline's objects that aren't among them.
/// Answers how many calls were made.
///
/// # Errors
/// The first object that couldn't be applied; those after it are tried all the same.
pub async fn apply(
    client: &Client,
    namespace: &str,
    owner_uid: &str,
    objects: &[Desired],
    owned: &Owned,
    applied: &mut Applied,
) -> Result<usize, ApplyError> {
    let mut calls = 0;
    let mut failed = None;
    for object in objects {
        match apply_one(client, namespace, owner_uid, object, owned, applied).await {
            Ok(made) => calls += usize::from(made),
            // Nothing depends on how Prometheus finds the workers.
            Err(error) if error.kind == Kind::ServiceMonitor => {
                tracing::warn!(event = "service_monitor_not_applied", %error);
            }
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
    }
    match prune(client, namespace, owner_uid, objects, owned).await {
        Ok(made) => calls += made,
        Err(error) => {
            failed.get_or_insert(error);
        }
    }
    match failed {
        None => Ok(calls),
        Some(error) => Err(error),
    }
}

async fn apply_one(
    client: &Client,
    namespace: &str,
    owner_uid: &str,
    object: &Desired,
    owned: &Owned,
    applied: &mut Applied,
) -> Result<bool, ApplyError> {
    let digest: [u8; 32] = Sha256::digest(object.body.to_string()).into();
    let key = (object.kind, object.name.clone());
    let live = find(owned, object.kind, namespace, &object.name);
    let version = live.as_ref().and_then(|live| live.resource_version());
    if let (Some(version), Some(last)) = (&version, applied.0.get(&key))
        && (version, &digest) == (&last.version, &last.digest)
    {
        return Ok(false);
    }
    let resource = object.kind.resource();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    if !live.is_some_and(|live| is_owned(&live.metadata, owner_uid)) {
        refuse_another_s(&api, object, owner_uid).await?;
    }
    let parameters = PatchParams::apply(names::MANAGER).force();
    let fail = |error| ApplyError::new("applying", object.kind, &object.name, error);
    let patched = match api
        .patch(&object.name, &parameters, &Patch::Apply(&object.body))
        .await
    {
        Ok(patched) => patched,
        // Somebody changed a port's number, its key, and so made it a port of theirs beside ours: only the whole list mends that.
        Err(kube::Error::Api(status)) if status.code == 422 && object.kind == Kind::Service => {
            let parameters = PatchParams {
                field_manager: Some(names::MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let ports = json!({"spec": {"ports": object.body["spec"]["ports"]}});
            api.patch(&object.name, &parameters, &Patch::Merge(&ports))
                .await
                .map_err(fail)?
        }
        Err(error) => return Err(fail(error)),
    };
    meet(Point::applied(object.kind));
    if let Some(version) = patched.resource_version() {
        let generation = patched.metadata.generation;
        let last = Last {
            version,
            digest,
            generation,
        };
        applied.0.insert(key, last);
    }
    Ok(true)
}

/// Pods that a Deployment asks for.
pub fn replicas(deployment: &DynamicObject) -> i64 {
    let replicas = deployment.data.pointer("/spec/replicas");
    replicas.and_then(serde_json::Value::as_i64).unwrap_or(0)
}

/// Scales the workers' Deployment to none, and leaves all else as it was applied last.
///
/// # Errors
/// When Kubernetes doesn't take it.
pub async fn park(
    client: &Client,
    namespace: &str,
    deployment: &DynamicObject,
) -> Result<(), ApplyError> {
    let name = deployment.name_any();
    let resource = Kind::Deployment.resource();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let parameters = PatchParams {
        field_manager: Some(names::MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    api.patch(&name, &parameters, &none)
        .await
        .map_err(|error| ApplyError::new("parking", Kind::Deployment, &name, error))?;
    Ok(())
}

/// Whether an object belongs to the StockStream of this uid.
pub fn is_owned(metadata: &ObjectMeta, owner_uid: &str) -> bool {
    let owners = metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.uid == owner_uid)
}

/// Server-side apply takes whatever has the name: what somebody else made must not become ours, and go with us. By a list of
/// one, which the right to list allows.
async fn refuse_another_s(
    api: &Api<DynamicObject>,
    object: &Desired,
    owner_uid: &str,
) -> Result<(), ApplyError> {
    let named = ListParams::default().fields(&format!("metadata.name={}", object.name));
    let found = api
        .list_metadata(&named)
        .await
        .map_err(|error| ApplyError::new("looking at", object.kind, &object.name, error))?;
    match found.items.first() {
        Some(other) if !is_owned(&other.metadata, owner_uid) => Err(ApplyError {
            action: "applying",
            kind: object.kind,
            name: object.name.clone(),
            hint: "",
            detail: "there is one already that this StockStream didn't make, and it wasn't touched: delete it, or give the StockStream another name (a service account of yours: name it in spec.workers.serviceAccount.name)".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// An object as it was seen last.
pub fn find(
    owned: &Owned,
    kind: Kind,
    namespace: &str,
    name: &str,
) -> Option<std::sync::Arc<DynamicObject>> {
    let reference = ObjectRef::new_with(name, kind.resource()).within(namespace);
    owned.get(&kind)?.get(&reference)
}

async fn prune(
    client: &Client,
    namespace: &str,
    owner_uid: &str,
    objects: &[Desired],
    owned: &Owned,
) -> Result<usize, ApplyError> {
    let wanted: BTreeSet<(Kind, &str)> = objects
        .iter()
        .map(|object| (object.kind, object.name.as_str()))
        .collect();
    let mut calls = 0;
    for (kind, store) in owned {
        let gone = store.state_filter(|object| {
            is_owned(&object.metadata, owner_uid)
                && object.metadata.deletion_timestamp.is_none()
                && object.namespace().as_deref() == Some(namespace)
                && !wanted.contains(&(*kind, object.name_any().as_str()))
        });
        for object in gone {
            delete(client, *kind, namespace, &object).await?;
            meet(Point::Pruned);
            calls += 1;
        }
    }
    Ok(calls)
}

/// Deletes this very object, and what belongs to it in the background; that it is gone already is fine.
///
/// # Errors
/// When it couldn't be deleted.
pub async fn delete(
    client: &Client,
    kind: Kind,
    namespace: &str,
    object: &DynamicObject,
) -> Result<(), ApplyError> {
    let name = object.name_any();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind.resource());
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.uid(),
            ..Preconditions::default()
        }),
        ..DeleteParams::background()
    };
    match api.delete(&name, &parameters).await {
        Ok(_) => Ok(()),
        // Gone, or another one of the same name: neither is this one.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(ApplyError::new("deleting", kind, &name, error)),
    }
}
