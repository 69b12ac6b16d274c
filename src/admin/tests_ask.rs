//! Requests to the admin listener as a browser sends them, for tests: signing in, asking, reading the answer.

use axum::body::Body;
use axum::http::{Request, Response, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::operators::{self, AddOperator, Visitor};
use super::routes::router;
use super::tests_house::{House, root};
use super::{Admin, OperatorRole};
use crate::base::secret::Secret;

pub(super) const PASSWORD: &str = "correct horse battery";
pub(super) const HOST: &str = "localhost:8443";

pub(super) fn visitor() -> Visitor {
    Visitor { remote: [127, 0, 0, 1].into(), agent: "test".into() }
}

pub(super) fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

pub(super) async fn session(admin: &Admin, role: OperatorRole) -> String {
    let name = role.word();
    let input = AddOperator { name: name.into(), role, password: secret(PASSWORD) };
    operators::add(admin, &root(), input).await.unwrap();
    operators::login(admin, name, &secret(PASSWORD), &visitor(), (None, "/")).await.unwrap().token.reveal().clone()
}

pub(super) struct Ask<'a> {
    method: &'a str,
    path: &'a str,
    pub(super) headers: Vec<(&'a str, String)>,
    body: &'a str,
}

impl<'a> Ask<'a> {
    pub(super) fn new(method: &'a str, path: &'a str) -> Self {
        let mut headers = vec![("host", HOST.to_owned()), ("sec-fetch-site", "same-origin".to_owned())];
        if method == "POST" {
            headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
        }
        Self { method, path, headers, body: "" }
    }

    pub(super) fn with(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.retain(|(have, _)| *have != name);
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn cookie(self, token: &str) -> Self {
        self.with("cookie", format!("__Host-lifeboat={token}"))
    }

    pub(super) fn body(mut self, body: &'a str) -> Self {
        self.body = body;
        self
    }

    pub(super) async fn send(self, house: &House) -> Response<Body> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(self.body.to_owned())).unwrap();
        router(house.admin.clone()).oneshot(request).await.unwrap()
    }
}

pub(super) async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

pub(super) fn location(response: &Response<Body>) -> &str {
    response.headers().get(header::LOCATION).map_or("", |value| value.to_str().unwrap())
}

/// The value that an answer sets a cookie to, if it does.
pub(super) fn cookie_of(response: &Response<Body>, name: &str) -> Option<String> {
    let set = response.headers().get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = set.filter_map(|line| line.split(';').next()?.split_once('='));
    values.find(|(have, _)| *have == name).map(|(_, value)| value.to_owned())
}
