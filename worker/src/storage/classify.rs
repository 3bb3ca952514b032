//! From object_store's errors to outcomes and typed faults.
//!
//! Owns the decision whether an attempt may have taken effect. When in doubt it may have: the caller then reads back.

use std::error::Error;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use super::error::{Operation, StoreError};
use super::file::FileFault;
use super::root::{Place, Root};

/// What one attempt came to, when it wasn't a success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no such object.
    Absent,
    /// The store says that the object exists; only a read can confirm it.
    Exists,
    /// Worth another attempt.
    Transient {
        /// What to report when no attempt is left.
        error: StoreError,
        /// The attempt may have taken effect all the same.
        maybe_applied: bool,
    },
    /// Another attempt would fail in the same way; this one changed nothing.
    Permanent(StoreError),
}

/// Where and what an attempt was.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) root: &'a Root,
    pub(crate) operation: Operation,
    /// Empty for the root.
    pub(crate) key: &'a str,
    /// Counted from 1.
    pub(crate) number: u32,
}

impl Attempt<'_> {
    fn url(&self) -> String {
        self.root.url_of(self.key)
    }

    /// The attempt took longer than it may.
    pub(crate) fn timed_out(&self) -> Failure {
        self.transient(true, "timed out".to_owned())
    }

    fn transient(&self, maybe_applied: bool, detail: String) -> Failure {
        let error = StoreError::Unavailable {
            url: self.url(),
            operation: self.operation,
            attempts: self.number,
            detail,
        };
        Failure::Transient {
            error,
            maybe_applied,
        }
    }

    fn throttled(&self, detail: String) -> Failure {
        let error = StoreError::Throttled {
            url: self.url(),
            operation: self.operation,
            attempts: self.number,
            detail,
        };
        Failure::Transient {
            error,
            maybe_applied: false,
        }
    }

    fn rejected(&self, detail: String) -> Failure {
        Failure::Permanent(StoreError::Rejected {
            url: self.url(),
            operation: self.operation,
            detail,
        })
    }

    fn credentials(&self, detail: String) -> Failure {
        Failure::Permanent(StoreError::Credentials {
            url: self.url(),
            operation: self.operation,
            detail,
        })
    }

    fn denied(&self, detail: String) -> Failure {
        let action = match &self.root.place {
            Place::Bucket(bucket) => bucket_action(self.operation, bucket, &self.root.prefix),
            Place::Directory(path) => match self.operation {
                Operation::Get | Operation::Head | Operation::List => {
                    format!("reading in {}", path.display())
                }
                _ => format!("writing in {}", path.display()),
            },
            Place::Given => self.operation.to_string(),
        };
        Failure::Permanent(StoreError::AccessDenied {
            url: self.url(),
            operation: self.operation,
            action,
            detail,
        })
    }

    fn no_bucket(&self) -> Failure {
        let bucket = match &self.root.place {
            Place::Bucket(bucket) => bucket.clone(),
            _ => self.root.url.clone(),
        };
        Failure::Permanent(StoreError::NoSuchBucket {
            url: self.url(),
            operation: self.operation,
            bucket,
        })
    }

    /// Sorts an error of object_store.
    pub(crate) fn classify(&self, error: &object_store::Error) -> Failure {
        use object_store::Error as E;
        let said = Said::of(error);
        match error {
            E::NotFound { .. } if said.code == "NoSuchBucket" => self.no_bucket(),
            E::NotFound { .. } => match self.operation {
                Operation::Get | Operation::Head | Operation::Delete => Failure::Absent,
                _ => self.no_bucket(),
            },
            E::AlreadyExists { .. } if self.operation == Operation::Create => Failure::Exists,
            E::AlreadyExists { .. } => self.transient(true, said.text),
            E::PermissionDenied { .. } if is_about_credentials(&said.code) => {
                self.credentials(said.text)
            }
            E::PermissionDenied { .. } => self.denied(said.text),
            E::Unauthenticated { .. } => self.credentials(said.text),
            E::InvalidPath { source } => Failure::Permanent(StoreError::BadKey {
                url: self.root.url.clone(),
                key: self.key.to_owned(),
                reason: source.to_string(),
            }),
            E::NotSupported { .. } | E::NotImplemented { .. } => self.rejected(said.text),
            E::JoinError { .. } => self.transient(true, said.text),
            _ => self.classify_rest(error, said),
        }
    }

    fn classify_rest(&self, error: &object_store::Error, said: Said) -> Failure {
        if let Some(fault) = find::<FileFault>(error) {
            return self.classify_io(&fault.source, fault.applied, fault.to_string());
        }
        if matches!(self.root.place, Place::Directory(_))
            && let Some(fault) = find::<io::Error>(error)
        {
            return self.classify_io(fault, true, said.text);
        }
        if let Some(fault) = find::<HttpError>(error) {
            let connected = fault.kind() != HttpErrorKind::Connect;
            return self.transient(connected, said.text);
        }
        match said.status {
            Some(429 | 503) => self.throttled(said.text),
            _ if THROTTLES.contains(&said.code.as_str()) => self.throttled(said.text),
            _ if is_about_credentials(&said.code) => self.credentials(said.text),
            // Of a listing, which object_store doesn't sort, and of one key of a deletion.
            Some(403) | None if said.code == "AccessDenied" => self.denied(said.text),
            Some(408) => self.transient(true, said.text),
            Some(400) if said.code == "RequestTimeout" => self.transient(true, said.text),
            Some(501) => self.rejected(said.text),
            Some(status) if status >= 500 => self.transient(true, said.text),
            Some(_) => self.rejected(said.text),
            None if said.text.contains("redirect") => self.rejected(format!(
                "{}; the bucket lies in another region: set AWS_REGION to the bucket's",
                said.text
            )),
            None => self.transient(true, said.text),
        }
    }

    fn classify_io(&self, fault: &io::Error, applied: bool, detail: String) -> Failure {
        if applied && matches!(self.operation, Operation::Create | Operation::Put) {
            return self.transient(true, detail);
        }
        match fault.kind() {
            // A write that finds no directory isn't an absent object: the root itself was removed.
            io::ErrorKind::NotFound
                if !matches!(self.operation, Operation::Create | Operation::Put) =>
            {
                Failure::Absent
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Failure::Permanent(StoreError::Full {
                    url: self.url(),
                    operation: self.operation,
                })
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                self.denied(detail)
            }
            io::ErrorKind::Unsupported => self.rejected(detail),
            io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
            | io::ErrorKind::StaleNetworkFileHandle => self.transient(applied, detail),
            _ => Failure::Permanent(StoreError::Io {
                url: self.url(),
                operation: self.operation,
                detail,
            }),
        }
    }
}

