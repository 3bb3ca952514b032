//! A directory as an object store that survives a crash and is shared by several processes.
//!
//! Owns how files are written: staged, fsynced, put in place by a hard link (or an exclusive rename), the directory
//! fsynced, every new directory too. An object is either absent or complete. Reads and listings are object_store's.
//!
//! Files are staged in [`STAGING`] under the root: the same file system, and a name that every reader of Hive layouts
//! skips and no listing here shows. Many files at once ([`FileStore::create_all`]) share their fsyncs: the file
//! system is synced once before they are put in place, and once after.
//!
//! Each staged file is locked (flock) while its writer lives; at start those
//! whose lock is free are removed, so another live process's are never touched, on whatever host or container it runs.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::parallel::in_parallel;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// The staging directory's name under the root.
pub(crate) const STAGING: &str = ".stockstream-staging";

/// Where locks aren't supported, staged files older than this are taken for left over.
const STALE: Duration = Duration::from_secs(3600);

/// Leftovers looked at in one clean-up.
const MAX_LEFTOVERS: usize = 100_000;

/// Directories remembered as durable; beyond it they are simply fsynced again.
const MAX_KNOWN: usize = 65_536;

/// Tries against others that clean up or remove empty directories at the same moment.
const MAX_TRIES: usize = 8;

/// A write failed.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}: {source}", path = path.display())]
pub(crate) struct FileFault {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
    /// The object is in its place, but may not survive a crash.
    pub(crate) applied: bool,
}

impl FileFault {
    /// Another process removed an emptied directory, after this one had found it there.
    fn is_gone(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

fn fault<'a>(action: &'static str, path: &'a FsPath) -> impl FnOnce(io::Error) -> FileFault + 'a {
    move |source| FileFault {
        action,
        path: path.to_owned(),
        source,
        applied: false,
    }
}

impl From<FileFault> for Error {
    fn from(fault: FileFault) -> Self {
        Error::Generic {
            store: "file",
            source: Box::new(fault),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct FileStore {
    reader: LocalFileSystem,
    disk: Arc<Disk>,
}

impl FileStore {
    /// Opens `root`. With `create`, makes it when it is missing and removes leftovers.
    pub(crate) fn open(root: &FsPath, create: bool) -> Result<Self> {
        if create {
            create_root(root)?;
        }
        let root = root.canonicalize().map_err(fault("find", root))?;
        let disk = Disk {
            staging: root.join(STAGING),
            root,
            known: Mutex::default(),
        };
        if create {
            disk.remove_leftovers()?;
        }
        Ok(FileStore {
            reader: LocalFileSystem::new_with_prefix(&disk.root)?,
            disk: Arc::new(disk),
        })
    }
}

impl FileStore {
    /// Creates files, each if absent, as far as that goes without any trouble, and says which were made and will last.
    /// The others are left to [`ObjectStore::put_opts`], which finds out what is the matter. Blocks.
    ///
    /// Each file is complete when it appears, as ever: all are staged, their file system is synced, then they are put in
    /// place, and it is synced once more. Holds a file handle a file.
    pub(crate) fn create_all(&self, files: &[(Path, Bytes)], given_up: &AtomicBool) -> Vec<bool> {
        let targets: Vec<Option<PathBuf>> = files
            .iter()
            .map(|(path, _)| self.reader.path_to_filesystem(path).ok())
            .collect();
        let contents = files.iter().map(|(_, bytes)| bytes);
        let all: Vec<_> = targets.iter().zip(contents).collect();
        self.disk
            .create_all(&all, given_up)
            .unwrap_or_else(|| vec![false; files.len()])
    }
}

impl fmt::Display for FileStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FileStore({})", self.disk.root.display())
    }
}

/// Makes a directory and its parents, durably.
fn create_root(root: &FsPath) -> Result<(), FileFault> {
    if root.is_dir() {
        return Ok(());
    }
    if let Some(parent) = root.parent() {
        create_root(parent)?;
        make_directory(root)?;
        sync_directory(parent)?;
    }
    Ok(())
}

fn make_directory(path: &FsPath) -> Result<(), FileFault> {
    let error = match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => error,
        other => return other.map_err(fault("create the directory", path)),
    };
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        // Another has removed it since: as if its parent were gone.
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => {
            Err(fault("create the directory", path)(gone))
        }
        _ => Err(fault("create the directory", path)(error)),
    }
}

fn sync_directory(path: &FsPath) -> Result<(), FileFault> {
    let directory = File::open(path).map_err(fault("open the directory", path))?;
    match directory.sync_all() {
        // Some network file systems have no fsync for directories: their server keeps names durable itself.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        other => other.map_err(fault("fsync the directory", path)),
    }
}

#[derive(Debug)]
struct Disk {
    root: PathBuf,
    staging: PathBuf,
    /// Directories whose names this process has seen on disk, fsynced.
    known: Mutex<HashSet<PathBuf>>,
}

/// A staged file, locked; removed when dropped.
struct Staged {
    path: PathBuf,
    _lock: File,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Gone already after a rename. Else, at worst, a leftover for the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// Tells the writing thread, when dropped, that nobody waits for it any more.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

enum Placed {
    Done,
    Exists,
    /// Somebody removed the staged file or the directory: stage again.
    Lost,
}

impl Disk {
    /// `given_up` is asked right before the object is put in place: a request whose caller is gone must not land later.
    fn write(
        &self,
        target: &FsPath,
        payload: &PutPayload,
        create: bool,
        given_up: &AtomicBool,
    ) -> Result<(), Error> {
        let parent = target.parent().unwrap_or(&self.root);
        for _ in 0..MAX_TRIES {
            let Some(staged) = self.stage(payload)? else {
                continue;
            };
            match self.ensure_directory(parent) {
                Err(fault) if fault.is_gone() => {
                    self.forget(parent);
                    continue;
                }
                other => other?,
            }
            if given_up.load(Ordering::SeqCst) {
                return Err(fault("write", target)(io::ErrorKind::TimedOut.into()).into());
            }
            match place(&staged.path, target, create)? {
                Placed::Lost => self.forget(parent),
                Placed::Done => return after_placing(sync_directory(parent)),
                Placed::Exists => {
                    // Whoever made it may have died before its own fsync: what is reported must last.
                    match sync_directory(parent) {
                        Err(fault) if fault.is_gone() => {
                            self.forget(parent);
                            continue;
                        }
                        other => after_placing(other)?,
                    }
                    return Err(Error::AlreadyExists {
                        path: target.display().to_string(),
                        source: Box::new(io::Error::from(io::ErrorKind::AlreadyExists)),
                    });
                }
            }
        }
        let lost = io::Error::other(
            "staged files or directories vanish again and again: does another program clean this directory?",
        );
        Err(fault("write", target)(lost).into())
    }

