//! Archives in an S3-compatible bucket: moto behind TLS of a CA of its own, with object lock, and faults on order. Never leaves this machine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Lifeboat, binary, root, sized, target, text, wait};
use crate::rig::free_port;

/// A bucket `backups` that is served.
pub struct Bucket {
    child: Child,
    folder: PathBuf,
    pub endpoint: String,
}

/// `s3://BUCKET/PREFIX` of the tests.
pub const URL: &str = "s3://backups/boat";

impl Bucket {
    /// Serves one with its files in `folder`.
    pub fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let port = free_port();
        let python = target().join("e2e/venv-moto/bin/python");
        let log = std::fs::File::create(folder.join("out")).unwrap();
        let child = Command::new(&python)
            .arg(root().join("tests/e2e/servers/bucket.py"))
            .args([folder.to_str().unwrap(), &port.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run tests/run", python.display()));
        let this = Self { child, folder: folder.to_owned(), endpoint: format!("https://127.0.0.1:{port}") };
        wait("the bucket", 60, || folder.join("ready").exists().then_some(()));
        this
    }

    pub fn credentials(&self) -> PathBuf {
        self.folder.join("credentials")
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Orders faults; `[]` ends them.
    fn faults(&self, faults: &Value) {
        std::fs::write(self.folder.join("faults.json"), faults.to_string()).unwrap();
    }

    /// Requests so far: method, path, fault.
    fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.join("log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn faulted(&self) -> usize {
        self.log().iter().filter(|line| !line["fault"].is_null()).count()
    }

    /// What the program of AWS's own library says.
    fn python(&self, script: &str) -> String {
        let client = format!(
            "import boto3, sys\nc = boto3.client('s3', endpoint_url='{}', verify='{}', aws_access_key_id='LBTESTKEY', \
             aws_secret_access_key='lbtestsecret', region_name='us-east-1')\nB = 'backups'\n{script}",
            self.endpoint,
            self.ca().display()
        );
        let done = Command::new(target().join("e2e/venv-moto/bin/python")).args(["-c", &client]).output().unwrap();
        assert!(done.status.success(), "{script}: {}", text(&done.stderr));
        text(&done.stdout)
    }

    /// Every key that is there now.
    fn keys(&self) -> Vec<String> {
        let said = self.python("for o in c.list_objects_v2(Bucket=B).get('Contents', []): print(o['Key'])");
        said.lines().map(str::to_owned).collect()
    }

    /// The text of an object; empty when there is none.
    pub fn object(&self, key: &str) -> String {
        self.python(&format!(
            "try: print(c.get_object(Bucket=B, Key='{key}')['Body'].read().decode())\nexcept c.exceptions.NoSuchKey: pass"
        ))
    }

    /// Names it in the configuration, and waits for the deny-list.
    fn configure(&self, lifeboat: &Lifeboat) {
        let file = lifeboat.data().join("config/lifeboat.toml");
        let before = std::fs::read_to_string(&file).unwrap();
        let more = format!(
            "\n[[recovery.bucket]]\nurl = \"{URL}\"\nendpoint = \"{}\"\ncredentials_file = \"{}\"\nca = \"{}\"\n",
            self.endpoint,
            self.credentials().display(),
            self.ca().display()
        );
        lifeboat.configure("lifeboat.toml", &format!("{before}{more}"));
        wait("the deny-list in the bucket", 60, || self.keys().contains(&"boat/deny-list.json".to_owned()).then_some(()));
    }

    fn rebuild(&self, lifeboat: &Lifeboat, to: &Path) -> (Option<i32>, Value, String) {
        let keys = lifeboat.data().join("keys");
        let done = Command::new(binary())
            .args(["rebuild", "--json", "--from", URL, "--identity"])
            .arg(keys.join("recovery.key"))
            .arg("--trust")
            .arg(keys.join("instance.pub"))
            .arg("--to")
            .arg(to)
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_SHARED_CREDENTIALS_FILE", self.credentials())
            .env("AWS_CA_BUNDLE", self.ca())
            .output()
            .unwrap();
        let answer = serde_json::from_slice(&done.stdout).unwrap_or(Value::Null);
        (done.status.code(), answer, text(&done.stderr))
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn backup(lifeboat: &Lifeboat) -> (Option<i32>, Value) {
    let done = lifeboat.cli(&["backup", "run", "--json"]);
    (done.status.code(), serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&done.stderr))))
}

#[test]
fn rec_16_a_bucket_that_fails_now_and_then_has_whole_archives_or_none() {
    let lifeboat = Lifeboat::start();
    let bucket = Bucket::start(&lifeboat.home().join("bucket"));
    bucket.configure(&lifeboat);
    // Larger than a part, so that it goes in several: what does not compress.
    let large = sized(20, 200) * 1024 * 1024;
    let vault = lifeboat.home().join("large");
    std::fs::create_dir(&vault).unwrap();
    let made = Command::new("head").args(["-c", &large.to_string(), "/dev/urandom"]).output().unwrap();
    std::fs::write(vault.join("random"), made.stdout).unwrap();
    lifeboat.json(&["vault", "add", "large", "--path", vault.to_str().unwrap()]);

    // Each of these passes by: it is tried again, and every archive stands there with its note.
    for (what, method, path) in
        [(json!(503), "PUT", "boat/large"), (json!("drop"), "PUT", "boat/large"), (json!(500), "HEAD", "boat/")]
    {
        let before = bucket.faulted();
        bucket.faults(&json!([{"method": method, "path": path, "do": what, "times": 2}]));
        let (status, answer) = backup(&lifeboat);
        assert_eq!((status, &answer["ok"]), (Some(0), &json!(true)), "{what}: {answer}");
        assert_eq!(bucket.faulted(), before + 2, "{what} {method}: the faults happened");
    }
    // A list that is older than what it lists is no fault: what is there already is not written over.
    bucket.faults(&json!([{"method": "GET", "path": "list-type=2", "do": "stale", "times": 1}]));
    assert_eq!(backup(&lifeboat).0, Some(0));

    // One that stays is said; nothing that counts is there, and the next run completes it.
    let noted = bucket.keys().iter().filter(|key| key.ends_with(".age.json")).count();
    bucket.faults(&json!([{"method": "PUT", "path": "boat/large", "do": 403, "times": 1000}]));
    let (status, answer) = backup(&lifeboat);
    let said = answer["copies"].to_string();
    assert_eq!(status, Some(2), "{answer}");
    assert!(said.contains(URL) && said.contains("Ordered: a fault on order"), "{said}");
    let notes = |vault: &str| bucket.keys().iter().filter(|key| key.contains(vault) && key.ends_with(".age.json")).count();
    let archives = |vault: &str| bucket.keys().iter().filter(|key| key.contains(vault) && key.ends_with(".age")).count();
    assert_eq!(notes("boat/large"), archives("boat/large"));
    bucket.faults(&json!([]));
    let (status, answer) = backup(&lifeboat);
    assert_eq!(status, Some(0), "{answer}");
    assert_eq!(bucket.keys().iter().filter(|key| key.ends_with(".age.json")).count(), noted + 6);
    assert_eq!((notes("boat/large"), archives("boat/large")), (6, 6));

    // The secret is in no log and no answer.
    for file in ["lifeboat.log", "bucket/out"] {
        let text = std::fs::read_to_string(lifeboat.home().join(file)).unwrap_or_default();
        assert!(!text.contains("lbtestsecret") && !text.contains("X-Amz-Signature=a"), "{file}");
    }
}

#[test]
fn rec_16_a_rebuild_from_a_bucket_takes_what_is_whole() {
    let lifeboat = Lifeboat::start();
    let bucket = Bucket::start(&lifeboat.home().join("bucket"));
    bucket.configure(&lifeboat);
    lifeboat.json(&["backup", "run"]);
    lifeboat.json(&["backup", "run"]);
    let to = |name: &str| lifeboat.home().join(name);
    let step = |answer: &Value, name: &str| {
        let steps = answer["steps"].as_array().cloned().unwrap_or_default();
        steps.into_iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("no step {name}: {answer}"))
    };