fn bucket_action(operation: Operation, bucket: &str, prefix: &str) -> String {
    let slash = if prefix.is_empty() { "" } else { "/" };
    let objects = format!("arn:aws:s3:::{bucket}{slash}{prefix}/*");
    match operation {
        Operation::List | Operation::Open => format!("s3:ListBucket on arn:aws:s3:::{bucket}"),
        // Without s3:ListBucket, S3 answers 403 in place of 404 for objects that don't exist.
        Operation::Get | Operation::Head => {
            format!("s3:GetObject on {objects} and s3:ListBucket on arn:aws:s3:::{bucket}")
        }
        _ => format!("{} on {objects}", operation.s3_action()),
    }
}

/// S3's codes for "slow down", besides the statuses 429 and 503.
const THROTTLES: [&str; 4] = [
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
];

fn is_about_credentials(code: &str) -> bool {
    matches!(
        code,
        "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "RequestTimeTooSkewed"
            | "AuthorizationHeaderMalformed"
    )
}

/// What a server said, taken from an error's texts: object_store's own type for it is private.
struct Said {
    status: Option<u16>,
    code: String,
    /// For people; bounded.
    text: String,
}

impl Said {
    fn of(error: &object_store::Error) -> Said {
        let mut innermost: &dyn Error = error;
        let mut status = None;
        let mut code = String::new();
        let mut message = String::new();
        for cause in chain(error) {
            let text = cause.to_string();
            status = status.or_else(|| {
                let digits = text.split_once("status code: ")?.1.get(..3)?;
                digits.parse().ok()
            });
            if code.is_empty() {
                code = between(&text, "<Code>", "</Code>").unwrap_or_default();
                message = between(&text, "<Message>", "</Message>").unwrap_or_default();
            }
            if code.is_empty() {
                // Of one key in a reply to DeleteObjects, whose status is 200.
                code = between(&text, "(code: ", ")").unwrap_or_default();
            }
            innermost = cause;
        }
        let text = match (status, code.is_empty()) {
            (Some(status), false) => format!("{status} {code}: {message}"),
            _ => innermost.to_string(),
        };
        Said {
            status,
            code,
            text: text.chars().take(MAX_DETAIL_CHARS).collect(),
        }
    }
}

