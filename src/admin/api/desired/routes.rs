//! The part of the API about the desired state: clients, roles, servers, tools, policy, configuration. Parse, verb, print.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::super::openapi::routes::Api;
use super::super::openapi::{changes, reads};
use super::super::routes::{Caller, Limit, parse, query, reply};
use crate::admin::actor::Right;
use crate::admin::clients::AddClient;
use crate::admin::policy::{ExplainOrder, TestOrder};
use crate::admin::revisions::{Between, CommitOrder, PullOrder, RollbackOrder};
use crate::admin::roles::SetRole;
use crate::admin::servers::import::{ImportOrder, Imported};
use crate::admin::servers::{AddServer, ServerKeep};
use crate::admin::{Admin, clients, policy, revisions, roles, servers, tools};
use crate::config::Class;

type Shared = State<Arc<Admin>>;

pub(in crate::admin::api) fn routes() -> Api {
    clients_and_roles().merge(server_routes()).merge(tool_routes()).merge(configuration()).merge(states())
}

fn clients_and_roles() -> Api {
    let (admin, operate) = (Right::Administer, Right::Operate);
    let new = json!({"name": "ci", "roles": ["reader"], "rate": 50, "expires_days": 90});
    let role = json!({"grants": [{"tools": ["demo/*"], "classes": ["read"]}]});
    Api::default()
        .serve(reads::<clients::ClientList>("/clients", "Every client"), client_list)
        .serve(
            changes::<clients::ClientAdded>("/clients", "Adds a client; its key is shown this once", admin).takes::<AddClient>(new),
            client_add,
        )
        .serve(reads::<clients::Client>("/clients/{name}", "One client"), client_show)
        .serve(
            changes::<clients::ClientRevoked>("/clients/{name}/revoke", "Ends every key of a client at once", operate),
            client_revoke,
        )
        .serve(reads::<roles::RoleList>("/roles", "Every role"), role_list)
        .serve(reads::<roles::Role>("/roles/{name}", "One role"), role_show)
        .serve(changes::<roles::RoleSet>("/roles/{name}", "Makes a role, or replaces it", admin).takes::<SetRole>(role), role_set)
}

fn server_routes() -> Api {
    let (admin, operate) = (Right::Administer, Right::Operate);
    let new = json!({"name": "web", "url": "https://tools.example.com/mcp"});
    let import = json!({"text": "{\"mcpServers\":{\"web\":{\"url\":\"https://tools.example.com/mcp\"}}}"});
    Api::default()
        .serve(reads::<servers::ServerList>("/servers", "Every server"), server_list)
        .serve(
            changes::<servers::ServerAdded>("/servers", "Registers a server, looks at it and takes in its tools", admin)
                .takes::<AddServer>(new),
            server_add,
        )
        .serve(
            changes::<Imported>(
                "/server-import",
                "Plans taking in the servers of a client's own file, and does it with apply",
                admin,
            )
            .takes::<ImportOrder>(import),
            server_import,
        )
        .serve(reads::<servers::Server>("/servers/{name}", "One server and its tools"), server_show)
        .serve(changes::<servers::ServerProbed>("/servers/{name}/probe", "Looks at a server now", operate), server_probe)
        .serve(
            changes::<servers::ServerAdded>(
                "/servers/{name}/approve",
                "Approves its command line here and takes in its tools",
                admin,
            )
            .person(),
            server_approve,
        )
        .serve(
            changes::<servers::Server>(
                "/servers/{name}/secrets",
                "Replaces the headers, variables or client certificate that this host keeps for it",
                admin,
            )
            .takes::<ServerKeep>(json!({"headers": "Authorization: Bearer …"})),
            server_secrets,
        )
        .serve(
            changes::<servers::ServerRemoved>("/servers/{name}/remove", "Removes a server; its vault stays", admin),
            server_remove,
        )
}

fn tool_routes() -> Api {
    let (admin, operate) = (Right::Administer, Right::Operate);
    let class = json!({"tool": "web/search", "class": "read"});
    Api::default()
        .serve(
            reads::<tools::ToolList>("/tools", "Tools of every server, of one, or one tool with its definition")
                .query::<ToolFilter>(),
            tool_list,
        )
        .serve(
            reads::<tools::ToolDrifts>("/tools/diff", "How tools, as their servers show them now, differ from what was taken in")
                .query::<ToolFilter>()
                .needs(operate),
            tool_diff,
        )
        .serve(
            changes::<tools::ToolClassed>("/tools/class", "Sets the class of a tool", admin).takes::<ToolClass>(class),
            tool_class,
        )
        .serve(
            changes::<servers::ServerAdded>("/tools/approve", "Takes in a tool as its server shows it now", admin)
                .takes::<ToolName>(json!({"tool": "web/search"})),
            tool_approve,
        )
}

fn configuration() -> Api {
    let commit = json!({"as": "ana", "message": "roles: reader may search"});
    let explain = json!({"client": "ci", "tool": "web/search", "arguments": "{\"query\":\"x\"}"});
    let tests = json!({"toml": "[[case]]\nclient = \"ci\"\ntool = \"web/search\"\nexpect = \"permit\"\n"});
    Api::default()
        .serve(
            reads::<tools::Explained>("/policy/explain", "The decision for one client and one tool").query::<ExplainOrder>(),
            policy_explain,
        )
        .serve(
            changes::<tools::Explained>("/policy/explain", "The decision for one call, with its arguments", Right::Read)
                .takes::<ExplainOrder>(explain),
            policy_explain_call,
        )
        .serve(
            changes::<policy::Tested>("/policy/test", "Tries cases against the working tree", Right::Read)
                .takes::<TestOrder>(tests),
            policy_test,
        )
        .serve(reads::<revisions::History>("/config/history", "Commits, newest first").query::<Limit>(), config_history)
        .serve(reads::<revisions::Standing>("/config/status", "HEAD, the running revision and the working tree"), config_status)
        .serve(
            changes::<revisions::Checked>("/config/check", "Checks the working tree as it would be committed", Right::Read),
            config_check,
        )
        .serve(
            changes::<revisions::Committed>(
                "/config/commit",
                "Commits the edits of the working tree and has them running",
                Right::Administer,
            )
            .takes::<CommitOrder>(commit),
            config_commit,
        )
}

