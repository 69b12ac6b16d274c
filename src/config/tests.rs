//! Tests of reading and writing the desired state, and of the data directory. Never opens a listener.

use std::os::unix::fs::PermissionsExt;

use super::*;
use std::collections::BTreeMap;

fn files(list: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

fn faults(list: &[(&str, &str)]) -> Vec<String> {
    Desired::read(&files(list)).unwrap_err().iter().map(ToString::to_string).collect()
}

const SERVER: &str = "[upstream.http]\nurl = \"https://tools.example.com/mcp\"\n[tools.read_graph]\nclass = \"read\"\n";
const ROLE: &str = "[[grant]]\ntools = [\"demo/*\"]\nclasses = [\"read\", \"write\"]\n";

#[test]
fn a_whole_tree_reads() {
    let desired = Desired::read(&files(&[
        ("lifeboat.toml", "[limits]\nrequest = \"2 MiB\"\n"),
        ("servers/web.toml", SERVER),
        ("servers/demo.toml", "[upstream.stdio]\ncommand = [\"@demo\"]\n"),
        ("roles/reader.toml", ROLE),
        ("clients/bot.toml", "roles = [\"reader\"]\nrate = 5\n"),
        ("tools/demo/x.json", "not read here"),
        ("runbooks/stop.md", "# Stop"),
        ("waivers.toml", "[[waiver]]"),
        ("README.md", "hello"),
    ]))
    .unwrap();
    assert_eq!(desired.settings.limits.request.0, 2 << 20);
    assert_eq!(desired.servers.len(), 2);
    assert_eq!(desired.clients["bot"].rate, Some(5));
    assert_eq!(desired.roles["reader"].grants[0].classes, [Class::Read, Class::Write]);
    assert_eq!(Desired::read(&BTreeMap::new()).unwrap(), Desired::default());
}

#[test]
fn every_fault_of_every_file_is_reported_with_its_line() {
    let found = faults(&[
        ("lifeboat.toml", "[listen]\nadmin = \"nowhere\"\n\n[limits]\nburst = 0\n"),
        (
            "servers/web.toml",
            "[upstream.http]\nurl = \"https://x.example\"\ncolour = 1\n[tools.a]\nclass = \"reed\"\nextra = true\n",
        ),
        ("clients/bot.toml", "roles = [\n  \"ghost\",\n]\nrate = \"fast\"\n"),
        ("clients/cat.toml", "roles = [\n  \"reader\",\n  \"ghost\",\n]\n"),
        ("roles/reader.toml", "[[grant]]\ntools = [\"demo/[\", \"*\"]\nclasses = []\narguments = \"x.json\"\n"),
        ("roles/broken.toml", "[[grant]\ntools = \n"),
    ]);
    let has = |start: &str, part: &str| {
        assert!(found.iter().any(|f| f.starts_with(start) && f.contains(part)), "{start} {part}: {found:#?}")
    };
    has("lifeboat.toml:2:", "ADDRESS:PORT");
    has("lifeboat.toml:5:", "1 or more");
    has("servers/web.toml:3:", "colour");
    has("servers/web.toml:5:", "reed");
    has("servers/web.toml:6:", "extra");
    has("clients/bot.toml:4:", "expected u32");
    has("clients/cat.toml:3:", "ghost");
    has("roles/reader.toml:2:", "demo/[");
    has("roles/reader.toml:2:", "names no tool");
    has("roles/reader.toml:3:", "read, write, destructive");
    has("roles/reader.toml:4:", "argument schemas are not available in this version");
    has("roles/broken.toml:1:", "");
}

#[test]
fn files_where_none_is_known_are_refused() {
    for bad in ["servers/a.json", "servers/a/b.toml", "clients/.toml", "roles/A.toml", "server/a.toml", "liveboat.toml"] {
        let text = if bad.starts_with("clients") { "roles = []" } else { "" };
        assert!(Desired::read(&files(&[(bad, text)])).unwrap_err().iter().any(|f| f.file == bad), "{bad}");
    }
}

#[test]
fn plain_http_and_urls_with_secrets_are_refused() {
    let server = |url: &str, more: &str| format!("[upstream.http]\nurl = \"{url}\"\n{more}\n");
    for (url, more) in [
        ("http://tools.example.com/mcp", ""),
        ("http://127.0.0.1:9/mcp", ""),
        ("http://tools.example.com/mcp", "plain_loopback = true"),
        ("http://127.0.0.1.example.com/mcp", "plain_loopback = true"),
        ("http://localhost@tools.example.com/mcp", "plain_loopback = true"),
        ("https://user:pass@tools.example.com/mcp", ""),
        ("https://tools.example.com/mcp#x", ""),
        ("ftp://tools.example.com/", ""),
        ("tools.example.com/mcp", ""),
        ("https://tools.example.com/mcp", "pins = [\"sha256/AAAA\"]"),
        ("https://tools.example.com/mcp", "allow_addresses = [\"10.0.0.0/33\"]"),
        ("https://tools.example.com/mcp", "ca = \"x\""),
    ] {
        let text = server(url, more);
        let found = faults(&[("servers/a.toml", &text)]);
        assert!(found.iter().all(|f| f.starts_with("servers/a.toml:")) && found.len() == 1, "{url} {more}: {found:?}");
        assert!(!found[0].contains("pass@"), "no secret in a fault");
    }
    for (url, more) in [
        ("http://127.0.0.1:9/mcp", "plain_loopback = true"),
        ("http://[::1]:9/mcp", "plain_loopback = true"),
        ("https://10.1.2.3/mcp", "allow_addresses = [\"10.0.0.0/8\", \"fd00::/8\"]"),
        ("https://a.example/mcp", "pins = [\"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]"),
    ] {
        let text = server(url, more);
        assert!(Desired::read(&files(&[("servers/a.toml", &text)])).is_ok(), "{url} {more}");
    }
}

#[test]
fn stdio_servers_and_tool_names_are_checked() {
    for bad in [
        "[upstream.stdio]\ncommand = []\n",
        "[upstream.stdio]\ncommand = [\" \"]\n",
        "[upstream.stdio]\ncommand = [\"a\\u0000b\"]\n",
        "[upstream.stdio]\ncommand = [\"a\"]\ndirs = [\"x\"]\n",
        "[upstream.stdio]\ncommand = [\"a\"]\nenv = { \"A=B\" = \"1\" }\n",
        "[upstream.stdio]\ncommand = [\"a\"]\n[tools.\"a/b\"]\nclass = \"read\"\n",
        "[upstream.stdio]\ncommand = [\"a\"]\n[tools.\"a\\u202eb\"]\nclass = \"read\"\n",
        "[upstream.stdio]\ncommand = [\"a\"]\n[upstream.http]\nurl = \"https://a.example\"\n",
    ] {
        assert_eq!(faults(&[("servers/a.toml", bad)]).len(), 1, "{bad}");
    }
}

#[test]
fn what_is_written_reads_back_the_same() {
    let tree = files(&[
        (
            "servers/demo.toml",
            "[upstream.stdio]\ncommand = [\"@demo\"]\nenv = { A = \"1\" }\n[tools.\"odd name\"]\nclass = \"destructive\"\n",
        ),
        ("servers/web.toml", SERVER),
        ("roles/reader.toml", ROLE),
        ("clients/bot.toml", "roles = [\"reader\"]\nburst = 7\n"),
    ]);
    let desired = Desired::read(&tree).unwrap();
    let mut written = BTreeMap::from([("lifeboat.toml".to_owned(), desired.settings.to_toml().unwrap().into_bytes())]);
    written.extend(desired.servers.iter().map(|(name, s)| (ServerConfig::path(name), s.to_toml().unwrap().into_bytes())));
    written.extend(desired.clients.iter().map(|(name, c)| (ClientConfig::path(name), c.to_toml().unwrap().into_bytes())));
    written.extend(desired.roles.iter().map(|(name, r)| (RoleConfig::path(name), r.to_toml().unwrap().into_bytes())));
    assert_eq!(Desired::read(&written).unwrap(), desired);
}

#[test]
fn many_faults_become_one_fault_of_a_verb() {
    let found = Desired::read(&files(&[("lifeboat.toml", "a = 1\nb = 2\n")])).unwrap_err();
    let fault = ConfigFault::join(&found);
    assert_eq!(fault.place.as_deref(), Some("lifeboat.toml:1"));
    assert!(fault.message.contains("lifeboat.toml:2"), "{fault}");
}

#[test]
fn the_data_directory_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::new(dir.path().join("data"));
    data.create().unwrap();
    data.create().unwrap();
    let mode = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let open = if nix::unistd::geteuid().is_root() { 0o711 } else { 0o700 };
    assert_eq!((mode(data.root().into()), mode(data.vaults())), (open, open));
    for path in [data.config(), data.audit(), data.archives(), data.tls(), data.keys(), data.run()] {
        assert_eq!(mode(path), 0o700);
    }
    std::fs::remove_dir(data.keys()).unwrap();
    std::os::unix::fs::symlink(dir.path(), data.keys()).unwrap();
    assert!(data.create().is_err());
}