    /// See [`FileStore::create_all`]; `None` when nothing was made.
    fn create_all(
        &self,
        files: &[(&Option<PathBuf>, &Bytes)],
        given_up: &AtomicBool,
    ) -> Option<Vec<bool>> {
        // One at a time in a process: a file system synced twice at once gains nothing, and handles add up.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if given_up.load(Ordering::SeqCst) {
            return None;
        }
        let root = File::open(&self.root).ok()?;
        if !lasts_when_synced(&root) {
            return None;
        }
        let staged = in_parallel(files, |(target, bytes)| {
            let target = target.as_deref()?;
            let staged = self.stage_unsynced(&PutPayload::from_bytes(bytes.slice(..)));
            self.make_directories(target.parent()?).ok()?;
            Some((staged.ok()??, target))
        });
        sync_file_system(&root)?;
        if given_up.load(Ordering::SeqCst) {
            return None;
        }
        let placed = in_parallel(&staged, |staged| {
            let (staged, target) = staged.as_ref()?;
            matches!(place(&staged.path, target, true), Ok(Placed::Done)).then_some(())
        });
        sync_file_system(&root)?;
        Some(placed.iter().map(Option::is_some).collect())
    }

    /// Makes a directory and those above it, up to the root. Their names don't last yet.
    fn make_directories(&self, directory: &FsPath) -> Result<(), FileFault> {
        if directory == self.root || directory.is_dir() {
            return Ok(());
        }
        if let Some(parent) = directory
            .parent()
            .filter(|parent| parent.starts_with(&self.root))
        {
            self.make_directories(parent)?;
        }
        make_directory(directory)
    }

