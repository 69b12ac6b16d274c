//! Cases of the API's own description: it is whole, what is answered fits it, and the roles it names are the ones that count.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::{Extension, Router};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::super::router;
use super::super::routes::described;
use super::{Operation, document};
use crate::admin::OperatorRole;
use crate::admin::tests_house::{House, operator, root};

fn whole() -> Value {
    document(described().operations())
}

fn concrete(operation: &Operation) -> String {
    let path = operation.path.replace("{kind}", "client-key").replace("{name}", "demo");
    let path = path.replace("{kid}", "none").replace("{session}", "none");
    let query = match operation.path {
        "/policy/explain" => "?client=ci&tool=demo/add",
        "/audit/tail" => "?since=0",
        _ => "",
    };
    format!("/api/v1{path}{query}")
}

fn served(house: &House, role: OperatorRole) -> Router {
    let actor = if role == OperatorRole::Admin { root() } else { operator(role) };
    router().with_state(house.admin.clone()).layer(Extension(actor))
}

async fn ask(served: &Router, operation: &Operation) -> (StatusCode, Body) {
    let body = if operation.example.is_null() { Body::empty() } else { Body::from(operation.example.to_string()) };
    let request = Request::builder().method(operation.method.to_uppercase().as_str()).uri(concrete(operation));
    let answer = served.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    (answer.status(), answer.into_body())
}

#[test]
fn every_route_and_every_field_is_described() {
    let document = whole();
    let mut ids = std::collections::BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 5), "{method} {path}");
            assert!(ids.insert(operation["operationId"].to_string()), "{method} {path}: its operationId is taken");
            for parameter in operation["parameters"].as_array().unwrap() {
                assert!(parameter["description"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}: {parameter}");
            }
        }
    }
    let mut bare = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        undescribed(name, schema, &mut bare);
    }
    assert_eq!(bare, Vec::<String>::new(), "fields without a doc comment");
    assert!(
        document["components"]["schemas"].as_object().unwrap().keys().all(|name| !name.ends_with(|c: char| c.is_ascii_digit()))
    );
}

fn undescribed(at: &str, schema: &Value, bare: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let place = format!("{at}.{name}");
        if at != "Fault" && property["description"].as_str().is_none_or(str::is_empty) && property["$ref"].is_null() {
            bare.push(place.clone());
        }
        undescribed(&place, property, bare);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_fits_its_description() {
    let house = House::open().await;
    house.listen("proxy").await;
    let document = whole();
    let admin = served(&house, OperatorRole::Admin);
    let input = crate::admin::clients::AddClient { name: "demo".into(), roles: vec!["demo".into()], ..Default::default() };
    crate::admin::clients::add(&house.admin, &root(), input).await.unwrap();
    let mut fitted = 0;
    // Reading first, then changing in the order of the table, each with its own example.
    let api = described();
    let (reads, changes): (Vec<_>, Vec<_>) = api.operations().iter().partition(|operation| operation.method == "get");
    for operation in reads.into_iter().chain(changes) {
        let (status, body) = ask(&admin, operation).await;
        let schema = &document["paths"][format!("/api/v1{}", operation.path)][operation.method]["responses"];
        let (bytes, media) = if operation.lines {
            let Some(Ok(frame)) = first(body).await else { continue };
            (frame.split(|byte| *byte == b'\n').next().unwrap_or_default().to_vec(), "application/x-ndjson")
        } else {
            (body.collect().await.unwrap().to_bytes().to_vec(), "application/json")
        };
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("{} {status}", operation.path));
        let schema = if status.is_success() {
            fitted += 1;
            schema["200"]["content"][media]["schema"].clone()
        } else {
            json!({"$ref": "#/components/schemas/Fault"})
        };
        let described = json!({"allOf": [schema], "components": document["components"]});
        let validator = jsonschema::draft202012::new(&described).unwrap();
        let wrong: Vec<String> = validator.iter_errors(&answer).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(wrong.is_empty(), "{} {}: {wrong:?} in {answer}", operation.method, operation.path);
    }
    assert!(fitted >= 30, "only {fitted} routes answered with what they are for");
}

async fn first(mut body: Body) -> Option<Result<bytes::Bytes, axum::Error>> {
    let frame = tokio::time::timeout(std::time::Duration::from_secs(5), body.frame()).await.ok()??;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_what_the_description_says() {
    let house = House::open().await;
    house.listen("proxy").await;
    for role in [OperatorRole::Viewer, OperatorRole::Auditor, OperatorRole::Operator] {
        let served = served(&house, role);
        for operation in described().operations() {
            let (status, _) = ask(&served, operation).await;
            let refused = status == StatusCode::FORBIDDEN;
            assert_eq!(refused, !role.has(operation.right), "{role} {} {}: {status}", operation.method, operation.path);
        }
        let order = crate::admin::kill::OrderBody { reason: "over".into(), ..Default::default() };
        drop(crate::admin::kill::release(&house.admin, &root(), order.into_release().unwrap()).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_for_operators_only() {
    let house = House::open().await;
    let ask = async |router: Router| {
        let request = Request::builder().uri("/api/openapi.json").body(Body::empty()).unwrap();
        router.oneshot(request).await.unwrap()
    };
    assert_eq!(ask(router().with_state(house.admin.clone())).await.status(), StatusCode::UNAUTHORIZED);
    let answer = ask(served(&house, OperatorRole::Viewer)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let shown: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(shown["openapi"], "3.1.0");
    let paths = shown["paths"].as_object().unwrap();
    assert!(paths.contains_key("/api/v1/kill/engage") && paths.len() >= 35, "{} paths", paths.len());
}
