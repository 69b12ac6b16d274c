//! Push and pull with the system's git and a real bare repository; what a hostile one may try.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::admin::tests_house::{House, root};
use crate::base::fault::FaultKind;

fn git(at: &Path, words: &[&str]) -> String {
    let names = ["-c", "user.name=other", "-c", "user.email=other@localhost", "-c", "init.defaultBranch=main"];
    let done = Command::new("git").args(names).args(words).current_dir(at).output().unwrap();
    assert!(done.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// A house with a remote, which has its HEAD, and a clone of that.
async fn house(dir: &Path) -> (House, PathBuf) {
    let house = House::open().await;
    git(dir, &["init", "--quiet", "--bare", "remote.git"]);
    let remote = dir.join("remote.git");
    let text = format!("[config]\nremote = \"{}\"\n", remote.display());
    tree::edit(&house.admin, &root(), "remote", |_, _| Ok(vec![tree::write("lifeboat.toml", text.clone())])).await.unwrap();
    assert!(push(&house.admin, &root()).await.unwrap().ok);
    git(dir, &["clone", "--quiet", "remote.git", "clone"]);
    (house, dir.join("clone"))
}

fn change(clone: &Path, file: &str, text: &str) {
    std::fs::create_dir_all(clone.join(file).parent().unwrap()).unwrap();
    std::fs::write(clone.join(file), text).unwrap();
    git(clone, &["add", "-A"]);
    git(clone, &["commit", "--quiet", "-m", "elsewhere"]);
    git(clone, &["push", "--quiet", "origin", "main"]);
}

const ROLE: &str = "[[grant]]\ntools = [\"demo/read_graph\"]\nclasses = [\"read\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_elsewhere_runs_and_goes_back_and_forth() {
    let dir = tempfile::tempdir().unwrap();
    let (house, clone) = house(dir.path()).await;
    assert_eq!(pull(&house.admin, &root(), PullOrder::default()).await.unwrap().files.len(), 0);
    change(&clone, "roles/from-elsewhere.toml", ROLE);
    let done = pull(&house.admin, &root(), PullOrder::default()).await.unwrap();
    assert_eq!(done.files, ["roles/from-elsewhere.toml"]);
    assert!(done.revision.starts_with(&done.commit) && house.path().join("config/roles/from-elsewhere.toml").exists());
    assert_eq!(standing(&house.admin, &root()).await.unwrap().edited.len(), 0);
    // Both change: ours goes to a branch of its own, and theirs is not taken.
    change(&clone, "roles/theirs.toml", ROLE);
    tree::edit(&house.admin, &root(), "ours", |_, _| Ok(vec![tree::write("roles/ours.toml", ROLE)])).await.unwrap();
    let aside = push(&house.admin, &root()).await.unwrap();
    assert!(!aside.ok && aside.branch.as_ref().unwrap().starts_with("lifeboat/"), "{aside:?}");
    assert_eq!(
        git(&clone, &["ls-remote", "--heads", "origin", aside.branch.as_ref().unwrap()]).split('\t').next().unwrap(),
        aside.commit
    );
    let diverged = pull(&house.admin, &root(), PullOrder::default()).await.unwrap_err();
    assert!(diverged.kind == FaultKind::Conflict && diverged.message.contains("both changed"), "{diverged}");
    assert!(!house.path().join("config/roles/theirs.toml").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_g04_a_rewritten_history_and_an_emptied_tree_are_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (house, clone) = house(dir.path()).await;
    change(&clone, "roles/a.toml", ROLE);
    pull(&house.admin, &root(), PullOrder::default()).await.unwrap();
    git(&clone, &["commit", "--quiet", "--amend", "-m", "another story"]);
    git(&clone, &["push", "--quiet", "--force", "origin", "main"]);
    let rewritten = pull(&house.admin, &root(), PullOrder::default()).await.unwrap_err();
    assert!(rewritten.kind == FaultKind::Conflict && rewritten.message.contains("rewritten"), "{rewritten}");

    let dir = tempfile::tempdir().unwrap();
    let (house, clone) = self::house(dir.path()).await;
    git(&clone, &["rm", "--quiet", "-r", "servers", "roles"]);
    git(&clone, &["commit", "--quiet", "-m", "empty"]);
    git(&clone, &["push", "--quiet", "origin", "main"]);
    let emptied = pull(&house.admin, &root(), PullOrder::default()).await.unwrap_err();
    assert!(emptied.message.contains("would remove 2 of 3"), "{emptied}");
    assert!(house.path().join("config/servers/demo.toml").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_g03_links_and_bad_configurations_are_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (house, clone) = house(dir.path()).await;
    std::os::unix::fs::symlink("/etc/passwd", clone.join("link.toml")).unwrap();
    change(&clone, "roles/a.toml", ROLE);
    assert_eq!(pull(&house.admin, &root(), PullOrder::default()).await.unwrap_err().kind, FaultKind::Invalid);
    std::fs::remove_file(clone.join("link.toml")).unwrap();
    change(&clone, "roles/a.toml", "[[grant]]\ntols = []\n");
    let wrong = pull(&house.admin, &root(), PullOrder::default()).await.unwrap_err();
    assert_eq!(wrong.place.as_deref(), Some("roles/a.toml:2"), "{wrong}");
    assert!(!house.path().join("config/roles/a.toml").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_g02_nothing_of_the_repository_or_the_remote_is_run() {
    let dir = tempfile::tempdir().unwrap();
    let (house, clone) = house(dir.path()).await;
    let (proof, config) = (dir.path().join("run"), house.path().join("config/.git"));
    let script = format!("#!/bin/sh\ntouch {}\n", proof.display());
    std::fs::create_dir_all(config.join("hooks")).unwrap();
    for hook in ["pre-push", "post-checkout", "reference-transaction", "post-merge"] {
        std::fs::write(config.join("hooks").join(hook), &script).unwrap();
        std::fs::set_permissions(config.join("hooks").join(hook), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let tool = dir.path().join("tool");
    std::fs::write(&tool, &script).unwrap();
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for key in ["core.fsmonitor", "core.sshCommand", "core.editor", "filter.x.smudge", "credential.helper"] {
        git(&config, &["config", key, tool.to_str().unwrap()]);
    }
    change(&clone, ".gitattributes", "* filter=x\n");
    change(&clone, "roles/a.toml", ROLE);
    pull(&house.admin, &root(), PullOrder::default()).await.unwrap();
    tree::edit(&house.admin, &root(), "ours", |_, _| Ok(vec![tree::write("roles/ours.toml", ROLE)])).await.unwrap();
    push(&house.admin, &root()).await.unwrap();
    assert!(!proof.exists(), "nothing ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_g01_an_address_is_no_option_and_holds_no_credential() {
    let house = House::open().await;
    for bad in [
        "--upload-pack=touch /tmp/x",
        "-oProxyCommand=x",
        "ext::sh -c x",
        "https://ana:secret@example.com/x",
        "http://example.com/x",
        "relative",
        "ssh://-oProxyCommand=x/y",
        "a\nb",
    ] {
        let text = format!("[config]\nremote = {}\n", toml::Value::from(bad));
        let fault = tree::edit(&house.admin, &root(), "remote", |_, _| Ok(vec![tree::write("lifeboat.toml", text.clone())]))
            .await
            .unwrap_err();
        assert_eq!(fault.place.as_deref(), Some("lifeboat.toml:2"), "{bad}: {fault}");
        assert!(!fault.to_string().contains("secret"), "{fault}");
    }
    assert_eq!(push(&house.admin, &root()).await.unwrap_err().kind, FaultKind::Invalid, "there is none");
}
