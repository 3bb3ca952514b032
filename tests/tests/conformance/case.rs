//! What a case is, and how families of cases are listed.
//!
//! A case is written from AWS's documentation and can't see which server it runs on: that is what makes its verdict
//! worth something.

use std::future::Future;
use std::pin::Pin;

use super::context::Context;

/// What a case needs of the server it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// Nothing: states change as fast as the server can.
    Plain,
    /// CREATING, UPDATING and DELETING last long enough to be seen.
    Delays,
    /// Throughput limits of shards and call rates are enforced.
    Limits,
    /// Errors can be scripted. Only ours can do that.
    Faults,
}

/// A running case. It stays on its trial's thread.
pub type Run<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// A case: one documented error of an operation, or one promise.
#[derive(Clone)]
pub struct Case {
    /// The operation by AWS's name, or a group such as `MainPath`.
    pub operation: String,
    /// What it holds; a documented error's case begins with the error's name in snake case.
    pub name: String,
    pub needs: Needs,
    /// Why it is asked of ours only, if it is.
    pub ours_only: Option<&'static str>,
    pub body: Body,
}

/// How a case is run.
#[derive(Clone)]
pub enum Body {
    Written(for<'a> fn(&'a Context) -> Run<'a>),
    /// Both lookups of the same stream: the operation by name, or by ARN.
    ByName,
    ByArn,
    /// The operation on something that doesn't exist.
    Missing,
    /// The operation more often than its documented rate.
    TooOften,
    /// An error that only a scripted fault can produce.
    Scripted(String),
}

impl Case {
    pub fn written(
        operation: &str,
        name: &str,
        needs: Needs,
        run: for<'a> fn(&'a Context) -> Run<'a>,
    ) -> Case {
        Case::new(operation, name, needs, Body::Written(run))
    }

    pub fn new(operation: &str, name: &str, needs: Needs, body: Body) -> Case {
        Case {
            operation: operation.to_owned(),
            name: name.to_owned(),
            needs,
            ours_only: (needs == Needs::Faults).then_some("only ours takes scripted faults"),
            body,
        }
    }

    pub fn ours_only(mut self, why: &'static str) -> Case {
        self.ours_only = Some(why);
        self
    }

    /// `put_records::provisioned_throughput_exceeded_exception`.
    pub fn id(&self) -> String {
        format!("{}::{}", snake(&self.operation), self.name)
    }
}

/// `KMSOptInRequired` as `kms_opt_in_required`, `GetRecords` as `get_records`.
pub fn snake(camel: &str) -> String {
    let characters: Vec<char> = camel.chars().collect();
    let mut snake = String::new();
    for (index, character) in characters.iter().enumerate() {
        let next_is_lower = characters
            .get(index + 1)
            .is_some_and(|next| next.is_lowercase());
        let after_lower = index > 0 && characters[index - 1].is_lowercase();
        if character.is_uppercase() && index > 0 && (after_lower || next_is_lower) {
            snake.push('_');
        }
        snake.extend(character.to_lowercase());
    }
    snake
}

/// The function behind a case: of its name, or the one named after `=`.
macro_rules! function {
    ($name:ident) => {
        $name
    };
    ($name:ident $function:ident) => {
        $function
    };
}

/// Defines `cases()` for a family: `cases! { CreateStream { Plain: a, b; Delays: c = function_of_c; } }`.
macro_rules! cases {
    ($($operation:ident { $($needs:ident: $($name:ident $(= $function:ident)?),+;)+ })+) => {
        /// This family's cases.
        pub fn cases() -> Vec<$crate::case::Case> {
            vec![$($($(
                $crate::case::Case::written(
                    stringify!($operation),
                    stringify!($name),
                    $crate::case::Needs::$needs,
                    |context| Box::pin($crate::case::function!($name $($function)?)(context)),
                ),
            )+)+)+]
        }
    };
}

pub(crate) use {cases, function};