    /// Writes the bytes to a staged file and fsyncs it; `None` when a cleaner was quicker than the lock.
    fn stage(&self, payload: &PutPayload) -> Result<Option<Staged>, FileFault> {
        let staged = self.stage_unsynced(payload)?;
        if let Some(staged) = &staged {
            let synced = staged._lock.sync_all();
            synced.map_err(fault("fsync", &staged.path))?;
        }
        Ok(staged)
    }

    fn stage_unsynced(&self, payload: &PutPayload) -> Result<Option<Staged>, FileFault> {
        let path = self.staging.join(random_name()?);
        let new = |path: &FsPath| OpenOptions::new().write(true).create_new(true).open(path);
        let file = match new(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directory(&self.staging)?;
                new(&path)
            }
            other => other,
        };
        let file = file.map_err(fault("create", &path))?;
        let locked = file.try_lock();
        let mut staged = Staged { path, _lock: file };
        if matches!(locked, Err(TryLockError::WouldBlock)) {
            return Ok(None);
        }
        let file = &mut staged._lock;
        for chunk in payload {
            file.write_all(chunk)
                .map_err(fault("write", &staged.path))?;
        }
        Ok(Some(staged))
    }

    /// Makes a directory under the root and sees to it that its name lasts.
    fn ensure_directory(&self, directory: &FsPath) -> Result<(), FileFault> {
        if directory == self.root || self.known().contains(directory) {
            return Ok(());
        }
        let Some(parent) = directory
            .parent()
            .filter(|parent| parent.starts_with(&self.root))
        else {
            return Ok(());
        };
        self.ensure_directory(parent)?;
        make_directory(directory)?;
        // Also when it existed: its maker may have died before its own fsync.
        sync_directory(parent)?;
        let mut known = self.known();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(directory.to_owned());
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        // A set of paths is whole whatever panicked while it was held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, directory: &FsPath) {
        self.known().retain(|known| !directory.starts_with(known));
    }

    /// Removes the directories that a deletion emptied, so that probes and members leave nothing behind.
    fn remove_emptied(&self, directory: &FsPath) {
        let inside = |path: &&FsPath| *path != self.root && path.starts_with(&self.root);
        for path in directory.ancestors().take_while(inside) {
            self.forget(path);
            // Refused while it holds anything, which is the point.
            if fs::remove_dir(path).is_err() {
                return;
            }
        }
    }

    fn remove_leftovers(&self) -> Result<(), FileFault> {
        let entries = match fs::read_dir(&self.staging) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(fault("list", &self.staging))?,
        };
        for entry in entries.take(MAX_LEFTOVERS).flatten() {
            let path = entry.path();
            // Opened for writing: network file systems give exclusive locks to writers only.
            let Ok(file) = OpenOptions::new().write(true).open(&path) else {
                continue;
            };
            let left_over = match file.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => false,
                Err(TryLockError::Error(_)) => is_stale(&file),
            };
            if left_over {
                let _ = fs::remove_file(&path); // somebody else may have been quicker
            }
        }
        Ok(())
    }
}

/// What lies on a file system lasts; `None` when that can't be said.
#[cfg(target_os = "linux")]
fn sync_file_system(root: &File) -> Option<()> {
    rustix::fs::syncfs(root).ok()
}

/// True where [`sync_file_system`] is as good as an fsync of each file.
#[cfg(target_os = "linux")]
fn lasts_when_synced(root: &File) -> bool {
    let Ok(found) = rustix::fs::fstatfs(root) else {
        return false;
    };
    let is_known = LASTING.contains(&i128::from(found.f_type));
    let release = rustix::system::uname();
    is_known && release.release().to_str().is_ok_and(reports_lost_writes)
}

/// File systems whose `syncfs` is as good as an fsync of each file (magic numbers of statfs(2)): ext2 to 4, XFS, Btrfs,
/// F2FS, tmpfs. Not those that a server or a program of its own keeps, such as FUSE's.
#[cfg(target_os = "linux")]
const LASTING: [i128; 5] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x0102_1994];

/// `syncfs` tells of writes that failed since Linux 5.8 (syncfs(2)).
#[cfg(any(target_os = "linux", test))]
pub(super) fn reports_lost_writes(release: &str) -> bool {
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 8),
        _ => false,
    }
}

