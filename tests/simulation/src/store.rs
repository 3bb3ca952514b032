//! The simulated object store.
//!
//! Owns objects, consistent listings and create-if-absent, and tells the watch of every change. What a request may meet
//! on its way is the network's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};

use crate::clock::World;
use crate::network::{Link, Network, NoAnswer, Peer, lock};
use crate::watch::Watch;

/// An object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its bytes.
    pub bytes: Bytes,
    /// Changes with each write.
    pub etag: u64,
    /// By the store's clock, in microseconds since the epoch.
    pub modified: i64,
}

/// Everything in the store, by path.
#[derive(Debug, Default)]
pub struct Objects {
    objects: BTreeMap<String, Object>,
    writes: u64,
}

impl Objects {
    /// An object's bytes.
    pub fn get(&self, path: &str) -> Option<&Object> {
        self.objects.get(path)
    }

    /// Somebody removes a folder, behind everybody's back.
    pub fn remove_under(&mut self, folder: &str) {
        let inside = format!("{folder}/");
        self.objects.retain(|path, _| !path.starts_with(&inside));
    }

    /// All objects under a folder, by path.
    pub fn under<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a String, &'a Object)> {
        let inside = move |path: &str| {
            let rest = path.strip_prefix(folder);
            rest.is_some_and(|rest| folder.is_empty() || rest.starts_with('/'))
        };
        self.objects
            .range(folder.to_owned()..)
            .take_while(move |(path, _)| path.starts_with(folder))
            .filter(move |(path, _)| inside(path))
    }
}

/// The store as one process reaches it.
#[derive(Clone, Debug)]
pub struct SimulatedStore {
    /// The time.
    pub world: World,
    /// What is between.
    pub network: Arc<Network>,
    /// The process.
    pub link: Arc<Link>,
    /// What is there.
    pub objects: Arc<Mutex<Objects>>,
    /// Who looks on.
    pub watch: Arc<Watch>,
}

impl SimulatedStore {
    async fn request<T: Send + 'static>(
        &self,
        what: String,
        serve: impl FnOnce(&mut Objects, &SimulatedStore) -> T + Send + 'static,
    ) -> std::result::Result<T, NoAnswer> {
        let this = self.clone();
        let serve = move || serve(&mut lock(&this.objects), &this);
        let request = self.network.request(&self.link, Peer::Store, what, serve);
        request.await
    }

    fn meta(path: &str, object: &Object) -> ObjectMeta {
        let time = jiff::Timestamp::from_microsecond(object.modified).unwrap_or_default();
        ObjectMeta {
            location: Path::parse(path).unwrap_or_default(),
            last_modified: std::time::SystemTime::from(time).into(),
            size: object.bytes.len() as u64,
            e_tag: Some(format!("\"{}\"", object.etag)),
            version: None,
        }
    }
}

impl Objects {
    fn put(
        &mut self,
        path: &str,
        bytes: Bytes,
        create: bool,
        by: &SimulatedStore,
    ) -> Result<PutResult> {
        let before = self.objects.get(path);
        if create && before.is_some() {
            return Err(Error::AlreadyExists {
                path: path.to_owned(),
                source: "412 precondition failed".into(),
            });
        }
        by.watch
            .written(path, &bytes, before.is_some(), &by.link.process);
        self.writes += 1;
        let object = Object {
            bytes,
            etag: self.writes,
            modified: by.world.micros(),
        };
        let e_tag = Some(format!("\"{}\"", object.etag));
        self.objects.insert(path.to_owned(), object);
        Ok(PutResult {
            e_tag,
            version: None,
        })
    }

    fn delete(&mut self, path: &str, by: &SimulatedStore) {
        let stamps = |(path, object): (&String, &Object)| (path.clone(), object.modified);
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let beside: Vec<(String, i64)> = self.under(folder).map(stamps).collect();
        by.watch.deleted(path, &beside);
        self.objects.remove(path);
    }