    // The newest archive comes changed: it is passed over for the one before, and that is said.
    let newest = bucket.keys().into_iter().filter(|key| key.starts_with("boat/demo/") && key.ends_with(".age")).max().unwrap();
    bucket.python(&format!(
        "b = bytearray(c.get_object(Bucket=B, Key='{newest}')['Body'].read())\nb[len(b) // 2] ^= 1\n\
         import hashlib, base64\nc.put_object(Bucket=B, Key='{newest}', Body=bytes(b), ChecksumAlgorithm='SHA256')"
    ));
    let (status, answer, said) = bucket.rebuild(&lifeboat, &to("changed"));
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(step(&answer, "verify-archive demo")["passed"], false, "{answer}");
    assert_eq!(step(&answer, "fetch-archives")["passed"], true);
    assert!(answer["warnings"].to_string().contains("went back to"), "{answer}");

    // A note that was changed counts for nothing; with it the last whole archive of that vault is gone.
    bucket.python(
        "k = [o['Key'] for o in c.list_objects_v2(Bucket=B)['Contents'] if o['Key'].startswith('boat/demo/') and o['Key'].endswith('.json')][0]\n\
         b = c.get_object(Bucket=B, Key=k)['Body'].read().replace(b'\"complete\": true', b'\"complete\": false').replace(b'\"complete\":true', b'\"complete\":false')\n\
         c.put_object(Bucket=B, Key=k, Body=b, ChecksumAlgorithm='SHA256')",
    );
    let (status, answer, said) = bucket.rebuild(&lifeboat, &to("forged"));
    assert_eq!(status, Some(1), "{answer}");
    assert!(format!("{answer}{said}").contains("no archive of demo is whole"), "{answer} {said}");
    lifeboat.json(&["backup", "run"]);

