//! Vaults in the dashboard: list, back up, check, bring back, and the kit to print.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};

use super::backup::blocking;
use super::elsewhere;
use super::form::{self, AddForm};
use super::pages::{self, Facts, RestoreForm};
use super::{
    ApproveVault, BackupOrder, LiveOrder, RestoreOrder, add, approve, list, list_kept, list_recipients, live, restore,
    restore_live, run, vaults, verify,
};
use crate::admin::Admin;
use crate::admin::actor::Right;
use crate::admin::routes::{Access, Entry, Visit};
use crate::admin::shell::{Here, sentence};
use crate::base::fault::{Fault, Verb};
use crate::config::UpstreamConfig;
use crate::crypto::archive::digest_file;
use crate::policy::snapshot::ServerEntry;
use crate::web::{Fields, html, html_with, human, page};

/// Who may use what.
pub const ROUTES: [Entry; 8] = [
    ("GET", "/vaults", Access::Signed(Right::Read)),
    ("GET", "/vaults/kit", Access::Signed(Right::Read)),
    ("POST", "/vaults/add", Access::Signed(Right::Administer)),
    ("POST", "/vaults/{name}/approve", Access::Signed(Right::Administer)),
    ("POST", "/vaults/backup", Access::Signed(Right::Operate)),
    ("POST", "/vaults/verify", Access::Signed(Right::Operate)),
    ("POST", "/vaults/restore", Access::Signed(Right::Administer)),
    ("POST", "/vaults/live", Access::Signed(Right::Administer)),
];

/// The routes.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/vaults", get(show))
        .route("/vaults/kit", get(kit))
        .route("/vaults/add", post(do_add))
        .route("/vaults/{name}/approve", post(do_approve))
        .route("/vaults/backup", post(do_backup))
        .route("/vaults/verify", post(do_verify))
        .route("/vaults/restore", post(do_restore))
        .route("/vaults/live", post(do_live))
}

async fn show(visit: Visit) -> Response {
    whole(&visit, StatusCode::OK, Typed::default(), None).await
}

/// What was typed into the forms of the page.
#[derive(Default)]
struct Typed {
    restore: RestoreForm,
    add: AddForm,
}

async fn whole(visit: &Visit, status: StatusCode, typed: Typed, refusal: Option<String>) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let read = async || -> Verb<_> {
        let (vaults, archives) = (vaults(admin, actor).await?, list(admin, actor).await?);
        Ok((vaults, archives, list_recipients(admin, actor).await?, list_kept(admin, actor).await?))
    };
    match read().await {
        Ok((vaults, archives, recipients, kept)) => {
            let shell = visit.shell(Here::Vaults, "Vaults").same("lifeboat backup list", "GET /api/v1/archives");
            let copies = elsewhere::known(admin).await;
            let remote = |entry: &ServerEntry| matches!(entry.config.upstream, UpstreamConfig::Http(_));
            let servers = admin.feed.snapshot().servers.values().map(|entry| (entry.name.to_string(), remote(entry))).collect();
            let Typed { restore: form, add } = typed;
            let facts = Facts {
                vaults: &vaults,
                archives: &archives,
                copies: &copies,
                recipients: &recipients,
                form,
                kept: &kept,
                add,
                servers,
            };
            html_with(status, &pages::page(shell.refusing(refusal), facts, actor.role))
        }
        Err(fault) => visit.fail(&fault),
    }
}

async fn refused(visit: &Visit, what: &str, fault: &Fault, form: RestoreForm) -> Response {
    let refusal = format!("{what} {}", sentence(&fault.to_string()));
    whole(visit, page::status_of(fault.kind), Typed { restore: form, ..Typed::default() }, Some(refusal)).await
}

async fn do_add(visit: Visit, fields: Fields) -> Response {
    match add(&visit.admin, &visit.signed.actor, form::order(&fields)).await {
        Ok(done) => {
            let notes = done.notes.iter().map(|note| format!(" {}", sentence(note))).collect::<String>();
            let approved = if done.approved.is_some() { " Its command line is approved on this host." } else { "" };
            visit.done("/vaults", format!("Vault {} is added.{approved}{notes}", done.vault))
        }
        Err(fault) => {
            let typed = Typed { add: AddForm::typed(&fields).faulted(&fault), ..Typed::default() };
            let refusal = format!("Not added. {}", sentence(&fault.to_string()));
            whole(&visit, page::status_of(fault.kind), typed, Some(refusal)).await
        }
    }
}

async fn do_approve(visit: Visit, Path(name): Path<String>, fields: Fields) -> Response {
    let given = |field: &str| Some(fields.get(field).to_owned()).filter(|text| !text.is_empty());
    let order = ApproveVault { env: given("env"), digest: given("digest") };
    match approve(&visit.admin, &visit.signed.actor, &name, order).await {
        Ok(done) if done.missing.is_empty() => {
            visit.done("/vaults", format!("The command of vault {name} may start on this host."))
        }
        Ok(done) => {
            let missing = done.missing.join(", ");
            visit.done("/vaults", format!("The command of vault {name} is approved, but this host keeps no value for {missing}."))
        }
        Err(fault) => refused(&visit, "Not approved.", &fault, RestoreForm::default()).await,
    }
}

