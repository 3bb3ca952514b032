//! A store that fails by script, for tests.
//!
//! Owns nothing of the product; compiled for tests and the kill-and-restart suite only. Wraps any object store, by
//! default one in memory, and keeps count of what reached it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

/// Which requests a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Create-if-absent.
    Create,
    /// Overwriting.
    Put,
    /// Reading, whole or in part.
    Get,
    /// Listing.
    List,
    /// Deleting.
    Delete,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It takes effect, but the answer is an error, as when a connection breaks.
    LoseReply,
    /// It takes effect, but no answer ever comes.
    NoReply,
    /// It never takes effect, and no answer ever comes.
    Hang,
    /// It doesn't take effect; the answer is an error that says nothing about it.
    Break,
    /// It doesn't take effect; the store asks to slow down.
    Throttle,
    /// It doesn't take effect; the answer is "exists" (S3's 409 while two write).
    Exists,
    /// It doesn't take effect; the answer is "not found".
    NotFound,
    /// It doesn't take effect; the answer is "access denied".
    Denied,
    /// It doesn't take effect; the disk is full.
    Full,
    /// It takes effect after a while.
    Delay(Duration),
    /// A create overwrites: a store without create-if-absent.
    IgnoreCondition,
}

/// A fault for the next `times` requests of a kind whose path contains a text.
#[derive(Clone, Debug)]
pub struct Rule {
    on: On,
    path_contains: String,
    times: usize,
    fault: Fault,
}

/// See the module.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    rules: Arc<Mutex<Vec<Rule>>>,
    seen: Arc<Mutex<Vec<(On, String)>>>,
}

impl Default for FaultyStore {
    fn default() -> Self {
        Self::new(Arc::new(InMemory::new()))
    }
}

impl FaultyStore {
    /// Around a store; without rules it does what that store does.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        FaultyStore {
            inner,
            rules: Arc::default(),
            seen: Arc::default(),
        }
    }

    /// The next `times` requests `on` paths that contain `path` meet `fault`. Earlier rules go first.
    pub fn fail(&self, on: On, path: &str, times: usize, fault: Fault) {
        let rule = Rule {
            on,
            path_contains: path.to_owned(),
            times,
            fault,
        };
        self.rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(rule);
    }

    /// The paths of all requests of a kind, in the order of their arrival.
    pub fn seen(&self, on: On) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .filter(|(kind, _)| *kind == on)
            .map(|(_, path)| path.clone())
            .collect()
    }

    fn next(&self, on: On, path: &Path) -> Option<Fault> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push((on, path.to_string()));
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let matches = |rule: &&mut Rule| {
            rule.times > 0 && rule.on == on && path.as_ref().contains(&rule.path_contains)
        };
        let rule = rules.iter_mut().find(matches)?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }

    /// Answers in place of the store, or lets the request through (`Ok`).
    async fn before(fault: Option<&Fault>, path: &Path) -> Result<()> {
        let source = || "by script".into();
        let name = path.to_string();
        match fault {
            None | Some(Fault::LoseReply | Fault::NoReply | Fault::IgnoreCondition) => Ok(()),
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(*time).await;
                Ok(())
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Break) => Err(broken("connection reset")),
            Some(Fault::Throttle) => Err(broken("status code: 503: <Code>SlowDown</Code>")),
            Some(Fault::Exists) => Err(Error::AlreadyExists {
                path: name,
                source: source(),
            }),
            Some(Fault::NotFound) => Err(Error::NotFound {
                path: name,
                source: source(),
            }),
            Some(Fault::Denied) => Err(Error::PermissionDenied {
                path: name,
                source: source(),
            }),
            Some(Fault::Full) => Err(super::file::full(&name)),
        }
    }

    async fn after(fault: Option<&Fault>) -> Result<()> {
        match fault {
            Some(Fault::LoseReply) => Err(broken("connection reset")),
            Some(Fault::NoReply) => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

fn broken(text: &str) -> Error {
    Error::Generic {
        store: "faulty",
        source: text.to_owned().into(),
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FaultyStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        let on = match options.mode {
            PutMode::Create => On::Create,
            _ => On::Put,
        };
        let fault = self.next(on, location);
        Self::before(fault.as_ref(), location).await?;
        if fault == Some(Fault::IgnoreCondition) {
            options.mode = PutMode::Overwrite;
        }
        let done = self.inner.put_opts(location, payload, options).await?;
        Self::after(fault.as_ref()).await?;
        Ok(done)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.next(On::Get, location);
        Self::before(fault.as_ref(), location).await?;
        let found = self.inner.get_opts(location, options).await?;
        Self::after(fault.as_ref()).await?;
        Ok(found)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let scripted = FaultyStore {
            inner: self.inner.clone(),
            rules: self.rules.clone(),
            seen: self.seen.clone(),
        };
        stream::unfold(
            (scripted, locations),
            |(scripted, mut locations)| async move {
                let location = locations.next().await?;
                let done = scripted.delete_scripted(location).await;
                Some((done, (scripted, locations)))
            },
        )
        .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let path = prefix.cloned().unwrap_or_default();
        let fault = self.next(On::List, &path);
        let listed = self.inner.list(prefix);
        let before = async move { Self::before(fault.as_ref(), &path).await };
        stream::once(before)
            .flat_map(move |checked| match checked {
                Ok(()) => stream::empty().boxed(),
                Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
            })
            .chain(listed)
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl FaultyStore {
    async fn delete_scripted(&self, location: Result<Path>) -> Result<Path> {
        let location = location?;
        let fault = self.next(On::Delete, &location);
        Self::before(fault.as_ref(), &location).await?;
        self.inner.delete(&location).await?;
        Self::after(fault.as_ref()).await?;
        Ok(location)
    }
}
