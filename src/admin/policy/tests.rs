//! Cases of the policy asked: what is explained, and cases that hold or do not.

use super::*;
use crate::admin::revisions::check;
use crate::admin::tests_house::{House, root};
use crate::base::fault::FaultKind;

fn write(house: &House, path: &str, text: &str) {
    let path = house.admin.data.config().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn case(client: &str, tool: &str, rest: &str) -> String {
    format!("[[case]]\nclient = \"{client}\"\ntool = \"{tool}\"\n{rest}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_are_tried_against_the_working_tree_and_by_config_check() {
    let house = House::open().await;
    write(&house, "clients/ci.toml", "roles = [\"demo\"]\n");
    let good = [
        case("ci", "demo/read_graph", "expect = \"permit\"\ngrant = \"demo#1\"\nclass = \"read\""),
        case("ci", "demo/nope", "expect = \"refuse\"\nreason = \"policy.unknown_tool\""),
        case("ci", "demo/@resources", "expect = \"permit\""),
        case("ci", "other/x", "expect = \"refuse\""),
    ];
    write(&house, "policy-tests/ci.toml", &good.concat());
    let tested = test(&house.admin, &root(), TestOrder::default()).await.unwrap();
    assert!(tested.ok && (tested.cases, tested.failed) == (4, 0), "{tested:?}");
    assert!(check(&house.admin, &root()).await.unwrap().ok);
    // The policy changes under the cases.
    write(&house, "roles/demo.toml", "[[grant]]\ntools = [\"demo/*\"]\nclasses = [\"write\"]\n");
    let tested = test(&house.admin, &root(), TestOrder::default()).await.unwrap();
    assert_eq!((tested.ok, tested.failed), (false, 2));
    let first = &tested.results[0];
    assert_eq!((first.file.as_str(), first.line, first.reason.as_deref()), ("policy-tests/ci.toml", 2, Some("policy.class")));
    assert_eq!(first.message, "ci on demo/read_graph: refuse (policy.class, class read), but permit is expected");
    let checked = check(&house.admin, &root()).await.unwrap();
    assert!(!checked.ok && checked.faults[0].file == "policy-tests/ci.toml" && checked.faults[0].line == 2, "{checked:?}");
    // Nothing of this runs or was committed.
    assert!(!house.admin.feed.snapshot().clients.contains_key("ci"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_cannot_be_meant_is_a_fault_with_its_line() {
    let house = House::open().await;
    let given = |text: String| TestOrder { file: Some("mine.toml".into()), toml: Some(text) };
    let ghost = test(&house.admin, &root(), given(case("ghost", "demo/add", "expect = \"refuse\""))).await.unwrap();
    assert!(!ghost.ok && ghost.results[0].message == "there is no client ghost", "{ghost:?}");
    let fault = test(&house.admin, &root(), given(case("ci", "demo/add", "expect = \"allow\""))).await.unwrap_err();
    assert_eq!((fault.kind, fault.place.as_deref()), (FaultKind::Invalid, Some("policy-tests/mine.toml:4")));
    let none = test(&house.admin, &root(), given(String::new())).await.unwrap();
    assert!(none.ok && none.cases == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_takes_the_arguments_a_call_would_carry() {
    let house = House::open().await;
    let input = crate::admin::clients::AddClient { name: "ci".into(), roles: vec!["demo".into()], ..Default::default() };
    crate::admin::clients::add(&house.admin, &root(), input).await.unwrap();
    let ask = async |arguments: Option<&str>| {
        let order = ExplainOrder { client: "ci".into(), tool: "demo/add".into(), arguments: arguments.map(str::to_owned) };
        explain(&house.admin, &root(), &order).await
    };
    assert_eq!(ask(Some("{\"text\":\"x\"}")).await.unwrap().decision, "permit");
    assert_eq!(ask(None).await.unwrap().grant.as_deref(), Some("demo#1"));
    let definition = r#"{"name":"add","inputSchema":{"type":"object","required":["text"]}}"#;
    tree::edit(&house.admin, &root(), "tools: add", |_, _| Ok(vec![tree::write("tools/demo/add.json", definition)])).await.unwrap();
    assert_eq!(ask(Some("{\"text\":\"x\"}")).await.unwrap().decision, "permit");
    let refused = ask(Some("{}")).await.unwrap();
    assert_eq!((refused.decision.as_str(), refused.reason.as_deref(), refused.grant), ("refuse", Some("schema.arguments"), None));
    for bad in ["[]", "{", "{\"a\":1,\"a\":2}", "x"] {
        assert_eq!(ask(Some(bad)).await.unwrap_err().place.as_deref(), Some("arguments"), "{bad}");
    }
}
