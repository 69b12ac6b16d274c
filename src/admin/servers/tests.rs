//! Cases of servers: what is taken in, what is approved, what stays out of git.

use super::{AddServer, add, approve, list, probe, remove};
use crate::admin::tests_house::{House, operator, root};
use crate::admin::{OperatorRole, tools};
use crate::base::fault::FaultKind;
use crate::config::Class;

fn stdio(name: &str) -> AddServer {
    let env = Some("TOKEN=s3cret-value\n".to_owned());
    AddServer { name: name.into(), stdio: Some("npx -y 'memory server'".into()), env, ..AddServer::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stdio_server_is_taken_in_with_classes_and_a_sealed_environment() {
    let house = House::open().await;
    let admin = &house.admin;
    let made = add(admin, &root(), stdio("memory")).await.unwrap();
    assert_eq!(made.added, ["read_graph", "wipe"]);
    let snapshot = admin.feed.snapshot();
    let entry = &snapshot.servers["memory"];
    assert!(entry.secrets.approved);
    assert_eq!(entry.secrets.env[0].1.reveal(), "s3cret-value");
    assert_eq!(entry.config.tools["wipe"].class, Class::Destructive);
    for (path, bytes) in admin.repository.head().unwrap().files {
        assert!(!String::from_utf8_lossy(&bytes).contains("s3cret"), "{path}");
    }
    let raw = std::fs::read(admin.data.state_db()).unwrap();
    assert!(!raw.windows(6).any(|bytes| bytes == b"s3cret"));
    assert!(admin.repository.head().unwrap().files.contains_key("tools/memory/read_graph.json"));
    let shown = list(admin, &root()).await.unwrap().servers.into_iter().find(|server| server.name == "memory").unwrap();
    assert_eq!((shown.kind.as_str(), shown.env), ("stdio", vec!["TOKEN".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_line_that_changed_in_git_is_not_approved() {
    let house = House::open().await;
    let admin = &house.admin;
    add(admin, &root(), stdio("memory")).await.unwrap();
    let path = admin.data.config().join("servers/memory.toml");
    let text = std::fs::read_to_string(&path).unwrap().replace("memory server", "other code");
    std::fs::write(&path, text).unwrap();
    let order = crate::admin::revisions::CommitOrder { author: None, message: "pulled".into() };
    crate::admin::revisions::commit(admin, &root(), order).await.unwrap();
    assert!(!admin.feed.snapshot().servers["memory"].secrets.approved);
    assert_eq!(probe(admin, &root(), "memory").await.unwrap_err().kind, FaultKind::Unavailable);
    assert_eq!(approve(admin, &operator(OperatorRole::Operator), "memory").await.unwrap_err().kind, FaultKind::Denied);
    approve(admin, &root(), "memory").await.unwrap();
    assert!(admin.feed.snapshot().servers["memory"].secrets.approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_gets_nothing_that_an_earlier_one_of_its_name_left_behind() {
    let house = House::open().await;
    let admin = &house.admin;
    let web = |url: &str, headers: Option<&str>| AddServer {
        name: "web".into(),
        url: Some(url.into()),
        headers: headers.map(Into::into),
        ..AddServer::default()
    };
    add(admin, &root(), web("https://old.example/mcp", Some("Authorization: Bearer s3cret-value"))).await.unwrap();
    // An editor takes it out of the tree, which this host's database does not hear of.
    std::fs::remove_file(admin.data.config().join("servers/web.toml")).unwrap();
    std::fs::remove_dir_all(admin.data.config().join("tools/web")).unwrap();
    let order = crate::admin::revisions::CommitOrder { author: None, message: "web goes".into() };
    crate::admin::revisions::commit(admin, &root(), order).await.unwrap();
    add(admin, &root(), web("https://new.example/mcp", None)).await.unwrap();
    assert!(admin.feed.snapshot().servers["web"].secrets.headers.is_empty(), "the old key is not shown to the new server");
    assert_eq!(add(admin, &root(), web("https://x.example/mcp", None)).await.unwrap_err().kind, FaultKind::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_leaves_nothing_behind() {
    let house = House::open().await;
    let admin = &house.admin;
    assert_eq!(add(admin, &root(), stdio("down")).await.unwrap_err().kind, FaultKind::Unavailable);
    let refused = async |input: AddServer| add(admin, &root(), input).await.unwrap_err().kind;
    let of_http = AddServer { name: "a".into(), url: Some("https://x.example/mcp".into()), ..Default::default() };
    assert_eq!(refused(AddServer { instances: Some("per-session".into()), ..of_http }).await, FaultKind::Invalid);
    assert_eq!(refused(AddServer { instances: Some("many".into()), ..stdio("a") }).await, FaultKind::Invalid);
    assert_eq!(refused(AddServer { url: Some("https://x.example/mcp".into()), ..stdio("a") }).await, FaultKind::Invalid);
    assert_eq!(
        refused(AddServer { name: "a".into(), url: Some("http://x.example/".into()), ..Default::default() }).await,
        FaultKind::Invalid
    );
    assert_eq!(refused(AddServer { dirs: vec!["relative".into()], ..stdio("a") }).await, FaultKind::Invalid);
    assert_eq!(list(admin, &root()).await.unwrap().servers.len(), 1);
    assert!(super::store::approvals(&admin.db).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_is_the_operators_and_rises_by_itself_only() {
    let house = House::open().await;
    let admin = &house.admin;
    add(admin, &root(), stdio("memory")).await.unwrap();
    let set = tools::class(admin, &root(), "memory/wipe", Class::Write).await.unwrap();
    assert_eq!((set.before, set.class), (Class::Destructive, Class::Write));
    // The same definition again: the operator's class stays.
    approve(admin, &root(), "memory").await.unwrap();
    assert_eq!(admin.feed.snapshot().servers["memory"].config.tools["wipe"].class, Class::Write);
    let seen = probe(admin, &operator(OperatorRole::Operator), "memory").await.unwrap();
    assert!(seen.tools.iter().all(|tool| tool.state == "same"));
    assert_eq!(probe(admin, &root(), "demo").await.unwrap().removed, ["add"]);
    let taken = tools::approve(admin, &root(), "demo/read_graph").await.unwrap();
    assert_eq!((taken.changed.as_slice(), taken.removed.len()), (["read_graph".to_owned()].as_slice(), 0));
    assert_eq!(
        tools::list(admin, &root(), Some("demo/read_graph")).await.unwrap().tools[0].definition_sha256.as_ref().map(String::len),
        Some(64)
    );
    assert_eq!(tools::class(admin, &root(), "demo/ghost", Class::Read).await.unwrap_err().kind, FaultKind::NotFound);
    remove(admin, &root(), "memory").await.unwrap();
    assert!(!admin.repository.head().unwrap().files.keys().any(|path| path.contains("memory")));
    assert_eq!(remove(admin, &root(), "memory").await.unwrap_err().kind, FaultKind::NotFound);
}

#[test]
fn a_hostile_tool_name_cannot_leave_its_folder() {
    use super::intake::definition_path;
    assert_eq!(definition_path("s", "read.graph"), "tools/s/read.graph.json");
    assert_eq!(definition_path("s", ".git"), "tools/s/%2Egit.json");
    assert_eq!(definition_path("s", "../../x"), "tools/s/%2E.%2F..%2Fx.json");
    assert_eq!(definition_path("s", "a b%"), "tools/s/a%20b%25.json");
}
