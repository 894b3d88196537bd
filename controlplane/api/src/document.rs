//! The API document, made from the routes. `openapi/tessera.v1.json` is its committed text; a test
//! compares the two, and writes the file anew when it runs with `TESSERA_BLESS=1`.

use std::sync::Arc;

use axum::Router;
use tessera_api_types::headers::PROBLEM_JSON;
use tessera_api_types::Problem;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, Content, InfoBuilder, KnownFormat, ObjectBuilder, OpenApi, Ref, RefOr,
    ResponseBuilder, Schema, SchemaFormat, Type,
};
use utoipa::{PartialSchema as _, ToSchema as _};
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::routes;

/// The document as JSON, a line feed at its end.
pub fn document_text() -> String {
    let (_, document) = parts();
    // Serialising it cannot fail: no map has keys that are not text.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// The routes of the document, and the document.
pub(crate) fn parts() -> (Router<Arc<App>>, OpenApi) {
    let router = OpenApiRouter::new()
        .merge(routes::organizations::router())
        .merge(routes::plans::router())
        .merge(routes::tenants::router())
        .merge(routes::credentials::router())
        .merge(routes::api_keys::router())
        .merge(routes::quotas::router())
        .merge(routes::platform::router())
        .merge(routes::meta::router());
    let (router, mut document) = router.split_for_parts();
    complete(&mut document);
    (router, document)
}
