//! The laws of the house, kept by reading the source. Each failure names every place at once.

mod config_reference;
mod source;
mod sql;

use std::fs;

use source::{Source, files, sources, top};

/// Layers from the bottom up; modules of one row do not name each other (docs/ARCHITECTURE.md, "The law").
const LAYERS: [&[&str]; 9] = [
    &["base"],
    &["config", "db", "crypto", "telemetry", "mcp"],
    &["policy", "inspect"],
    &["audit", "jobs", "web", "demo"],
    &["proxy", "admin"],
    &["lifecycle"],
    &["app"],
    &["cli"],
    &["main"],
];

const LONGEST_FILE: usize = 400;

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

fn module_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn assert_none(law: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{law}:\n  {}", faults.join("\n  "));
}

#[test]
fn a_module_names_only_what_stands_to_its_left() {
    let mut faults = Vec::new();
    for source in sources() {
        let module = module_of(&source.path).to_owned();
        if module == "lib" {
            continue;
        }
        let Some(own) = layer(&module) else {
            faults.push(format!("{}: module {module} has no place in the layers", source.path));
            continue;
        };
        for root in ["crate::", "lifeboat::"] {
            for (at, _) in source.code.match_indices(root) {
                let named = names_at(&source.code[at + root.len()..]);
                for name in named.iter().filter(|name| name.as_str() != module) {
                    let fits = layer(name).is_some_and(|other| other < own);
                    if !fits {
                        faults.push(format!("{}:{}: {module} names {name}", source.path, line_of(&source.code, at)));
                    }
                }
            }
        }
    }
    assert_none("a module names only what stands to its left", &faults);
}

// `crate::a::b` names a; `crate::{a::b, c}` names a and c.
fn names_at(rest: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(list) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let mut depth = 0;
    let mut names = vec![word(list.trim_start())];
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(word(list[at + 1..].trim_start())),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn a_word_stays_in_its_home() {
    type Home = fn(&str) -> bool;
    let homes: [(&str, Home); 6] = [
        ("sqlx::", |p| p.starts_with("src/db/") || p.ends_with("/store.rs")),
        ("axum::", |p| {
            p.starts_with("src/web/") || p.starts_with("src/proxy/") || p.starts_with("src/app/") || p.ends_with("/routes.rs")
        }),
        ("git2::", |p| p.starts_with("src/config/")),
        ("rcgen::", |p| p.starts_with("src/crypto/")),
        ("argon2::", |p| p.starts_with("src/crypto/")),
        ("nix::", |p| {
            p.starts_with("src/proxy/")
                || p.starts_with("src/admin/api/")
                // Opening the file KILL without following a link and without waiting.
                || p == "src/admin/kill/file.rs"
                // Reading what others write without following a link; naming a file without replacing one.
                || p == "src/admin/vaults/walk.rs"
                || p == "src/admin/vaults/folder.rs"
                // Whose account this is.
                || p == "src/admin/vaults/trusted.rs"
                // Exchanging two trees in one step.
                || p == "src/admin/vaults/live/place.rs"
                // Ending a command as a group, before its process id can be another's.
                || p == "src/admin/command/process.rs"
                || p.starts_with("src/config/")
                || p.starts_with("src/cli/")
                || p.starts_with("src/app/")
                // Setting the disk reserve aside without writing it.
                || p == "src/audit/disk.rs"
                // How much of a core a thread has had.
                || p == "src/crypto/archive/standing.rs"
        }),
    ];
    let mut faults = Vec::new();
    for source in sources() {
        for (word, home) in homes {
            let whole = |at: &usize| !source.code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if let Some(at) = source.code.match_indices(word).map(|(at, _)| at).find(whole)
                && !home(&source.path)
            {
                faults.push(format!("{}:{}: {word}", source.path, line_of(&source.code, at)));
            }
        }
    }
    assert_none("a word stays in its home", &faults);
}

#[test]
fn files_say_what_they_are_and_stay_short() {
    let mut faults = Vec::new();
    for Source { path, text, .. } in sources() {
        if !text.starts_with("//!") {
            faults.push(format!("{path}: the first line does not say what the file is"));
        }
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            faults.push(format!("{path}: {lines} lines, {LONGEST_FILE} are the most"));
        }
    }
    assert_none("files say what they are and stay short", &faults);
}