#[test]
fn alerts_are_read_with_every_fault_at_its_line() {
    let text = "[[receiver]]\nname = \"a\"\nurl = \"https://a.example/\"\nsecret = \"x\"\n\n[[receiver]]\nname = \"A b\"\nurl = \"http://a.example/\"\nrules = []\n";
    assert!(faults(&[("alerts.toml", text)]).iter().any(|f| f.starts_with("alerts.toml:4: unknown field `secret`")));
    let text = text.replace("secret = \"x\"", "ca = \"relative.pem\"");
    let found = faults(&[("alerts.toml", &format!("{text}[watchdog]\nevery_seconds = 1\nurl = \"https://10.0.0.1/\"\n"))]);
    let lines: Vec<&str> = found.iter().map(|f| f.split(": ").next().unwrap()).collect();
    assert_eq!(
        lines,
        ["alerts.toml:4", "alerts.toml:7", "alerts.toml:9", "alerts.toml:8", "alerts.toml:11", "alerts.toml:12"],
        "{found:?}"
    );
    let twice = "[[receiver]]\nname = \"a\"\nurl = \"https://a.example/\"\n".repeat(2);
    assert!(faults(&[("alerts.toml", &twice)])[0].contains("twice"));
    let range = "[[receiver]]\nname = \"a\"\nurl = \"https://a.example/\"\nallow_addresses = [\"10.0.0.0/8\",\n\"10.0.0.0/33\"]\n";
    assert!(faults(&[("alerts.toml", range)])[0].starts_with("alerts.toml:5: an address range"));
}

