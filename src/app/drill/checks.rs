//! What a rebuilt deployment must show before it counts: a stranger and a reader are refused, the kill switch stops, what was revoked stays so,
//! every server has its tools and works. Each is asked through its own proxy by a client.

use std::sync::Arc;

use super::client::{Answer, Client, Target};
use crate::admin::clients::{self, AddClient};
use crate::admin::drills::adapt::{FULL, READ};
use crate::admin::drills::order::{Fate, Network, REBUILT, SKIPPED, SUBSTITUTED};
use crate::admin::drills::steps::Steps;
use crate::admin::kill::{self, Order, Release};
use crate::admin::vaults::deny::DenyList;
use crate::admin::{Actor, Admin, servers, tools};
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::config::{Class, UpstreamConfig};
use crate::policy::{Mode, Scope};
use serde_json::Value;

/// The actor of everything a drill does in its sandbox.
pub(super) fn actor() -> Actor {
    Actor::system("drill")
}

/// What the checks need.
pub(super) struct Bench {
    /// The rebuilt deployment.
    pub admin: Arc<Admin>,
    /// Its proxy.
    pub target: Target,
    /// A client that may do everything.
    pub full: Secret<String>,
    /// A client that may only read.
    pub reader: Secret<String>,
    /// What its servers can reach.
    pub network: Network,
}

/// A tool to try.
struct Tool {
    server: String,
    name: String,
}

impl Bench {
    /// Mints the drill's own clients.
    ///
    /// # Errors
    /// Those of the verbs.
    pub(super) async fn new(admin: &Arc<Admin>, target: Target, network: Network) -> Verb<(Self, String)> {
        let full = mint(admin, FULL).await?;
        let reader = mint(admin, READ).await?;
        Ok((Self { admin: admin.clone(), target, full, reader, network }, "2 clients of the drill's own".to_owned()))
    }

    /// Everything that must hold whatever servers there are.
    ///
    /// # Errors
    /// The first check that does not pass.
    pub(super) async fn all(&self, fates: &mut [Fate], list: Option<&DenyList>, steps: &mut Steps) -> Verb<()> {
        steps.take("approve-commands", self.approve(fates)).await?;
        let of = |state: &str| fates.iter().find(|fate| fate.state == state).map(|fate| fate.name.clone());
        let some = of(REBUILT).or_else(|| of(SUBSTITUTED));
        let any = self.any(some.as_deref());
        steps.take("still-stopped", self.still_stopped(any.as_ref())).await?;
        steps.take("release", self.release()).await?;
        steps.take("stranger-refused", self.stranger(some.as_deref())).await?;
        steps.take("revoked-refused", self.revoked(some.as_deref(), list)).await?;
        for fate in fates.iter_mut().filter(|fate| fate.stands()) {
            self.server(fate, steps).await;
        }
        steps.take("reader-refused", self.reader_refused(fates)).await?;
        steps.take("kill-works", self.kill_works(any.as_ref())).await?;
        steps.take("ledger-knows", self.ledger()).await
    }

    /// A tool that a reader may call without arguments; such a call changes nothing.
    fn any(&self, server: Option<&str>) -> Option<Tool> {
        self.tool(server?, |class| class == Class::Read)
    }

    fn tool(&self, server: &str, wanted: impl Fn(Class) -> bool) -> Option<Tool> {
        let snapshot = self.admin.feed.snapshot();
        let entry = snapshot.servers.get(server)?;
        let named = entry.config.tools.iter().find(|(_, tool)| wanted(tool.class));
        named.map(|(name, _)| Tool { server: server.to_owned(), name: name.clone() })
    }

    pub(super) async fn client(&self, server: &str, key: Option<&Secret<String>>) -> Verb<Client> {
        let mut client = Client::new(&self.target, server, key.cloned());
        client.initialize().await?;
        Ok(client)
    }

    /// A call that must not get as far as the server.
    async fn refused(&self, tool: &Tool, key: &Secret<String>) -> Verb<Answer> {
        Client::plain(&self.target, &tool.server, Some(key.clone())).call(&tool.name).await
    }

