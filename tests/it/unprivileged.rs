//! Lifeboat as an account without rights on a kernel without Landlock and namespaces: it still serves, and says what it cannot do.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::program::start_through;

// A filter that answers landlock_create_ruleset with ENOSYS and unshare with EPERM, then drops to nobody and runs the program.
const WITHOUT: &str = r"
import ctypes, os, platform, struct, sys
unshare = {'x86_64': 272, 'aarch64': 97}[platform.machine()]
op = lambda code, jt, jf, k: struct.pack('HBBI', code, jt, jf, k)
code = [op(0x20, 0, 0, 0), op(0x15, 0, 1, 444), op(0x06, 0, 0, 0x00050000 | 38), op(0x15, 0, 1, unshare),
        op(0x06, 0, 0, 0x00050000 | 1), op(0x06, 0, 0, 0x7fff0000)]
program = ctypes.create_string_buffer(b''.join(code))
class Prog(ctypes.Structure):
    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Prog(len(code), ctypes.addressof(program))), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
";

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

fn ask(binary: &Path, data: &Path, words: &[&str]) -> Value {
    let output = Command::new(binary).arg("--data").arg(data).arg("--json").args(words).output().expect("the command runs");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

#[test]
fn reduced_protection_is_what_doctor_says_first() {
    if !is_root() {
        // Only root can become another account; the sentence itself is held by the sandbox's own tests.
        return;
    }
    let folder = tempfile::TempDir::new().expect("a folder");
    let (_running, binary, data) = start_through(&[WITHOUT], folder.path());
    let started = Instant::now();
    let status = loop {
        let status = ask(&binary, &data, &["status"]);
        if status["servers"][0]["state"] == "up" {
            break status;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "the demo server is not up: {status}");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(status["kill"]["engaged"], false);
    let doctor = ask(&binary, &data, &["doctor"]);
    let sandbox = &doctor["checks"].as_array().expect("checks")[0];
    assert_eq!((&sandbox["name"], &sandbox["state"]), (&Value::from("sandbox"), &Value::from("warn")), "{doctor}");
    assert!(sandbox["detail"].as_str().is_some_and(|detail| detail.starts_with("not confined")), "{sandbox}");
    assert!(sandbox["mend"].as_str().is_some_and(|mend| mend.contains("root")), "{sandbox}");
    let server = ask(&binary, &data, &["server", "show", "demo"]);
    assert!(server["sandbox"].as_str().is_some_and(|sandbox| sandbox.starts_with("not confined")), "{server}");
}
