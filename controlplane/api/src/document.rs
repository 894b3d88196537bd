//! The API document, made from the routes. `openapi/tessera.v1.json` is its committed text; a test
//! compares the two, and writes the file anew when it runs with `TESSERA_BLESS=1`.

use std::sync::Arc;

use axum::Router;
use tessera_api_types::Problem;
use tessera_api_types::headers::{IDEMPOTENCY_KEY_LEN_MAX, PROBLEM_JSON};
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, Type,
};
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::routes;

/// Names the security scheme inside the document.
const SCHEME: &str = "api_key";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Tessera",
        version = "1",
        description = "Multi-tenant MQTT as a service: tenants, credentials, quotas.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Problem)),
    security(("api_key" = []))
)]
struct Frame;

/// The document as JSON, a line feed at its end.
pub fn document_text() -> String {
    let (_, document) = parts();
    // Serialising it cannot fail: no map has keys that are not text.
    document.to_pretty_json().unwrap_or_default() + "\n"
}

/// The routes of the document, and the document.
pub(crate) fn parts() -> (Router<Arc<App>>, OpenApi) {
    let router = OpenApiRouter::with_openapi(Frame::openapi())
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

/// Adds what every operation has: the scheme, problems, and what makes a POST repeatable.
fn complete(document: &mut OpenApi) {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key: `tsk_…`"))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    for item in document.paths.paths.values_mut() {
        if let Some(post) = &mut item.post {
            post.parameters
                .get_or_insert_default()
                .push(RefOr::T(idempotency_key()));
        }
        for operation in operations(item) {
            let problems = &mut operation.responses.responses;
            problems.insert("default".to_owned(), RefOr::T(problem()));
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem {
        get,
        put,
        post,
        patch,
        delete,
        ..
    } = item;
    [get, put, post, patch, delete].into_iter().flatten()
}

fn problem() -> Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    ResponseBuilder::new()
        .description("A refusal")
        .content(PROBLEM_JSON, content)
        .build()
}

fn idempotency_key() -> Parameter {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(IDEMPOTENCY_KEY_LEN_MAX))
        .build();
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .description(Some(
            "Makes the request safe to repeat for 24 hours: the same key and body get the same answer",
        ))
        .schema(Some(text))
        .build()
}
