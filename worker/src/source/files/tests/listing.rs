//! Which files a list holds.

use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectStoreExt as _, PutPayload};

use super::*;
use crate::source::files::{Compression, FileSource};
use stockstream_core::plan::RecordMapping;

fn names(list: &FileList) -> Vec<&str> {
    let name = |path| str::rsplit(path, '/').next().unwrap();
    list.files().iter().map(|file| name(&file.path)).collect()
}

#[test]
fn lists_are_sorted_by_path_and_name_each_file_once() {
    let folder = Folder::new();
    for name in [
        "b.ndjson",
        "a/z.csv",
        "a/c.parquet",
        "a/deep/d.jsonl.gz",
        "e.csv.ZST",
    ] {
        folder.put(name, "");
    }
    let list = folder
        .list_as(&["b.ndjson", "**/*", "a", "*.ndjson"], None)
        .unwrap();
    assert_eq!(
        names(&list),
        ["c.parquet", "d.jsonl.gz", "z.csv", "b.ndjson", "e.csv.ZST"]
    );
    assert_eq!(list.files()[1].compression, Compression::Gzip);
    assert_eq!(list.files()[1].format, Format::Ndjson);
    assert_eq!(list.files()[4].compression, Compression::Zstd);
    assert_eq!(
        names(&folder.list_as(&["?.ndjson"], None).unwrap()),
        ["b.ndjson"]
    );
    assert_eq!(
        names(&folder.list_as(&["a/*/*"], None).unwrap()),
        ["d.jsonl.gz"]
    );
}

#[test]
fn a_folder_leaves_out_what_is_no_data_but_a_pattern_means_what_it_says() {
    let folder = Folder::new();
    for name in [
        "a.csv",
        ".hidden.csv",
        "_SUCCESS",
        "_tmp/b.csv",
        "readme.txt",
        "plain",
    ] {
        folder.put(name, "");
    }
    assert_eq!(names(&folder.list_as(&[""], None).unwrap()), ["a.csv"]);
    let all = folder.list_as(&[""], Some(Format::Ndjson)).unwrap();
    assert_eq!(names(&all), ["a.csv", "plain", "readme.txt"]);
    let unknown = folder.list_as(&["*.txt"], None).unwrap_err();
    assert!(unknown.to_string().contains("readme.txt"), "{unknown}");
    assert_eq!(
        names(&folder.list_as(&["*.txt"], Some(Format::Csv)).unwrap()),
        ["readme.txt"]
    );
}

#[test]
fn a_pattern_without_a_match_is_an_error_that_names_it() {
    let folder = Folder::new();
    folder.put("a.csv", "");
    for pattern in ["*.ndjson", "b.csv", "none/**/*.csv", "a.csv/x"] {
        let error = folder.list_as(&["a.csv", pattern], None).unwrap_err();
        assert!(matches!(error, FilesError::NoMatch { .. }), "{error}");
        assert!(error.to_string().contains(pattern), "{error}");
    }
    let error = folder.list_as(&["["], None).unwrap_err();
    assert!(matches!(error, FilesError::BadPattern { .. }), "{error}");
}

#[test]
fn names_with_wildcards_in_them_can_be_given_as_they_are() {
    let folder = Folder::new();
    folder.put("a[1].csv", "");
    assert_eq!(
        names(&folder.list_as(&["a[1].csv"], None).unwrap()),
        ["a[1].csv"]
    );
}

#[cfg(unix)]
#[test]
fn linked_files_count_and_linked_folders_lead_in_no_circles() {
    let folder = Folder::new();
    folder.put("data/a.csv", "");
    std::os::unix::fs::symlink(folder.dir.path(), folder.dir.path().join("data/loop")).unwrap();
    std::os::unix::fs::symlink("data/a.csv", folder.dir.path().join("b.csv")).unwrap();
    std::os::unix::fs::symlink("nothing", folder.dir.path().join("c.csv")).unwrap();
    assert_eq!(
        names(&folder.list_as(&["**/*.csv"], None).unwrap()),
        ["b.csv", "a.csv"]
    );
    assert_eq!(names(&folder.list_as(&["data"], None).unwrap()), ["a.csv"]);
}

