//! Input that is damaged, too large or changing.

use std::fs;

use arrow::array::{Float64Array, StringArray};
use proptest::prelude::*;
use stockstream_core::plan::MAX_TICK_BYTES;

use super::formats::parquet;
use super::*;

fn lengths(folder: &Folder) -> Vec<usize> {
    let limits = OpenLimits::default();
    let mut merge = folder.merge(&folder.list(), None, limits).unwrap();
    let blocks = rest(&mut merge, BlockLimits::default()).unwrap();
    let ticks = blocks.iter().flat_map(|block| &block.ticks);
    ticks.map(|(_, data)| data.len()).collect()
}

#[test]
fn a_line_above_the_limit_is_passed_on_cut_and_the_next_one_whole() {
    let folder = Folder::new();
    let line = |size: usize| "x".repeat(size);
    let lines = [
        line(MAX_TICK_BYTES),
        line(MAX_TICK_BYTES + 1),
        line(MAX_TICK_BYTES + 2),
        line(MAX_TICK_BYTES * 2),
        line(3),
    ];
    folder.put("a.ndjson", lines.join("\r\n"));
    let most = MAX_TICK_BYTES + 1;
    assert_eq!(lengths(&folder), [MAX_TICK_BYTES, most, most, most, 3]);
}

#[test]
fn a_csv_row_above_the_limit_is_passed_on_cut_and_the_next_one_whole() {
    let folder = Folder::new();
    let large = "x".repeat(MAX_TICK_BYTES + 5_000);
    folder.put(
        "a.csv",
        format!("a,b\n\"{large}\n\",1\n1,2\n1{}\n3,4\n", ",".repeat(9_000)),
    );
    let found = lengths(&folder);
    assert_eq!(found.len(), 4);
    assert_eq!(found[0], MAX_TICK_BYTES + 1);
    assert_eq!((found[1], found[3]), (13, 13));
}

#[test]
fn a_quote_that_never_ends_is_one_bad_tick_not_a_full_memory() {
    let folder = Folder::new();
    folder.put(
        "a.csv",
        format!("a\n1\n\"{}", "y,\n".repeat(MAX_TICK_BYTES)),
    );
    assert_eq!(lengths(&folder), [7, MAX_TICK_BYTES + 1]);
}

#[test]
fn packed_files_that_were_cut_are_an_error_that_names_file_and_offset() {
    let lines: Vec<_> = (0..5_000)
        .map(|second| tick("A", second, second * 7919 % 997))
        .collect();
    let text = lines.join("\n");
    let packed = [
        ("a.ndjson.gz", gzip(text.as_bytes())),
        ("a.csv.zst", zstd::encode_all(text.as_bytes(), 3).unwrap()),
    ];
    for (name, bytes) in packed {
        for cut in [1, 5, 15, bytes.len() / 2, bytes.len() - 9, bytes.len() - 1] {
            let folder = Folder::new();
            folder.put(name, &bytes[..cut]);
            match folder.read() {
                Err(FilesError::Damaged { path, offset, .. }) => {
                    assert!(path.ends_with(name), "{path}");
                    assert_eq!(offset, cut as u64, "{name}");
                }
                other => panic!("{name} cut at {cut}: {other:?}"),
            }
        }
        let folder = Folder::new();
        folder.put(name, [&bytes[..], b"trailing junk"].concat());
        let error = folder.read().unwrap_err();
        assert!(
            matches!(error, FilesError::Damaged { .. }),
            "{name}: {error}"
        );
    }
    let folder = Folder::new();
    folder.put("a.ndjson.gz", "");
    assert_eq!(folder.read().unwrap(), [""; 0]);
}

#[test]
fn a_frame_that_asks_for_too_much_memory_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    std::io::Write::write_all(&mut encoder, b"{}\n").unwrap();
    let folder = Folder::new();
    folder.put("a.ndjson.zst", encoder.finish().unwrap());
    let error = folder.read().unwrap_err();
    assert!(error.to_string().contains("too much memory"), "{error}");
}

