//! Vaults that are the output of a command, with real processes: what ends well is an archive; what does not is none, and leaves nothing.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::tests::{bring, everything, house};
use super::*;
use crate::admin::tests_house::{House, operator, root};
use crate::admin::{OperatorRole, tree};
use crate::base::fault::{Fault, FaultKind};

const NAME: &str = "dump";

/// Commits the file of the vault `dump`, as a pull would, and approves nothing.
async fn configure(house: &House, toml: &str) {
    let text = toml.to_owned();
    tree::edit(&house.admin, &root(), "a vault", |_, _| Ok(vec![tree::write(format!("vaults/{NAME}.toml"), text.clone())]))
        .await
        .unwrap();
}

async fn approved(house: &House, toml: &str) {
    configure(house, toml).await;
    approve(&house.admin, &root(), NAME, ApproveVault::default()).await.unwrap();
}

/// A file for a shell script. The last word is in the command line of every process of it.
fn shell(script: &str, mark: &str, more: &str) -> String {
    format!("{more}\ncommand = [\"/bin/sh\", \"-c\", '''{script}''', \"{mark}\"]\n")
}

/// Command lines of living processes that hold a text.
fn alive(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let own = entry.file_name().to_string_lossy().parse() == Ok(std::process::id());
        if line.contains(mark) && !own {
            found.push(line);
        }
    }
    found
}

/// Backs everything up: the vault `dump` fails, the others have their archives, and nothing of it is left. Gives the reason.
async fn fails(house: &House) -> String {
    let before = everything(&house.admin.data.archives().join(NAME));
    let done = run(&house.admin, &root(), BackupOrder::default()).await.unwrap();
    let made: Vec<&str> = done.archives.iter().map(|one| one.vault.as_str()).collect();
    assert_eq!((done.ok, made), (false, vec!["notes", "lifeboat"]), "{:?}", done.failed);
    assert_eq!(done.failed.len(), 1);
    assert_eq!(done.failed[0].vault, NAME);
    assert!(list(&house.admin, &root()).await.unwrap().faults.is_empty());
    assert_eq!(everything(&house.admin.data.archives().join(NAME)), before, "nothing of it is there, or what was there before");
    let archives = house.admin.data.archives();
    let left: Vec<String> = everything(&archives).iter().map(|file| file.replace(&archives.display().to_string(), "")).collect();
    assert!(left.iter().all(|file| !file.contains("/.")), "{left:?}");
    done.failed[0].why.clone()
}