/// The longest text of a store that goes into a message.
const MAX_DETAIL_CHARS: usize = 400;

fn between(text: &str, start: &str, end: &str) -> Option<String> {
    let rest = text.split_once(start)?.1;
    Some(rest.split_once(end)?.0.to_owned())
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source()).take(16)
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|cause| cause.downcast_ref::<T>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn root() -> Root {
        Root::parse("s3://lake/out").unwrap()
    }

    fn attempt(root: &Root, operation: Operation) -> Attempt<'_> {
        Attempt {
            root,
            operation,
            key: "k",
            number: 3,
        }
    }

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: text.to_owned().into(),
        }
    }

    #[test]
    fn a_denied_key_of_a_deletion_is_permanent_and_a_slow_one_is_not() {
        let failed = |code: &str| {
            let text = format!("DeleteObjects request failed for key out/k: no (code: {code})");
            attempt(&root(), Operation::Delete).classify(&generic(&text))
        };
        let Failure::Permanent(error) = failed("AccessDenied") else {
            panic!("not permanent");
        };
        let allow = "allow s3:DeleteObject on arn:aws:s3:::lake/out/*";
        assert!(error.to_string().contains(allow), "{error}");
        assert!(matches!(
            failed("SlowDown"),
            Failure::Transient {
                error: StoreError::Throttled { .. },
                ..
            }
        ));
        assert!(matches!(failed("InternalError"), Failure::Transient { .. }));
    }

    #[test]
    fn a_denied_write_names_the_action_and_the_objects() {
        let error = object_store::Error::PermissionDenied {
            path: "out/k".into(),
            source:
                "status code: 403: <Error><Code>AccessDenied</Code><Message>no</Message></Error>"
                    .into(),
        };
        let Failure::Permanent(error) = attempt(&root(), Operation::Create).classify(&error) else {
            panic!("not permanent");
        };
        assert_eq!(
            error.to_string(),
            "can't create s3://lake/out/k: access denied; allow s3:PutObject on arn:aws:s3:::lake/out/* (403 AccessDenied: no)"
        );
    }

    #[test]
    fn a_denied_listing_names_the_action_and_the_bucket() {
        let text =
            "status code: 403: <Error><Code>AccessDenied</Code><Message>no</Message></Error>";
        let failure = attempt(&root(), Operation::List).classify(&generic(text));
        let Failure::Permanent(error) = failure else {
            panic!("not permanent");
        };
        assert_eq!(
            error.to_string(),
            "can't list s3://lake/out/k: access denied; allow s3:ListBucket on arn:aws:s3:::lake (403 AccessDenied: no)"
        );
    }

    #[test]
    fn only_answers_that_rule_it_out_say_that_nothing_was_applied() {
        let cases = [
            (
                "status code: 503: <Error><Code>SlowDown</Code></Error>",
                false,
            ),
            (
                "status code: 500: <Error><Code>InternalError</Code></Error>",
                true,
            ),
            ("connection reset", true),
        ];
        for (text, expected) in cases {
            match attempt(&root(), Operation::Create).classify(&generic(text)) {
                Failure::Transient { maybe_applied, .. } => {
                    assert_eq!(maybe_applied, expected, "{text}")
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_missing_bucket_is_told_from_a_missing_object() {
        let missing = |text: &'static str| object_store::Error::NotFound {
            path: "k".into(),
            source: text.into(),
        };
        let bucket = missing("status code: 404: <Error><Code>NoSuchBucket</Code></Error>");
        let object = missing("status code: 404: <Error><Code>NoSuchKey</Code></Error>");
        let get = attempt(&root(), Operation::Get).classify(&bucket);
        assert!(
            matches!(get, Failure::Permanent(StoreError::NoSuchBucket { .. })),
            "{get:?}"
        );
        let get = attempt(&root(), Operation::Get).classify(&object);
        assert!(matches!(get, Failure::Absent), "{get:?}");
    }

    #[test]
    fn wrong_credentials_and_regions_say_what_to_set() {
        for (text, hint) in [
            (
                "status code: 400: <Code>ExpiredToken</Code>",
                "aws sso login",
            ),
            ("Received redirect without LOCATION", "AWS_REGION"),
        ] {
            let Failure::Permanent(error) =
                attempt(&root(), Operation::List).classify(&generic(text))
            else {
                panic!("not permanent: {text}");
            };
            assert!(error.to_string().contains(hint), "{error}");
        }
    }
}
