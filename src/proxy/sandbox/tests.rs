//! The parts of the trampoline that need no process. What needs one is in tests/it/sandbox.rs, with the real binary.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::strength::Strength;
use super::{REPORT, prepare_vault, reach, uid_of};

fn strong() -> Strength {
    Strength { uid: true, pid_namespace: true, hidden: true, landlock: Some(6), ..Strength::default() }
}

#[test]
fn a_sentence_never_claims_more_than_was_done() {
    assert!(strong().sentence().starts_with("confined by its own user, its own process namespace"));
    let nothing = Strength::default();
    assert!(!nothing.confined());
    assert!(nothing.sentence().starts_with("not confined"));
    // A process namespace alone keeps no file from anybody.
    let only_pid = Strength { pid_namespace: true, ..Strength::default() };
    assert!(only_pid.sentence().starts_with("not confined"));
    let shut = Strength { unreachable: vec!["/srv/x".into()], ..strong() };
    assert!(shut.sentence().contains("may not open /srv/x"));
}

#[test]
fn only_the_report_is_read_as_one() {
    let line = format!("{REPORT}{}", serde_json::to_string(&strong()).unwrap());
    assert_eq!(Strength::from_report(&line), Some(strong()));
    assert_eq!(Strength::from_report("lifeboat-sandbox is great"), None);
    assert_eq!(Strength::from_report(&line[1..]), None);
}

#[test]
fn each_server_has_a_user_of_its_own_that_is_nobody_else() {
    assert_eq!(uid_of("demo"), uid_of("demo"));
    assert_ne!(uid_of("demo"), uid_of("memory"));
    assert!(uid_of("demo") >= 40_000);
}

#[test]
fn a_program_is_found_by_path_and_by_name() {
    let find = |name: &str| reach::find_program(OsStr::new(name), "relative:/nowhere:/usr/bin:/bin", Path::new("/"));
    assert!(find("sh").is_some_and(|path| path.is_absolute()));
    assert_eq!(find("/bin/sh"), Some("/bin/sh".into()));
    assert_eq!(find("bin/sh"), Some("/bin/sh".into()));
    assert_eq!(find("/etc/passwd"), None);
    assert_eq!(find("no-such-program-here"), None);
}

#[test]
fn a_command_line_opens_only_what_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let make = |name: &str| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "x").unwrap();
        path
    };
    let data = root.join("home/data");
    let script = make("srv/memory/server.py");
    let package = make("app/node_modules/@x/server/dist/index.js");
    let beside = make("home/run.py");
    let key = make("home/data/keys/key");
    std::os::unix::fs::symlink(&key, root.join("srv/link")).unwrap();
    let link = root.join("srv/link");
    let arguments = [script, package, beside.clone(), key, data.clone(), root.clone()].map(PathBuf::into_os_string);
    let reads = reach::named_by(None, &arguments, &data);
    let expected = [root.join("app/node_modules"), beside, root.join("srv/memory")];
    assert_eq!(reads, expected);
    let reads = reach::named_by(None, &[link.into_os_string()], &data);
    assert!(reads.iter().all(|path| !data.starts_with(path) && !path.starts_with(&data)), "{reads:?}");
}

/// A Python under somebody's home, as its users have it, is of no use without its library.
#[test]
fn a_script_of_a_virtual_environment_opens_the_python_it_stands_on() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let make = |name: &str| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "x").unwrap();
        path
    };
    let python = make("ana/.pythons/3.11.7/bin/python3.11");
    make("ana/.pythons/3.11.7/lib/python3.11/os.py");
    make("ana/venv/pyvenv.cfg");
    let script = make("ana/venv/bin/mcp-server");
    std::os::unix::fs::symlink(&python, root.join("ana/venv/bin/python3")).unwrap();
    let data = root.join("data");
    let reads = reach::named_by(Some(&script), &[], &data);
    assert_eq!(reads, [root.join("ana/.pythons/3.11.7"), root.join("ana/venv")]);
    // A link that leads to no Python opens nothing.
    std::fs::remove_file(root.join("ana/venv/bin/python3")).unwrap();
    std::os::unix::fs::symlink(make("ana/.ssh/bin/id_ed25519"), root.join("ana/venv/bin/python3")).unwrap();
    assert_eq!(reach::named_by(Some(&script), &[], &data), [root.join("ana/venv")]);
}

#[test]
fn a_declared_directory_never_opens_the_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let data = root.join("data");
    std::fs::create_dir_all(data.join("keys")).unwrap();
    std::fs::create_dir(root.join("shared")).unwrap();
    std::os::unix::fs::symlink(data.join("keys"), root.join("link")).unwrap();
    for bad in [root.clone(), data.clone(), data.join("keys"), root.join("link"), PathBuf::from("/"), PathBuf::from("shared")] {
        assert!(reach::check_dirs(std::slice::from_ref(&bad), &data).is_err(), "{}", bad.display());
    }
    assert_eq!(reach::check_dirs(&[root.join("shared")], &data), Ok(()));
}

#[test]
fn a_vault_is_made_private_and_never_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let vault = prepare_vault(&data, "demo", None).unwrap();
    assert_eq!(vault, data.join("vaults/demo"));
    assert_eq!(vault.metadata().unwrap().mode() & 0o777, 0o700);
    std::os::unix::fs::symlink("/tmp", data.join("vaults/evil")).unwrap();
    assert!(prepare_vault(&data, "evil", None).is_err());
}

#[test]
fn as_root_a_vault_belongs_to_its_server_with_what_was_restored_into_it() {
    if !super::may_change() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let uid = uid_of("demo");
    let vault = prepare_vault(&data, "demo", Some(uid)).unwrap();
    let outside = folder.path().join("outside");
    std::fs::write(&outside, "x").unwrap();
    std::fs::set_permissions(&outside, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(vault.join("memory.jsonl"), "{}").unwrap();
    std::os::unix::fs::symlink(&outside, vault.join("link")).unwrap();
    std::fs::hard_link(&outside, vault.join("second-name")).unwrap();
    prepare_vault(&data, "demo", Some(uid)).unwrap();
    assert_eq!(vault.join("memory.jsonl").metadata().unwrap().uid(), uid);
    assert_eq!(outside.metadata().unwrap().uid(), 0);
    assert_eq!(data.metadata().unwrap().mode() & 0o777, 0o711);
    assert_eq!(data.join("vaults").metadata().unwrap().mode() & 0o777, 0o711);
}