fn states() -> Api {
    let back = json!({"to": "4f2a91c07d3e", "reason": "the new role refuses too much"});
    Api::default()
        .serve(
            reads::<revisions::Difference>("/config/diff", "How two states of the configuration differ").query::<Between>(),
            config_diff,
        )
        .serve(
            changes::<revisions::RolledBack>(
                "/config/rollback",
                "Has the state of an earlier commit running again, by a new commit",
                Right::Administer,
            )
            .takes::<RollbackOrder>(back),
            config_rollback,
        )
        .serve(
            changes::<revisions::Push>("/config/push", "Takes HEAD to the remote, never by force", Right::Administer),
            config_push,
        )
        .serve(
            changes::<revisions::Pull>(
                "/config/pull",
                "Takes what the remote has, where that is a fast forward",
                Right::Administer,
            )
            .takes::<PullOrder>(json!({"much": false})),
            config_pull,
        )
}

async fn client_list(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(clients::list(&admin, &actor).await)
}

async fn client_show(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(clients::show(&admin, &actor, &name).await)
}

async fn client_add(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || clients::add(&admin, &actor, parse::<AddClient>(&body)?).await;
    reply(act().await)
}

async fn client_revoke(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(clients::revoke(&admin, &actor, &name).await)
}

async fn server_list(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(servers::list(&admin, &actor).await)
}

async fn server_show(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(servers::show(&admin, &actor, &name).await)
}

async fn server_add(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || servers::add(&admin, &actor, parse::<AddServer>(&body)?).await;
    reply(act().await)
}

async fn server_import(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || servers::import::import(&admin, &actor, &parse::<ImportOrder>(&body)?).await;
    reply(act().await)
}

async fn server_probe(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(servers::probe(&admin, &actor, &name).await)
}

async fn server_approve(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(servers::approve(&admin, &actor, &name).await)
}

async fn server_secrets(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>, body: Bytes) -> Response {
    let act = async || servers::secrets(&admin, &actor, &name, &parse::<ServerKeep>(&body)?).await;
    reply(act().await)
}

async fn server_remove(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(servers::remove(&admin, &actor, &name).await)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToolFilter {
    /// `SERVER` or `SERVER/TOOL`.
    filter: Option<String>,
}

async fn tool_list(State(admin): Shared, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let read = async || tools::list(&admin, &actor, query::<ToolFilter>(text)?.filter.as_deref()).await;
    reply(read().await)
}

async fn tool_diff(State(admin): Shared, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let look = async || tools::diff(&admin, &actor, query::<ToolFilter>(text)?.filter.as_deref()).await;
    reply(look().await)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToolClass {
    /// `SERVER/TOOL`.
    tool: String,
    /// The class that decides from now on.
    class: Class,
}

async fn tool_class(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || {
        let order: ToolClass = parse(&body)?;
        tools::class(&admin, &actor, &order.tool, order.class).await
    };
    reply(act().await)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToolName {
    /// `SERVER/TOOL`.
    tool: String,
}

async fn tool_approve(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || tools::approve(&admin, &actor, &parse::<ToolName>(&body)?.tool).await;
    reply(act().await)
}

async fn role_list(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(roles::list(&admin, &actor).await)
}

async fn role_show(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(roles::show(&admin, &actor, &name).await)
}

async fn role_set(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>, body: Bytes) -> Response {
    let act = async || roles::set(&admin, &actor, &name, parse::<SetRole>(&body)?).await;
    reply(act().await)
}

async fn policy_explain(State(admin): Shared, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let read = async || policy::explain(&admin, &actor, &query::<ExplainOrder>(text)?).await;
    reply(read().await)
}

async fn policy_explain_call(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let read = async || policy::explain(&admin, &actor, &parse::<ExplainOrder>(&body)?).await;
    reply(read().await)
}

async fn policy_test(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || policy::test(&admin, &actor, parse::<TestOrder>(&body)?).await;
    reply(act().await)
}

async fn config_history(State(admin): Shared, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let read = async || {
        let page: Limit = query(text)?;
        let limit = usize::try_from(page.limit.unwrap_or(50).min(1_000)).unwrap_or(50);
        revisions::history(&admin, &actor, limit, page.after).await
    };
    reply(read().await)
}

async fn config_status(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(revisions::standing(&admin, &actor).await)
}

async fn config_check(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(revisions::check(&admin, &actor).await)
}

async fn config_commit(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || revisions::commit(&admin, &actor, parse::<CommitOrder>(&body)?).await;
    reply(act().await)
}

async fn config_diff(State(admin): Shared, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let read = async || revisions::diff(&admin, &actor, query::<Between>(text)?).await;
    reply(read().await)
}

async fn config_push(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(revisions::push(&admin, &actor).await)
}

async fn config_pull(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || revisions::pull(&admin, &actor, parse::<PullOrder>(&body)?).await;
    reply(act().await)
}

async fn config_rollback(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || revisions::rollback(&admin, &actor, parse::<RollbackOrder>(&body)?).await;
    reply(act().await)
}