/// Elsewhere each file is fsynced by itself.
#[cfg(not(target_os = "linux"))]
fn sync_file_system(_: &File) -> Option<()> {
    None
}

#[cfg(not(target_os = "linux"))]
fn lasts_when_synced(_: &File) -> bool {
    false
}

fn is_stale(file: &File) -> bool {
    let age = file.metadata().and_then(|found| found.modified());
    age.ok()
        .and_then(|at| at.elapsed().ok())
        .is_some_and(|age| age > STALE)
}

fn random_name() -> Result<String, FileFault> {
    let number = crate::ambient::random_u64().map_err(|error| {
        let source = io::Error::other(error.to_string());
        fault("draw a random name in", FsPath::new(STAGING))(source)
    })?;
    Ok(format!("{number:016x}.{}", std::process::id()))
}

fn after_placing(synced: Result<(), FileFault>) -> Result<(), Error> {
    synced.map_err(|mut fault| {
        fault.applied = true;
        fault.into()
    })
}

fn place(staged: &FsPath, target: &FsPath, create: bool) -> Result<Placed, FileFault> {
    let moved = if create {
        link_or_rename(staged, target)
    } else {
        fs::rename(staged, target)
    };
    match moved {
        Ok(()) => Ok(Placed::Done),
        Err(error) => match error.kind() {
            io::ErrorKind::AlreadyExists if create => Ok(Placed::Exists),
            io::ErrorKind::NotFound => Ok(Placed::Lost),
            _ => Err(fault("put in place", target)(error)),
        },
    }
}

/// A hard link fails when the target exists. Where there are none, a rename that never replaces does the same; where
/// there is neither, creating is refused: anything else could show half a file or replace one.
fn link_or_rename(staged: &FsPath, target: &FsPath) -> io::Result<()> {
    let error = match fs::hard_link(staged, target) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let no_links = matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
    ) || error.kind() == io::ErrorKind::TooManyLinks;
    if !no_links {
        return Err(error);
    }
    match renameat_with(CWD, staged, CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the file system has neither hard links nor a rename that never replaces; use a local disk",
        )),
        Err(other) => Err(other.into()),
    }
}

fn unsupported(operation: &str) -> Error {
    Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "FileStore".to_owned(),
    }
}

fn is_staged(path: &Path) -> bool {
    path.as_ref()
        .strip_prefix(STAGING)
        .is_some_and(|rest| rest.starts_with('/'))
}

#[async_trait]
impl ObjectStore for FileStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return Err(unsupported("put with a version")),
        };
        let target = self.reader.path_to_filesystem(location)?;
        let disk = self.disk.clone();
        let given_up = Arc::new(AtomicBool::new(false));
        let _dropped = GiveUp(given_up.clone());
        tokio::task::spawn_blocking(move || disk.write(&target, &payload, create, &given_up))
            .await??;
        Ok(PutResult {
            e_tag: None,
            version: None,
        })
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(unsupported("multipart upload"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.reader.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (disk, reader) = (self.disk.clone(), self.reader.clone());
        self.reader
            .delete_stream(locations)
            .and_then(move |location| {
                let (disk, target) = (disk.clone(), reader.path_to_filesystem(&location));
                async move {
                    let target = target?;
                    let emptied = move || target.parent().map(|parent| disk.remove_emptied(parent));
                    tokio::task::spawn_blocking(emptied).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let all = self.reader.list(prefix);
        all.try_filter(|meta| std::future::ready(!is_staged(&meta.location)))
            .boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let all = self.reader.list_with_offset(prefix, offset);
        all.try_filter(|meta| std::future::ready(!is_staged(&meta.location)))
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut found = self.reader.list_with_delimiter(prefix).await?;
        found
            .common_prefixes
            .retain(|path| path.as_ref() != STAGING);
        found.objects.retain(|meta| !is_staged(&meta.location));
        Ok(found)
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(unsupported("copy"))
    }
}

/// The error of a full disk, for the scripted store of tests.
#[cfg(any(test, feature = "failpoints"))]
pub(super) fn full(path: &str) -> Error {
    fault("write", FsPath::new(path))(io::ErrorKind::StorageFull.into()).into()
}