async fn do_backup(visit: Visit, fields: Fields) -> Response {
    let order = BackupOrder { vault: Some(fields.get("vault").to_owned()).filter(|name| !name.is_empty()) };
    match run(&visit.admin, &visit.signed.actor, order).await {
        Ok(done) if done.ok => {
            let made = human::plural(done.archives.len() as u64, "archive");
            visit.done("/vaults", format!("{made} made, read back and verified."))
        }
        Ok(done) => {
            let why: Vec<String> = done.failed.iter().map(|one| format!("{}: {}", one.vault, one.why)).collect();
            refused(&visit, "Not everything is backed up.", &Fault::unavailable(why.join("; ")), RestoreForm::default()).await
        }
        Err(fault) => refused(&visit, "Not backed up.", &fault, RestoreForm::default()).await,
    }
}

async fn do_verify(visit: Visit) -> Response {
    match verify(&visit.admin, &visit.signed.actor).await {
        Ok(done) if done.ok => {
            let said = format!(
                "{} compared, {} of them read to their end. Nothing is wrong.",
                human::plural(done.checked as u64, "archive"),
                done.opened
            );
            visit.done("/vaults", said)
        }
        Ok(done) => {
            refused(&visit, "Something is wrong.", &Fault::unavailable(done.faults.join("; ")), RestoreForm::default()).await
        }
        Err(fault) => refused(&visit, "Not checked.", &fault, RestoreForm::default()).await,
    }
}

async fn do_restore(visit: Visit, fields: Fields) -> Response {
    let get = |name: &str| fields.get(name).trim().to_owned();
    let form = RestoreForm { archive: get("archive"), to: get("to"), path: get("path") };
    let dry_run = get("dry") != "no";
    let order = RestoreOrder {
        archive: form.archive.clone(),
        to: form.to.clone(),
        path: Some(form.path.clone()).filter(|path| !path.is_empty()),
        dry_run,
        ..RestoreOrder::default()
    };
    match restore(&visit.admin, &visit.signed.actor, order).await {
        Ok(done) => {
            let (files, bytes) = done.archives.iter().fold((0, 0), |sum, one| (sum.0 + one.files, sum.1 + one.bytes));
            let what = format!("{}, {}", human::plural(files, "file"), human::bytes(bytes));
            let said = if dry_run {
                format!("It would bring back {what}. Nothing was written.")
            } else {
                format!("{what} brought back to {}.", form.to)
            };
            visit.done("/vaults", said)
        }
        Err(fault) => refused(&visit, "Not brought back.", &fault, form).await,
    }
}

/// Without `sure` it only looks, and asks.
async fn do_live(visit: Visit, fields: Fields) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let get = |name: &str| fields.get(name).trim().to_owned();
    let form = RestoreForm { archive: get("archive"), to: get("to"), path: get("path") };
    if !form.path.is_empty() {
        let fault = Fault::invalid("path", "a whole vault comes back in place; bring one path back to a directory, and copy it");
        return refused(&visit, "Not brought back.", &fault, form).await;
    }
    let order = LiveOrder {
        archive: form.archive.clone(),
        reason: get("reason"),
        dry_run: get("sure") != "yes",
        without_backup: get("without_backup") == "yes",
        ..LiveOrder::default()
    };
    match restore_live(admin, actor, order).await {
        // To another page: to load this one again would order it again.
        Ok(done) if done.ok && !done.dry_run => visit.done("/vaults", live::pages::said(&done)),
        Ok(done) => {
            let command = format!("lifeboat restore {} --live --reason TEXT", done.archive);
            let shell = visit.shell(Here::Vaults, "Bring back in place").same(command, "POST /api/v1/restore/live");
            let stale = done.dry_run && !actor.is_fresh(admin.clock.now());
            html(&live::pages::page(shell, &done, get("reason"), stale))
        }
        Err(fault) => refused(&visit, "Not brought back.", &fault, form).await,
    }
}

async fn kit(visit: Visit) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let list = match list_recipients(admin, actor).await {
        Ok(list) => list,
        Err(fault) => return visit.fail(&fault),
    };
    let whole = |path: std::path::PathBuf| std::path::absolute(&path).unwrap_or(path).display().to_string();
    let places = (whole(admin.data.archives()), whole(admin.data.root().to_owned()));
    let shell = visit.shell(Here::Vaults, "Recovery kit").same("lifeboat recipient list", "GET /api/v1/recipients");
    html(&pages::kit(shell, &list, places, binary().await))
}

/// Digest of the program that runs, so that the right one can be told later.
async fn binary() -> String {
    let read = blocking(|| {
        let digest = std::env::current_exe().and_then(std::fs::File::open).and_then(|file| digest_file(&file));
        digest.map(|(digest, _)| digest).map_err(|e| Fault::unavailable("the program cannot be read").because(e))
    });
    read.await.unwrap_or_else(|fault| fault.message)
}