    /// A command line that was moved into the sandbox is another one; in the sandbox it may run.
    async fn approve(&self, fates: &[Fate]) -> Verb<((), String)> {
        let mut moved = 0;
        for fate in fates.iter().filter(|fate| fate.stands()) {
            let approved = self.admin.feed.snapshot().servers.get(&fate.name).is_none_or(|entry| entry.secrets.approved);
            if !approved {
                servers::approve_command(&self.admin, &actor(), &fate.name).await?;
                moved += 1;
            }
        }
        Ok(((), format!("{moved} command lines that name a place in the sandbox, the others as they were approved")))
    }

    async fn still_stopped(&self, tool: Option<&Tool>) -> Verb<((), String)> {
        if !self.admin.feed.kill().engaged() {
            return Err(Fault::unavailable("the rebuilt deployment did not start stopped"));
        }
        let Some(tool) = tool else { return Ok(((), "it started stopped; there is no tool to try it on".to_owned())) };
        let answer = self.refused(tool, &self.full).await?;
        want(answer.reason() == "kill.engaged", || format!("a call was answered {} while it should be stopped", answer.brief()))?;
        Ok(((), format!("it started stopped: {}/{} is refused with kill.engaged", tool.server, tool.name)))
    }

    async fn release(&self) -> Verb<((), String)> {
        let states = self.admin.feed.kill();
        for entry in &states.entries {
            let order = Release { scope: entry.scope.clone(), to: None, reason: "drill".to_owned() };
            kill::release(&self.admin, &actor(), order).await?;
        }
        Ok(((), format!("{} stops released in the sandbox", states.entries.len())))
    }

    async fn stranger(&self, server: Option<&str>) -> Verb<((), String)> {
        let stranger = Client::new(&self.target, server.unwrap_or("any"), None);
        let answer = stranger.call("any").await?;
        want(answer.status == 401, || format!("a client without credential was answered {}", answer.brief()))?;
        Ok(((), "a client without credential is answered 401".to_owned()))
    }

    async fn revoked(&self, server: Option<&str>, list: Option<&DenyList>) -> Verb<((), String)> {
        let server = server.unwrap_or("any");
        let made = mint_named(&self.admin, "lifeboat-drill-revoked", READ).await?;
        let before = Client::new(&self.target, server, Some(made.clone())).call("any").await?;
        clients::revoke(&self.admin, &actor(), "lifeboat-drill-revoked").await?;
        let after = Client::new(&self.target, server, Some(made)).call("any").await?;
        want(before.status != 401 && after.status == 401, || {
            format!("a revoked key was answered {} ({} before)", after.brief(), before.brief())
        })?;
        let snapshot = self.admin.feed.snapshot();
        let listed = list.map(|list| list.client_keys.as_slice()).unwrap_or_default();
        let alive: Vec<&str> = listed.iter().map(String::as_str).filter(|kid| snapshot.keys.contains_key(*kid)).collect();
        want(alive.is_empty(), || format!("keys of the deny-list are alive again: {}", alive.join(", ")))?;
        Ok(((), format!("a key is refused once it is revoked; none of {} keys of the deny-list counts", listed.len())))
    }

    /// One server: its tools as they were taken in, and a call. A server that does not work is named; only the others go on.
    async fn server(&self, fate: &mut Fate, steps: &mut Steps) {
        let name = fate.name.clone();
        let tools = steps.take(&format!("definitions {name}"), self.definitions(&name)).await;
        let called = match &tools {
            Ok(shown) => steps.take(&format!("call {name}"), self.called(fate, shown)).await,
            Err(fault) => Err(Fault::unavailable(fault.message.clone())),
        };
        match called {
            Ok(_) if fate.state == SUBSTITUTED => {
                fate.detail = "a remote server: a stand-in answered with its approved definitions".to_owned();
            }
            Ok(detail) => fate.detail = format!("{detail}{}", exchanged(fate)),
            Err(fault) => {
                fate.detail = format!("{}{}", fault.message, exchanged(fate));
                fate.state = SKIPPED.to_owned();
            }
        }
    }

