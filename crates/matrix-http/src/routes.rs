//! Routes with their policies: what [`axum::Router`] is built with where clients ask.

use std::convert::Infallible;

use axum::{
    Router,
    extract::Request,
    handler::Handler,
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
    routing::{self, MethodRouter},
};

use crate::{Edge, Policy};

/// The methods of one path, each with its policy.
#[derive(Clone)]
pub struct Endpoint<S>(Vec<(Policy, MethodRouter<S>)>);

macro_rules! methods {
    ($($method:ident $text:literal),*) => {$(
        #[doc = concat!("Answers ", $text, " with a handler.")]
        pub fn $method<H, T, S>(policy: Policy, handler: H) -> Endpoint<S>
        where
            H: Handler<T, S>,
            T: 'static,
            S: Clone + Send + Sync + 'static,
        {
            Endpoint(vec![(policy, routing::$method(handler))])
        }

        impl<S: Clone + Send + Sync + 'static> Endpoint<S> {
            #[doc = concat!("Answers ", $text, " with a handler, too.")]
            #[must_use]
            pub fn $method<H, T>(mut self, policy: Policy, handler: H) -> Self
            where
                H: Handler<T, S>,
                T: 'static,
            {
                self.0.push((policy, routing::$method(handler)));
                self
            }
        }
    )*};
}

methods!(get "GET", post "POST", put "PUT", delete "DELETE");

/// Routes that are being gathered.
pub struct Routes<S> {
    edge: Edge,
    router: Router<S>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// Begins with none.
    #[must_use]
    pub fn new(edge: Edge) -> Self {
        Self { edge, router: Router::new() }
    }

    /// Adds a path.
    #[must_use]
    pub fn route(self, path: &str, endpoint: Endpoint<S>) -> Self {
        let Self { edge, router } = self;
        let methods = endpoint.0.into_iter().fold(MethodRouter::new(), |methods, (policy, method)| {
            let edge = edge.clone();
            let guarded: MethodRouter<S, Infallible> =
                method.layer(from_fn(move |request, next| guard(edge.clone(), policy, request, next)));
            methods.merge(guarded)
        });
        Self { router: router.route(path, methods), edge }
    }

    /// Adds the routes of another part.
    #[must_use]
    pub fn with(self, part: impl FnOnce(Self) -> Self) -> Self {
        part(self)
    }

    /// The router of them all.
    pub fn with_state<T>(self, state: S) -> Router<T> {
        self.router.with_state(state)
    }
}

async fn guard(edge: Edge, policy: Policy, request: Request, next: Next) -> Response {
    match edge.admit(policy, request).await {
        Ok((request, admitted)) => admitted.answer(next.run(request).await),
        Err(error) => error.into_response(),
    }
}