    fn read(&self, path: &str, options: &GetOptions) -> Result<(ObjectMeta, Bytes, u64)> {
        let object = self.objects.get(path).ok_or_else(|| Error::NotFound {
            path: path.to_owned(),
            source: "404 no such key".into(),
        })?;
        let size = object.bytes.len() as u64;
        let (from, to) = match &options.range {
            None => (0, size),
            Some(GetRange::Bounded(range)) => (range.start.min(size), range.end.min(size)),
            Some(GetRange::Offset(from)) => ((*from).min(size), size),
            Some(GetRange::Suffix(length)) => (size.saturating_sub(*length), size),
        };
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = match options.head {
            true => Bytes::new(),
            false => object.bytes.slice(index(from)..index(to)),
        };
        Ok((SimulatedStore::meta(path, object), bytes, from))
    }
}

fn fault(path: &str, no_answer: NoAnswer, create: bool) -> Error {
    let text = match no_answer {
        NoAnswer::Odd if create => {
            return Error::AlreadyExists {
                path: path.to_owned(),
                source: "409 conditional request conflict".into(),
            };
        }
        NoAnswer::Throttled | NoAnswer::Odd => "status code: 503: <Code>SlowDown</Code>",
        NoAnswer::Refused => "connection refused",
        NoAnswer::Reset => "connection reset",
    };
    Error::Generic {
        store: "simulated",
        source: text.into(),
    }
}

impl fmt::Display for SimulatedStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SimulatedStore")
    }
}

fn refuse<T>(what: &str) -> Result<T> {
    Err(Error::NotSupported {
        source: what.to_owned().into(),
    })
}

#[async_trait]
impl ObjectStore for SimulatedStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let path = location.to_string();
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return refuse("updates"),
        };
        let bytes = Bytes::from(payload);
        self.watch.put_sent(&self.link.process, &path, &bytes);
        let what = format!(
            "{} {path} {}",
            if create { "create" } else { "put" },
            bytes.len()
        );
        let named = path.clone();
        let sent = self.request(what, move |objects, by| {
            objects.put(&named, bytes, create, by)
        });
        sent.await
            .unwrap_or_else(|no_answer| Err(fault(&path, no_answer, create)))
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        refuse("multipart uploads")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let path = location.to_string();
        let named = path.clone();
        let sent = self.request(format!("get {path}"), move |objects, _| {
            objects.read(&named, &options)
        });
        let found = sent
            .await
            .unwrap_or_else(|no_answer| Err(fault(&path, no_answer, false)));
        let (meta, bytes, from) = found?;
        let range = from..from + bytes.len() as u64;
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed()),
            meta,
            range,
            attributes: object_store::Attributes::new(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        locations
            .and_then(move |location| {
                let this = this.clone();
                async move {
                    let path = location.to_string();
                    let named = path.clone();
                    let sent = this.request(format!("delete {path}"), move |objects, by| {
                        objects.delete(&named, by)
                    });
                    let done = sent.await;
                    done.map(|()| location)
                        .map_err(|no_answer| fault(&path, no_answer, false))
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let this = self.clone();
        let folder = prefix.map(Path::to_string).unwrap_or_default();
        self.watch.list_sent(&self.link.process, &folder);
        let listed = async move {
            let named = folder.clone();
            let sent = this.request(format!("list {folder}"), move |objects, _| {
                let metas = objects
                    .under(&named)
                    .map(|(path, object)| Self::meta(path, object));
                metas.collect::<Vec<_>>()
            });
            match sent.await {
                Ok(metas) => metas.into_iter().map(Ok).collect(),
                Err(no_answer) => vec![Err(fault(&folder, no_answer, false))],
            }
        };
        stream::once(listed).flat_map(stream::iter).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        refuse("listings by delimiter")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        refuse("copies")
    }
}

/// A place in the store as a worker opens it.
pub fn place(
    store: &SimulatedStore,
    folder: &str,
    policy: stockstream::storage::Policy,
) -> stockstream::storage::Store {
    stockstream::storage::Store::from_object_store(Arc::new(store.clone()), folder)
        .with_policy(policy)
}