#[cfg(unix)]
#[test]
fn a_name_that_is_not_utf8_is_refused_only_where_it_would_be_read() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = Folder::new();
    folder.put("a.csv", "");
    let odd = std::ffi::OsStr::from_bytes(b"b\xff.csv");
    fs::write(folder.dir.path().join(odd), "").unwrap();
    assert_eq!(names(&folder.list_as(&["a*"], None).unwrap()), ["a.csv"]);
    let error = folder.list_as(&["*"], None).unwrap_err();
    assert!(error.to_string().contains("isn't UTF-8"), "{error}");
}

#[test]
fn the_incarnation_changes_with_any_file_and_the_change_is_told() {
    let folder = Folder::new();
    folder.put("a.csv", "x");
    folder.put("b.csv", "y");
    for name in ["a.csv", "b.csv"] {
        set_modified(&folder.dir.path().join(name), 1_000);
    }
    let before = folder.list();
    assert_eq!(before.incarnation(), folder.list().incarnation());
    assert_eq!(before.changes(&folder.list()), None);

    set_modified(&folder.dir.path().join("a.csv"), 2_000);
    let touched = folder.list();
    assert_ne!(before.incarnation(), touched.incarnation());
    assert!(
        before
            .changes(&touched)
            .unwrap()
            .contains("a.csv was written anew")
    );

    folder.put("b.csv", "yy");
    folder.put("c.csv", "");
    let grown = folder.list();
    let told = touched.changes(&grown).unwrap();
    assert!(told.contains("b.csv had 1 bytes, now 2"), "{told}");
    assert!(told.contains("c.csv is new"), "{told}");
    assert!(grown.changes(&touched).unwrap().contains("c.csv is gone"));

    let document = serde_json::to_string(&grown).unwrap();
    assert_eq!(serde_json::from_str::<FileList>(&document).unwrap(), grown);
}

#[test]
fn object_stores_are_listed_and_read_as_local_files_are() {
    let folder = Folder::new();
    let store = Arc::new(InMemory::new());
    let put = |key: &str, bytes: Vec<u8>| {
        let payload = PutPayload::from(bytes);
        folder
            .runtime
            .block_on(store.put(&Key::from(key), payload))
            .unwrap();
    };
    let lines: Vec<_> = (0..50).map(|second| tick("A", second, second)).collect();
    put(
        "ticks/day=2/b.ndjson.gz",
        gzip(lines[25..].join("\n").as_bytes()),
    );
    put(
        "ticks/day=1/a.ndjson",
        lines[..25].join("\r\n").into_bytes(),
    );
    put("ticks/_SUCCESS", vec![]);
    put("other/c.ndjson", vec![]);
    let stores = Stores::default().with("s3://bucket", store.clone());
    let expand = |pattern: &str| {
        let patterns = vec![pattern.to_owned()];
        folder
            .runtime
            .block_on(FileList::expand(&patterns, None, &stores))
    };
    let list = expand("s3://bucket/ticks").unwrap();
    assert_eq!(names(&list), ["a.ndjson", "b.ndjson.gz"]);
    assert_eq!(list, expand("s3://bucket/ticks/**/*.ndjson*").unwrap());
    assert_eq!(
        names(&expand("s3://bucket/ticks/day=1/a.ndjson").unwrap()),
        ["a.ndjson"]
    );
    assert!(matches!(
        expand("s3://bucket/none/*"),
        Err(FilesError::NoMatch { .. })
    ));
    assert!(matches!(
        expand("s3://another/x"),
        Err(FilesError::BadPattern { .. })
    ));
    let needed = Stores::needed(&["s3://bucket/x/*".to_owned(), folder.url("*")]).unwrap();
    assert_eq!(needed.into_iter().collect::<Vec<_>>(), ["s3://bucket"]);

    // Through the source, so that requests are made from its own thread.
    let read = || {
        folder.runtime.block_on(async {
            let mapping = RecordMapping::default();
            let limits = BlockLimits::default();
            let parser = TickParser::new(&mapping, &[]);
            let mut source = FileSource::open(&list, &stores, &mapping, &parser, None, limits)?;
            all_texts(&mut source).await
        })
    };
    assert_eq!(read().unwrap(), lines);

    // The same size, another object.
    put(
        "ticks/day=1/a.ndjson",
        lines[..25].join("\n\n").into_bytes(),
    );
    let error = read().unwrap_err();
    assert!(
        matches!(&error, FilesError::Changed { path, .. } if path.ends_with("a.ndjson")),
        "{error}"
    );
}