#[test]
fn a_file_that_changes_or_goes_while_it_is_read_is_an_error_that_names_it() {
    type Change = fn(&Path);
    let changes: [Change; 4] = [
        |path| fs::write(path, "shorter").unwrap(),
        |path| {
            let grown = fs::read_to_string(path).unwrap() + "\n{}";
            fs::write(path, grown).unwrap();
        },
        |path| set_modified(path, 77),
        |path| fs::remove_file(path).unwrap(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let folder = Folder::new();
        let lines: Vec<_> = (0..1_000).map(|second| tick("A", second, second)).collect();
        folder.put("a.ndjson", lines.join("\n"));
        let limits = OpenLimits {
            buffer: Some(4_096),
            ..OpenLimits::default()
        };
        let mut merge = folder.merge(&folder.list(), None, limits).unwrap();
        merge
            .next_block(BlockLimits {
                ticks: 10,
                bytes: 1 << 20,
            })
            .unwrap()
            .unwrap();
        change(&folder.dir.path().join("a.ndjson"));
        let error = rest(&mut merge, BlockLimits::default()).unwrap_err();
        let expected = matches!(
            (&error, index),
            (FilesError::Changed { .. }, 0..=2) | (FilesError::Read { offset: 1.., .. }, 3)
        );
        assert!(expected, "{index}: {error}");
        assert!(error.to_string().contains("a.ndjson"), "{error}");
    }
}

#[test]
fn marks_that_cannot_be_are_refused() {
    let folder = Folder::new();
    folder.put("a.ndjson", "{}\n");
    folder.put("b.ndjson.gz", gzip(b"{}\n"));
    folder.put("c.csv.gz", gzip(b"a\n1\n"));
    folder.put(
        "d.parquet",
        parquet(vec![("a", Arc::new(Float64Array::from(vec![1.0])))], 1),
    );
    let list = folder.list();
    for wrong in 0..4 {
        let mut marks = vec![0; 4];
        marks[wrong] = 4;
        let resume = Some(Resume { ordinal: 1, marks });
        let refused = folder
            .merge(&list, resume, OpenLimits::default())
            .err()
            .unwrap();
        assert!(
            matches!(refused, FilesError::Marks { .. }),
            "{wrong}: {refused}"
        );
    }
}

#[test]
fn the_first_broken_file_by_path_is_the_one_that_is_named() {
    let folder = Folder::new();
    for index in 0..40 {
        let bytes = if index % 3 == 1 {
            &b"junk"[..]
        } else {
            &b""[..]
        };
        folder.put(&format!("{index:02}.ndjson.gz"), bytes);
    }
    let error = folder.read().unwrap_err();
    assert!(error.to_string().contains("01.ndjson.gz"), "{error}");
}

fn small_parquet() -> Vec<u8> {
    let tickers = StringArray::from_iter_values((0..300).map(|row| format!("T{}", row % 7)));
    let closes = Float64Array::from_iter_values((0..300).map(|row| f64::from(row) * 1.25));
    parquet(
        vec![("ticker", Arc::new(tickers)), ("close", Arc::new(closes))],
        100,
    )
}

#[test]
fn what_is_no_parquet_is_an_error_that_names_the_file() {
    let whole = small_parquet();
    for bytes in [
        &b""[..],
        b"PAR1",
        b"PAR1PAR1",
        &whole[..whole.len() - 1],
        &whole[1..],
    ] {
        let folder = Folder::new();
        folder.put("a.parquet", bytes);
        let error = folder.read().unwrap_err();
        assert!(
            matches!(&error, FilesError::Damaged { path, .. } if path.ends_with("a.parquet")),
            "{error}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_parquet_is_answered(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = small_parquet();
        for (place, value) in flips {
            let index = place.index(bytes.len());
            bytes[index] = value;
        }
        let folder = Folder::new();
        folder.put("a.parquet", bytes);
        if let Err(error) = folder.read() {
            prop_assert!(error.to_string().contains("a.parquet"));
        }
    }

    #[test]
    fn any_bytes_are_answered_in_any_format(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for name in ["a.ndjson", "a.csv", "a.ndjson.gz", "a.csv.zst", "a.parquet"] {
            let folder = Folder::new();
            folder.put(name, &bytes);
            if let Err(error) = folder.read() {
                prop_assert!(error.to_string().contains(name));
            }
        }
    }
}
