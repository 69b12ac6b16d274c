//! Routes and their descriptions in one hand. Never adds the one without the other.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::handler::Handler;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use axum::routing::{get, post};

use super::super::routes::Caller;
use super::{Operation, document};
use crate::admin::Admin;

/// Routes below `/api/v1`, each with its description.
#[derive(Default)]
pub(in crate::admin::api) struct Api {
    router: Router<Arc<Admin>>,
    operations: Vec<Operation>,
}

impl Api {
    /// Serves what is described.
    pub(in crate::admin::api) fn serve<H, T>(mut self, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, Arc<Admin>>,
        T: 'static,
    {
        let method = if operation.method == "get" { get(handler) } else { post(handler) };
        self.router = self.router.route(operation.path, method);
        self.operations.push(operation);
        self
    }

    /// Both.
    pub(in crate::admin::api) fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.operations.extend(other.operations);
        self
    }

    /// What is described.
    #[cfg(test)]
    pub(in crate::admin::api) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The routes with the document of them at `/api/openapi.json`; everything else below `/api/v1` is `unknown`.
    pub(in crate::admin::api) fn router<H, T>(self, unknown: H) -> Router<Arc<Admin>>
    where
        H: Handler<T, Arc<Admin>>,
        T: 'static,
    {
        let document = Arc::new(document(&self.operations));
        let served = move |_: Caller| {
            let document = document.clone();
            async move { ([(CACHE_CONTROL, "no-store")], Json((*document).clone())).into_response() }
        };
        Router::new().nest("/api/v1", self.router.fallback(unknown)).route("/api/openapi.json", get(served))
    }
}
