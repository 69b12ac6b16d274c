//! Answers of the dashboard: a template as HTML, a redirect that htmx and browsers both follow. Never renders anything but a template.

use askama::Template;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::base::fault::FaultKind;

/// A template as a page or part with status 200.
pub fn html(template: &impl Template) -> Response {
    html_with(StatusCode::OK, template)
}

/// A template with a status.
pub fn html_with(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response(),
        Err(fault) => {
            tracing::error!(error = %fault, "a template does not render");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Goes on to a path of this site, by GET.
pub fn see_other(path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    put(response.headers_mut(), header::LOCATION, path);
    response
}

/// As `see_other`, for a request that htmx sent: the whole page moves, not the target of the swap.
pub fn move_page(status: StatusCode, path: &str) -> Response {
    let mut response = status.into_response();
    put(response.headers_mut(), HeaderName::from_static("hx-redirect"), path);
    response
}

/// Sets a header, leaving it out when the value cannot be one.
pub fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The status of a failed verb.
pub fn status_of(kind: FaultKind) -> StatusCode {
    match kind {
        FaultKind::NotFound => StatusCode::NOT_FOUND,
        FaultKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        FaultKind::Conflict => StatusCode::CONFLICT,
        FaultKind::Denied => StatusCode::FORBIDDEN,
        // No verb of somebody signed in ends so otherwise: by it the gate knows that a password is missing, and asks for it.
        FaultKind::Stale => StatusCode::UNAUTHORIZED,
        FaultKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        FaultKind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