#[test]
fn a_receiver_is_added_and_taken_out_without_touching_the_rest() {
    let receiver = |name: &str| alerts::ReceiverConfig {
        name: name.into(),
        url: format!("https://{name}.example:8443/hook"),
        rules: vec!["backup.*".into()],
        plain_loopback: false,
        allow_addresses: vec!["10.0.0.0/8".into()],
        ca: None,
    };
    let read = |text: &str| Desired::read(&files(&[("alerts.toml", text)])).unwrap().alerts;
    let one = read("").with("", &receiver("one")).unwrap();
    let text = format!("# mine\n{one}\n# about the watchdog\n[watchdog]\nurl = \"https://w.example/\" # there\n");
    let two = read(&text).with(&text, &receiver("two")).unwrap();
    assert!(two.starts_with(text.trim_end()), "{two}");
    assert_eq!(read(&two).receivers, [receiver("one"), receiver("two")]);
    let back = read(&two).without(&two, "one").unwrap();
    assert!(back.starts_with("# mine\n") && back.contains("# there"), "{back}");
    assert_eq!((read(&back).receivers, read(&back).watchdog), (vec![receiver("two")], read(&text).watchdog));
    // Where the text cannot be cut, the file is written anew, and says the same.
    let odd =
        "receiver = [{ name = \"one\", url = \"https://one.example/\" }, { name = \"two\", url = \"https://two.example/\" }]\n";
    let rest = read(odd).without(odd, "one").unwrap();
    assert_eq!(read(&rest).receivers, read(odd).receivers[1..]);
    assert_eq!(read(odd).with(odd, &receiver("three")).map(|text| read(&text).receivers.len()).unwrap(), 3);
}
