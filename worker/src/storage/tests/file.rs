//! The durable directory store.

use std::fs;
use std::path::Path;

use bytes::Bytes;

use super::super::file::STAGING;
use super::super::{Created, Store, StoreError, StoreOptions, probe};
use super::store::assert_odd_keys_survive;

async fn open(path: &Path) -> Store {
    let url = format!("file://{}", path.display());
    Store::open(&url, &StoreOptions::default()).await.unwrap()
}

fn staged(path: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(path.join(STAGING)) else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn odd_keys_survive_as_file_names() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    assert_odd_keys_survive(&store).await;
    store
        .create("ticker=%5EGSPC/x", Bytes::new())
        .await
        .unwrap();
    assert!(directory.path().join("ticker=%5EGSPC/x").is_file());
}

#[tokio::test]
async fn a_missing_directory_is_made_for_writers_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b c/%41");
    let url = format!("file://{}", path.display());
    let reader = StoreOptions {
        create_directory: false,
        ..StoreOptions::default()
    };
    let error = Store::open(&url, &reader).await.unwrap_err();
    assert!(error.to_string().contains("no such directory"), "{error}");
    assert!(!path.exists());
    let store = Store::open(&url, &StoreOptions::default()).await.unwrap();
    store.create("k", Bytes::from_static(b"1")).await.unwrap();
    assert_eq!(fs::read(path.join("k")).unwrap(), b"1");
    Store::open(&url, &reader).await.unwrap();
}

#[tokio::test]
async fn nothing_but_the_object_remains_of_a_write() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    store.create("a/b", Bytes::from_static(b"1")).await.unwrap();
    store.create("a/b", Bytes::from_static(b"2")).await.unwrap();
    store
        .put_overwrite("c", Bytes::from_static(b"1"))
        .await
        .unwrap();
    store
        .put_overwrite("c", Bytes::from_static(b"2"))
        .await
        .unwrap();
    assert_eq!(store.get("a/b").await.unwrap().unwrap(), "1");
    assert_eq!(store.get("c").await.unwrap().unwrap(), "2");
    assert_eq!(staged(directory.path()), Vec::<std::path::PathBuf>::new());
    let keys: Vec<String> = store
        .list("")
        .await
        .unwrap()
        .into_iter()
        .map(|info| info.key)
        .collect();
    assert_eq!(keys, ["a/b", "c"]);
}

#[tokio::test]
async fn staged_files_are_never_listed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    fs::create_dir(directory.path().join(STAGING)).unwrap();
    fs::write(directory.path().join(STAGING).join("half"), "ha").unwrap();
    assert_eq!(store.list("").await.unwrap(), []);
    assert_eq!(store.list_after("", "!").await.unwrap(), []);
}

#[tokio::test]
async fn leftovers_of_the_dead_are_removed_at_start_and_those_of_the_living_kept() {
    let directory = tempfile::tempdir().unwrap();
    let staging = directory.path().join(STAGING);
    fs::create_dir(&staging).unwrap();
    fs::write(staging.join("dead"), "x").unwrap();
    let living = fs::File::create(staging.join("living")).unwrap();
    living.try_lock().unwrap();
    open(directory.path()).await;
    assert_eq!(staged(directory.path()), [staging.join("living")]);
    drop(living);
    open(directory.path()).await;
    assert_eq!(staged(directory.path()), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn handles_of_several_processes_agree_on_one_winner() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let mut creates = Vec::new();
        for writer in 0..8 {
            let store = open(directory.path()).await;
            let key = format!("d{round}/k");
            creates.push(tokio::spawn(async move {
                store
                    .create(&key, Bytes::from(format!("writer {writer}")))
                    .await
                    .unwrap()
            }));
        }
        let mut new = 0;
        for create in creates {
            new += usize::from(create.await.unwrap() == Created::New);
        }
        assert_eq!(new, 1);
    }
}

#[tokio::test]
async fn a_probe_of_a_directory_passes_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let report = probe(&store).await.unwrap();
    assert!(report.delete_denied.is_none());
    let names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, [STAGING]);
}

#[tokio::test]
async fn directories_that_vanish_are_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    store.create("a/b/1", Bytes::new()).await.unwrap();
    fs::remove_dir_all(directory.path().join("a")).unwrap();
    assert_eq!(
        store.create("a/b/2", Bytes::new()).await.unwrap(),
        Created::New
    );
}

/// As probes of workers that start at the same moment do.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_that_remove_each_others_emptied_directories_all_succeed() {
    let directory = tempfile::tempdir().unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let store = open(directory.path()).await;
        writers.spawn(async move {
            for round in 0..100 {
                let key = format!("a/b/{writer}/{round}");
                assert_eq!(
                    store.create(&key, Bytes::new()).await.unwrap(),
                    Created::New
                );
                store.delete(&key).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    assert!(!directory.path().join("a").exists());
}

#[tokio::test]
async fn a_path_through_a_file_is_a_readable_error() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    store.create("a", Bytes::new()).await.unwrap();
    let error = store.create("a/b", Bytes::new()).await.unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("/a"), "{error}");
}

#[tokio::test]
async fn a_root_that_was_removed_fails_every_write() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let store = open(&root).await;
    fs::remove_dir_all(&root).unwrap();
    let error = store.create("k", Bytes::new()).await.unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    let error = store.put_overwrite("k", Bytes::new()).await.unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
}

#[test]
fn only_kernels_that_tell_of_lost_writes_sync_many_files_at_once() {
    use super::super::file::reports_lost_writes;
    for new in ["5.8.0", "5.10.0-28-amd64", "6.1.0", "10.0"] {
        assert!(reports_lost_writes(new), "{new}");
    }
    for old in ["5.7.19", "4.19.0-27-amd64", "", "linux", "5"] {
        assert!(!reports_lost_writes(old), "{old}");
    }
}
