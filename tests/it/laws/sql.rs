//! SQL stands whole in the stores, every statement is listed, and every listed one prepares against a migrated database.

use lifeboat::admin::{alerts, clients, command, credentials, drills, kill, operators, publish, servers, tokens, vaults};
use lifeboat::db::{Db, Migrations};
use lifeboat::jobs;

use super::source::sources;

const VERBS: [&str; 6] = ["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"];

#[tokio::test]
async fn every_statement_prepares_against_a_migrated_database() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let db = Db::open(&folder.path().join("state.db"), &Migrations::embedded().expect("migrations")).await.expect("opens");
    for list in [
        &kill::STATEMENTS[..],
        &clients::STATEMENTS,
        &clients::OAUTH_STATEMENTS,
        &tokens::STATEMENTS,
        &clients::KEY_STATEMENTS,
        &credentials::STATEMENTS,
        &credentials::proof::store::STATEMENTS,
        &credentials::systems::STATEMENTS,
        &servers::STATEMENTS,
        &publish::STATEMENTS,
        &operators::STATEMENTS,
        &operators::SECOND_STATEMENTS,
        &vaults::STATEMENTS,
        &vaults::COMMAND_STATEMENTS,
        &command::STATEMENTS,
        &drills::STATEMENTS,
        &jobs::STATEMENTS,
        &alerts::STATEMENTS,
        &alerts::receivers::STATEMENTS,
        &alerts::outbox::STATEMENTS,
    ] {
        db.prepare_all(list).await.expect("every statement prepares");
    }
}

#[test]
fn every_statement_of_an_admin_store_is_listed() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|s| s.path.starts_with("src/admin/") && s.path.ends_with("/store.rs")) {
        let starts = |text: &str| VERBS.iter().any(|verb| text.trim_start().trim_start_matches(['\n', ' ']).starts_with(verb));
        let statements = source.text.split(": &str =").skip(1);
        let statements = statements.filter(|rest| rest.split_once('"').is_some_and(|(_, text)| starts(text))).count();
        let listed =
            source.text.split_once("STATEMENTS: [(&str, &str); ").and_then(|(_, rest)| rest.split(']').next()?.parse().ok());
        if listed != Some(statements) {
            faults.push(format!("{}: {statements} statements, {listed:?} listed", source.path));
        }
    }
    super::assert_none("every statement of an admin store is listed", &faults);
}