async fn backed_up(house: &House) -> Archive {
    let mut done = run(&house.admin, &root(), BackupOrder { vault: Some(NAME.into()) }).await.unwrap();
    assert!(done.ok, "{:?}", done.failed);
    done.archives.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_11_a_command_that_does_not_end_well_is_no_archive_and_no_other_vault_is_the_worse_for_it() {
    let (house, _, _) = house().await;
    let cases = [
        ("head -c 9000000 /dev/zero; exit 1", "", "ended with status 1"),
        ("head -c 9000000 /dev/zero; kill -9 $$", "", "was ended by signal 9"),
        ("true", "", "wrote 0 bytes"),
        ("echo short", "min_bytes = 100", "wrote 6 bytes, less than min_bytes, 100 B"),
        ("exec cat /dev/zero", "max_bytes = \"3 MiB\"", "wrote more than max_bytes, 3 MiB"),
        ("echo x; sleep 97531", "timeout_seconds = 1", "was not done after 1 seconds"),
        ("sleep 97532 & echo x", "", "still holds its output"),
        ("exec >&-; sleep 97533", "timeout_seconds = 1", "was not done after 1 seconds"),
        ("(while :; do echo x; done) & sleep 97534", "timeout_seconds = 1", "was not done after 1 seconds"),
    ];
    for (at, (script, more, why)) in cases.into_iter().enumerate() {
        let mark = format!("mark-{}-{at}", std::process::id());
        approved(&house, &shell(script, &mark, more)).await;
        let said = fails(&house).await;
        assert!(said.contains(why), "{script}: {said}");
        assert_eq!(alive(&mark), Vec::<String>::new(), "{script}");
    }
    assert_eq!(alive("sleep 9753"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_11_what_ignores_the_word_to_end_is_killed_with_all_that_it_started() {
    let (house, _, _) = house().await;
    let script = "trap \"\" TERM; (sleep 97541; echo never) & sleep 97542 & wait; sleep 97543";
    approved(&house, &shell(script, "stubborn", "timeout_seconds = 1")).await;
    let begun = Instant::now();
    let said = fails(&house).await;
    assert!(said.contains("was not done after 1 seconds"), "{said}");
    assert!(begun.elapsed() > Duration::from_secs(5), "it had its time to end by itself: {:?}", begun.elapsed());
    assert_eq!(alive("sleep 9754"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_11_last_words_are_told_without_secrets() {
    let (house, _, _) = house().await;
    let order = AddVault {
        name: NAME.into(),
        command: Some("/bin/sh -c 'printf \"\\033[2Jno login for x with %s\\n\" \"$PW\" >&2; exit 3'".into()),
        env: Some("# of the database\nPW=s3cr3t-word\n".into()),
        ..AddVault::default()
    };
    let added = add(&house.admin, &root(), order).await.unwrap();
    assert!(added.approved.is_some() && added.source == "command", "{added:?}");
    assert_eq!(fails(&house).await, "its command ended with status 3; it said: [2Jno login for x with •••");
    let file = fs::read_to_string(house.admin.data.config().join("vaults/dump.toml")).unwrap();
    assert!(file.contains("secret_env = [\"PW\"]") && !file.contains("s3cr3t"), "{file}");
    house.admin.ledger.shutdown().await;
    for path in everything(house.path()) {
        let bytes = fs::read(&path).unwrap_or_default();
        assert!(!bytes.windows(12).any(|part| part == b"s3cr3t-word\0" || &part[..11] == b"s3cr3t-word"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_11_no_command_starts_that_was_not_approved_here() {
    let (house, _, _) = house().await;
    let trace = house.path().join("trace");
    let writes = |word: &str| format!("command = [\"/bin/sh\", \"-c\", \"echo {word} | tee -a {}\"]\n", trace.display());
    configure(&house, &writes("one")).await;
    let said = fails(&house).await;
    assert!(said.contains("not approved on this host") && said.ends_with("lifeboat vault approve dump"), "{said}");
    assert!(!trace.exists(), "nothing was started");
    let seen = vaults(&house.admin, &root()).await.unwrap().vaults;
    let seen = seen.iter().find(|vault| vault.name == NAME).and_then(|vault| vault.command.clone()).unwrap();
    assert!(!seen.approved && seen.line.starts_with("/bin/sh -c 'echo one"), "{seen:?}");
    let other = ApproveVault { digest: Some("0".repeat(64)), env: None };
    assert_eq!(approve(&house.admin, &root(), NAME, other).await.unwrap_err().kind, FaultKind::Conflict);
    let by = operator(OperatorRole::Operator);
    assert_eq!(approve(&house.admin, &by, NAME, ApproveVault::default()).await.unwrap_err().kind, FaultKind::Denied);
    let exact = ApproveVault { digest: Some(seen.digest), env: None };
    approve(&house.admin, &root(), NAME, exact).await.unwrap();
    backed_up(&house).await;
    // Other arguments, another variable, another name of a kept one: each asks again. What was approved may come back by a rollback.
    for more in ["env = { LD_PRELOAD = \"/tmp/x.so\" }\n", "secret_env = [\"BASH_ENV\"]\n"] {
        configure(&house, &format!("{}{more}", writes("one"))).await;
        assert!(fails(&house).await.contains("not approved on this host"), "{more}");
    }
    configure(&house, &writes("two")).await;
    assert!(fails(&house).await.contains("not approved on this host"));
    configure(&house, &writes("one")).await;
    backed_up(&house).await;
    approved(&house, &writes("two")).await;
    configure(&house, &writes("one")).await;
    assert!(fails(&house).await.contains("not approved on this host"), "one command line is approved, the last one");
    assert_eq!(fs::read_to_string(&trace).unwrap(), "one\none\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_11_a_missing_program_or_variable_is_named() {
    let (house, _, _) = house().await;
    let missing = AddVault { name: NAME.into(), command: Some("/nonexistent/pg_dump x".into()), ..AddVault::default() };
    assert_eq!(add(&house.admin, &root(), missing).await.unwrap_err().place.as_deref(), Some("command"));
    approved(&house, "command = [\"/nonexistent/pg_dump\"]\n").await;
    assert_eq!(fails(&house).await, "there is no program /nonexistent/pg_dump on this host");
    approved(&house, "command = [\"/usr/bin/env\"]\nsecret_env = [\"PW\"]\n").await;
    let said = fails(&house).await;
    assert!(said.contains("keeps no value for its variable PW") && said.contains("--env-file"), "{said}");
    let with = |text: &str| ApproveVault { env: Some(text.into()), digest: None };
    let strange = approve(&house.admin, &root(), NAME, with("OTHER=1\n")).await.unwrap_err();
    assert_eq!(strange.place.as_deref(), Some("env"), "{strange}");
    assert!(approve(&house.admin, &root(), NAME, with("PW=word\n")).await.unwrap().missing.is_empty());
    backed_up(&house).await;
    let path = approve(&house.admin, &root(), "notes", ApproveVault::default()).await.unwrap_err();
    assert!(path.message.contains("nothing to approve"), "{path}");
}

/// What came back of the newest archive: names and contents.
async fn content(house: &House, to: &Path) -> Vec<(String, Vec<u8>)> {
    bring(house, "latest:dump", to).await.unwrap();
    let mut files = everything(to);
    files.sort();
    files.into_iter().map(|path| (path.rsplit('/').next().unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_writes_comes_back_as_it_was_and_it_sees_only_what_was_declared() {
    let (house, _, _) = house().await;
    let order =
        AddVault { name: NAME.into(), command: Some("/usr/bin/env".into()), env: Some("PW=word\n".into()), ..AddVault::default() };
    add(&house.admin, &root(), order.clone()).await.unwrap();
    let taken: Fault = add(&house.admin, &root(), order).await.unwrap_err();
    assert_eq!(taken.kind, FaultKind::Conflict);
    let archive = backed_up(&house).await;
    assert!(archive.complete && archive.verified);
    let files = content(&house, &house.path().join("one")).await;
    let mut lines: Vec<&str> = std::str::from_utf8(&files[0].1).unwrap().lines().collect();
    lines.sort_unstable();
    assert_eq!((files.len(), files[0].0.as_str()), (1, "output"));
    assert_eq!(lines, ["LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin", "PW=word"]);
    let script = "cat; pwd; test \"$(ps -o pgid= -p $$ | tr -d \" \")\" = $$ && echo leader; echo $PGHOST";
    approved(&house, &shell(script, "x", "output = \"notes.dump\"\nenv = { PGHOST = \"db\" }")).await;
    backed_up(&house).await;
    let files = content(&house, &house.path().join("two")).await;
    assert_eq!(files, [("notes.dump".to_owned(), b"/\nleader\ndb\n".to_vec())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_runs_when_lifeboat_stops_is_ended() {
    let (house, _, _) = house().await;
    approved(&house, &shell("sleep 97551", "x", "")).await;
    let (admin, actor) = (house.admin.clone(), root());
    let running = tokio::spawn(async move { run(&admin, &actor, BackupOrder { vault: Some(NAME.into()) }).await });
    let begun = Instant::now();
    while alive("sleep 97551").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it starts");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    end_commands(&house.admin).await;
    assert_eq!(alive("sleep 97551"), Vec::<String>::new());
    let done = running.await.unwrap().unwrap();
    assert!(done.failed[0].why.contains("Lifeboat stops"), "{:?}", done.failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_vault_lies_in_another_for_a_rebuild_could_not_bring_both_back() {
    let (house, notes, _) = house().await;
    for (name, path) in [("inner", notes.join("sub")), ("same", notes.clone())] {
        let order = AddVault { name: name.into(), path: path.display().to_string(), ..AddVault::default() };
        let fault = add(&house.admin, &root(), order).await.unwrap_err();
        assert!(fault.place.as_deref() == Some("path") && fault.message.contains("is in the vault"), "{name}: {fault}");
    }
    let order = |name: &str, path: &Path| AddVault { name: name.into(), path: path.display().to_string(), ..AddVault::default() };
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir(elsewhere.path().join("inner")).unwrap();
    add(&house.admin, &root(), order("inner", &elsewhere.path().join("inner"))).await.unwrap();
    let fault = add(&house.admin, &root(), order("outer", elsewhere.path())).await.unwrap_err();
    assert!(fault.message.contains("is the vault inner"), "{fault}");
}