    async fn definitions(&self, server: &str) -> Verb<(Vec<Value>, String)> {
        let begun = self.client(server, Some(&self.full)).await.map_err(|fault| self.explained(server, fault))?;
        let shown = begun.tools().await?;
        let known = self.admin.feed.snapshot().servers.get(server).map_or(0, |entry| entry.config.tools.len());
        let drifts = tools::diff(&self.admin, &actor(), Some(server)).await?.drifts;
        let differing: Vec<String> = drifts.iter().map(|drift| format!("{} {}", drift.tool, drift.state)).collect();
        want(differing.is_empty(), || format!("its tools are not those that were taken in: {}", differing.join(", ")))?;
        want(shown.len() == known, || format!("a client sees {} tools, the configuration has {known}", shown.len()))?;
        Ok((shown, format!("{known} tools with the definitions that were taken in")))
    }

    /// A server that does not begin: what is known of it, and what to do.
    fn explained(&self, server: &str, fault: Fault) -> Fault {
        let snapshot = self.admin.feed.snapshot();
        let Some(UpstreamConfig::Stdio(stdio)) = snapshot.servers.get(server).map(|entry| &entry.config.upstream) else {
            return fault;
        };
        let program = stdio.command.first().cloned().unwrap_or_default();
        let why = self.admin.feed.server(server).map(|state| state.detail).unwrap_or_default();
        let gone = program.starts_with('/') && !std::path::Path::new(&program).exists();
        let todo = if gone { format!("there is no {program} here: install it where the deployment is rebuilt") } else { why };
        Fault::unavailable(format!("{}; {todo}", fault.message.trim_end_matches('.')))
    }

    /// Every server that stands is asked: what decides is the rebuilt policy, and each has definitions of its own.
    async fn reader_refused(&self, fates: &[Fate]) -> Verb<((), String)> {
        let mut tried = Vec::new();
        for fate in fates.iter().filter(|fate| fate.stands()) {
            let Some(tool) = self.tool(&fate.name, |class| class > Class::Read) else { continue };
            let answer = self.refused(&tool, &self.reader).await?;
            let right = matches!(answer.reason(), "policy.class" | "policy.no_grant");
            let full = format!("{}/{}", tool.server, tool.name);
            want(right, || format!("{full} was answered {} for a client that may only read", answer.brief()))?;
            tried.push(format!("{full} is refused with {}", answer.reason()));
        }
        if tried.is_empty() {
            return Ok(((), "there is no writing tool to try it on".to_owned()));
        }
        Ok(((), format!("{} for a client that may only read", tried.join(", "))))
    }

    async fn kill_works(&self, tool: Option<&Tool>) -> Verb<((), String)> {
        let order = Order { scope: Scope::Everything, mode: Mode::Full, reason: "drill".to_owned() };
        let engaged = kill::engage(&self.admin, &actor(), order).await?;
        want(engaged.effective, || "the kill switch could not prove itself".to_owned())?;
        if let Some(tool) = tool {
            let answer = self.refused(tool, &self.full).await?;
            want(answer.reason() == "kill.engaged", || format!("a call was answered {} after the kill", answer.brief()))?;
        }
        self.release().await?;
        let ms = engaged.effective_ms.unwrap_or_default();
        Ok(((), format!("engaged and proved in {ms} ms at {} listeners, released again", engaged.proofs.len())))
    }

    async fn ledger(&self) -> Verb<((), String)> {
        let report = self.admin.ledger.verify(Vec::new()).await?;
        want(report.ok, || format!("the ledger does not verify: {}", report.detail.unwrap_or_default()))?;
        Ok(((), format!("{} events, the drill's among them, in one unbroken chain", report.events)))
    }
}

/// What was changed about a server before it started.
fn exchanged(fate: &Fate) -> String {
    if fate.replaced.is_empty() {
        return String::new();
    }
    format!("; in place of {} it was given values of the drill's own", fate.replaced.join(", "))
}

pub(super) fn want(holds: bool, why: impl FnOnce() -> String) -> Verb<()> {
    if holds { Ok(()) } else { Err(Fault::unavailable(why())) }
}

async fn mint(admin: &Arc<Admin>, role: &str) -> Verb<Secret<String>> {
    mint_named(admin, role, role).await
}

async fn mint_named(admin: &Arc<Admin>, name: &str, role: &str) -> Verb<Secret<String>> {
    let order =
        AddClient { name: name.to_owned(), roles: vec![role.to_owned()], rate: Some(0), expires_days: Some(1), oauth: false };
    let key = clients::add(admin, &actor(), order).await?.key;
    key.map(Secret::new).ok_or_else(|| Fault::bug("a client without a key"))
}
