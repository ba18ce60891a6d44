//! Runs tests: many at once, on one server.
//!
//! A test is an ordinary `async fn name(server: Server)` that panics if something is not as the specification asks.
//! Each file lists its own by `tests!`, and [`crate::client_server`] lists the files.

mod expectations;
mod report;
mod run;

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;

pub(crate) use expectations::Expectations;
pub(crate) use report::{Outcome, Report};
pub(crate) use run::run;

use crate::server::Server;

type Body = Arc<dyn Fn(Server) -> BoxFuture<'static, ()> + Send + Sync>;

/// A test.
#[derive(Clone)]
pub(crate) struct Test {
    /// Section of the specification and what it asks for: `client_server/rooms/send/…`.
    pub(crate) name: String,
    body: Body,
}

impl fmt::Debug for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Test {
    /// Names a test after its module.
    pub(crate) fn new(
        module: &str,
        name: &str,
        body: impl Fn(Server) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        let section = module.split("::").skip(1).collect::<Vec<_>>().join("/");
        Self { name: format!("{section}/{name}"), body: Arc::new(body) }
    }
}

/// Lists the tests of a file: makes a function `tests` of their names.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        /// The tests of this file.
        pub(crate) fn tests() -> Vec<$crate::harness::Test> {
            vec![$(
                $crate::harness::Test::new(module_path!(), stringify!($name), |server| Box::pin($name(server)))
            ),+]
        }
    };
}