#[test]
fn product_code_has_no_way_to_die_or_to_be_silent() {
    let banned = [
        ".unwrap()",
        ".expect(",
        "panic!(",
        "unreachable!(",
        "todo!(",
        "unimplemented!(",
        "unsafe ",
        "#[allow(",
        "#![allow(",
        "thread::sleep",
        "fn expect(",
        "println!(",
        "eprintln!(",
        "dbg!(",
        "std::process::exit",
    ];
    let mut faults = Vec::new();
    for source in sources() {
        for word in banned {
            for (at, _) in source.code.match_indices(word) {
                faults.push(format!("{}:{}: {word}", source.path, line_of(&source.code, at)));
            }
        }
    }
    assert_none("product code has no way to die or to be silent", &faults);
}

#[test]
fn sql_stands_whole_in_the_stores() {
    let mut faults = Vec::new();
    for source in sources() {
        // Migrations are whole files, read at build time; the tables of somebody else's database are known only when it is read. Nobody
        // else may run text that is no constant.
        let free = ["src/db/migrate.rs", "src/db/foreign.rs"].contains(&source.path.as_str());
        for word in ["AssertSqlSafe", "QueryBuilder"].into_iter().filter(|_| !free) {
            if source.code.contains(word) {
                faults.push(format!("{}: {word} builds SQL from parts", source.path));
            }
        }
    }
    assert_none("SQL stands whole in the stores", &faults);
}

#[test]
fn pages_fetch_nothing_from_elsewhere_and_carry_no_inline_code() {
    let banned = [" style=\"", "<style", "hx-on", "\"js:", "javascript:", "src=\"http", "|safe", "| safe", " onclick=", " onload="];
    let mut faults = Vec::new();
    for path in files("templates", &[".html"]) {
        let text = fs::read_to_string(&path).expect("a template is text");
        for word in banned {
            for (at, _) in text.match_indices(word) {
                faults.push(format!("{}:{}: {word}", path.display(), line_of(&text, at)));
            }
        }
    }
    assert_none("pages fetch nothing from elsewhere and carry no inline code", &faults);
}

#[test]
fn the_glossary_words_are_the_only_ones() {
    // A left-hand word is one the glossary replaces; it must not come back in code or on a page.
    let banned = ["whitelist", "blacklist", "allowlist_", "apikey", "api_key_secret", "postmortem", "denylist_rule"];
    let mut faults = Vec::new();
    for folder in ["src", "templates"] {
        for path in files(folder, &[".rs", ".html"]) {
            let text = fs::read_to_string(&path).expect("text").to_lowercase();
            faults.extend(banned.iter().filter(|word| text.contains(**word)).map(|word| format!("{}: {word}", path.display())));
        }
    }
    assert_none("the glossary's words are the only ones", &faults);
}

#[test]
fn migrations_only_grow() {
    let list = fs::read_to_string(top().join("tests/it/laws/migrations.sha256")).expect("the list of released migrations");
    assert!(list.lines().count() >= 5, "released migrations are never taken off the list");
    let mut faults = Vec::new();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (digest, name) = line.split_once("  ").expect("`sha256  name` as sha256sum prints it");
        let now = fs::read(top().join("migrations").join(name)).map(|bytes| sha256(&bytes)).unwrap_or_default();
        if now != digest {
            faults.push(format!("{name}: a released migration was changed or removed"));
        }
    }
    assert_none("migrations only grow", &faults);
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_laws_see_through_comments_strings_and_tests() {
    let text = "//! x\nfn a() { let s = \"panic!(\"; } // .unwrap()\n/* unsafe */ let r = r#\"todo!(\"#;\n#[cfg(test)]\nmod tests { x.unwrap() }";
    let early = "#[cfg(test)]\nmod tests;\nfn a() { x.unwrap() }\n#[cfg(test)]\nuse a::{b, c};\n#[cfg(test)]\nfn z(x: [u8; 2]) { panic!() }\nfn b() { panic!() }";
    let early = source::product_code(early);
    assert!(early.contains("x.unwrap()") && early.contains("fn b()") && !early.contains("fn z"), "{early}");
    assert_eq!(early.matches("panic!(").count(), 1);
    let code = source::product_code(text);
    for word in ["panic!(", ".unwrap()", "unsafe", "todo!("] {
        assert!(!code.contains(word), "{word} in {code}");
    }
    assert!(code.contains("fn a()"));
    assert_eq!(names_at("{base::clock, config::{A, B}, policy}"), ["base", "config", "policy"]);
}