    // One that breaks off in the middle is asked again; one that hangs for good ends in an error that names the bucket, and leaves nothing.
    bucket.faults(&json!([{"method": "GET", "path": "boat/lifeboat/", "do": "short", "times": 1}]));
    let (status, _, said) = bucket.rebuild(&lifeboat, &to("short"));
    assert_eq!(status, Some(0), "{said}");
    bucket.faults(&json!([{"method": "GET", "path": "list-type=2", "do": 403, "times": 1000}]));
    let (status, answer, said) = bucket.rebuild(&lifeboat, &to("refused"));
    assert_eq!(status, Some(1), "{said}");
    assert!(format!("{answer}{said}").contains(URL), "{answer} {said}");
    assert!(!to("refused").exists());
    let left = std::fs::read_dir(lifeboat.home())
        .unwrap()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with(".rebuild-"));
    assert!(!left, "nothing of an attempt is left");
}

#[test]
fn a_bucket_with_object_lock_keeps_what_is_removed_and_the_lock_is_read_back() {
    let lifeboat = Lifeboat::start();
    let bucket = Bucket::start(&lifeboat.home().join("bucket"));
    bucket.configure(&lifeboat);
    lifeboat.json(&["backup", "run"]);
    let copies = lifeboat.json(&["backup", "copies"]);
    let row = &copies["copies"][0];
    assert_eq!((row["place"].as_str(), row["missing"].as_u64()), (Some(URL), Some(0)), "{copies}");
    assert!(row["lock"].as_str().unwrap_or_default().starts_with("compliance until 20"), "{copies}");
    // Nobody with this key can end an archive: its version stays, and the bucket says no.
    let key = bucket.keys().into_iter().find(|key| key.ends_with(".age")).unwrap();
    let said = bucket.python(&format!(
        "v = c.list_object_versions(Bucket=B, Prefix='{key}')['Versions'][0]['VersionId']\n\
         try:\n    c.delete_object(Bucket=B, Key='{key}', VersionId=v)\n    print('removed')\nexcept Exception as e:\n    print(e)"
    ));
    assert!(said.contains("AccessDenied"), "{said}");

    // A file of credentials that others may read is refused, by name.
    std::fs::set_permissions(bucket.credentials(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (status, answer) = backup(&lifeboat);
    assert_eq!(status, Some(2));
    assert!(answer["copies"].to_string().contains("can be read by other accounts"), "{answer}");
}

#[test]
fn a_kill_reaches_the_bucket_and_waits_for_none() {
    let lifeboat = Lifeboat::start();
    let bucket = Bucket::start(&lifeboat.home().join("bucket"));
    bucket.configure(&lifeboat);
    let list = || bucket.object("boat/deny-list.json");
    bucket.faults(&json!([{"method": "PUT", "path": "deny-list", "do": "hang", "times": 1}]));
    let began = std::time::Instant::now();
    let order = lifeboat.json(&["kill", "engage", "--reason", "bucket test"]);
    assert_eq!(order["effective"], true);
    assert!(began.elapsed().as_secs() < 3, "a bucket that hangs delays no kill");
    let client = lifeboat.client_for("demo", "late");
    lifeboat.json(&["client", "revoke", "late"]);
    let kid = client.split('_').nth(1).unwrap();
    wait("both in the bucket", 30, || Some(list()).filter(|text| text.contains("bucket test") && text.contains(kid)));
}

#[test]
fn a_bucket_that_takes_its_time_keeps_nobody_from_a_restore() {
    let lifeboat = Lifeboat::start();
    let bucket = Bucket::start(&lifeboat.home().join("bucket"));
    bucket.configure(&lifeboat);
    bucket.faults(&json!([{"method": "PUT", "path": "boat/demo", "do": "hang", "times": 100}]));
    let data = lifeboat.data();
    let mut order = Command::new(binary());
    order.args(["backup", "run", "--json", "--data"]).arg(&data).stdout(Stdio::null()).stderr(Stdio::null());
    let mut order = order.spawn().unwrap();
    wait("the bucket is asked", 20, || bucket.log().iter().any(|line| line["fault"] == "hang").then_some(()));
    let to = lifeboat.home().join("back");
    lifeboat.json(&["restore", "latest:demo", "--to", to.to_str().unwrap()]);
    assert!(order.try_wait().unwrap().is_none(), "the backup still waits for its bucket");
    let _ = order.kill();
    let _ = order.wait();
    // A list that somebody put in this one's name is said, and is no copy of this one's.
    bucket.faults(&json!([]));
    bucket.python(
        "c.put_object(Bucket=B, Key='boat/deny-list.json', Body=b'{\"format\":1,\"key\":\"x\"}', ChecksumAlgorithm='SHA256')",
    );
    let done = lifeboat.cli(&["backup", "copies", "--json"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stdout).contains("deny-list of another instance"), "{}", text(&done.stdout));
    // Names that no archive has keep nobody from a rebuild.
    bucket.python(
        "c.delete_object(Bucket=B, Key='boat/deny-list.json')\n\
         for k, n in [('boat/zz/2026/zz.tar.zst.age.json', 17 << 20), ('boat/deep/er/2026/x.tar.zst.age.json', 9), ('boat/' + 'n' * 300 + '.tar.zst.age.json', 9)]:\n    \
         c.put_object(Bucket=B, Key=k, Body=b'x' * n, ChecksumAlgorithm='SHA256')",
    );
    assert_eq!(backup(&lifeboat).0, Some(0));
    let (status, answer, said) = bucket.rebuild(&lifeboat, &lifeboat.home().join("rebuilt"));
    assert_eq!(status, Some(0), "{answer} {said}");
}

#[test]
fn rec_12_two_deployments_in_one_place_leave_each_other_alone() {
    let (one, two) = (Lifeboat::start(), Lifeboat::start());
    let bucket = Bucket::start(&one.home().join("bucket"));
    bucket.configure(&one);
    one.json(&["backup", "run"]);
    let before = bucket.keys();
    bucket.configure(&two);
    let (status, answer) = backup(&two);
    let said = answer["copies"].to_string();
    assert!(status == Some(2) && said.contains("the deny-list of another instance") && said.contains(URL), "{answer}");
    two.json(&["client", "revoke", "demo-client"]);
    wait("its own list has it", 10, || {
        let list = std::fs::read_to_string(two.data().join("archives/deny-list.json")).ok()?;
        (!list.contains("\"client_keys\": []")).then_some(())
    });
    assert_eq!(bucket.keys(), before, "nothing of the first one was touched, and nothing of the second one is there");
    let (status, answer, said) = bucket.rebuild(&one, &one.home().join("rebuilt"));
    assert_eq!(status, Some(0), "{answer} {said}");

    // The same in a directory.
    let shared = one.home().join("shared");
    std::fs::create_dir(&shared).unwrap();
    for lifeboat in [&one, &two] {
        let text = std::fs::read_to_string(lifeboat.data().join("config/lifeboat.toml")).unwrap();
        let text = text.replacen("[recovery]\n", &format!("[recovery]\ncopies = [\"{}\"]\n", shared.display()), 1);
        assert!(text.contains("copies"), "{text}");
        lifeboat.configure("lifeboat.toml", &text);
    }
    assert_eq!(backup(&one).0, Some(0));
    let (status, answer) = backup(&two);
    assert!(status == Some(2) && answer["copies"].to_string().contains(shared.to_str().unwrap()), "{answer}");
}
